"""Ramps on a real BIND: one decision a date, one write a decision, and nothing on data that is missing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from dns.domain.schedule import Step
from dns.domain.weights import to_shares
from dns.models import DecidedBy, Out, Ramp, RampChange, RampDay, RampState, RelayName, Weight
from dns.publishing.rfc2136 import Rfc2136
from dns.services import ramp_decisions, ramp_run, ramps
from dns.services.weights import WeightsApply, change_by_rule
from relays.models import AuditEvent, Instance, LogSource, Operation, RelayNameLock
from relays.models.operation import OperationState
from relays.remote.errors import RemoteError
from relays.services import operations
from relays.services.audit import SYSTEM
from relays.services.operations import NotAllowed
from tests.dns_servers import Bind
from tests.factories import instance_make, outcomes_make
from tests.people import user_make
from tests.ramps import (
    MSN,
    NEW,
    OLD,
    instances_make,
    known_to,
    live,
    mail,
    newest,
    noon,
    primary_of,
    ramp_start,
    relay_name_make,
    tomorrow,
    work,
)

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
THIRD = "192.0.2.13"


class Killed(BaseException):
    """The worker dies here: nothing after this line of it runs."""


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with Bind() as server:
        yield server


@pytest.fixture
def primary(bind: Bind) -> Rfc2136:
    return primary_of(bind)


@pytest.fixture
def msn(bind: Bind, primary: Rfc2136) -> RelayName:
    instances_make()
    return relay_name_make(bind)


@pytest.fixture
def otto() -> User:
    return user_make("otto", "operator")


@pytest.fixture
def ramp(msn: RelayName, otto: User) -> Ramp:
    return ramp_start(msn, otto)


@pytest.fixture
def begun(ramp: Ramp) -> Ramp:
    """Return a ramp on its first step."""
    return live(ramp, noon(ramp.start_date))


def parts(msn: RelayName) -> dict[str, int]:
    return dict(msn.published.first().parts)  # type: ignore[union-attr]


def by(user: User) -> dict[str, Any]:
    return {"user": user, "actor": SYSTEM, "reason": "a test"}


def test_nothing_happens_before_the_first_date(ramp: Ramp, msn: RelayName) -> None:
    live(ramp, noon(ramp.start_date - DAY))
    assert not ramp.decisions.exists() and parts(msn) == {OLD: 1}
    assert not Weight.objects.get(address=NEW).is_on


def test_it_starts_on_its_first_date_with_the_first_share(begun: Ramp, msn: RelayName) -> None:
    assert (begun.step, begun.out) == (0, Out.NOT)
    assert parts(msn) == {NEW: 1, OLD: 9}
    decision = newest(begun)
    assert decision.is_written and decision.operation is not None
    assert decision.operation.reason == f"Ramp {begun.pk}, day 1 of 3, starts: Its first date."
    assert not Weight.objects.get(address=NEW).is_warm


def test_a_good_day_is_a_step_and_the_last_one_finishes(begun: Ramp, msn: RelayName) -> None:
    day = begun.start_date
    for expected in ({NEW: 1, OLD: 3}, {NEW: 1, OLD: 1}):
        mail(day, old=9_000, new=9_000)
        day += DAY
        live(begun, noon(day))
        assert parts(msn) == expected
    mail(day, old=1_000, new=1_000)
    live(begun, noon(day + DAY))
    assert begun.state == RampState.DONE and newest(begun).change == "finish"
    assert Weight.objects.get(address=NEW).is_warm
    assert parts(msn) == {NEW: 1, OLD: 1}


def test_however_often_it_is_looked_at_a_date_has_one_decision_and_one_write(
    ramp: Ramp, primary: Rfc2136
) -> None:
    before = primary.read(MSN).serial
    for minutes in range(0, 300, 5):
        live(ramp, noon(ramp.start_date) + timedelta(minutes=minutes))
    assert ramp.decisions.count() == 1
    assert primary.read(MSN).serial == before + 1


def test_a_second_look_at_the_same_row_is_refused(ramp: Ramp) -> None:
    """Two schedulers that read the ramp before either wrote."""
    stale = Ramp.objects.get(pk=ramp.pk)
    known_to(noon(ramp.start_date))
    ramp_run.run(ramp_id=ramp.pk, now=noon(ramp.start_date))
    choice = ramp_decisions.Choice(RampChange.START, 0, ["twice"], 0.1)
    with pytest.raises(ramp_decisions.RampChanged):
        ramp_decisions.enter(
            ramp=stale,
            choice=choice,
            day=ramp.start_date,
            now=noon(ramp.start_date),
            by=DecidedBy.RULE,
        )
    stale.refresh_from_db()
    with pytest.raises(ramp_decisions.RampChanged):
        ramp_decisions.enter(
            ramp=stale,
            choice=choice,
            day=ramp.start_date,
            now=noon(ramp.start_date),
            by=DecidedBy.RULE,
        )
    assert ramp.decisions.count() == 1


@pytest.mark.django_db(transaction=True)
def test_schedulers_that_run_at_the_same_time_make_one_decision_and_one_write(
    ramp: Ramp, primary: Rfc2136
) -> None:
    before, at = primary.read(MSN).serial, noon(ramp.start_date)
    known_to(at)

    def look(_: int) -> None:
        try:
            ramp_run.run_all(now=at)
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=8) as schedulers:
        list(schedulers.map(look, range(16)))
    live(ramp, at)
    assert ramp.decisions.count() == 1 and Operation.objects.count() == 1
    assert newest(ramp).is_written and primary.read(MSN).serial == before + 1


@pytest.mark.parametrize(
    ("new", "signs", "why"),
    [
        (3, {}, "Only 3 were sent"),
        (100, {}, "100 were sent of 910 that the step meant"),
        (700, {"bounced": 60}, "7.9 % bounced (60 of 760)"),
        (700, {"deferred": 100}, "12.5 % deferred (100 of 800)"),
        (700, {"deferred": 9, "throttled": 9}, "1.3 % refused as throttled or blocked (9 of 709)"),
    ],
)
def test_a_day_that_does_not_show_enough_holds_it(
    new: int, signs: dict[str, int], why: str, begun: Ramp
) -> None:
    mail(begun.start_date, old=9_000, new=new, **signs)
    live(begun, noon(begun.start_date + DAY))
    decision = newest(begun)
    assert (decision.change, begun.step) == ("hold", 0)
    assert why in " ".join(decision.why), decision.why
    assert decision.evidence is not None and decision.evidence["sent"] == new
    assert decision.share is None and decision.operation is None


def test_bad_signs_on_two_dates_step_back(begun: Ramp, msn: RelayName) -> None:
    day = begun.start_date
    mail(day, old=9_000, new=1_000)
    live(begun, noon(day + DAY))
    for number in (1, 2):
        mail(day + number * DAY, old=3_000, new=1_000, bounced=90)
        live(begun, noon(day + (number + 1) * DAY))
    assert (newest(begun).change, begun.step) == ("step_back", 0)
    assert parts(msn) == {NEW: 1, OLD: 9}


def test_a_log_that_is_not_read_to_the_end_of_the_date_holds_it(begun: Ramp) -> None:
    day = begun.start_date
    mail(day, old=9_000, new=1_000)
    live(begun, noon(day + DAY), counted_to=noon(day))
    assert newest(begun).change == "hold"
    assert newest(begun).why == [f"Only 50 % of the log of {day} was read: what is missing may be bad."]


def test_lines_that_may_be_missing_hold_it_and_an_unknown_log_too(begun: Ramp) -> None:
    day = begun.start_date
    mail(day, old=9_000, new=1_000)
    row = Instance.objects.get(name="msn-b")
    log = LogSource.objects.create(
        host=row.host, source="/var/log/postfix-msn-b.log", condition="lost", condition_detail="cut short"
    )
    live(begun, noon(day) + timedelta(hours=1))
    log.condition = ""
    log.save()
    live(begun, noon(day + DAY))
    assert "Only 0 %" in newest(begun).why[0]
    row.state.delete()
    live(begun, noon(day + 2 * DAY))
    assert newest(begun).why == ["Nothing is known of the date before."]


def test_dates_without_a_scheduler_are_never_caught_up(begun: Ramp) -> None:
    day = begun.start_date
    for number in range(4):
        mail(day + number * DAY, old=9_000, new=1_000)
    live(begun, noon(day + 4 * DAY))
    assert (newest(begun).change, begun.step) == ("hold", 0)
    assert "No decision was made on 3 dates" in newest(begun).why[0]


def test_a_clock_that_differs_from_the_hosts_holds_it(begun: Ramp) -> None:
    day = begun.start_date
    mail(day, old=9_000, new=1_000)
    known_to(noon(day + DAY))
    row = Instance.objects.get(name="msn-b").host
    row.clock_skew_s = 900
    row.save()
    ramp_run.run(ramp_id=begun.pk, now=noon(day + DAY))
    assert newest(begun).why == ["The console's clock and the hosts' differ by 900 s."]


def test_a_name_server_that_serves_something_else_holds_it(begun: Ramp) -> None:
    mail(begun.start_date, old=9_000, new=1_000)
    RelayName.objects.update(drift={"192.0.2.53": "serves the old ones"})
    live(begun, noon(begun.start_date + DAY))
    assert newest(begun).why == [f"Not every name server serves {MSN} as published: 192.0.2.53."]


def test_a_change_that_is_not_written_holds_the_next_and_is_tried_again(
    ramp: Ramp, primary: Rfc2136, msn: RelayName, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Rfc2136, change: Any) -> None:
        raise RemoteError("the server refuses the update")

    with monkeypatch.context() as broken:
        broken.setattr(Rfc2136, "write", refuse)
        live(ramp, noon(ramp.start_date))
    decision = newest(ramp)
    assert decision.operation is not None
    Operation.objects.filter(pk=decision.operation.pk).update(
        state=OperationState.FAILED_SAFE, outcome="refused", ended_at=timezone.now() - timedelta(minutes=11)
    )
    Operation.objects.get(pk=decision.operation.pk).name_locks.all().delete()
    live(ramp, noon(ramp.start_date) + timedelta(minutes=1))
    decision.refresh_from_db()
    assert decision.attempt == 2 and decision.is_written and ramp.trouble == ""
    assert parts(msn) == {NEW: 1, OLD: 9}


def test_what_is_in_the_way_is_told_and_the_day_after_holds(ramp: Ramp, msn: RelayName) -> None:
    Weight.objects.filter(address=OLD).update(is_warm=False)
    live(ramp, noon(ramp.start_date))
    assert "warm" in ramp.trouble and parts(msn) == {OLD: 1}
    mail(ramp.start_date, old=9_000, new=1_000)
    live(ramp, noon(ramp.start_date + DAY))
    assert f"The records of {ramp.start_date} are not written yet." in newest(ramp).why[0]


@pytest.mark.parametrize("where", ["deciding", "decided", "beginning", "begun", "writing", "written"])
def test_a_worker_that_dies_leaves_one_decision_and_one_write(
    where: str, ramp: Ramp, primary: Rfc2136, msn: RelayName, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, at = primary.read(MSN).serial, noon(ramp.start_date)

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    def after(function: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> None:
            function(*args, **kwargs)
            raise Killed

        return run

    with monkeypatch.context() as worker:
        if where == "deciding":
            worker.setattr(ramp_decisions, "_audit", die)
        elif where == "decided":
            worker.setattr(ramp_run, "write", die)
        elif where == "beginning":
            worker.setattr(ramp_decisions, "change_by_rule", die)
        elif where == "begun":
            worker.setattr(ramp_decisions, "change_by_rule", after(change_by_rule))
        elif where == "writing":
            worker.setattr(Rfc2136, "write", die)
        else:
            worker.setattr(Rfc2136, "write", after(Rfc2136.write))
        with pytest.raises(Killed):
            live(ramp, at)
    Operation.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    for minutes in (1, 2, 3):
        live(ramp, at + timedelta(minutes=minutes))
    assert ramp.decisions.count() == 1 and newest(ramp).is_written
    assert Operation.objects.count() == 1
    assert primary.read(MSN).serial == before + 1
    assert parts(msn) == {NEW: 1, OLD: 9}


def test_at_its_cap_the_address_goes_out_and_comes_back_on_the_next_date(msn: RelayName, otto: User) -> None:
    ramp = ramp_start(msn, otto, steps=(Step(0.1, 500), Step(0.25, 2_000)))
    day = ramp.start_date
    live(ramp, noon(day))
    mail(day, old=4_000, new=499)
    live(ramp, noon(day) + timedelta(minutes=10))
    assert ramp.out == Out.NOT
    mail(day, old=100, new=20)
    live(ramp, noon(day) + timedelta(minutes=11))
    assert ramp.out == Out.CAP and parts(msn) == {OLD: 1}
    assert newest(ramp).why == [f"519 were sent on {day}, its number is 500."]
    live(ramp, noon(day) + timedelta(hours=11))
    assert ramp.decisions.filter(change="cap").count() == 1
    midnight = datetime.combine(day + DAY, datetime.min.time(), UTC)
    live(ramp, midnight + timedelta(minutes=1))
    assert ramp.out == Out.NOT and parts(msn) == {NEW: 1, OLD: 9}
    row = RampDay.objects.get(date=day)
    assert (row.cap, row.sent) == (500, 519)


def test_an_address_that_just_came_back_is_decided_about_once_its_records_are_written(
    msn: RelayName, otto: User
) -> None:
    """The hour of decisions begins as the date does: what a guard began a moment ago is waited for."""
    ramp = ramp_start(msn, otto, steps=(Step(0.1, 500), Step(0.25, 2_000)), opens=time())
    midnight = datetime.combine(ramp.start_date, time(), UTC)
    live(ramp, midnight)
    mail(ramp.start_date, old=4_500, new=510)
    live(ramp, midnight + timedelta(hours=13))
    assert ramp.out == Out.CAP
    known_to(midnight + DAY)
    ramp_run.run(ramp_id=ramp.pk, now=midnight + DAY)
    assert newest(ramp).change == "back"
    work()
    live(ramp, midnight + DAY + timedelta(minutes=1))
    assert newest(ramp).change == "advance" and parts(msn) == {NEW: 1, OLD: 3}


def test_a_ramp_that_finishes_while_its_address_is_out_for_the_day_brings_it_back(
    msn: RelayName, otto: User
) -> None:
    ramp = ramp_start(msn, otto, steps=(Step(0.25, 500),))
    day = ramp.start_date
    live(ramp, noon(day))
    mail(day, old=1_000, new=480)
    morning = datetime.combine(day + DAY, time(8), UTC)
    outcomes_make(Instance.objects.get(name="msn-b"), at=morning - timedelta(hours=2), sent=600)
    live(ramp, morning)
    live(ramp, morning + timedelta(minutes=1))
    assert ramp.out == Out.CAP and parts(msn) == {OLD: 1}
    live(ramp, morning + timedelta(hours=2))
    assert ramp.state == RampState.DONE and parts(msn) == {NEW: 1, OLD: 3}
    assert newest(ramp).change == "finish" and newest(ramp).is_written


def test_a_clock_that_is_set_back_puts_no_address_back(msn: RelayName, otto: User) -> None:
    ramp = ramp_start(msn, otto, steps=(Step(0.1, 500),))
    live(ramp, noon(ramp.start_date))
    mail(ramp.start_date, old=4_500, new=510)
    live(ramp, noon(ramp.start_date) + timedelta(minutes=10))
    live(ramp, noon(ramp.start_date) - 2 * DAY)
    assert ramp.out == Out.CAP and ramp.decisions.count() == 2


def test_blocks_take_the_address_out_within_minutes_and_it_starts_anew_after_a_good_date(
    begun: Ramp, msn: RelayName
) -> None:
    at = noon(begun.start_date) + timedelta(minutes=40)
    outcomes_make(Instance.objects.get(name="msn-b"), at=at, sent=70, bounced=30, blocked=30)
    live(begun, at + timedelta(minutes=5))
    assert newest(begun).step is None and parts(msn) == {OLD: 1}
    assert newest(begun).why == ["30 of 100 recipients were refused as blocked within 15 minutes."]
    live(begun, noon(begun.start_date + DAY))
    assert newest(begun).change == "hold" and begun.out == Out.BLOCK
    live(begun, noon(begun.start_date + 2 * DAY))
    assert (newest(begun).change, newest(begun).step) == ("start", 0)
    assert parts(msn) == {NEW: 1, OLD: 9}


def test_an_address_that_is_blocked_in_the_night_is_not_back_in_the_morning(
    begun: Ramp, msn: RelayName
) -> None:
    """The hour of decisions judges the date before, which was good."""
    mail(begun.start_date, old=9_000, new=1_000)
    night = datetime.combine(begun.start_date + DAY, time(3), UTC)
    outcomes_make(Instance.objects.get(name="msn-b"), at=night, sent=70, bounced=30, blocked=30)
    live(begun, night + timedelta(minutes=5))
    assert begun.out == Out.BLOCK
    for days in (1, 2):
        live(begun, noon(begun.start_date + days * DAY))
        assert newest(begun).change == "hold" and parts(msn) == {OLD: 1}
    live(begun, noon(begun.start_date + 3 * DAY))
    assert newest(begun).change == "start" and parts(msn) == {NEW: 1, OLD: 9}


@pytest.mark.parametrize("guard", [Out.BLOCK, Out.CAP])
def test_what_a_guard_takes_out_before_the_step_is_written_goes_out_after_it(
    guard: Out, msn: RelayName, otto: User
) -> None:
    """The step that puts the address in is still queued: by the weights before it there is nothing to do."""
    change_by_rule(relay_name=msn, weights={OLD: 1}, reason="as MX records")
    work()
    ramp = ramp_start(msn, otto, steps=(Step(0.1, 500),))
    known_to(noon(ramp.start_date))
    ramp_run.run(ramp_id=ramp.pk, now=noon(ramp.start_date))
    at, instance = noon(ramp.start_date) + timedelta(minutes=10), Instance.objects.get(name="msn-b")
    if guard == Out.BLOCK:
        outcomes_make(instance, at=at, sent=70, bounced=30, blocked=30)
    else:
        outcomes_make(instance, at=at, sent=510)
    known_to(at + timedelta(minutes=5))
    ramp_run.run(ramp_id=ramp.pk, now=at + timedelta(minutes=5))
    ramp.refresh_from_db()
    assert ramp.out == guard and "wait for its end" in ramp.trouble
    work()
    assert parts(msn) == {NEW: 1, OLD: 9}
    live(ramp, at + timedelta(minutes=6))
    assert parts(msn) == {OLD: 1} and newest(ramp).is_written and ramp.trouble == ""


def by_hand(msn: RelayName, user: User, **weights: int) -> None:
    """Have somebody give the new, the old or a third address a weight."""
    given = {{"new": NEW, "old": OLD, "third": THIRD}[which]: weight for which, weight in weights.items()}
    operation = operations.plan_relay_name(
        kind="weights.apply", relay_name=MSN, params={"weights": given}, user=user, actor=SYSTEM
    )
    operations.confirm(
        operation=operation, plan_hash=operation.plan_hash, user=user, actor=SYSTEM, reason="by hand"
    )
    work()


def test_a_change_by_hand_while_a_step_is_planned_is_not_taken_back_by_it(
    begun: Ramp, msn: RelayName, otto: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock was taken and freed again between the look at the weights and the step's own claim."""
    instance_make(Instance.objects.get(name="msn-a").host, "msn-c", ip=THIRD)
    by_hand(msn, otto, third=10)
    mail(begun.start_date, old=9_000, new=1_000)
    work_out = ramp_decisions.weights_with

    def while_somebody_takes_the_third_out(ramp: Ramp, share: float) -> dict[str, int]:
        weights = work_out(ramp, share)
        by_hand(msn, otto, third=0)
        return weights

    at = noon(begun.start_date + DAY)
    with monkeypatch.context() as race:
        race.setattr(ramp_decisions, "weights_with", while_somebody_takes_the_third_out)
        known_to(at)
        ramp_run.run(ramp_id=begun.pk, now=at)
    begun.refresh_from_db()
    assert "have changed" in begun.trouble and not newest(begun).is_written
    live(begun, at + timedelta(minutes=1))
    assert parts(msn) == {NEW: 1, OLD: 3} and newest(begun).is_written and begun.trouble == ""


def test_a_plan_by_rule_during_which_the_name_was_changed_is_not_begun(
    msn: RelayName, otto: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance_make(Instance.objects.get(name="msn-a").host, "msn-c", ip=THIRD)
    by_hand(msn, otto, third=10)
    plan_name = WeightsApply.plan_name

    def while_somebody_takes_the_third_out(kind: WeightsApply, *args: Any) -> Any:
        made = plan_name(kind, *args)
        with monkeypatch.context() as inner:
            inner.setattr(WeightsApply, "plan_name", plan_name)
            by_hand(msn, otto, third=0)
        return made

    monkeypatch.setattr(WeightsApply, "plan_name", while_somebody_takes_the_third_out)
    with pytest.raises(operations.PlanStale, match="have changed"):
        change_by_rule(relay_name=msn, weights={OLD: 3, THIRD: 5}, reason="a step")
    assert Operation.objects.filter(by_system=True).count() == 0
    assert not RelayNameLock.objects.exists() and parts(msn) == {OLD: 1}


def capped(msn: RelayName, otto: User) -> Ramp:
    """Return a ramp whose address is out for its day's number, at noon and ten minutes."""
    ramp = ramp_start(msn, otto, steps=(Step(0.1, 500), Step(0.25, 2_000)))
    live(ramp, noon(ramp.start_date))
    mail(ramp.start_date, old=4_000, new=510)
    live(ramp, noon(ramp.start_date) + timedelta(minutes=10))
    assert ramp.out == Out.CAP and parts(msn) == {OLD: 1}
    return ramp


def test_an_address_that_somebody_puts_back_at_its_cap_stays_for_the_date_and_is_watched(
    msn: RelayName, otto: User
) -> None:
    ramp = capped(msn, otto)
    at = noon(ramp.start_date)
    by_hand(msn, otto, new=1, old=4)
    for minutes in (20, 21, 22):
        live(ramp, at + timedelta(minutes=minutes))
    assert (ramp.out, newest(ramp).change, newest(ramp).share) == (Out.NOT, "back", None)
    assert newest(ramp).why[0].startswith("otto put it back by hand")
    assert parts(msn) == {NEW: 1, OLD: 4}
    outcomes_make(
        Instance.objects.get(name="msn-b"), at=at + timedelta(minutes=40), sent=70, bounced=30, blocked=30
    )
    live(ramp, at + timedelta(minutes=45))
    assert ramp.out == Out.BLOCK and parts(msn) == {OLD: 1}


def test_the_cap_of_the_next_date_holds_again_for_an_address_that_somebody_put_back(
    msn: RelayName, otto: User
) -> None:
    ramp = capped(msn, otto)
    by_hand(msn, otto, new=1, old=4)
    live(ramp, noon(ramp.start_date) + timedelta(minutes=20))
    morning = datetime.combine(ramp.start_date + DAY, time(8), UTC)
    outcomes_make(Instance.objects.get(name="msn-b"), at=morning - timedelta(hours=2), sent=600)
    live(ramp, morning)
    assert ramp.out == Out.CAP and parts(msn) == {OLD: 1}


def test_a_blocked_address_that_somebody_puts_back_starts_anew_and_is_watched(
    begun: Ramp, msn: RelayName, otto: User
) -> None:
    at = blocked(begun)
    live(begun, at)
    assert begun.out == Out.BLOCK
    by_hand(msn, otto, new=1, old=4)
    for minutes in (1, 2, 3):
        live(begun, at + timedelta(minutes=minutes))
    assert (begun.out, begun.step, newest(begun).change) == (Out.NOT, 0, "start")
    assert parts(msn) == {NEW: 1, OLD: 4}
    outcomes_make(
        Instance.objects.get(name="msn-b"), at=at + timedelta(minutes=30), sent=70, bounced=30, blocked=30
    )
    live(begun, at + timedelta(minutes=40))
    assert begun.out == Out.BLOCK and parts(msn) == {OLD: 1}


def test_an_address_that_somebody_puts_back_in_the_night_goes_no_step_on_in_the_morning(
    begun: Ramp, msn: RelayName, otto: User
) -> None:
    mail(begun.start_date, old=9_000, new=1_000)
    night = datetime.combine(begun.start_date + DAY, time(3), UTC)
    outcomes_make(Instance.objects.get(name="msn-b"), at=night, sent=70, bounced=30, blocked=30)
    live(begun, night + timedelta(minutes=5))
    by_hand(msn, otto, new=1, old=4)
    live(begun, night + timedelta(minutes=30))
    live(begun, noon(begun.start_date + DAY))
    assert (newest(begun).change, begun.step) == ("hold", 0) and parts(msn) == {NEW: 1, OLD: 4}


def test_blocks_are_looked_for_also_while_it_is_out_for_its_cap(msn: RelayName, otto: User) -> None:
    """What the instance had accepted before is still sent, and refused."""
    ramp = capped(msn, otto)
    at = noon(ramp.start_date) + timedelta(minutes=20)
    outcomes_make(Instance.objects.get(name="msn-b"), at=at, sent=70, bounced=30, blocked=30)
    live(ramp, at + timedelta(minutes=5))
    assert (ramp.out, ramp.step, newest(ramp).change) == (Out.BLOCK, None, "take_out")
    assert newest(ramp).is_written
    live(ramp, datetime.combine(ramp.start_date + DAY, time(0, 30), UTC))
    assert ramp.out == Out.BLOCK and parts(msn) == {OLD: 1}


def test_midnight_brings_no_address_back_that_somebody_took_out(msn: RelayName, otto: User) -> None:
    ramp = ramp_start(msn, otto, steps=(Step(0.1, 500), Step(0.25, 2_000)))
    live(ramp, noon(ramp.start_date))
    by_hand(msn, otto, new=0)
    mail(ramp.start_date, old=4_000, new=510)
    live(ramp, noon(ramp.start_date) + timedelta(minutes=10))
    assert ramp.out == Out.CAP
    live(ramp, datetime.combine(ramp.start_date + DAY, time(0, 1), UTC))
    assert (ramp.out, newest(ramp).change, newest(ramp).share) == (Out.NOT, "hold", None)
    assert "otto took it out by hand" in newest(ramp).why[-1]
    assert parts(msn) == {OLD: 1}


def test_the_end_of_the_schedule_brings_no_address_back_that_somebody_took_out(
    msn: RelayName, otto: User
) -> None:
    ramp = ramp_start(msn, otto, steps=(Step(0.25, 500),))
    live(ramp, noon(ramp.start_date))
    mail(ramp.start_date, old=1_000, new=480)
    by_hand(msn, otto, new=0)
    morning = datetime.combine(ramp.start_date + DAY, time(8), UTC)
    outcomes_make(Instance.objects.get(name="msn-b"), at=morning - timedelta(hours=2), sent=600)
    live(ramp, morning)
    assert ramp.out == Out.CAP
    live(ramp, morning + timedelta(hours=2))
    assert ramp.state == RampState.DONE and newest(ramp).share is None and parts(msn) == {OLD: 1}


def test_the_floor_holds_also_in_an_emergency(begun: Ramp, msn: RelayName) -> None:
    """Somebody took the warm address out by hand: the one that warms up is the last."""
    Weight.objects.filter(address=OLD).update(is_on=False)
    at = noon(begun.start_date) + timedelta(minutes=40)
    outcomes_make(Instance.objects.get(name="msn-b"), at=at, sent=70, bounced=30, blocked=30)
    live(begun, at + timedelta(minutes=5))
    assert begun.out == Out.BLOCK and "No address would be left" in begun.trouble
    assert parts(msn) == {NEW: 1, OLD: 9}


def test_an_operator_advances_holds_and_steps_back(begun: Ramp, msn: RelayName, otto: User) -> None:
    at = noon(begun.start_date) + timedelta(hours=1)
    ramps.advance(ramp=begun, **by(otto))
    live(begun, at)
    assert parts(msn) == {NEW: 1, OLD: 3} and newest(begun).person == "otto"
    ramps.step_back(ramp=begun, **by(otto))
    live(begun, at)
    assert parts(msn) == {NEW: 1, OLD: 9}
    ramps.hold(ramp=begun, **by(otto))
    assert begun.step == 0 and newest(begun).change == "hold"
    with pytest.raises(ramps.RampRefused, match="no step to go back to"):
        ramps.step_back(ramp=begun, **by(otto))
    with pytest.raises(ramps.RampRefused, match="Say why"):
        ramps.hold(ramp=begun, user=otto, actor=SYSTEM, reason=" ")


def test_while_it_is_paused_no_date_decides(begun: Ramp, otto: User) -> None:
    ramps.pause(ramp=begun, **by(otto))
    mail(begun.start_date, old=9_000, new=1_000)
    live(begun, noon(begun.start_date + DAY))
    assert begun.decisions.count() == 1
    with pytest.raises(ramps.RampRefused, match="It is not running"):
        ramps.pause(ramp=begun, **by(otto))
    ramps.resume(ramp=begun, **by(otto))
    live(begun, noon(begun.start_date + DAY))
    assert newest(begun).change == "advance"


def test_cancelling_offers_the_weights_from_before(begun: Ramp, msn: RelayName, otto: User) -> None:
    ramps.cancel(ramp=begun, **by(otto))
    assert begun.state == RampState.CANCELLED
    operation = ramps.plan_restoring(ramp=begun, user=otto, actor=SYSTEM)
    assert operation.params["weights"] == {NEW: 0, OLD: 1}
    with pytest.raises(ramps.RampRefused, match="ended already"):
        ramps.cancel(ramp=begun, **by(otto))
    with pytest.raises(ramps.RampRefused, match="changed meanwhile"):
        ramps.advance(ramp=begun, **by(otto))
    actions = set(AuditEvent.objects.filter(object_type="ramp").values_list("action", flat=True))
    assert actions == {"ramp.start", "ramp.decision", "ramp.cancel"}


def test_a_step_back_at_its_cap_puts_no_address_back_whose_smaller_number_is_sent_too(
    msn: RelayName, otto: User
) -> None:
    ramp = ramp_start(msn, otto, steps=(Step(0.1, 500), Step(0.25, 2_000)))
    live(ramp, noon(ramp.start_date))
    ramps.advance(ramp=ramp, **by(otto))
    mail(ramp.start_date, old=4_000, new=2_010)
    live(ramp, noon(ramp.start_date) + timedelta(minutes=10))
    assert ramp.out == Out.CAP
    ramps.step_back(ramp=ramp, **by(otto))
    assert (ramp.step, ramp.out, newest(ramp).share) == (0, Out.CAP, None)
    assert "2,010 were sent on that date already" in newest(ramp).why[-1]
    live(ramp, noon(ramp.start_date) + timedelta(minutes=11))
    assert ramp.out == Out.CAP and parts(msn) == {OLD: 1}
    row = RampDay.objects.get(date=ramp.start_date)
    assert (row.step, row.cap) == (0, 500)
    live(ramp, datetime.combine(ramp.start_date + DAY, time(0, 1), UTC))
    assert ramp.out == Out.NOT and parts(msn) == {NEW: 1, OLD: 9}


def test_a_step_on_at_its_cap_brings_the_address_back_for_the_greater_number(
    msn: RelayName, otto: User
) -> None:
    ramp = capped(msn, otto)
    ramps.advance(ramp=ramp, **by(otto))
    live(ramp, noon(ramp.start_date) + timedelta(minutes=20))
    assert (ramp.step, ramp.out) == (1, Out.NOT) and parts(msn) == {NEW: 1, OLD: 3}


def test_the_weights_from_before_leave_other_ramps_their_shares(
    begun: Ramp, msn: RelayName, otto: User
) -> None:
    """The other began later: the weights from before do not know its address, or know it as out."""
    instance_make(Instance.objects.get(name="msn-a").host, "msn-c", ip=THIRD)
    other = ramp_start(msn, otto, address=THIRD, steps=(Step(0.2, None), Step(0.4, None)))
    live(other, noon(other.start_date))
    assert to_shares(parts(msn))[THIRD] == Fraction(1, 5)
    for known in ({NEW: 0, OLD: 1}, {NEW: 0, THIRD: 0, OLD: 1}):
        begun.before["weights"] = known
        operation = ramps.plan_restoring(ramp=begun, user=otto, actor=SYSTEM)
        assert operation.params["weights"] == {NEW: 0, THIRD: 1, OLD: 4}
    ramps.cancel(ramp=begun, **by(otto))
    operations.confirm(
        operation=operation, plan_hash=operation.plan_hash, user=otto, actor=SYSTEM, reason="a test"
    )
    work()
    assert parts(msn) == {THIRD: 1, OLD: 4}


def test_the_rest_of_a_schedule_is_edited(begun: Ramp, otto: User) -> None:
    ramps.edit(ramp=begun, steps=[Step(0.2, None), Step(0.3, None)], **by(otto))
    assert [step["share"] for step in begun.steps] == [0.1, 0.2, 0.3]
    with pytest.raises(ValidationError, match="less than the day before"):
        ramps.edit(ramp=begun, steps=[Step(0.05, None)], **by(otto))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"address": "192.0.2.99"}, "No instance sends from 192.0.2.99"),
        ({"address": "; rm"}, "is not an IP address"),
        ({"address": OLD}, "0 of 1 that always stay published"),
        ({"steps": ()}, "needs at least one day"),
        ({"time_zone": "../../etc"}, "There is no time zone"),
        ({"largest": 1.0}, "below 100 %"),
        ({"rails": {"max_bounce_share": 7}}, "at most 1"),
        ({"start_date": date(2020, 1, 1)}, "lies in the past"),
        ({"start_date": date.max}, "more than a year ahead"),
    ],
)
def test_what_cannot_be_is_not_started(fields: dict[str, Any], why: str, msn: RelayName, otto: User) -> None:
    with pytest.raises(ValidationError, match=why):
        ramp_start(msn, otto, **fields)
    assert not Ramp.objects.exists()


def test_one_ramp_an_address_and_name(ramp: Ramp, msn: RelayName, otto: User) -> None:
    with pytest.raises(ValidationError, match=f"Ramp {ramp.pk} brings it up already"):
        ramp_start(msn, otto)
    ramps.cancel(ramp=ramp, **by(otto))
    assert ramp_start(msn, otto).pk != ramp.pk


def test_a_viewer_starts_and_steers_nothing(ramp: Ramp, msn: RelayName) -> None:
    vic = user_make("vic", "viewer")
    with pytest.raises(NotAllowed):
        ramp_start(msn, vic)
    for act in (ramps.advance, ramps.hold, ramps.pause, ramps.resume, ramps.cancel):
        with pytest.raises(NotAllowed):
            act(ramp=ramp, **by(vic))
    assert AuditEvent.objects.filter(phase="denied", action__startswith="ramp").count() == 6


def test_one_that_fails_keeps_no_other_from_its_turn(
    ramp: Ramp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(ramp_run, "run", fail)
    ramp_run.run_all(now=timezone.now())
    assert f"Ramp {ramp.pk} could not be run" in caplog.text


def test_the_task_runs_every_live_ramp(ramp: Ramp) -> None:
    known_to(noon(tomorrow()))
    ramp_run.run_all(now=noon(tomorrow()))
    work()
    assert ramp.decisions.count() == 1


def blocked(ramp: Ramp) -> datetime:
    """Have the address blocked within minutes; return when that is seen."""
    at = noon(ramp.start_date) + timedelta(minutes=40)
    outcomes_make(Instance.objects.get(name="msn-b"), at=at, sent=70, bounced=30, blocked=30)
    return at + timedelta(minutes=5)


def test_operators_are_mailed_once_when_an_address_is_taken_out(
    begun: Ramp, otto: User, settings: Settings, mailoutbox: list[EmailMessage]
) -> None:
    settings.EMAIL_URL = "smtp://mail.example.org"
    otto.email = "otto@example.org"
    otto.save()
    at = blocked(begun)
    live(begun, at)
    live(begun, at + timedelta(minutes=1))
    (mail_out,) = mailoutbox
    assert mail_out.to == ["otto@example.org"]
    assert mail_out.subject == f"[Relay Fleet] {NEW} is taken out of {MSN}"
    assert "30 of 100 recipients were refused as blocked within 15 minutes." in mail_out.body


def test_nobody_is_mailed_without_a_mail_server(begun: Ramp, mailoutbox: list[EmailMessage]) -> None:
    live(begun, blocked(begun))
    assert begun.out == Out.BLOCK and not mailoutbox


def test_a_message_that_could_not_be_sent_is_tried_again(
    begun: Ramp, settings: Settings, mailoutbox: list[EmailMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMAIL_URL, settings.ALERTS_TO = "smtp://mail.example.org", ["ops@example.org"]
    at = blocked(begun)

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as away:
        away.setattr(EmailMessage, "send", fail)
        live(begun, at)
    assert not mailoutbox
    live(begun, at + timedelta(minutes=1))
    assert [message.to for message in mailoutbox] == [["ops@example.org"]]
