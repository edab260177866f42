"""The newest reading of each instance's queue. Pages over many instances read only InstanceState."""

from django.db import models

from relays.models.instance import Instance


class InstanceState(models.Model):
    """One row an instance, made with it: the last counts really read, and what the newest poll said.

    Counts are null until a first reading; a poll that could not read them leaves them with their old
    sampled_at, so that a page shows the last known figures with their true age.
    """

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="state"
    )
    sampled_at = models.DateTimeField(null=True)
    incoming = models.PositiveIntegerField(null=True)
    active = models.PositiveIntegerField(null=True)
    deferred = models.PositiveIntegerField(null=True)
    hold = models.PositiveIntegerField(null=True)
    corrupt = models.PositiveIntegerField(null=True)
    # Age of the oldest message in incoming, active or deferred when it was sampled; null: no message.
    oldest_s = models.PositiveIntegerField(null=True)
    size_bytes = models.PositiveBigIntegerField(null=True)
    # The newest poll that reached the host, whether or not it could read this queue.
    asked_at = models.DateTimeField(null=True)
    # domain/health.py: ok, slow, throttled, blocked, quiet, stopped, unknown.
    state = models.CharField(max_length=20, default="unknown")
    state_since = models.DateTimeField(null=True)
    # Why the queue could not be read, or not wholly: docs/relayctl.md lists the codes.
    condition = models.CharField(max_length=40, blank=True)
    condition_detail = models.CharField(max_length=300, blank=True)
    # The commonest reply among deferred messages, for the abnormal-now line. Hostile text.
    top_reply = models.CharField(max_length=300, blank=True)
    top_reply_count = models.PositiveIntegerField(default=0)
    # The last hour's outcomes up to outcomes_at, the time its log is counted to; null: no log was read yet.
    outcomes_at = models.DateTimeField(null=True)
    hour_sent = models.PositiveIntegerField(null=True)
    hour_deferred = models.PositiveIntegerField(null=True)
    hour_suspended = models.PositiveIntegerField(null=True)
    hour_bounced = models.PositiveIntegerField(null=True)
    hour_expired = models.PositiveIntegerField(null=True)
    hour_handed_over = models.PositiveIntegerField(null=True)
    hour_throttled = models.PositiveIntegerField(null=True)
    hour_blocked = models.PositiveIntegerField(null=True)
    hour_accepted = models.PositiveIntegerField(null=True)


class QueueSnapshot(models.Model):
    """The queue by recipient domain and age, and its replies: for the instance's own page."""

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="queue_snapshot"
    )
    at = models.DateTimeField()
    # JSON text as docs/relayctl.md's `snapshot` row: {"domains": {...}, "replies": {...}}.
    body = models.TextField()
