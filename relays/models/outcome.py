"""What became of the mail: outcomes counted from the relays' logs, per span, and how far each log is read.

Times are integers as in sample.py. Counts are recipients. `deferred` counts every deferred line,
`suspended` those of them that reached nobody ("delivery temporarily suspended"); `handed_over` is mail that
another instance of the fleet or a content filter took, and no delivery.

Keys that begin with instance and time answer "the last hour of these instances" from one piece of the index;
the longer spans of one instance and provider lie together for the charts.
"""

from django.db import models

from relays.models.host import Host
from relays.models.instance import Instance
from relays.models.provider import Provider


class _OutcomeCounts(models.Model):
    sent = models.PositiveIntegerField(default=0)
    deferred = models.PositiveIntegerField(default=0)
    suspended = models.PositiveIntegerField(default=0)
    bounced = models.PositiveIntegerField(default=0)
    expired = models.PositiveIntegerField(default=0)
    handed_over = models.PositiveIntegerField(default=0)
    softbounce = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class _Delays(models.Model):
    """Recipients sent or handed over by delay: the bounds are domain/maillog's, the last bin is open."""

    delay_00 = models.PositiveIntegerField(default=0)
    delay_01 = models.PositiveIntegerField(default=0)
    delay_02 = models.PositiveIntegerField(default=0)
    delay_03 = models.PositiveIntegerField(default=0)
    delay_04 = models.PositiveIntegerField(default=0)
    delay_05 = models.PositiveIntegerField(default=0)
    delay_06 = models.PositiveIntegerField(default=0)
    delay_07 = models.PositiveIntegerField(default=0)
    delay_08 = models.PositiveIntegerField(default=0)
    delay_09 = models.PositiveIntegerField(default=0)
    delay_10 = models.PositiveIntegerField(default=0)
    delay_11 = models.PositiveIntegerField(default=0)
    delay_12 = models.PositiveIntegerField(default=0)
    delay_13 = models.PositiveIntegerField(default=0)
    delay_14 = models.PositiveIntegerField(default=0)
    delay_15 = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class _InstanceOutcomes(_OutcomeCounts, _Delays):
    """An instance's mail for one provider: the provider of the recipients, not of the instance."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, db_index=False, related_name="+")
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, db_index=False, related_name="+")
    ts = models.PositiveIntegerField()
    size_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        abstract = True


class Outcomes(_InstanceOutcomes):
    """Five minutes. throttled, blocked: recipients refused so (domain/health.py), for an hour's state."""

    throttled = models.PositiveIntegerField(default=0)
    blocked = models.PositiveIntegerField(default=0)
    pk = models.CompositePrimaryKey("instance_id", "ts", "provider_id")

    class Meta:
        # The provider finds its rows of the last hours without looking into those of all others.
        indexes = [models.Index(fields=["ts", "provider"], name="outcomes_ts_provider")]


class OutcomesHour(_InstanceOutcomes):
    """An hour."""

    pk = models.CompositePrimaryKey("instance_id", "provider_id", "ts")

    class Meta:
        indexes = [models.Index(fields=["ts"], name="outcomes_hour_ts")]


class OutcomesDay(_InstanceOutcomes):
    """A UTC day."""

    pk = models.CompositePrimaryKey("instance_id", "provider_id", "ts")


class _ProviderOutcomes(_OutcomeCounts, _Delays):
    """A provider's mail through all instances."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, db_index=False, related_name="+")
    ts = models.PositiveIntegerField()
    size_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        abstract = True


class ProviderOutcomesHour(_ProviderOutcomes):
    """An hour."""

    pk = models.CompositePrimaryKey("provider_id", "ts")


class ProviderOutcomesDay(_ProviderOutcomes):
    """A UTC day."""

    pk = models.CompositePrimaryKey("provider_id", "ts")


class RecipientDomain(models.Model):
    """A domain that mail went to, lower-case A-label, with a relay host that was seen for it.

    `(other)` stands for what a span had beyond the domains that are kept.
    """

    name = models.CharField(max_length=255, unique=True)
    mx_host = models.CharField(max_length=255, blank=True)
    # By its name, else by the suffix of mx_host, else the provider that catches all.
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="recipient_domains")
    first_seen_at = models.DateTimeField()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class _DomainOutcomes(_OutcomeCounts):
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, db_index=False, related_name="+")
    domain = models.ForeignKey(RecipientDomain, on_delete=models.CASCADE, db_index=False, related_name="+")
    ts = models.PositiveIntegerField()

    class Meta:
        abstract = True


class DomainOutcomesHour(_DomainOutcomes):
    """An hour of one recipient domain through one instance."""

    pk = models.CompositePrimaryKey("instance_id", "ts", "domain_id")

    class Meta:
        indexes = [models.Index(fields=["ts"], name="domain_outcomes_hour_ts")]


class DomainOutcomesDay(_DomainOutcomes):
    """A UTC day of one recipient domain through one instance."""

    pk = models.CompositePrimaryKey("instance_id", "ts", "domain_id")

    class Meta:
        indexes = [models.Index(fields=["ts"], name="domain_outcomes_day_ts")]


class _FleetDomainOutcomes(_OutcomeCounts):
    """A recipient domain through all instances: a provider's page would have to add up millions of rows."""

    domain = models.ForeignKey(RecipientDomain, on_delete=models.CASCADE, db_index=False, related_name="+")
    ts = models.PositiveIntegerField()

    class Meta:
        abstract = True


class FleetDomainOutcomesHour(_FleetDomainOutcomes):
    """An hour."""

    pk = models.CompositePrimaryKey("domain_id", "ts")

    class Meta:
        indexes = [models.Index(fields=["ts"], name="fleet_domain_hour_ts")]


class FleetDomainOutcomesDay(_FleetDomainOutcomes):
    """A UTC day."""

    pk = models.CompositePrimaryKey("domain_id", "ts")

    class Meta:
        indexes = [models.Index(fields=["ts"], name="fleet_domain_day_ts")]


class ReplyCluster(models.Model):
    """Replies that say the same: domain/replies.py masks what varies, and the digest names the text."""

    digest = models.CharField(max_length=16, primary_key=True)
    text = models.CharField(max_length=400, help_text="Masked. Hostile text.")
    sample = models.CharField(max_length=2048, help_text="One of them as it stood in a log. Hostile text.")
    code = models.PositiveSmallIntegerField(null=True)
    enhanced = models.CharField(max_length=11, blank=True)
    # domain/reasons.py: the class, the rule that gave it ("" for none) and the table it comes from.
    reason = models.CharField(max_length=40, default="other", db_index=True)
    hard = models.BooleanField(default=False)
    rule = models.CharField(max_length=60, blank=True)
    rules_version = models.CharField(max_length=40, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()


class _ReplyCounts(models.Model):
    """How often a cluster was heard, apart by outcome."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, db_index=False, related_name="+")
    cluster = models.ForeignKey(ReplyCluster, on_delete=models.CASCADE, db_index=False, related_name="+")
    ts = models.PositiveIntegerField()
    deferred = models.PositiveIntegerField(default=0)
    suspended = models.PositiveIntegerField(default=0)
    bounced = models.PositiveIntegerField(default=0)
    softbounce = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class _InstanceReplyCounts(_ReplyCounts):
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, db_index=False, related_name="+")

    class Meta:
        abstract = True


class ReplyCountsHour(_InstanceReplyCounts):
    """An hour of one cluster through one instance, for one provider's recipients."""

    pk = models.CompositePrimaryKey("instance_id", "ts", "provider_id", "cluster_id")

    class Meta:
        indexes = [models.Index(fields=["provider", "ts"], name="reply_counts_hour_provider_ts")]


class ReplyCountsDay(_InstanceReplyCounts):
    """A UTC day of one cluster through one instance, for one provider's recipients."""

    pk = models.CompositePrimaryKey("instance_id", "ts", "provider_id", "cluster_id")

    class Meta:
        indexes = [models.Index(fields=["provider", "ts"], name="reply_counts_day_provider_ts")]


class ProviderReplyCountsHour(_ReplyCounts):
    """An hour of one cluster through all instances, for one provider's recipients."""

    pk = models.CompositePrimaryKey("provider_id", "ts", "cluster_id")


class ProviderReplyCountsDay(_ReplyCounts):
    """A UTC day of one cluster through all instances, for one provider's recipients."""

    pk = models.CompositePrimaryKey("provider_id", "ts", "cluster_id")


class LogSource(models.Model):
    """A log of a host, and how far it is counted: the cursor moves in the counts' transaction."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="log_sources")
    # Path of the file, or "journal".
    source = models.CharField(max_length=255)
    # relayctl's own text: it comes from a reply and goes back with the next request.
    cursor = models.CharField(max_length=2048, blank=True)
    read_at = models.DateTimeField(null=True)
    # Stamp of the last line that was counted: outcomes are known up to here.
    log_time = models.DateTimeField(null=True)
    behind_bytes = models.PositiveBigIntegerField(null=True)
    lines = models.PositiveBigIntegerField(default=0)
    unrecognized = models.PositiveBigIntegerField(default=0)
    # Newest unrecognised lines, at most 5 texts. Hostile.
    samples = models.JSONField(default=list, blank=True)
    # Why it could not be read, or not wholly: docs/relayctl.md lists the codes.
    condition = models.CharField(max_length=40, blank=True)
    condition_detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["host_id", "source"]
        constraints = [models.UniqueConstraint(fields=["host", "source"], name="log_source_once_a_host")]


class ImportedTotals(models.Model):
    """What the operator's old script had told of an instance's UTC day when it was last imported."""

    pk = models.CompositePrimaryKey("instance_id", "ts")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, db_index=False, related_name="+")
    ts = models.PositiveIntegerField()
    sent = models.PositiveIntegerField(default=0)
    deferred = models.PositiveIntegerField(default=0)
    bounced = models.PositiveIntegerField(default=0)
