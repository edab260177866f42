"""The days of a ramp that come: their dates, by whether today's decision was made already."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from django.utils import timezone

from dns.models import Out, Ramp
from dns.selectors.ramp_calendar import calendar
from dns.selectors.ramps import dated
from tests.ramps import instances_make, ramp_row, relay_name_row

pytestmark = pytest.mark.django_db
A_DAY = timedelta(days=1)


@pytest.fixture
def ramp() -> Ramp:
    instances_make()
    return ramp_row(relay_name_row())


def today() -> date:
    return timezone.now().date()


def at(hour: int, day: date | None = None) -> datetime:
    return datetime.combine(day or today(), time(hour), UTC)


def test_once_todays_decision_is_made_the_next_step_is_tomorrows(ramp: Ramp) -> None:
    days = calendar(ramp, at(10)).days
    assert (days[0].number, days[0].date) == (4, today() + A_DAY)
    assert days[1].date == today() + 2 * A_DAY


@pytest.mark.parametrize("hour", [3, 9, 23])
def test_before_todays_decision_the_next_step_is_todays(hour: int, ramp: Ramp) -> None:
    ramp.decisions.filter(local_date=today()).delete()
    assert calendar(ramp, at(hour)).days[0].date == today()


def test_what_a_guard_does_is_no_decision_of_the_day(ramp: Ramp) -> None:
    ramp.decisions.filter(local_date=today()).update(decided_by="guard", change="cap")
    assert calendar(ramp, at(10)).days[0].date == today()


def test_where_todays_window_is_over_the_next_step_is_tomorrows(ramp: Ramp) -> None:
    ramp.decisions.filter(local_date=today()).delete()
    ramp.closes = time(11)
    assert calendar(ramp, at(10)).days[0].date == today()
    assert calendar(ramp, at(12)).days[0].date == today() + A_DAY


def test_a_ramp_that_has_not_begun_begins_on_its_first_date_or_when_it_may(ramp: Ramp) -> None:
    ramp.decisions.all().delete()
    ramp.step, ramp.out, ramp.start_date = None, Out.UNSTARTED, today() + 5 * A_DAY
    assert calendar(ramp, at(10)).days[0].date == ramp.start_date
    ramp.start_date = today() - 2 * A_DAY
    assert calendar(ramp, at(10)).days[0].date == today()


def test_the_chart_shows_today_once_with_its_mail_and_the_step_that_comes(ramp: Ramp) -> None:
    sent = ramp.days.get(date=today()).sent
    ramp.decisions.filter(local_date=today()).delete()
    dates = dated(ramp, at(3))
    (shown,) = [row for row in dates if row.date == today().isoformat()]
    assert (shown.planned_share, shown.sent) == (14.0, sent)
    assert len(dates) == len({row.date for row in dates}) == 2 + 11
