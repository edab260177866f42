"""The days of a ramp: which local date it is, how long that lasts, and whether a decision is due on it.

The only clock is the argument `now`, which is aware; whatever the scheduler does (late, doubled, away, its
clock set back), a local date has one decision at most.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

# Between two decisions, also over a night in which the clocks are put forward or a zone skips a date.
SPACING = timedelta(hours=18)
_A_DAY = timedelta(days=1)
_A_MINUTE = timedelta(minutes=1)


class Span(NamedTuple):
    """From `start`, inclusive, to `end`, exclusive; both in UTC."""

    start: datetime
    end: datetime


class Days(Protocol):
    """How time is cut into the days of a ramp."""

    def date_of(self, now: datetime) -> date:
        """Return the date that it is."""

    def span(self, day: date) -> Span:
        """Return the whole of a date; an empty span for one that the zone skipped."""

    def window(self, day: date) -> Span:
        """Return the part of a date in which a decision may be made."""


@dataclass(frozen=True, slots=True)
class LocalDays:
    """Calendar dates of a time zone; decisions from `opens` on, and before `closes` where that is given."""

    zone: ZoneInfo
    opens: time = time(9)
    closes: time | None = None

    def date_of(self, now: datetime) -> date:
        """Return the local date."""
        return now.astimezone(self.zone).date()

    def span(self, day: date) -> Span:
        """Return the date from midnight to midnight: 23, 24 or 25 hours, and others where a zone changes."""
        return Span(first_instant(self.zone, day, time()), first_instant(self.zone, day + _A_DAY, time()))

    def window(self, day: date) -> Span:
        """Return the span from `opens` to `closes`, or to the end of the date."""
        whole = self.span(day)
        end = whole.end if self.closes is None else first_instant(self.zone, day, self.closes)
        return Span(min(first_instant(self.zone, day, self.opens), whole.end), min(end, whole.end))


@dataclass(frozen=True, slots=True)
class ShortDays:
    """Days of a few minutes, for rehearsals: the n-th since `start_at` has the n-th date since `start`."""

    start_at: datetime
    start: date
    length: timedelta

    def date_of(self, now: datetime) -> date:
        """Return the date whose turn it is."""
        return self.start + timedelta(days=(now - self.start_at) // self.length)

    def span(self, day: date) -> Span:
        """Return a date's minutes."""
        begins = self.start_at + (day - self.start).days * self.length
        return Span(begins.astimezone(UTC), (begins + self.length).astimezone(UTC))

    def window(self, day: date) -> Span:
        """Return all of it."""
        return self.span(day)


class Decided(NamedTuple):
    """The last decision: for which date, and when it was made."""

    date: date
    at: datetime


def due(
    days: Days, now: datetime, *, start: date, last: Decided | None, spacing: timedelta = SPACING
) -> date | None:
    """Return the date that a decision is due for now, or None.

    start: the first date of the ramp, on which its first step is set; last: the newest decision there is.
    """
    today = days.date_of(now)
    if today < start or (last is not None and (today <= last.date or now - last.at < spacing)):
        return None
    window = days.window(today)
    return today if window.start <= now < window.end else None


def next_due(
    days: Days, now: datetime, *, start: date, last: Decided | None, spacing: timedelta = SPACING
) -> datetime:
    """Return when the next decision may be made: now, where one is due."""
    day = max(start, days.date_of(now), last.date + _A_DAY if last else start)
    for _ in range(4):
        window = days.window(day)
        at = max(window.start, now, last.at + spacing if last else window.start)
        if at < window.end:
            return at
        day += _A_DAY
    # Four dates without an hour for it: the window is shorter than the spacing allows.
    return max(now, days.window(day).start)


def missed(decided: date, today: date) -> int:
    """Return how many dates went by between two without a decision."""
    return max(0, (today - decided).days - 1)


def first_instant(zone: ZoneInfo, day: date, at: time) -> datetime:
    """Return when a zone's clocks show a time first, in UTC.

    A time that the clocks skip is the first minute after the gap; one that they show twice is its first
    showing (PEP 495). For a date that the zone skipped as a whole that is the beginning of the next.
    """
    wall = datetime.combine(day, at)
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    return _end_of_gap(zone, wall, instant)


def _end_of_gap(zone: ZoneInfo, wall: datetime, inside: datetime) -> datetime:
    """Return the first instant whose wall time is later than one in a gap, by halving to the minute."""
    before, after = inside - 2 * _A_DAY, inside + 2 * _A_DAY
    while after - before > _A_MINUTE:
        middle = before + (after - before) / 2
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            after = middle
    return after.replace(second=0, microsecond=0)
