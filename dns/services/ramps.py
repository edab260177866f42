"""Ramps as people steer them: started from a schedule, moved by hand, ended with or without going back."""

import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from dns.domain.ramp import BadGuardrails, Guardrails
from dns.domain.schedule import BadSchedule, Step, check
from dns.domain.weights import CannotRender
from dns.models import (
    RAMPS_LIVE,
    DecidedBy,
    Out,
    Ramp,
    RampChange,
    RampDecision,
    RampState,
    RelayName,
    Weight,
)
from dns.services.ramp_checklist import needed
from dns.services.ramp_days import binding, days_of, volume
from dns.services.ramp_decisions import Choice, RampChanged, enter, subject_of, weights_before
from dns.services.ramp_guards import stays_out
from dns.services.weights import WeightsApply, weights_of
from relays.domain.addresses import BadAddress, normalise_address
from relays.domain.text import printable
from relays.models import Operation
from relays.services import audit, operations
from relays.services.audit import Actor, Subject
from relays.services.operations import NotAllowed

PERMISSION = "dns.run_ramps"


class RampRefused(Exception):
    """A ramp that cannot be steered so now; the text says why."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A ramp as somebody wants it. largest: the greatest share that the address is to get, 0 to 1."""

    relay_name: RelayName
    address: str
    schedule_name: str
    steps: Sequence[Step]
    start_date: date
    source: str = ""
    largest: float = 0.5
    time_zone: str = "UTC"
    opens: time = time(9)
    closes: time | None = None
    rails: Mapping[str, Any] | None = None


def draft(wish: Wish, now: datetime) -> Ramp:
    """Return the ramp that a wish describes, not saved. Raises ValidationError, by field."""
    try:
        address = normalise_address(wish.address)
    except BadAddress as error:
        raise ValidationError({"address": str(error)}) from error
    try:
        steps, rails = check(wish.steps), Guardrails.from_json(dict(wish.rails or {}))
    except BadSchedule as error:
        raise ValidationError({"schedule": str(error)}) from error
    except BadGuardrails as error:
        raise ValidationError({"rails": str(error)}) from error
    _check_days(wish)
    ramp = Ramp(
        relay_name=wish.relay_name,
        address=address,
        schedule_name=printable(wish.schedule_name, 80),
        source=printable(wish.source, 300),
        steps=[step.as_json() for step in steps],
        largest=wish.largest,
        time_zone=wish.time_zone,
        opens=wish.opens,
        closes=wish.closes,
        start_date=wish.start_date,
        rails={name: value for name, value in rails.as_json().items() if value != getattr(_DEFAULTS, name)},
        created_at=now,
    )
    today = days_of(ramp).date_of(now)
    if not today <= ramp.start_date <= today + _FURTHEST:
        raise ValidationError({"start_date": "The first date lies in the past, or more than a year ahead."})
    return ramp


_FURTHEST = timedelta(days=366)
_DEFAULTS = Guardrails()


def _check_days(wish: Wish) -> None:
    if wish.time_zone not in zoneinfo.available_timezones():
        raise ValidationError({"time_zone": f"There is no time zone {wish.time_zone[:60]!r}."})
    if wish.closes is not None and wish.closes <= wish.opens:
        raise ValidationError({"closes": "The window ends before it begins."})
    if not 0 < wish.largest < 1:
        raise ValidationError({"largest": "The greatest share is above 0 and below 100 %."})


def start(*, wish: Wish, user: User, actor: Actor, reason: str) -> Ramp:
    """Begin a ramp: its schedule decides from its first date on; nothing is written before that.

    Raises NotAllowed, and ValidationError, by field, for what cannot be or an item of the checklist that is
    not met and needed.
    """
    check_allowed(
        user, actor, "ramp.start", Subject("relay_name", str(wish.relay_name.pk), str(wish.relay_name))
    )
    now = timezone.now()
    ramp = draft(wish, now)
    if not reason.strip():
        raise ValidationError({"reason": "Say why: the reason stands in the audit trail."})
    if lacking := [item for item in needed(wish.relay_name, ramp.address) if not item.met]:
        raise ValidationError({"address": [f"{item.title}: {item.text}" for item in lacking]})
    ramp.started_by, ramp.reason = user.get_username(), printable(reason.strip(), 500)
    try:
        with transaction.atomic():
            _save(ramp)
            details = {"address": ramp.address, "schedule": ramp.schedule_name, "days": len(ramp.steps)}
            _audit(actor, "ramp.start", ramp, ramp.reason, details)
    except IntegrityError as error:
        raise ValidationError({"address": "Another ramp was begun for it just now."}) from error
    return ramp


def _save(ramp: Ramp) -> None:
    """Store a new ramp; its address counts as not warm from now on."""
    weights = weights_of(ramp.relay_name)
    known = Weight.objects.filter(relay_name=ramp.relay_name, address=ramp.address).first()
    ramp.before = {
        "weights": {ramp.address: 0} | weights,
        "warm": known.is_warm if known else None,
    }
    ramp.save()
    new = {"is_on": False, "is_warm": False}
    Weight.objects.update_or_create(
        relay_name=ramp.relay_name, address=ramp.address, defaults={"is_warm": False}, create_defaults=new
    )


def advance(*, ramp: Ramp, user: User, actor: Actor, reason: str) -> RampDecision:
    """Go a step on now; an address that is out or has not begun goes to its first.

    Raises NotAllowed, and RampRefused where there is no further step.
    """
    step = 0 if ramp.step is None else ramp.step + 1
    if step >= len(ramp.steps):
        raise RampRefused("It is on its last day: let its schedule finish it, or cancel it.")
    change = RampChange.START if ramp.step is None else RampChange.ADVANCE
    return _move(ramp, change, step, user=user, actor=actor, reason=reason)


def step_back(*, ramp: Ramp, user: User, actor: Actor, reason: str) -> RampDecision:
    """Go a step back now. Raises NotAllowed, and RampRefused where there is none."""
    if not ramp.step:
        raise RampRefused("There is no step to go back to.")
    return _move(ramp, RampChange.STEP_BACK, ramp.step - 1, user=user, actor=actor, reason=reason)


def hold(*, ramp: Ramp, user: User, actor: Actor, reason: str) -> RampDecision:
    """Stay on the step for this date: the schedule decides again on the next. Raises as advance()."""
    return _enter(ramp, Choice(RampChange.HOLD, ramp.step, [_reason(reason)]), user, actor)


def _move(  # noqa: PLR0913 - keyword-only
    ramp: Ramp, change: RampChange, step: int, *, user: User, actor: Actor, reason: str
) -> RampDecision:
    now = timezone.now()
    bound = binding(ramp, step, volume(ramp.relay_name, now))
    if out := stays_out(ramp, bound, now):
        return _enter(ramp, Choice(change, step, [_reason(reason), out]), user, actor)
    choice = Choice(change, step, [_reason(reason)], bound.share, ramp={"out": Out.NOT})
    return _enter(ramp, choice, user, actor)


def _enter(ramp: Ramp, choice: Choice, user: User, actor: Actor) -> RampDecision:
    check_allowed(user, actor, "ramp.decision", subject_of(ramp))
    now = timezone.now()
    named = Actor(actor.kind, user.get_username(), actor.id, actor.details)
    try:
        return enter(
            ramp=ramp,
            choice=choice,
            day=days_of(ramp).date_of(now),
            now=now,
            by=DecidedBy.PERSON,
            actor=named,
        )
    except RampChanged as error:
        raise RampRefused("The ramp has changed meanwhile: look at it again.") from error


def pause(*, ramp: Ramp, user: User, actor: Actor, reason: str) -> None:
    """Let its schedule decide nothing until it is resumed; cap and guards go on. Raises as advance()."""
    _switch(ramp, RampState.RUNNING, RampState.PAUSED, "ramp.pause", user=user, actor=actor, reason=reason)


def resume(*, ramp: Ramp, user: User, actor: Actor, reason: str) -> None:
    """Let its schedule decide again. Raises as advance()."""
    _switch(ramp, RampState.PAUSED, RampState.RUNNING, "ramp.resume", user=user, actor=actor, reason=reason)


def cancel(*, ramp: Ramp, user: User, actor: Actor, reason: str) -> None:
    """End a ramp; the records stay as they are. Raises as advance()."""
    check_allowed(user, actor, "ramp.cancel", subject_of(ramp))
    with transaction.atomic():
        mine = Ramp.objects.filter(pk=ramp.pk, version=ramp.version, state__in=RAMPS_LIVE)
        ended = {"state": RampState.CANCELLED, "ended_at": timezone.now(), "trouble": ""}
        if mine.update(version=F("version") + 1, **ended) != 1:
            raise _refused(ramp, RAMPS_LIVE, "The ramp has ended already.")
        if ramp.before.get("warm"):
            Weight.objects.filter(relay_name=ramp.relay_name, address=ramp.address).update(is_warm=True)
        _audit(actor, "ramp.cancel", ramp, _reason(reason), {})
    ramp.refresh_from_db()


def plan_restoring(*, ramp: Ramp, user: User, actor: Actor) -> Operation:
    """Plan to give the relay name the weights from before the ramp. Raises as plan_relay_name().

    Other ramps keep the shares of their addresses; RampRefused where those leave nothing for the rest.
    """
    try:
        weights = weights_before(ramp)
    except CannotRender as error:
        raise RampRefused(str(error)) from error
    return operations.plan_relay_name(
        kind=WeightsApply.name,
        relay_name=ramp.relay_name.name,
        params={"weights": weights},
        user=user,
        actor=actor,
    )


def _switch(  # noqa: PLR0913 - keyword-only
    ramp: Ramp, was: RampState, becomes: RampState, action: str, *, user: User, actor: Actor, reason: str
) -> None:
    check_allowed(user, actor, action, subject_of(ramp))
    with transaction.atomic():
        mine = Ramp.objects.filter(pk=ramp.pk, version=ramp.version, state=was)
        if mine.update(state=becomes, version=F("version") + 1) != 1:
            raise _refused(ramp, (was,), f"It is not {was.label}.")
        _audit(actor, action, ramp, _reason(reason), {})
    ramp.refresh_from_db()


def _refused(ramp: Ramp, states: Sequence[RampState], otherwise: str) -> RampRefused:
    """Return why a ramp could not be changed: its state, or another change since it was read."""
    if Ramp.objects.filter(pk=ramp.pk, state__in=states).exists():
        return RampRefused("The ramp has changed meanwhile: look at it again.")
    return RampRefused(otherwise)


def edit(*, ramp: Ramp, steps: Sequence[Step], user: User, actor: Actor, reason: str) -> None:
    """Give a ramp another rest: the steps after the one that holds. Raises NotAllowed, ValidationError."""
    check_allowed(user, actor, "ramp.edit", subject_of(ramp))
    kept = ramp.steps[: (ramp.step or 0) + 1] if ramp.step is not None else []
    try:
        whole = check([*(Step(**step) for step in kept), *steps])
    except BadSchedule as error:
        raise ValidationError({"schedule": str(error)}) from error
    with transaction.atomic():
        mine = Ramp.objects.filter(pk=ramp.pk, version=ramp.version, state__in=RAMPS_LIVE)
        if mine.update(steps=[step.as_json() for step in whole], version=F("version") + 1) != 1:
            raise ValidationError({"schedule": "The ramp has changed meanwhile: look at it again."})
        _audit(actor, "ramp.edit", ramp, _reason(reason), {"before": len(ramp.steps), "after": len(whole)})
    ramp.refresh_from_db()


def check_allowed(user: User, actor: Actor, action: str, subject: Subject) -> None:
    """Raise NotAllowed, and note that it was tried, where the user may not steer ramps."""
    if user.is_active and user.has_perm(PERMISSION):
        return
    audit.record(
        actor=actor, action=action, phase="denied", subject=subject, details={"permission": PERMISSION}
    )
    raise NotAllowed(f"{user.get_username()} may not do this: it needs {PERMISSION}.")


def _reason(reason: str) -> str:
    if not reason.strip():
        raise RampRefused("Say why: the reason stands in the audit trail.")
    return printable(reason.strip(), 300)


def _audit(actor: Actor, action: str, ramp: Ramp, reason: str, details: Mapping[str, Any]) -> None:
    audit.record(
        actor=actor,
        action=action,
        phase="succeeded",
        subject=subject_of(ramp),
        reason=reason,
        details=details,
    )
