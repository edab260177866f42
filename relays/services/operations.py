"""Operations from plan to end: asked for by people, claimed and run by workers, found again after a crash."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from relays.domain.audit import canonical
from relays.domain.text import printable
from relays.models import Instance, InstanceLock, Operation, OperationStep, RelayNameLock
from relays.models.operation import LIVE, OperationState, StepState
from relays.remote.errors import RemoteError
from relays.services import audit, dispatch
from relays.services.audit import SYSTEM, Actor
from relays.services.job import LEASE, Aborted, Failed, Job, LeaseLost, Unknown, Wait, next_fence, subject_of
from relays.services.kinds import Kind, Plan, PlanRefused, RelayNameKind, kind_of

logger = logging.getLogger(__name__)

TASK = "relays.tasks.operate"
QUEUE = "operate"
# A plan that is older says nothing about the queue any more.
PLAN_HOLDS = timedelta(minutes=10)
# More messages than this are not touched by a slip of the hand: the instance's name is typed.
TYPED_ABOVE = 1_000
# One that nobody could run for so long is not what the operator meant any more.
START_WITHIN = timedelta(hours=1)
SWEEP_EVERY_S = 20


class NotAllowed(Exception):
    """The person may not do this; an audit event says that it was tried."""


class Busy(PlanRefused):
    """Another operation changes the instance; the text says whose and since when."""


class PlanStale(PlanRefused):
    """The plan does not hold any more: make it again."""


class KeyReused(PlanRefused):
    """The idempotency key belongs to a request with other parameters."""


def plan(
    *,
    kind: str,
    instance: Instance,
    params: Mapping[str, Any],
    user: User,
    actor: Actor,
    idempotency_key: str | None = None,
    undo_of: Operation | None = None,
) -> Operation:
    """Look at the host and write down what would be done, for the person to confirm.

    The same idempotency key gives the same operation again. Raises NotAllowed, PlanRefused, KeyReused and
    RemoteError.
    """
    chosen = kind_of(kind)
    check_allowed(chosen, user, actor, instance)
    cleaned = chosen.clean(params)
    if (known := _by_key(idempotency_key, chosen, instance, cleaned)) is not None:
        return known
    made = chosen.plan(instance, cleaned)
    with transaction.atomic():
        operation = Operation.objects.create(
            kind=chosen.name,
            host=instance.host,
            instance=instance,
            host_name=instance.host.name,
            instance_name=instance.name,
            params=cleaned,
            plan=made.as_json(),
            plan_hash=made.hash(chosen.name, _target(instance), cleaned),
            planned_at=timezone.now(),
            requested_by=user,
            requested_by_name=user.get_username(),
            idempotency_key=idempotency_key,
            undo_of=undo_of,
        )
        chosen.keep(operation, made)
        _audit(operation, actor, "noted", {"plan_hash": operation.plan_hash})
    return operation


def plan_relay_name(
    *,
    kind: str,
    relay_name: str,
    params: Mapping[str, Any],
    user: User,
    actor: Actor,
    undo_of: Operation | None = None,
) -> Operation:
    """Do as plan() does, for a relay name. Raises NotAllowed, PlanRefused and RemoteError."""
    chosen = _relay_name_kind(kind)
    check_allowed(chosen, user, actor, None)
    cleaned = chosen.clean(params)
    made = chosen.plan_name(relay_name, cleaned)
    operation = _of_relay_name(chosen, relay_name, cleaned, made)
    operation.requested_by, operation.requested_by_name = user, user.get_username()
    operation.undo_of = undo_of
    with transaction.atomic():
        operation.save()
        _audit(operation, actor, "noted", {"plan_hash": operation.plan_hash})
    return operation


def begin_by_system(
    *,
    kind: str,
    relay_name: str,
    params: Mapping[str, Any],
    reason: str,
    idempotency_key: str | None = None,
) -> Operation:
    """Plan a change of a relay name and have it run, by a rule and not by a person.

    The same idempotency key gives the same operation again. Raises PlanRefused, RemoteError, Busy where
    another operation changes the name, and PlanStale where one did while this was planned.
    """
    # Beside a change that is not written yet a plan would be made by the weights before it. Looked at first:
    # where the key's own operation has the name, it is there to be found.
    is_held = RelayNameLock.objects.filter(pk=relay_name).exists()
    if (known := _of_key(idempotency_key)) is not None:
        return known
    if is_held:
        raise Busy(_who_holds(Operation(relay_name=relay_name)))
    chosen = _relay_name_kind(kind)
    cleaned = chosen.clean(params)
    made = chosen.plan_name(relay_name, cleaned)
    operation = _of_relay_name(chosen, relay_name, cleaned, made)
    operation.requested_by_name, operation.by_system = SYSTEM.name, True
    operation.reason = printable(reason.strip(), 500)
    operation.state, operation.confirmed_at = OperationState.QUEUED, operation.planned_at
    operation.deadline_at = operation.planned_at + START_WITHIN
    operation.idempotency_key = idempotency_key
    try:
        with transaction.atomic():
            operation.save()
            _lock(operation)
            chosen.confirmed(operation)
            _audit(operation, SYSTEM, "requested", {"plan_hash": operation.plan_hash})
            transaction.on_commit(lambda: _send(operation.pk))
    except IntegrityError as error:
        # Whoever asked twice at the same time asked for the same.
        if (known := _of_key(idempotency_key)) is not None:
            return known
        raise Busy(_who_holds(operation)) from error
    return operation


def confirm(
    *,
    operation: Operation,
    plan_hash: str,
    user: User,
    actor: Actor,
    reason: str,
    ticket: str = "",
    typed_name: str = "",
) -> Operation:
    """Have a planned operation run. Confirming it again changes nothing.

    typed_name: the instance's, asked for where names_must_be_typed(). Raises NotAllowed, PlanStale where the
    plan is another or too old, Busy where another operation changes the instance, PlanRefused without a
    reason or a name.
    """
    kind = kind_of(operation.kind)
    check_allowed(kind, user, actor, operation.instance, operation)
    if not reason.strip():
        raise PlanRefused("Say why: the reason stands in the audit trail.")
    if names_must_be_typed(operation) and typed_name.strip() != operation.instance_name:
        raise PlanRefused(f"Type {operation.instance_name} to confirm: this touches many messages.")
    try:
        with transaction.atomic():
            return _confirm(
                operation=operation,
                plan_hash=plan_hash,
                user=user,
                actor=actor,
                reason=printable(reason.strip(), 500),
                ticket=printable(ticket.strip(), 80),
            )
    except IntegrityError as error:
        raise Busy(_who_holds(operation)) from error


def follow_up(
    *, of: Operation, kind: str, plan: Plan, user: User | None, actor: Actor, reason: str, undo: bool = False
) -> Operation:
    """Begin what an operation is to be followed by, confirmed with it; in the caller's transaction.

    undo: it takes back what that one did. Raises Busy where another operation changes the instance,
    PlanStale where the instance is gone.
    """
    if of.instance is None or of.instance.removed_at is not None:
        raise PlanStale("The instance is gone.")
    now = timezone.now()
    operation = Operation(
        kind=kind,
        host=of.host,
        instance=of.instance,
        host_name=of.host_name,
        instance_name=of.instance_name,
        params={"follows": str(of.pk)},
        plan=plan.as_json(),
        plan_hash=plan.hash(kind, _target(of.instance), {"follows": str(of.pk)}),
        planned_at=now,
        confirmed_at=now,
        deadline_at=now + START_WITHIN,
        state=OperationState.QUEUED,
        requested_by=user,
        requested_by_name=user.get_username() if user else of.requested_by_name,
        reason=reason,
        ticket=of.ticket,
        undo_of=of if undo else None,
    )
    try:
        with transaction.atomic():
            operation.save()
            InstanceLock.objects.create(instance=of.instance, operation=operation)
    except IntegrityError as error:
        raise Busy(_who_holds(of)) from error
    kind_of(kind).keep(operation, plan)
    _audit(operation, actor, "requested", {"follows": of.pk, "plan_hash": operation.plan_hash})
    transaction.on_commit(lambda: _send(operation.pk))
    return operation


def names_must_be_typed(operation: Operation) -> bool:
    """Return whether so many messages are touched that the instance's name is to be typed."""
    messages: int = operation.plan.get("counts", {}).get("messages", 0)
    return messages > TYPED_ABOVE


def abort(*, operation: Operation, user: User, actor: Actor) -> Operation:
    """Stop an operation: at once where nobody runs it, between two steps otherwise. Raises NotAllowed."""
    check_allowed(kind_of(operation.kind), user, actor, operation.instance, operation)
    with transaction.atomic():
        operation = Operation.objects.select_for_update().get(pk=operation.pk)
        if not operation.is_live:
            return operation
        operation.abort_requested_by = user.get_username()
        operation.due_at = None
        operation.save(update_fields=["abort_requested_by", "due_at"])
        _audit(operation, actor, "requested", {"abort": True})
        if operation.state == OperationState.QUEUED:
            _end(operation, OperationState.ABORTED, f"{user.get_username()} stopped it before it began.")
    return operation


def run(*, operation_id: int) -> OperationState | None:
    """Run a live operation until it ends, waits or is another worker's; None where there is nothing to do."""
    operation = _claim(operation_id)
    if operation is None:
        return None
    try:
        state, outcome = OperationState.DONE, _run(operation)
    except Wait as wait:
        return _put_back(operation, wait.until)
    except LeaseLost:
        return None
    except Aborted as stopped:
        state, outcome = OperationState.ABORTED, str(stopped)
    except Failed as stopped:
        state, outcome = OperationState.FAILED_SAFE, str(stopped)
    except Unknown as stopped:
        state, outcome = OperationState.UNKNOWN, str(stopped)
    except DatabaseError:
        # The lease runs out and the sweeper finds it: what was done is known to the host.
        logger.exception("The database failed while operation %s ran", operation_id)
        return None
    return _end_claimed(operation, state, outcome)


def sweep() -> int:
    """Send every live operation that nobody runs and that is due; return how many."""
    now = timezone.now()
    free = Q(lease_until=None) | Q(lease_until__lte=now)
    due = Q(due_at=None) | Q(due_at__lte=now)
    idents = list(Operation.objects.filter(free, due, state__in=LIVE).values_list("pk", flat=True))
    for ident in idents:
        _send(ident)
    return len(idents)


def forget_unconfirmed(*, now: datetime) -> int:
    """Delete plans that nobody confirmed within a day; return how many. Their audit events stay."""
    old = Operation.objects.filter(state=OperationState.PLANNED, planned_at__lt=now - timedelta(days=1))
    return old.delete()[0]


def _confirm(
    *, operation: Operation, plan_hash: str, user: User, actor: Actor, reason: str, ticket: str
) -> Operation:
    operation = Operation.objects.select_for_update().get(pk=operation.pk)
    if operation.plan_hash != plan_hash:
        raise PlanStale("This is not the plan that was shown: look at it again.")
    if operation.state != OperationState.PLANNED:
        return operation
    now = timezone.now()
    if now - operation.planned_at > PLAN_HOLDS:
        raise PlanStale("The plan is more than 10 minutes old: make it again.")
    kind = kind_of(operation.kind)
    _lock(operation)
    operation.state = OperationState.QUEUED
    operation.confirmed_at = now
    operation.deadline_at = now + START_WITHIN
    operation.requested_by, operation.requested_by_name = user, user.get_username()
    operation.reason, operation.ticket = reason, ticket
    operation.save()
    kind.confirmed(operation)
    _audit(operation, actor, "requested", {"plan_hash": plan_hash, "ticket": operation.ticket})
    transaction.on_commit(lambda: _send(operation.pk))
    return operation


def _lock(operation: Operation) -> None:
    """Take what is changed for this operation. Raises PlanStale, and IntegrityError where another has it."""
    if operation.relay_name:
        RelayNameLock.objects.create(relay_name=operation.relay_name, operation=operation)
        return
    if operation.instance is None:
        raise PlanStale("The instance is gone.")
    also = kind_of(operation.kind).also_locks(operation.params)
    # In one order everywhere, so that two operations on the same instances don't wait for each other.
    for pk in sorted({operation.instance.pk, *also}):
        InstanceLock.objects.create(instance_id=pk, operation=operation)


def _who_holds(operation: Operation) -> str:
    found = _other_holder(operation)
    if found is None:
        target = operation.relay_name or "the instance"
        return f"Another operation changed {target} just now: make the plan again."
    other, target = found
    since = f"{other.confirmed_at:%H:%M:%S} UTC" if other.confirmed_at else "just now"
    return (
        f"Operation {other.pk} ({other.kind}) by {other.requested_by_name} has {target} "
        f"since {since}: wait for its end."
    )


def _other_holder(operation: Operation) -> tuple[Operation, str] | None:
    """Return the operation that holds what this one wants, and the name of that."""
    if operation.relay_name:
        held = RelayNameLock.objects.filter(pk=operation.relay_name).select_related("operation").first()
        return (held.operation, held.relay_name) if held else None
    wanted = [operation.instance_id, *kind_of(operation.kind).also_locks(operation.params)]
    locks = InstanceLock.objects.filter(instance__in=wanted).select_related("operation", "instance")
    lock = locks.first()
    return (lock.operation, lock.instance.name) if lock else None


def _claim(operation_id: int) -> Operation | None:
    """Take the operation by compare-and-set: of a hundred messages for it, one does anything."""
    now = timezone.now()
    with transaction.atomic():
        operation = Operation.objects.select_related("instance__host").filter(pk=operation_id).first()
        if operation is None or not operation.is_live or (operation.due_at and operation.due_at > now):
            return None
        first = operation.state == OperationState.QUEUED
        late = first and operation.deadline_at is not None and operation.deadline_at < now
        fields: dict[str, Any] = {"state": OperationState.RUNNING, "lease_until": now + LEASE, "due_at": None}
        if first:
            fields |= {"started_at": now, "deadline_at": now + kind_of(operation.kind).deadline}
        free = Q(lease_until=None) | Q(lease_until__lte=now)
        mine = Operation.objects.filter(
            free, pk=operation_id, attempt=operation.attempt, state=operation.state
        )
        if mine.update(attempt=operation.attempt + 1, **fields) != 1:
            return None
        fence = next_fence(operation)
        Operation.objects.filter(pk=operation_id).update(fence=fence)
        operation.refresh_from_db()
        if late:
            _end(
                operation, OperationState.FAILED_SAFE, "No worker began it within an hour: nothing was done."
            )
            return None
    return operation


def _run(operation: Operation) -> str:
    """Check what may have changed since it was confirmed, and do it."""
    kind = kind_of(operation.kind)
    job = Job(operation)
    if not kind.ends_itself or not operation.steps.exists():
        job.go_on()
        _check_deadline(operation)
    if not operation.steps.exists():
        _check_still_allowed(kind, operation)
        _check_not_moved(kind, operation)
    return kind.run(job)


def _check_deadline(operation: Operation) -> None:
    if operation.deadline_at is None or timezone.now() <= operation.deadline_at:
        return
    begun = operation.steps.filter(state=StepState.BEGUN).first()
    if begun is None:
        raise Failed("Its time was up before the next step began.")
    # One more look at the host, whose answer is the truth; the step gives up by itself after that.


def _check_still_allowed(kind: Kind, operation: Operation) -> None:
    """Ask for the permission again: it may be gone since the operation was asked for."""
    user = operation.requested_by
    if operation.by_system:
        return
    if user is not None and user.is_active and user.has_perm(kind.permission):
        return
    _audit(operation, SYSTEM, "denied", {"permission": kind.permission})
    raise Failed(f"{operation.requested_by_name} may not do this any more: nothing was done.")


def _check_not_moved(kind: Kind, operation: Operation) -> None:
    gone = operation.instance is None or operation.instance.removed_at is not None
    if gone and not operation.relay_name:
        raise Failed("The instance is gone: nothing was done.")
    if not kind.plans_again:
        return
    try:
        now = _plan_again(kind, operation)
    except PlanRefused as error:
        raise Failed(f"{error} Nothing was done.") from error
    except RemoteError as error:
        if (
            operation.deadline_at is not None
            and timezone.now() + timedelta(seconds=10) < operation.deadline_at
        ):
            raise Wait(timezone.now() + timedelta(seconds=10)) from error
        raise Failed(f"{error} Nothing was done.") from error
    if moved := kind.moved(Plan.from_json(operation.plan), now):
        raise Failed(f"{moved} Nothing was done: make the plan again.")


def _plan_again(kind: Kind, operation: Operation) -> Plan:
    if isinstance(kind, RelayNameKind):
        return kind.plan_name(operation.relay_name, operation.params)
    if operation.instance is None:
        raise PlanRefused("The instance is gone.")
    return kind.plan(operation.instance, operation.params)


def _put_back(operation: Operation, until: datetime) -> OperationState:
    """Give the claim back; the sweeper sends the operation when it is due."""
    mine = Operation.objects.filter(pk=operation.pk, attempt=operation.attempt, state=OperationState.RUNNING)
    mine.update(lease_until=None, due_at=until)
    return OperationState.RUNNING


def _end_claimed(operation: Operation, state: OperationState, outcome: str) -> OperationState | None:
    with transaction.atomic():
        mine = Operation.objects.select_for_update().filter(
            pk=operation.pk, attempt=operation.attempt, state=OperationState.RUNNING
        )
        current = mine.first()
        if current is None:
            return None
        _end(current, state, outcome)
    return state


def _end(operation: Operation, state: OperationState, outcome: str) -> None:
    """Write the end, free the instance and tell the audit trail, in the caller's transaction."""
    phases = {
        OperationState.DONE: "succeeded",
        OperationState.FAILED_SAFE: "failed",
        OperationState.ABORTED: "reverted",
        OperationState.UNKNOWN: "unknown",
    }
    operation.state, operation.outcome = state, printable(outcome, 1000)
    operation.ended_at, operation.lease_until, operation.due_at = timezone.now(), None, None
    operation.save(update_fields=["state", "outcome", "ended_at", "lease_until", "due_at"])
    OperationStep.objects.filter(operation=operation, state=StepState.BEGUN).update(
        state=StepState.UNKNOWN, ended_at=operation.ended_at
    )
    InstanceLock.objects.filter(operation=operation).delete()
    RelayNameLock.objects.filter(operation=operation).delete()
    # A kind that this version does not know any more has left nothing that it could see to.
    with suppress(PlanRefused):
        kind_of(operation.kind).ended(operation)
    _audit(operation, SYSTEM, phases[state], {"outcome": operation.outcome})


def check_allowed(
    kind: Kind, user: User, actor: Actor, instance: Instance | None, operation: Operation | None = None
) -> None:
    """Raise NotAllowed, with an event of it, where somebody may not do what a kind does."""
    if user.is_active and user.has_perm(kind.permission):
        return
    subject = subject_of(operation) if operation else audit.instance_subject(instance)
    audit.record(
        actor=actor,
        action=f"operation.{kind.name}",
        phase="denied",
        subject=subject,
        details={"permission": kind.permission},
    )
    raise NotAllowed(f"{user.get_username()} may not do this: it needs {kind.permission}.")


def _by_key(key: str | None, kind: Kind, instance: Instance, params: Mapping[str, Any]) -> Operation | None:
    """Return the operation that a key already stands for. Raises KeyReused where it was another."""
    operation = _of_key(key)
    if operation is None:
        return None
    same = (operation.kind, operation.instance_id) == (kind.name, instance.pk)
    if not same or canonical(operation.params) != canonical(dict(params)):
        raise KeyReused(f"The key {key!r:.40} was used for operation {operation.pk}, with other parameters.")
    return operation


def _of_key(key: str | None) -> Operation | None:
    return Operation.objects.filter(idempotency_key=key).first() if key else None


def _relay_name_kind(name: str) -> RelayNameKind:
    kind = kind_of(name)
    if not isinstance(kind, RelayNameKind):
        raise PlanRefused(f"{name} is not about a relay name.")
    return kind


def _of_relay_name(kind: Kind, relay_name: str, params: Mapping[str, Any], made: Plan) -> Operation:
    return Operation(
        kind=kind.name,
        relay_name=relay_name,
        params=params,
        plan=made.as_json(),
        plan_hash=made.hash(kind.name, relay_name, params),
        planned_at=timezone.now(),
    )


def _target(instance: Instance) -> str:
    return f"{instance.host.name}/{instance.name}"


def _audit(operation: Operation, actor: Actor, phase: str, details: Mapping[str, Any]) -> None:
    audit.record(
        actor=actor,
        action=f"operation.{operation.kind}",
        phase=phase,
        subject=subject_of(operation),
        reason=operation.reason,
        details={"requested_by": operation.requested_by_name, **details},
        params=operation.params,
    )


def _send(operation_id: int) -> None:
    dispatch.send_on_commit(TASK, ident=operation_id, queue=QUEUE, expires_s=SWEEP_EVERY_S * 3)
