"""Zones, relay names and their weights, and what was published of them."""

from django.db import models
from django.db.models import Q

from dns.domain.weights import Rendering
from relays.models import Operation, Origin, Provider


class Method(models.TextChoices):
    """How a zone is written."""

    RFC2136 = "rfc2136", "dynamic update (RFC 2136)"
    POWERDNS = "powerdns", "PowerDNS API"
    MANUAL = "manual", "by hand"


class Zone(models.Model):
    """A DNS zone with relay names: how to write it, and which servers must serve what was written."""

    name = models.CharField(max_length=253, unique=True)
    method = models.CharField(max_length=10, choices=Method, default=Method.RFC2136)
    # The server that takes changes and is read before them.
    primary = models.CharField(max_length=80, blank=True)
    # All authoritative servers, the primary among them: "192.0.2.53" or "192.0.2.53:5300".
    servers = models.JSONField(default=list)
    tsig_name = models.CharField(max_length=253, blank=True)
    tsig_algorithm = models.CharField(max_length=20, default="hmac-sha256")
    api_url = models.CharField(max_length=200, blank=True)
    api_server_id = models.CharField(max_length=80, default="localhost")
    # The TSIG secret or API key, as relays/services/sealing.py seals it.
    sealed_secret = models.CharField(max_length=1000, blank=True)
    # Names that we may write, and with each the names under it.
    allowed_names = models.JSONField(default=list)
    # Who hands mail to its relay names; none: every origin. Only their mail is counted as observed.
    origins = models.ManyToManyField(Origin, blank=True, related_name="zones")

    class Meta:
        ordering = ["name"]
        permissions = [("change_weights", "Can change weights of relay names")]

    def __str__(self) -> str:
        return self.name


class RelayName(models.Model):
    """A provider's hostname: its records say which addresses get how much mail."""

    zone = models.ForeignKey(Zone, on_delete=models.PROTECT, related_name="relay_names")
    name = models.CharField(max_length=253, unique=True)
    provider = models.ForeignKey(
        Provider, null=True, blank=True, on_delete=models.SET_NULL, related_name="relay_names"
    )
    ttl = models.PositiveIntegerField(default=600)
    rendering = models.CharField(
        max_length=5, choices=[(one.value, one.value) for one in Rendering], default=Rendering.MX
    )
    # So many warm addresses are always published.
    min_warm = models.PositiveSmallIntegerField(default=1)
    # The serial and records of the primary when it was last read.
    served = models.JSONField(default=list)
    served_at = models.DateTimeField(null=True)
    # {"192.0.2.53": "..."}: what the check found wrong with each server; empty where all is as it should be.
    drift = models.JSONField(default=dict)
    checked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Weight(models.Model):
    """What an address is to carry of a relay name's mail, by its part of all weights that are on."""

    relay_name = models.ForeignKey(RelayName, on_delete=models.CASCADE, related_name="weights")
    address = models.GenericIPAddressField()
    weight = models.PositiveIntegerField(default=1)
    # Out of DNS, and its weight is kept for when it comes back.
    is_on = models.BooleanField(default=True)
    # Warming up where not: such addresses alone are never published.
    is_warm = models.BooleanField(default=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["relay_name", "address"], name="weight_once_an_address"),
            models.CheckConstraint(condition=Q(weight__gte=1, weight__lte=100_000), name="weight_in_range"),
        ]

    def __str__(self) -> str:
        return f"{self.address} {self.weight}"


class PublishedState(models.Model):
    """What a relay name served from then on: found there, or written by an operation."""

    relay_name = models.ForeignKey(RelayName, on_delete=models.CASCADE, related_name="published")
    at = models.DateTimeField()
    # When no resolver holds what was there before.
    effective_at = models.DateTimeField()
    operation = models.OneToOneField(
        Operation, null=True, on_delete=models.SET_NULL, related_name="published"
    )
    serial = models.PositiveBigIntegerField()
    records = models.JSONField()
    # {"192.0.2.11": parts}: of the records, and the weights that they are to express.
    parts = models.JSONField()
    wanted = models.JSONField()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["relay_name", "-at"], name="published_newest")]

    def __str__(self) -> str:
        return f"{self.relay_name_id} at {self.at:%Y-%m-%d %H:%M}"


class RampState(models.TextChoices):
    """Where a ramp stands."""

    RUNNING = "running", "running"
    PAUSED = "paused", "paused"
    DONE = "done", "done"
    CANCELLED = "cancelled", "cancelled"


RAMPS_LIVE = (RampState.RUNNING, RampState.PAUSED)


class Out(models.TextChoices):
    """Why the address of a live ramp carries nothing."""

    NOT = "", "it carries mail"
    UNSTARTED = "unstarted", "its first date has not begun"
    CAP = "cap", "it has sent its day's number"
    BLOCK = "block", "it was refused as blocked"


class Ramp(models.Model):
    """A schedule that brings an address up under one relay name: docs/ramps.md says how it is run."""

    relay_name = models.ForeignKey(RelayName, on_delete=models.CASCADE, related_name="ramps")
    address = models.GenericIPAddressField()
    state = models.CharField(max_length=10, choices=RampState, default=RampState.RUNNING)
    # As it was chosen, and where it was published.
    schedule_name = models.CharField(max_length=80)
    source = models.CharField(max_length=300, blank=True)
    # domain/schedule.py: a list of {"share": ..., "cap": ...}.
    steps = models.JSONField()
    # The greatest share that the address is to get, 0 to 1.
    largest = models.FloatField()
    time_zone = models.CharField(max_length=64, default="UTC")
    # Local times between which a decision is made; none: until the end of the date.
    opens = models.TimeField()
    closes = models.TimeField(null=True, blank=True)
    start_date = models.DateField()
    # Guard rails that are not the defaults of domain/ramp.py.
    rails = models.JSONField(default=dict)

    # Index of the step that holds now; null before the first and while the address is out for a block.
    step = models.PositiveSmallIntegerField(null=True)
    out = models.CharField(max_length=10, choices=Out, default=Out.UNSTARTED, blank=True)
    # The local date on which it was taken out for its cap: it comes back on the next.
    capped_on = models.DateField(null=True)
    # Counts changes: whoever changes it says which it has seen.
    version = models.PositiveIntegerField(default=0)
    # Why the newest change of records could not be begun; "" where nothing is in its way.
    trouble = models.CharField(max_length=500, blank=True)
    looked_at = models.DateTimeField(null=True)

    # What cancelling offers to restore: {"weights": {address: weight}, "warm": whether it was, or null}.
    before = models.JSONField(default=dict)
    reason = models.CharField(max_length=500, blank=True)
    started_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        permissions = [("run_ramps", "Can start and steer ramps")]
        constraints = [
            models.UniqueConstraint(
                fields=["relay_name", "address"], condition=Q(state__in=RAMPS_LIVE), name="ramp_one_live"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.address} under {self.relay_name}"

    @property
    def is_live(self) -> bool:
        """Whether it still changes anything."""
        return self.state in RAMPS_LIVE


class RampDay(models.Model):
    """A local date of a ramp: what was planned for it, and what the logs counted on it.

    Counts are recipients, of the relay name's provider. They grow until the date's log is read to its end.
    """

    ramp = models.ForeignKey(Ramp, on_delete=models.CASCADE, related_name="days")
    date = models.DateField()
    begins_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    # Of the step that held when it was last looked at; null before the first and while it is out.
    step = models.PositiveSmallIntegerField(null=True)
    share = models.FloatField(null=True)
    cap = models.PositiveIntegerField(null=True)
    expected = models.PositiveIntegerField(default=0)
    sent = models.PositiveIntegerField(default=0)
    deferred = models.PositiveIntegerField(default=0)
    bounced = models.PositiveIntegerField(default=0)
    throttled = models.PositiveIntegerField(default=0)
    blocked = models.PositiveIntegerField(default=0)
    # Sent through all addresses of the relay name, and of that what the published shares meant for this one.
    total = models.PositiveIntegerField(default=0)
    meant = models.PositiveIntegerField(default=0)
    # Up to when its log is counted.
    counted_to = models.DateTimeField(null=True)
    # Lines of the log are known to be missing.
    has_gap = models.BooleanField(default=False)

    class Meta:
        ordering = ["date"]
        constraints = [models.UniqueConstraint(fields=["ramp", "date"], name="ramp_day_once")]

    def __str__(self) -> str:
        return f"{self.ramp_id} on {self.date}"


class DecidedBy(models.TextChoices):
    """Who decides: the schedule once a date, its guards whenever they must, and people."""

    RULE = "rule", "schedule"
    GUARD = "guard", "guard"
    PERSON = "person", "person"


class RampChange(models.TextChoices):
    """What was decided: the decisions of domain/ramp.py, and the two about a cap."""

    START = "start", "starts"
    ADVANCE = "advance", "a step on"
    FINISH = "finish", "finished"
    HOLD = "hold", "held"
    STEP_BACK = "step_back", "a step back"
    TAKE_OUT = "take_out", "taken out"
    CAP = "cap", "out for the day: its number is sent"
    BACK = "back", "back for the new day"


class RampDecision(models.Model):
    """One decision about a ramp, with its figures, and the operation that writes what follows from it."""

    ramp = models.ForeignKey(Ramp, on_delete=models.CASCADE, related_name="decisions")
    local_date = models.DateField()
    at = models.DateTimeField()
    decided_by = models.CharField(max_length=6, choices=DecidedBy)
    person = models.CharField(max_length=150, blank=True)
    change = models.CharField(max_length=9, choices=RampChange)
    step_before = models.PositiveSmallIntegerField(null=True)
    step = models.PositiveSmallIntegerField(null=True)
    why = models.JSONField(default=list)
    # domain/ramp.py's Evidence; null where the decision rests on none.
    evidence = models.JSONField(null=True)
    # It held for bad signs: these add up.
    is_bad = models.BooleanField(default=False)
    # The share that the address is to have from now on, 0 for none; null where the records stay.
    share = models.FloatField(null=True)
    is_written = models.BooleanField(default=False)
    operation = models.ForeignKey(
        Operation, null=True, on_delete=models.SET_NULL, related_name="ramp_decisions"
    )
    attempt = models.PositiveSmallIntegerField(default=1)
    # When it was mailed to the operators, and since when a worker is at it; of those that take it out.
    told_at = models.DateTimeField(null=True)
    telling_since = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["ramp", "local_date"], condition=Q(decided_by="rule"), name="ramp_decides_once_a_date"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.change} on {self.local_date}"


class AddressNote(models.Model):
    """What somebody wrote down about an address: a ticket with a provider, a delisting, a rest."""

    address = models.GenericIPAddressField(db_index=True)
    text = models.CharField(max_length=500)
    by = models.CharField(max_length=150)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.address}: {self.text[:40]}"
