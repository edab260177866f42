"""What guards a ramp's address at every look: blocks, its day's number, and what somebody does by hand."""

from datetime import datetime

from django.db.models import Q

from dns.domain.ramp import is_emergency
from dns.domain.ramp_days import Span
from dns.domain.schedule import Binding
from dns.models import DecidedBy, Out, PublishedState, Ramp, RampChange, RampDay, RampDecision
from dns.services.ramp_days import EMERGENCY_WITHIN, binding, counted, days_of, instance_of, rails_of, volume
from dns.services.ramp_decisions import Choice, enter

# As far back as is looked for who took an address out, or put it in.
_STATES = 50


def guard(ramp: Ramp, today: RampDay, now: datetime) -> None:
    """Take the address out for a block or for its cap, put it back on the date after that, follow people.

    Raises RampChanged.
    """
    if ramp.out in {Out.NOT, Out.CAP} and _take_out_for_blocks(ramp, today, now):
        return
    if ramp.out in {Out.CAP, Out.BLOCK} and (state := _put_back_by_hand(ramp)) is not None:
        _follow(ramp, state, today, now)
    elif ramp.out == Out.CAP and ramp.capped_on is not None and today.date > ramp.capped_on:
        _put_back(ramp, today, now)
    elif ramp.out == Out.NOT:
        _take_out_for_cap(ramp, today, now)


def by_hand(ramp: Ramp) -> PublishedState | None:
    """Return the state from which on the address is in or out, as it is now, where a person made it so."""
    states = ramp.relay_name.published.select_related("operation")[:_STATES]
    since: PublishedState | None = None
    for state in states:
        if since is not None and _carries(state, ramp) != _carries(since, ramp):
            break
        since = state
    else:
        return None
    made_by_rule = since is not None and since.operation is not None and since.operation.by_system
    return None if made_by_rule else since


def stays_out(ramp: Ramp, bound: Binding, now: datetime) -> str:
    """Say that an address that is out for its cap stays so on another step; "" where it does not."""
    if ramp.out != Out.CAP or ramp.capped_on is None or bound.cap is None:
        return ""
    day = ramp.days.filter(date=ramp.capped_on).first()
    if day is None or days_of(ramp).date_of(now) > ramp.capped_on or day.sent < bound.cap:
        return ""
    return f"{day.sent:,} were sent on that date already, its number is {bound.cap:,}: it stays out so long."


def told(state: PublishedState, what: str) -> str:
    """Say who did something by hand: "otto put it back by hand (operation 12)"."""
    if state.operation is None:
        return f"Somebody {what} by hand."
    return f"{state.operation.requested_by_name} {what} by hand (operation {state.operation.pk})."


def _carries(state: PublishedState, ramp: Ramp) -> bool:
    return bool(state.wanted.get(ramp.address))


def _put_back_by_hand(ramp: Ramp) -> PublishedState | None:
    """Return the state with which somebody put the address back, once it was really out; None otherwise."""
    newest = ramp.decisions.filter(share__isnull=False).first()
    if newest is None or newest.share or not newest.is_written:
        return None
    state = by_hand(ramp)
    return state if state is not None and _carries(state, ramp) else None


def _follow(ramp: Ramp, state: PublishedState, today: RampDay, now: datetime) -> None:
    """Take the address for in, as it is; its records stay as somebody set them until the next step."""
    why = [told(state, "put it back")]
    if ramp.out == Out.BLOCK:
        choice = Choice(RampChange.START, 0, [*why, "It starts anew."], ramp={"out": Out.NOT})
    else:
        why.append(f"Its number of {ramp.capped_on} takes it out no more.")
        choice = Choice(RampChange.BACK, ramp.step, why, ramp={"out": Out.NOT})
    enter(ramp=ramp, choice=choice, day=today.date, now=now, by=DecidedBy.GUARD)


def _put_back(ramp: Ramp, today: RampDay, now: datetime) -> None:
    why = [f"The day on which it had sent its number, {ramp.capped_on}, is over."]
    if (state := by_hand(ramp)) is not None and not _carries(state, ramp):
        why.append(f"{told(state, 'took it out')} It stays out until the next step.")
        choice = Choice(RampChange.HOLD, ramp.step, why, ramp={"out": Out.NOT})
    else:
        share = binding(ramp, ramp.step or 0, volume(ramp.relay_name, now)).share
        choice = Choice(RampChange.BACK, ramp.step, why, share, ramp={"out": Out.NOT})
    enter(ramp=ramp, choice=choice, day=today.date, now=now, by=DecidedBy.GUARD)


def _take_out_for_blocks(ramp: Ramp, today: RampDay, now: datetime) -> bool:
    instance = instance_of(ramp)
    if instance is None:
        return False
    seen = counted(instance, ramp.relay_name, Span(_watched_from(ramp, now), now))
    tried = seen.sent + seen.deferred + seen.bounced
    if not is_emergency(tried=tried, blocked=seen.blocked, rails=rails_of(ramp)):
        return False
    why = [f"{seen.blocked:,} of {tried:,} recipients were refused as blocked within 15 minutes."]
    choice = Choice(RampChange.TAKE_OUT, None, why, 0.0, ramp={"out": Out.BLOCK})
    enter(ramp=ramp, choice=choice, day=today.date, now=now, by=DecidedBy.GUARD)
    return True


def _watched_from(ramp: Ramp, now: datetime) -> datetime:
    """Return from when on blocks count: those for which it was taken out do not, once it starts anew."""
    within = now - EMERGENCY_WITHIN
    started = ramp.decisions.filter(change=RampChange.START, at__lte=now).first()
    return max(within, started.at) if started else within


def _take_out_for_cap(ramp: Ramp, today: RampDay, now: datetime) -> None:
    if today.cap is None or today.sent < today.cap or _is_overruled(ramp, today):
        return
    why = [f"{today.sent:,} were sent on {today.date}, its number is {today.cap:,}."]
    choice = Choice(RampChange.CAP, ramp.step, why, 0.0, ramp={"out": Out.CAP, "capped_on": today.date})
    enter(ramp=ramp, choice=choice, day=today.date, now=now, by=DecidedBy.GUARD)


def _is_overruled(ramp: Ramp, today: RampDay) -> bool:
    """Whether somebody put the address back on this date though it had sent its number."""
    if ramp.capped_on != today.date:
        return False
    newest: RampDecision | None = ramp.decisions.filter(
        Q(share__isnull=False) | Q(change=RampChange.BACK)
    ).first()
    return newest is not None and newest.share is None
