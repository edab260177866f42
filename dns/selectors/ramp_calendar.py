"""Every day of a ramp before it comes: its share, its records, what to expect, and what will bind."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

from django.db.models import prefetch_related_objects

from dns.domain.ramp_days import next_due
from dns.domain.schedule import Binding
from dns.domain.weights import CannotRender, Rendered, Rendering, percent, render
from dns.models import Ramp
from dns.services.ramp_days import (
    binding,
    days_of,
    last_decided,
    rails_of,
    spacing,
    steps_of,
    volume,
)
from dns.services.ramp_decisions import weights_by_share


class CalendarDay(NamedTuple):
    """A day of the preview. records: what is served then, or why it cannot be; note: what to know of it."""

    number: int
    date: date
    wished: str
    share: str
    cap: str
    weights: str
    records: str
    expected: str
    binds: str
    note: str
    # The same for the chart: percent, recipients.
    share_number: float
    cap_number: int | None
    expected_number: int


class Calendar(NamedTuple):
    """Every day of a schedule as it would go without holds; volume: recipients a day that it reckons with."""

    days: list[CalendarDay]
    volume: int


def calendar(ramp: Ramp, now: datetime) -> Calendar:
    """Return the days of a ramp that come, if nothing holds it: of a draft all of them."""
    prefetch_related_objects([ramp], "relay_name__weights")
    weights_with = weights_by_share(ramp)
    daily = volume(ramp.relay_name, now)
    known: dict[float, tuple[Rendered | None, str]] = {}
    days = []
    first = 0 if ramp.step is None else ramp.step + 1
    day = _next_date(ramp, now)
    for number, step in enumerate(steps_of(ramp)[first:], first):
        bound = binding(ramp, number, daily)
        if bound.share not in known:
            known[bound.share] = _rendered(ramp, bound.share, weights_with)
        rendered, weights = known[bound.share]
        days.append(_calendar_day(ramp, number, day, step.share, bound, rendered, weights))
        day += timedelta(days=1)
    return Calendar(days, daily)


def _next_date(ramp: Ramp, now: datetime) -> date:
    """Return the date of the next step: today, as long as today's decision is yet to be made."""
    days, last = days_of(ramp), last_decided(ramp) if ramp.pk else None
    return days.date_of(next_due(days, now, start=ramp.start_date, last=last, spacing=spacing()))


def _calendar_day(  # noqa: PLR0913, PLR0917 - the parts of one row
    ramp: Ramp,
    number: int,
    day: date,
    wished: float | None,
    bound: Binding,
    rendered: Rendered | None,
    weights: str,
) -> CalendarDay:
    published = rendered.published.get(ramp.address, Fraction(0)) if rendered else None
    return CalendarDay(
        number + 1,
        day,
        percent(wished) if wished is not None else "",
        percent(published) if published is not None else "",
        f"{bound.cap:,}" if bound.cap is not None else "",
        weights,
        _records(rendered),
        f"{bound.expected:,}",
        "cap" if bound.by == "cap" else "share",
        _note(wished, bound, rails_of(ramp).min_sent),
        round(100 * bound.share, 2),
        bound.cap,
        bound.expected,
    )


def _rendered(
    ramp: Ramp, share: float, weights_with: Callable[[float], dict[str, int]]
) -> tuple[Rendered | None, str]:
    """Return what would be served for a share and the weights in words, or why there is nothing to serve."""
    name = ramp.relay_name
    try:
        weights = weights_with(share)
        rendering = Rendering(name.rendering)
        rendered = render(name.name, weights, rendering=rendering, ttl=name.ttl, proposed=False)
        return rendered, weights_words(weights)
    except CannotRender as error:
        return None, str(error)


def weights_words(weights: dict[str, int]) -> str:
    """Return weights for people."""
    return ", ".join(f"{address} {weight}" for address, weight in sorted(weights.items()) if weight)


def _records(rendered: Rendered | None) -> str:
    if rendered is None:
        return ""
    numbers: dict[str, int] = {}
    for item in rendered.records:
        numbers[item.type] = numbers.get(item.type, 0) + len(item.values)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(numbers.items()))


def _note(wished: float | None, bound: Binding, min_sent: int) -> str:
    notes = []
    if bound.below_smallest:
        how = "run by its cap" if bound.cap is not None else "no volume is known to cap it by"
        notes.append(f"Less than the smallest share, {percent(bound.share)}: {how}.")
    elif wished is not None and wished > bound.share:
        notes.append(f"Held at the greatest share, {percent(bound.share)}.")
    if 0 < bound.expected < min_sent:
        notes.append(f"Fewer than the {min_sent:,} that a day must show: it would be held.")
    return " ".join(notes)
