"""Decisions of ramps as rows: entered once, with what follows for the ramp, and written by one operation."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from dns.domain.ramp import Evidence
from dns.domain.ramp_weights import weights_for
from dns.domain.weights import CannotRender, to_shares
from dns.models import RAMPS_LIVE, DecidedBy, Ramp, RampChange, RampDecision, RampState, Weight
from dns.services.weights import NothingToDo, change_by_rule, weights_of
from relays.domain.text import printable
from relays.models.operation import OperationState
from relays.remote.errors import RemoteError
from relays.services import audit
from relays.services.audit import SYSTEM, Actor, Subject
from relays.services.kinds import PlanRefused

# A change that failed is tried again after this long, so many times.
_TRY_AGAIN = timedelta(minutes=10)
_ATTEMPTS = 5


class RampChanged(Exception):
    """The ramp has changed since it was looked at: look again."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is decided. share: the address's from now on, None: the records stay; ramp: its new fields."""

    change: RampChange
    step: int | None
    why: Sequence[str]
    share: float | None = None
    evidence: Evidence | None = None
    is_bad: bool = False
    ramp: dict[str, Any] = field(default_factory=dict)


def enter(  # noqa: PLR0913 - keyword-only, each a column
    *, ramp: Ramp, choice: Choice, day: date, now: datetime, by: DecidedBy, actor: Actor = SYSTEM
) -> RampDecision:
    """Write a decision, and what the ramp is from then on.

    Raises RampChanged where the ramp has changed meanwhile, or the schedule has decided for the date already.
    """
    decision = RampDecision(
        ramp=ramp,
        local_date=day,
        at=now,
        decided_by=by,
        person=actor.name if by == DecidedBy.PERSON else "",
        change=choice.change,
        step_before=ramp.step,
        step=choice.step,
        why=[printable(text, 300) for text in choice.why],
        evidence=choice.evidence.as_json() if choice.evidence else None,
        is_bad=choice.is_bad,
        share=choice.share,
    )
    try:
        with transaction.atomic():
            mine = Ramp.objects.filter(pk=ramp.pk, version=ramp.version, state__in=RAMPS_LIVE)
            if mine.update(version=F("version") + 1, step=choice.step, **choice.ramp) != 1:
                raise RampChanged
            decision.save()
            if choice.ramp.get("state") == RampState.DONE:
                Weight.objects.filter(relay_name=ramp.relay_name, address=ramp.address).update(is_warm=True)
            _audit(ramp, decision, actor)
    except IntegrityError as error:
        raise RampChanged from error
    ramp.refresh_from_db()
    return decision


def _audit(ramp: Ramp, decision: RampDecision, actor: Actor) -> None:
    details = {
        "change": decision.change,
        "date": decision.local_date.isoformat(),
        "step_before": decision.step_before,
        "step": decision.step,
        "decision": decision.pk,
    }
    audit.record(
        actor=actor,
        action="ramp.decision",
        phase="succeeded",
        subject=subject_of(ramp),
        reason=" ".join(decision.why),
        details=details,
    )


def write(*, ramp: Ramp, now: datetime) -> None:
    """Have the newest decision's share written, by one operation however often this runs."""
    newest = ramp.decisions.filter(share__isnull=False).select_related("operation").first()
    if newest is None or newest.is_written:
        _note(ramp, "")
        return
    if newest.operation is not None and not _may_begin_again(ramp, newest, now):
        return
    # Read first: whatever changes the weights after this is noticed.
    made_of = weights_of(ramp.relay_name)
    try:
        operation = change_by_rule(
            relay_name=ramp.relay_name,
            weights=weights_with(ramp, newest.share or 0.0),
            made_of=made_of,
            reason=_reason(ramp, newest),
            key=f"ramp-decision-{newest.pk}-{newest.attempt}",
        )
    except NothingToDo:
        RampDecision.objects.filter(pk=newest.pk).update(is_written=True)
        _note(ramp, "")
    except (PlanRefused, CannotRender, RemoteError) as error:
        _note(ramp, str(error))
    else:
        RampDecision.objects.filter(pk=newest.pk, operation=None).update(operation=operation)
        _note(ramp, "")


def _may_begin_again(ramp: Ramp, decision: RampDecision, now: datetime) -> bool:
    """Note how a decision's operation stands; tell whether it failed long enough ago for another."""
    operation = decision.operation
    if operation is None or operation.is_live:
        return False
    if operation.state == OperationState.DONE:
        RampDecision.objects.filter(pk=decision.pk).update(is_written=True)
        _note(ramp, "")
        return False
    _note(ramp, f"Operation {operation.pk} did not change the records: {operation.outcome}")
    ended = operation.ended_at or now
    if decision.attempt >= _ATTEMPTS or now - ended < _TRY_AGAIN:
        return False
    mine = RampDecision.objects.filter(pk=decision.pk, attempt=decision.attempt)
    if mine.update(attempt=F("attempt") + 1, operation=None) != 1:
        return False
    decision.refresh_from_db()
    return True


def weights_with(ramp: Ramp, share: float) -> dict[str, int]:
    """Return the relay name's weights with which the ramp's address gets a share.

    Other addresses that warm up keep theirs; those that are warm split the rest as they did. Raises
    CannotRender.
    """
    return weights_by_share(ramp)(share)


def weights_by_share(ramp: Ramp) -> Callable[[float], dict[str, int]]:
    """Return what gives weights_with() for many shares: what it follows from is read once."""
    now = weights_of(ramp.relay_name)
    others = _of_other_ramps(ramp, now)
    rest = _without(now, {ramp.address, *others})
    return lambda share: weights_for(others | {ramp.address: share}, rest)


def weights_before(ramp: Ramp) -> dict[str, int]:
    """Return the relay name's weights from before the ramp; addresses of other ramps keep their shares.

    Raises CannotRender.
    """
    before: dict[str, int] = ramp.before["weights"]
    shares = _of_other_ramps(ramp, weights_of(ramp.relay_name))
    return weights_for(shares, _without(before, shares)) if shares else before


def _of_other_ramps(ramp: Ramp, now: Mapping[str, int]) -> dict[str, float]:
    """Return the shares, by weights, of the addresses that other ramps of the relay name bring up."""
    others = Ramp.objects.filter(relay_name=ramp.relay_name, state__in=RAMPS_LIVE).exclude(pk=ramp.pk)
    warming = set(others.values_list("address", flat=True))
    carrying = to_shares({address: weight for address, weight in now.items() if weight})
    return {address: float(part) for address, part in carrying.items() if address in warming}


def _without(weights: Mapping[str, int], addresses: Collection[str]) -> dict[str, int]:
    return {address: weight for address, weight in weights.items() if address not in addresses}


def unwritten(ramp: Ramp) -> str:
    """Say which decision's records are not written yet; "" where all are."""
    newest = ramp.decisions.filter(share__isnull=False).first()
    if newest is None or newest.is_written:
        return ""
    return f"The records of {newest.local_date} are not written yet. {ramp.trouble}".strip()


def _note(ramp: Ramp, trouble: str) -> None:
    trouble = printable(trouble, 500)
    if ramp.trouble != trouble:
        Ramp.objects.filter(pk=ramp.pk).update(trouble=trouble)
        ramp.trouble = trouble


def _reason(ramp: Ramp, decision: RampDecision) -> str:
    day = f"day {decision.step + 1} of {len(ramp.steps)}" if decision.step is not None else "out"
    return f"Ramp {ramp.pk}, {day}, {decision.get_change_display()}: {' '.join(decision.why)}"


def subject_of(ramp: Ramp) -> Subject:
    """Return a ramp as what an audit event is about."""
    return Subject("ramp", str(ramp.pk), str(ramp))
