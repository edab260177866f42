"""Single messages: those that an operation is about, those that are to be deleted, and readings of queues."""

from django.db import models

from relays.models.instance import Instance
from relays.models.operation import Operation


class MessageBatch(models.Model):
    """At most 1,000 of the messages that an operation was planned for: one request to the host.

    items: JSON text, a list of [id, arrival, check] as `queue.pick` gives them. No address stands in it.
    """

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="batches")
    number = models.PositiveIntegerField()
    messages = models.PositiveIntegerField()
    items = models.TextField()

    class Meta:
        ordering = ["number"]
        default_permissions = ()
        permissions = [
            ("act_on_messages", "Can hold, release, retry and requeue messages"),
            ("remove_messages", "Can delete messages, and send them back to their senders"),
            ("see_addresses", "Can see the addresses of senders and recipients"),
            ("read_headers", "Can read the headers of a message"),
            ("read_body", "Can read the body of a message, where that is allowed"),
        ]
        constraints = [models.UniqueConstraint(fields=["operation", "number"], name="message_batch_order")]


class DeletionState(models.TextChoices):
    """Whichever of the two ways out of `waiting` comes first is taken, by compare-and-set."""

    WAITING = "waiting", "waiting"
    UNDONE = "undone", "undone"
    BEGUN = "begun", "begun"


class PendingDeletion(models.Model):
    """What an operation has put on hold to be deleted later.

    follow_up: the operation that deletes, or releases what was undone; null until it can begin.
    """

    operation = models.OneToOneField(Operation, on_delete=models.CASCADE, related_name="pending_deletion")
    state = models.CharField(max_length=8, choices=DeletionState, default=DeletionState.WAITING)
    messages = models.PositiveIntegerField()
    due_at = models.DateTimeField()
    undone_by = models.CharField(max_length=150, blank=True)
    follow_up = models.OneToOneField(
        Operation, null=True, on_delete=models.SET_NULL, related_name="follows_deletion"
    )

    class Meta:
        ordering = ["due_at"]
        default_permissions = ()


class ReadState(models.TextChoices):
    """How far a reading is."""

    WAITING = "waiting", "waiting"
    READING = "reading", "reading"
    DONE = "done", "done"
    FAILED = "failed", "failed"


class QueueRead(models.Model):
    """One question about an instance's queue, and its newest answer: asked by a page, answered by a worker.

    what: `groups` or `messages`. words: the filter, and the cursor of a page, as a query string. body: the
    answer as JSON text as of read_at, "" before the first; it stays until there is a newer one. seen: how
    many messages were read for the one under way.
    """

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="queue_reads")
    what = models.CharField(max_length=8)
    key = models.CharField(max_length=64)
    words = models.TextField()
    state = models.CharField(max_length=7, choices=ReadState, default=ReadState.WAITING)
    asked_at = models.DateTimeField()
    begun_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    attempt = models.PositiveIntegerField(default=0)
    seen = models.PositiveBigIntegerField(default=0)
    read_at = models.DateTimeField(null=True)
    took_ms = models.PositiveIntegerField(null=True)
    error = models.CharField(max_length=500, blank=True)
    body = models.TextField(blank=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["instance", "what", "key"], name="queue_read_once"),
        ]
        indexes = [models.Index(fields=["asked_at"], name="queue_read_asked")]
