"""The dates of a ramp: one decision each, whatever clocks, zones and schedulers do."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from dns.domain.ramp_days import Decided, LocalDays, ShortDays, due, first_instant, missed, next_due
from tests.domain.ramp_world import ZONES, world

BERLIN = ZoneInfo("Europe/Berlin")
DAYS = LocalDays(BERLIN, opens=time(9), closes=time(11))
MONDAY = date(2026, 6, 1)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def test_a_decision_is_due_within_the_window_of_a_date_only() -> None:
    seen = [due(DAYS, utc(2026, 6, 1, hour), start=MONDAY, last=None) for hour in (6, 7, 8, 9)]
    assert seen == [None, MONDAY, MONDAY, None]


def test_without_a_closing_time_a_late_scheduler_catches_up_on_the_same_date() -> None:
    assert due(LocalDays(BERLIN), utc(2026, 6, 1, 21, 59), start=MONDAY, last=None) == MONDAY


def test_nothing_is_due_before_the_first_date_and_not_twice_on_one() -> None:
    now = utc(2026, 6, 1, 8)
    assert due(DAYS, now, start=date(2026, 6, 2), last=None) is None
    assert due(DAYS, now, start=MONDAY, last=Decided(MONDAY, utc(2026, 6, 1, 7))) is None


def test_a_clock_that_was_set_back_makes_nothing_due_again() -> None:
    decided = Decided(date(2026, 6, 9), utc(2026, 6, 9, 8))
    assert due(DAYS, utc(2026, 6, 1, 8), start=MONDAY, last=decided) is None


def test_after_a_late_decision_the_next_keeps_its_distance() -> None:
    late = Decided(MONDAY, utc(2026, 6, 1, 20))
    days = LocalDays(BERLIN)
    assert due(days, utc(2026, 6, 2, 8), start=MONDAY, last=late) is None
    assert next_due(days, utc(2026, 6, 2, 8), start=MONDAY, last=late) == utc(2026, 6, 2, 14)
    assert due(days, utc(2026, 6, 2, 14), start=MONDAY, last=late) == date(2026, 6, 2)


def test_the_next_decision_is_told_before_in_and_after_the_window() -> None:
    opens = utc(2026, 6, 1, 7)
    assert next_due(DAYS, utc(2026, 5, 1), start=MONDAY, last=None) == opens
    assert next_due(DAYS, opens, start=MONDAY, last=None) == opens
    assert next_due(DAYS, utc(2026, 6, 1, 10), start=MONDAY, last=None) == opens + timedelta(days=1)
    assert next_due(DAYS, utc(2026, 6, 1, 8), start=MONDAY, last=Decided(MONDAY, opens)) == opens + timedelta(
        days=1
    )


def test_a_window_that_the_distance_never_meets_is_told_as_a_time_all_the_same() -> None:
    late = Decided(MONDAY, utc(2026, 6, 1, 8))
    far = next_due(DAYS, utc(2026, 6, 1, 8), start=MONDAY, last=late)
    assert far == utc(2026, 6, 2, 7)
    assert next_due(DAYS, utc(2026, 6, 1, 8), start=MONDAY, last=late, spacing=timedelta(days=30)) > far


def test_a_time_that_the_clocks_skip_is_the_first_minute_after() -> None:
    assert first_instant(BERLIN, date(2026, 3, 29), time(2, 30)) == utc(2026, 3, 29, 1)


def test_a_time_that_the_clocks_show_twice_is_its_first() -> None:
    assert first_instant(BERLIN, date(2026, 10, 25), time(2, 30)) == utc(2026, 10, 25, 0, 30)


def test_a_date_that_a_zone_skipped_is_empty_and_the_next_is_whole() -> None:
    apia = LocalDays(ZoneInfo("Pacific/Apia"))
    skipped, following = apia.span(date(2011, 12, 30)), apia.span(date(2011, 12, 31))
    assert skipped.start == skipped.end == following.start == utc(2011, 12, 30, 10)
    assert following.end - following.start == timedelta(hours=24)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),
    ],
)
def test_a_date_is_as_long_as_its_zone_makes_it(zone: str, day: date, hours: float) -> None:
    span = LocalDays(ZoneInfo(zone)).span(day)
    assert span.end - span.start == timedelta(hours=hours)


def test_short_days_carry_dates_in_order() -> None:
    days = ShortDays(utc(2026, 6, 1, 12), MONDAY, timedelta(minutes=3))
    assert days.date_of(utc(2026, 6, 1, 12, 2)) == MONDAY
    assert days.date_of(utc(2026, 6, 1, 12, 7)) == date(2026, 6, 3)
    assert days.span(date(2026, 6, 2)) == (utc(2026, 6, 1, 12, 3), utc(2026, 6, 1, 12, 6))
    assert days.window(MONDAY) == days.span(MONDAY)


def test_dates_between_two_decisions_are_missed() -> None:
    assert [missed(MONDAY, MONDAY + timedelta(days=days)) for days in (1, 2, 5)] == [0, 1, 4]


@pytest.mark.parametrize("zone", ZONES)
def test_without_faults_every_date_is_a_decision_and_every_sending_date_a_step(zone: str) -> None:
    lived = world(zone, seed=1, year=2026, years=0.5, kind=True)
    # The first sets the first step; from the second on each date that was sent on is one more.
    assert len(lived.decisions) >= 180
    assert lived.advances == len(lived.decisions) - 1


@pytest.mark.parametrize(("zone", "year"), [(zone, 2026) for zone in ZONES] + [("Pacific/Apia", 2011)])
def test_in_a_world_of_faults_no_promise_is_broken(zone: str, year: int) -> None:
    lived = world(zone, seed=2, year=year, years=1)
    assert 10 < lived.advances <= len(lived.sending & lived.known)
