"""What was put on hold to be deleted: deleted when it is due, released where somebody undoes it in time."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from relays.domain.queue_reading import Item
from relays.domain.words import plural
from relays.models import PendingDeletion
from relays.models.message import DeletionState
from relays.models.operation import OperationState
from relays.services import audit, operations
from relays.services.audit import SYSTEM, Actor
from relays.services.job import subject_of
from relays.services.kinds import Plan, PlanRefused
from relays.services.message_actions import Hold, Purge, Release, acted_on
from relays.services.operations import Busy, NotAllowed

logger = logging.getLogger(__name__)

# What failed is begun again so much later: a host that was away, or a cap that was reached for the day.
AGAIN_AFTER = timedelta(hours=1)
# A follow-up that ended so has left messages on hold.
_FAILED = (OperationState.FAILED_SAFE, OperationState.UNKNOWN)
STOPPED = (*_FAILED, OperationState.ABORTED)


def undo(*, pending: PendingDeletion, user: User, actor: Actor) -> bool:
    """Keep messages from being deleted, and release those that were put on hold for it.

    Return whether the release has begun: where another operation changes the instance it begins after that.
    Raises NotAllowed, and PlanRefused where they are being deleted, or were.
    """
    if not (user.is_active and user.has_perm(Hold.permission)):
        _audit(pending, actor, "denied")
        raise NotAllowed(f"{user.get_username()} may not do this: it needs {Hold.permission}.")
    with transaction.atomic():
        current = PendingDeletion.objects.select_for_update().get(pk=pending.pk)
        if current.state != DeletionState.WAITING and not _stopped(current):
            raise PlanRefused("It is too late: this was undone before, or its messages are being deleted.")
        current.state, current.undone_by, current.follow_up = DeletionState.UNDONE, user.get_username(), None
        current.save(update_fields=["state", "undone_by", "follow_up"])
        _audit(current, actor, "requested", undo=True)
    return _begin(pending.pk, user)


def begin_due(*, now: datetime) -> int:
    """Begin the operations that deletions are followed by, also those that failed before; return how many."""
    due = Q(state=DeletionState.WAITING, due_at__lte=now)
    undone = Q(state=DeletionState.UNDONE, follow_up=None)
    failed = Q(follow_up__state__in=_FAILED, follow_up__ended_at__lte=now - AGAIN_AFTER)
    idents = list(PendingDeletion.objects.filter(due | undone | failed).values_list("pk", flat=True))
    return sum(_begin(ident) for ident in idents)


def _begin(ident: int, user: User | None = None) -> bool:
    """Begin what is to follow, once: it and the row that says so are one transaction."""
    try:
        with transaction.atomic():
            return _follow_up(PendingDeletion.objects.select_for_update().get(pk=ident), user)
    except Busy:
        return False
    except PlanRefused as error:
        logger.warning("deletion %s is not followed up: %s", ident, error)
        return False


def _follow_up(pending: PendingDeletion, user: User | None) -> bool:
    if not _stopped(pending) and (pending.follow_up_id is not None or pending.state == DeletionState.BEGUN):
        return False
    of, undone = pending.operation, pending.state == DeletionState.UNDONE
    kind = Release() if undone else Purge()
    # What was on hold before goes with the others, but is not released with them.
    items = tuple(acted_on(of, Hold.verb, also=frozenset() if undone else frozenset({"already"})))
    if not undone or not items:
        pending.state = DeletionState.BEGUN
    if not items:
        pending.save(update_fields=["state"])
        return False
    if user is None and undone:
        user = User.objects.filter(username=pending.undone_by).first()
    pending.follow_up = operations.follow_up(
        of=of,
        kind=kind.name,
        plan=_plan(pending, kind.does, items),
        user=user if undone else of.requested_by,
        actor=SYSTEM,
        reason=f"Undoes operation {of.pk}" if undone else of.reason,
        undo=undone,
    )
    pending.save(update_fields=["state", "follow_up"])
    return True


def _stopped(pending: PendingDeletion) -> bool:
    """Tell whether what follows has ended without having done it."""
    return pending.follow_up is not None and pending.follow_up.state in STOPPED


def _plan(pending: PendingDeletion, does: str, items: Iterable[Item]) -> Plan:
    named = tuple(items)
    return Plan(
        f"{plural(len(named), 'message')} of {pending.operation.instance_name} that operation "
        f"{pending.operation_id} put on hold {does}.",
        counts={"messages": len(named)},
        items=named,
    )


def _audit(pending: PendingDeletion, actor: Actor, phase: str, **details: bool) -> None:
    audit.record(
        actor=actor,
        action=f"operation.{pending.operation.kind}",
        phase=phase,
        subject=subject_of(pending.operation),
        details=details,
    )
