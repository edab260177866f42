"""A flush: deferred mail on its way from one instance to another, every recipient accounted for."""

from django.db import models

from relays.models.instance import Instance
from relays.models.operation import Operation


class FlushState(models.TextChoices):
    """Where a flush stands. From `armed` on the only way out is through `reverting`.

    It only moves on, but for `active` and `paused`, which take turns.
    """

    PLANNED = "planned", "planned"
    ARMED = "armed", "putting the redirect on"
    ACTIVE = "active", "moving"
    PAUSED = "paused", "paused"
    REVERTING = "reverting", "giving back"
    SETTLING = "settling", "settling"
    ENDED = "ended", "ended"


class Flush(models.Model):
    """The state of a flush's operation beyond its steps, and its account.

    Cursors are those of flush.log, JSON text as the host gave it; account: domain/flush.py's, as last
    counted.
    """

    operation = models.OneToOneField(
        Operation, on_delete=models.CASCADE, primary_key=True, related_name="flush"
    )
    source = models.ForeignKey(Instance, null=True, on_delete=models.SET_NULL, related_name="flushes_from")
    target = models.ForeignKey(Instance, null=True, on_delete=models.SET_NULL, related_name="flushes_to")
    source_name = models.CharField(max_length=63)
    target_name = models.CharField(max_length=63)
    domains = models.JSONField(default=list)
    # Messages a minute that are handed out at most; 0: as fast as it goes. Whoever may flush changes it.
    rate = models.PositiveIntegerField(default=0)
    # Who wants it to pause, "" for nobody; whether it does tells the state.
    paused_by = models.CharField(max_length=150, blank=True)
    state = models.CharField(max_length=10, choices=FlushState, default=FlushState.PLANNED)
    # Why it gives back before all has left: a guard, a person, a deadline.
    why_ended = models.CharField(max_length=500, blank=True)
    began_at = models.DateTimeField(null=True)
    progressed_at = models.DateTimeField(null=True)
    looked_at = models.DateTimeField(null=True)
    redirected_at = models.DateTimeField(null=True)
    given_back_at = models.DateTimeField(null=True)
    # The host ends the redirect then, whatever becomes of us.
    lease_until = models.DateTimeField(null=True)
    source_cursor = models.TextField(blank=True)
    target_cursor = models.TextField(blank=True)
    # Where the target's log was when it began: it is read again in the end, as it may be ahead of the
    # source's.
    target_began = models.TextField(blank=True)
    account = models.JSONField(default=dict)

    class Meta:
        permissions = [("flush", "Can move deferred mail to another instance, and give a redirect back")]

    def __str__(self) -> str:
        return f"flush {self.pk}"


class FlushRecipient(models.Model):
    """A recipient of a message: selected when the flush began, or new mail that went the same way."""

    flush = models.ForeignKey(Flush, on_delete=models.CASCADE, db_index=False, related_name="recipients")
    queue_id = models.CharField(max_length=31)
    recipient = models.CharField(max_length=320)
    selected = models.BooleanField()
    arrived_at = models.PositiveBigIntegerField(default=0)
    size_bytes = models.PositiveBigIntegerField(default=0)
    # domain/flush.py: At and There.
    at = models.CharField(max_length=8, default="waiting")
    there = models.CharField(max_length=8, blank=True)
    next_id = models.CharField(max_length=31, blank=True)
    tries = models.PositiveIntegerField(default=0)
    soft_bounces = models.PositiveIntegerField(default=0)
    last_reply = models.CharField(max_length=400, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["flush", "queue_id", "recipient"], name="flush_recipient_once"),
        ]
        indexes = [models.Index(fields=["flush", "next_id"], name="flush_recipient_next")]


class FlushArrival(models.Model):
    """A message that the target took from the source while the flush was on."""

    flush = models.ForeignKey(Flush, on_delete=models.CASCADE, db_index=False, related_name="arrivals")
    queue_id = models.CharField(max_length=31)
    message_id = models.CharField(max_length=320, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["flush", "queue_id"], name="flush_arrival_once")]


# Of a 64-bit id; int() refuses very many digits.
_MAX_ID_DIGITS = 18


class InstanceRedirect(models.Model):
    """A redirect that the newest poll saw on an instance, whoever put it there; no row where it saw none."""

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="redirect"
    )
    seen_at = models.DateTimeField()
    # "[198.51.100.12]:25"; "?" for a map that is not relayctl's.
    to = models.CharField(max_length=80)
    # Of the operation that put it on, as the host has it; "" where nobody knows.
    op_id = models.CharField(max_length=64, blank=True)
    ends_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=300, blank=True)

    @property
    def operation_id(self) -> int:
        """Whose it is, as the host tells; 0 for what no number of an operation can be."""
        told = self.op_id
        return int(told) if told.isascii() and told.isdecimal() and len(told) <= _MAX_ID_DIGITS else 0
