"""Operations: every change to a relay or a zone that the console makes, and its steps, as durable rows."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from relays.models.host import Host
from relays.models.instance import Instance


class OperationState(models.TextChoices):
    """Where an operation stands. docs/operations.md draws the ways between the states."""

    PLANNED = "planned", "planned"
    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    DONE = "done", "done"
    FAILED_SAFE = "failed_safe", "failed, nothing left half done"
    ABORTED = "aborted", "aborted"
    UNKNOWN = "unknown", "unknown: look at the host"


LIVE = (OperationState.QUEUED, OperationState.RUNNING)
ENDED = (
    OperationState.DONE,
    OperationState.FAILED_SAFE,
    OperationState.ABORTED,
    OperationState.UNKNOWN,
)


class Operation(models.Model):
    """One change: what was asked, the plan that was confirmed, who runs it now, and how it ended.

    This row is also the outbox: a broker message only says that it is there, and the sweeper sends again what
    is live and in nobody's hands.
    """

    kind = models.CharField(max_length=40)
    host = models.ForeignKey(Host, null=True, on_delete=models.SET_NULL, related_name="operations")
    instance = models.ForeignKey(Instance, null=True, on_delete=models.SET_NULL, related_name="operations")
    # As they were called then.
    host_name = models.CharField(max_length=63, blank=True)
    instance_name = models.CharField(max_length=63, blank=True)
    # The relay name that is changed, where it is no instance.
    relay_name = models.CharField(max_length=253, blank=True)
    params = models.JSONField(default=dict)
    # What the operator sees and confirms: docs of services/kinds.py give its keys.
    plan = models.JSONField(default=dict)
    plan_hash = models.CharField(max_length=64)
    planned_at = models.DateTimeField()

    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="operations"
    )
    requested_by_name = models.CharField(max_length=150)
    # Begun by a rule of the console's (a ramp's, say) and no person: no permission is asked for.
    by_system = models.BooleanField(default=False)
    reason = models.CharField(max_length=500, blank=True)
    ticket = models.CharField(max_length=80, blank=True)
    # Chosen by a client that may ask twice: the same key is the same operation.
    idempotency_key = models.CharField(max_length=80, null=True, unique=True)  # noqa: DJ001 - unique

    state = models.CharField(max_length=12, choices=OperationState, default=OperationState.PLANNED)
    confirmed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    # Nothing is to be done before this: waiting is a state, not a sleeping task.
    due_at = models.DateTimeField(null=True)
    # Whoever claimed it holds it until then; the fence of a claim is the greatest its instance has seen.
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveBigIntegerField(default=0)
    attempt = models.PositiveIntegerField(default=0)
    abort_requested_by = models.CharField(max_length=150, blank=True)
    # One sentence for people: what came of it, or what to check.
    outcome = models.CharField(max_length=1000, blank=True)
    # {"done": 3, "total": 20, "text": "..."} while it runs, where there is something to count.
    progress = models.JSONField(null=True)
    undo_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="undone_by")

    class Meta:
        ordering = ["-id"]
        permissions = [
            ("run_queue", "Can have an instance try its deferred mail now"),
            ("reload_instance", "Can have an instance read its configuration again"),
        ]
        indexes = [
            models.Index(fields=["state", "due_at"], name="operation_live", condition=Q(state__in=LIVE)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def is_live(self) -> bool:
        """Whether it is still to be done, wholly or partly."""
        return self.state in LIVE


class StepState(models.TextChoices):
    """`begun` without an end is looked up on the host, never done again blind."""

    BEGUN = "begun", "begun"
    DONE = "done", "done"
    FAILED = "failed", "failed"
    UNKNOWN = "unknown", "unknown"


class OperationStep(models.Model):
    """One remote effect: written before it begins, with its request's id, and again when it ended."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="steps")
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=60)
    state = models.CharField(max_length=8, choices=StepState, default=StepState.BEGUN)
    req_id = models.UUIDField(default=uuid.uuid4, unique=True)
    fence = models.PositiveBigIntegerField()
    begun_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    request = models.JSONField(default=dict)
    response = models.JSONField(default=dict)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["operation", "name"], name="operation_step_once"),
            models.UniqueConstraint(fields=["operation", "number"], name="operation_step_order"),
        ]


class InstanceLock(models.Model):
    """Whoever holds the row may change the instance: one live operation an instance, by its primary key.

    It outlives no operation: it is made when one is confirmed and goes in the transaction that ends it.
    """

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="write_lock"
    )
    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="locks")


class RelayNameLock(models.Model):
    """Whoever holds the row may write a relay name's records; it comes and goes as an InstanceLock does."""

    relay_name = models.CharField(max_length=253, primary_key=True)
    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="name_locks")

    def __str__(self) -> str:
        return self.relay_name
