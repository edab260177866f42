"""The guard rails of a ramp: what each looks at, what is seen now, how old that is, and whether it breaks."""

from datetime import datetime, timedelta
from typing import NamedTuple

from dns.domain.ramp import RAILS, Guardrails, is_emergency
from dns.domain.ramp_days import Span
from dns.domain.weights import percent
from dns.models import Ramp, RampDay
from dns.services.ramp_days import (
    EMERGENCY_WITHIN,
    counted,
    instance_of,
    rails_of,
)
from relays.selectors.figures import moment


def is_old(at: datetime | None, now: datetime) -> bool:
    """Tell whether a figure that comes every minute is late."""
    return at is not None and now - at > timedelta(minutes=5)


class Rail(NamedTuple):
    """A guard rail: what it looks at, its limit, what is seen and how old, where its default comes from."""

    title: str
    limit: str
    now: str
    asof: str
    is_broken: bool
    source: str


def rail_rows(ramp: Ramp, day: RampDay | None, now: datetime) -> list[Rail]:
    """Return the guard rails beside the figures of today."""
    rails = rails_of(ramp)
    shown = _shown(ramp, day, rails, now) if day else {}
    return [_rail(name, getattr(rails, name), shown.get(name), now) for name in RAILS]


class _Shown(NamedTuple):
    """What is seen of a guard rail, when that was so, and whether it breaks it."""

    text: str
    at: datetime | None = None
    is_broken: bool = False


def _rail(name: str, limit: float, shown: _Shown | None, now: datetime) -> Rail:
    title, source = RAILS[name]
    shown = shown or _Shown("")
    asof = moment(shown.at, now, stale=is_old(shown.at, now))
    return Rail(title, _limit(name, limit), shown.text, asof, shown.is_broken, source)


def _limit(name: str, limit: float) -> str:
    if name in {"max_oldest_s", "max_clock_skew_s"}:
        return f"at most {limit:,.0f} s"
    if name in {"min_sent", "emergency_min"}:
        return f"at least {limit:,.0f}"
    return f"{'at least' if name.startswith('min') else 'below'} {100 * limit:g} %"


def _shown(ramp: Ramp, day: RampDay, rails: Guardrails, now: datetime) -> dict[str, _Shown]:
    """Return what is seen of each guard rail; what a whole date must show is not broken before its end."""
    tried, at = day.sent + day.deferred + day.bounced, day.counted_to
    shown = {"min_sent": _Shown(f"{day.sent:,}", at)}
    if day.meant:
        shown["min_sent_share"] = _Shown(f"{percent(day.sent / day.meant)} of {day.meant:,}", at)
    for name, part in (
        ("max_bounce_share", day.bounced),
        ("max_deferral_share", day.deferred),
        ("max_refusal_share", day.throttled + day.blocked),
    ):
        if tried:
            broken = tried >= rails.min_sent and part / tried >= getattr(rails, name)
            shown[name] = _Shown(f"{percent(part / tried)} ({part:,} of {tried:,})", at, broken)
    if at is not None:
        shown["min_coverage"] = _Shown("lines are missing" if day.has_gap else "so far all", at, day.has_gap)
    return shown | _shown_of_instance(ramp, rails, now)


def _shown_of_instance(ramp: Ramp, rails: Guardrails, now: datetime) -> dict[str, _Shown]:
    instance = instance_of(ramp)
    if instance is None:
        return {}
    shown: dict[str, _Shown] = {}
    state, host = getattr(instance, "state", None), instance.host
    if state and state.oldest_s is not None:
        broken = state.oldest_s > rails.max_oldest_s
        shown["max_oldest_s"] = _Shown(f"{state.oldest_s:,} s", state.sampled_at, broken)
    if (skew := host.clock_skew_s) is not None:
        broken = abs(skew) > rails.max_clock_skew_s
        shown["max_clock_skew_s"] = _Shown(f"{abs(skew):,.1f} s", host.last_success_at, broken)
    seen = counted(instance, ramp.relay_name, Span(now - EMERGENCY_WITHIN, now))
    tried, at = seen.sent + seen.deferred + seen.bounced, state.outcomes_at if state else None
    shown["emergency_min"] = _Shown(f"{tried:,}", at)
    if tried:
        broken = is_emergency(tried=tried, blocked=seen.blocked, rails=rails)
        text = f"{percent(seen.blocked / tried)} ({seen.blocked:,} of {tried:,})"
        shown["emergency_share"] = _Shown(text, at, broken)
    return shown
