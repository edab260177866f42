"""A flush that runs is paused, goes on, or gets another rate: asked for by people, done by its worker."""

from django.contrib.auth.models import User
from django.db import transaction

from relays.models import Flush, Operation
from relays.models.flush import FlushState
from relays.services import audit
from relays.services.audit import Actor
from relays.services.flushes import rate_of
from relays.services.job import subject_of
from relays.services.kinds import PlanRefused, kind_of
from relays.services.operations import check_allowed

# In these it can be steered: later there is nothing left to hand out.
STEERED = (FlushState.PLANNED, FlushState.ARMED, FlushState.ACTIVE, FlushState.PAUSED)


def pause(*, operation: Operation, user: User, actor: Actor) -> None:
    """Have what was not handed over wait at the source. Raises NotAllowed, PlanRefused where it is over."""
    _steer(operation, user, actor, "paused_by", user.get_username())


def resume(*, operation: Operation, user: User, actor: Actor) -> None:
    """Have a paused flush go on. Raises as pause() does."""
    _steer(operation, user, actor, "paused_by", "")


def throttle(*, operation: Operation, user: User, actor: Actor, rate: object) -> None:
    """Hand out at most so many messages a minute from now on, 0 for no bound. Raises as pause() does."""
    _steer(operation, user, actor, "rate", rate_of(rate))


def _steer(operation: Operation, user: User, actor: Actor, name: str, value: str | int) -> None:
    """Write what is asked for, with its event; the worker reads it within a second or two."""
    check_allowed(kind_of("flush"), user, actor, operation.instance, operation)
    with transaction.atomic():
        flush = Flush.objects.select_for_update().filter(pk=operation.pk).first()
        current = Operation.objects.select_for_update().get(pk=operation.pk)
        if flush is None or not current.is_live or flush.state not in STEERED:
            raise PlanRefused("This flush moves nothing any more.")
        before = getattr(flush, name)
        # That it is paused already, whoever asked for it, is no change.
        if before == value or (name == "paused_by" and bool(before) == bool(value)):
            return
        Flush.objects.filter(pk=flush.pk).update(**{name: value})
        audit.record(
            actor=actor,
            action="operation.flush",
            phase="requested",
            subject=subject_of(operation),
            reason=operation.reason,
            details=_told(name, before, value),
        )


def _told(name: str, before: str | int, value: str | int) -> dict[str, object]:
    if name == "rate":
        return {"rate": value, "rate_before": before}
    return {"pause": bool(value)}
