"""Queue counts over time: 5-minute samples, and hourly and daily roll-ups of them.

Times are integers (UTC seconds since 1970, at the start of the span): half the size of a timestamp,
and the charts want numbers anyway. Retention: services/rollup.py.
"""

from django.db import models

from relays.models.instance import Instance
from relays.models.provider import Provider


class _InstanceCounts(models.Model):
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, db_index=False, related_name="+")
    ts = models.PositiveIntegerField()
    incoming = models.PositiveIntegerField()
    active = models.PositiveIntegerField()
    deferred = models.PositiveIntegerField()
    hold = models.PositiveIntegerField()
    oldest_s = models.PositiveIntegerField(null=True)

    class Meta:
        abstract = True


class Sample(_InstanceCounts):
    """A 5-minute span, by the first reading in it: one insert in five polls, and never an update."""

    pk = models.CompositePrimaryKey("instance_id", "ts")

    class Meta:
        indexes = [models.Index(fields=["ts"], name="sample_ts")]


class SampleHour(_InstanceCounts):
    """An hour: mean counts of its samples, the most deferred, the greatest oldest age."""

    pk = models.CompositePrimaryKey("instance_id", "ts")
    deferred_max = models.PositiveIntegerField()

    class Meta:
        indexes = [models.Index(fields=["ts"], name="sample_hour_ts")]


class SampleDay(_InstanceCounts):
    """A UTC day, made from its hours."""

    pk = models.CompositePrimaryKey("instance_id", "ts")
    deferred_max = models.PositiveIntegerField()


class ProviderHour(models.Model):
    """An hour of a provider, summed over its instances for the matrix: means, and an upper bound of the most.

    The instances need not have had their most at the same time, so deferred_max may never have been reached.
    """

    pk = models.CompositePrimaryKey("provider_id", "ts")
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, db_index=False, related_name="+")
    ts = models.PositiveIntegerField()
    active = models.PositiveIntegerField()
    deferred = models.PositiveIntegerField()
    deferred_max = models.PositiveIntegerField()
