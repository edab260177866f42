"""Ramps for pages and programs: where each stands, why it is held, what comes, and how old each figure is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Prefetch, QuerySet
from django.urls import reverse

from dns.domain.ramp_days import Decided, next_due
from dns.domain.schedule import Step
from dns.domain.weights import CannotRender, percent
from dns.models import RAMPS_LIVE, DecidedBy, Out, Ramp, RampChange, RampDay, RampDecision, RampState
from dns.selectors.ramp_calendar import Calendar, calendar, weights_words
from dns.selectors.ramp_pace import Pace, pace_of
from dns.selectors.ramp_rails import Rail, is_old, rail_rows
from dns.services.ramp_days import (
    days_of,
    spacing,
    steps_of,
)
from dns.services.ramp_decisions import weights_before
from dns.services.ramp_run import RAMPS_TO_RUN
from relays.domain.words import plural
from relays.models import Address
from relays.selectors.abnormal import Abnormal
from relays.selectors.beside import Fact
from relays.selectors.figures import Clock, clock, moment

# Decisions that a ramp's page shows.
DECISIONS_SHOWN = 60
# After these a ramp is not where its schedule would have it.
_HOLDING = (RampChange.HOLD, RampChange.STEP_BACK, RampChange.TAKE_OUT, RampChange.CAP)
# Of these one is not a guard's, or the ramp needs a look anyway.
_NEWEST = 20
# The task looks at each ramp every minute.
_LATE = timedelta(minutes=5)
# Its page shows no more dates than this.
DAYS_SHOWN = 400


def position(ramp: Ramp) -> str:
    """Return where a ramp stands, in words: "warming, day 3 of 14"."""
    days = len(ramp.steps)
    match ramp.state:
        case RampState.DONE:
            return f"warm after {plural(days, 'day')}"
        case RampState.CANCELLED:
            return "cancelled"
    if ramp.out == Out.UNSTARTED:
        return f"begins on {ramp.start_date}"
    if ramp.step is None:
        return "out: blocked, paused" if ramp.state == RampState.PAUSED else "out: blocked"
    paused = "paused" if ramp.state == RampState.PAUSED else "warming"
    return f"{paused}, day {ramp.step + 1} of {days}"


@dataclass(frozen=True, slots=True)
class RampRow:
    """A line of the list. tone: of its state; why: what holds it, "" for nothing."""

    ramp: Ramp
    position: str
    tone: str
    why: str
    share: str
    cap: str
    sent: str
    # How old the count of what was sent is; "" where none is known.
    counted: str
    next: Clock | None

    def as_json(self) -> dict[str, Any]:
        """Return the row for programs."""
        ramp = self.ramp
        return {
            "ramp": ramp.pk,
            "relay_name": ramp.relay_name.name,
            "address": ramp.address,
            "state": ramp.state,
            "out": ramp.out,
            "step": None if ramp.step is None else ramp.step + 1,
            "steps": len(ramp.steps),
            "position": self.position,
            "held": self.why,
            "next_decision": self.next.iso if self.next else None,
        }


def ramp_rows(ramps: QuerySet[Ramp], now: datetime) -> list[RampRow]:
    """Return lines, those first that need a look."""
    newest = Prefetch("decisions", RampDecision.objects.order_by("-id")[:_NEWEST], to_attr="newest")
    day = Prefetch("days", RampDay.objects.order_by("-date")[:1], to_attr="today")
    found = ramps.select_related("relay_name").prefetch_related(newest, day)
    rows = [_row(ramp, now) for ramp in found]
    ranks = {"bad": 0, "warn": 1, "info": 2, "ok": 3, "idle": 4}
    return sorted(rows, key=lambda row: ranks[row.tone])


def _row(ramp: Any, now: datetime) -> RampRow:
    """Return the line of a ramp with what ramp_rows() read beside it."""
    decisions: list[RampDecision] = ramp.newest
    day: RampDay | None = next(iter(ramp.today), None)
    why = _held_by(ramp, decisions)
    return RampRow(
        ramp=ramp,
        position=position(ramp),
        tone=_tone(ramp, why),
        why=why,
        share=percent(day.share) if day and day.share is not None else "",
        cap=f"{day.cap:,}" if day and day.cap is not None else "",
        sent=f"{day.sent:,}" if day else "",
        counted=moment(day.counted_to, now, stale=is_old(day.counted_to, now)) if day else "",
        next=_next(ramp, decisions, now),
    )


def _next(ramp: Ramp, decisions: list[RampDecision], now: datetime) -> Clock | None:
    if ramp.state != RampState.RUNNING:
        return None
    made = (row for row in decisions if row.decided_by != DecidedBy.GUARD)
    last = next((Decided(row.local_date, row.at) for row in made), None)
    return clock(next_due(days_of(ramp), now, start=ramp.start_date, last=last, spacing=spacing()), now)


def _held_by(ramp: Ramp, decisions: list[RampDecision]) -> str:
    """Say what keeps a ramp where it is, or its last records from being written; "" where nothing does."""
    if ramp.state == RampState.CANCELLED:
        return ""
    if ramp.trouble:
        return ramp.trouble
    newest = next(iter(decisions), None)
    if ramp.state == RampState.DONE:
        waits = newest is not None and newest.share is not None and not newest.is_written
        return "Its last records are not written yet." if waits else ""
    if newest is not None and newest.change in _HOLDING:
        return f"{newest.get_change_display().capitalize()}. {' '.join(newest.why)}"
    return ""


def _tone(ramp: Ramp, why: str) -> str:
    if ramp.state == RampState.CANCELLED:
        return "idle"
    if ramp.trouble or ramp.out == Out.BLOCK:
        return "bad"
    if ramp.state == RampState.DONE:
        return "warn" if why else "ok"
    if ramp.state == RampState.PAUSED or (why and ramp.out != Out.CAP):
        return "warn"
    return "info"


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision for its page. figures: of the date that it rests on."""

    decision: RampDecision
    at: Clock | None
    by: str
    step: str
    figures: str

    def as_json(self) -> dict[str, Any]:
        """Return the row for programs."""
        row = self.decision
        return {
            "date": row.local_date.isoformat(),
            "at": row.at.isoformat(),
            "by": row.person or row.decided_by,
            "change": row.change,
            "step": None if row.step is None else row.step + 1,
            "why": row.why,
            "evidence": row.evidence,
            "operation": row.operation_id,
            "written": row.is_written if row.share is not None else None,
        }


def decision_rows(ramp: Ramp, now: datetime, limit: int = DECISIONS_SHOWN) -> list[DecisionRow]:
    """Return a ramp's newest decisions, newest first."""
    return [_decision(row, now) for row in ramp.decisions.select_related("operation")[:limit]]


def _decision(row: RampDecision, now: datetime) -> DecisionRow:
    return DecisionRow(
        row,
        clock(row.at, now),
        row.person if row.decided_by == DecidedBy.PERSON else row.get_decided_by_display(),
        "out" if row.step is None else f"day {row.step + 1}",
        _figures(row.evidence),
    )


def _figures(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return ""
    return (
        f"{seen['day']}: {seen['sent']:,} sent of {seen['meant']:,} meant, {seen['deferred']:,} deferred, "
        f"{seen['bounced']:,} bounced, {seen['throttled']:,} throttled, {seen['blocked']:,} blocked; "
        f"{100 * seen['coverage']:.0f} % of its log read"
    )


class DayRow(NamedTuple):
    """A date, planned and actual."""

    day: RampDay
    share: str
    actual_share: str
    overshoot: str


def day_rows(ramp: Ramp) -> list[DayRow]:
    """Return a ramp's dates, newest first."""
    return [
        DayRow(
            day,
            percent(day.share) if day.share is not None else "",
            percent(day.sent / day.total) if day.total else "",
            f"{day.sent - day.cap:,}" if day.cap is not None and day.sent > day.cap else "",
        )
        for day in ramp.days.order_by("-date")[:DAYS_SHOWN]
    ]


def today_of(ramp: Ramp, now: datetime) -> RampDay | None:
    """Return the figures of the local date that it is, None before the first look at it."""
    return ramp.days.filter(date=days_of(ramp).date_of(now)).first()


@dataclass(frozen=True, slots=True)
class RampPage:
    """Everything that a ramp's page shows. day: today's figures, None before the first look.

    before: the weights when it began; restored: those that cancelling may give back.
    """

    row: RampRow
    day: RampDay | None
    left: str
    pace: Pace | None
    rails: list[Rail]
    decisions: list[DecisionRow]
    days: list[DayRow]
    to_come: Calendar | None
    looked: str
    is_late: bool
    before: str
    restored: str

    @property
    def ramp(self) -> Ramp:
        """The ramp."""
        return self.row.ramp


def ramp_page(ramp: Ramp, now: datetime) -> RampPage:
    """Return a ramp with all about it."""
    (row,) = ramp_rows(Ramp.objects.filter(pk=ramp.pk), now)
    day = today_of(ramp, now)
    late = ramp.is_live and now - (ramp.looked_at or ramp.created_at) > _LATE
    return RampPage(
        row=row,
        day=day,
        left=f"{max(0, day.cap - day.sent):,}" if day and day.cap is not None else "",
        pace=pace_of(ramp, day, now),
        rails=rail_rows(ramp, day, now),
        decisions=decision_rows(ramp, now),
        days=day_rows(ramp),
        to_come=calendar(ramp, now) if ramp.is_live else None,
        looked=moment(ramp.looked_at, now, stale=late),
        is_late=late,
        before=weights_words(ramp.before["weights"]),
        restored=_restored(ramp) if ramp.is_live else "",
    )


def _restored(ramp: Ramp) -> str:
    """Say which weights cancelling may give back, or why none."""
    try:
        return weights_words(weights_before(ramp))
    except CannotRender as error:
        return str(error)


class Dated(NamedTuple):
    """A date of a ramp. Shares in percent; None where there is none, or the date has not come."""

    date: str
    planned_share: float | None
    actual_share: float | None
    planned: int | None
    cap: int | None
    sent: int | None


def dated(ramp: Ramp, now: datetime) -> list[Dated]:
    """Return a ramp's dates for its chart: those that were, and those that come if nothing holds it."""
    dates = {day.date: _dated(day) for day in ramp.days.order_by("date")}
    for day in calendar(ramp, now).days if ramp.is_live else []:
        # Today has figures already, and may have its step yet to come.
        seen = dates.get(day.date) or Dated(day.date.isoformat(), None, None, None, None, None)
        dates[day.date] = seen._replace(
            planned_share=day.share_number, planned=day.expected_number, cap=day.cap_number
        )
    return list(dates.values())


def _dated(day: RampDay) -> Dated:
    return Dated(
        day.date.isoformat(),
        None if day.share is None else round(100 * day.share, 2),
        round(100 * day.sent / day.total, 2) if day.total else None,
        day.expected,
        day.cap,
        day.sent,
    )


def rest_text(ramp: Ramp) -> str:
    """Return the days that have not come, as the table that they are edited in."""
    first = 0 if ramp.step is None else ramp.step + 1
    return "\n".join(_line_of(step) for step in steps_of(ramp)[first:])


def _line_of(step: Step) -> str:
    share = "" if step.share is None else f"{100 * step.share:.6f}".rstrip("0").rstrip(".") + " %"
    return f"{share} {step.cap or ''}".strip()


def known_addresses() -> list[tuple[str, str]]:
    """Return addresses that instances send from, with whose they are, for a form's suggestions."""
    rows = Address.objects.filter(instance__removed_at=None).select_related("instance__host")
    return [(row.ip, f"{row.instance.name} on {row.instance.host.name}") for row in rows.order_by("ip")[:500]]


def facts(_now: datetime) -> dict[int, Fact]:
    """Return for each instance what the ramps of its addresses say, "warming, day 3 of 14", by its id."""
    found = list(Ramp.objects.filter(state__in=RAMPS_LIVE).order_by("pk"))
    if not found:
        return {}
    owners = Address.objects.filter(ip__in=[ramp.address for ramp in found], instance__removed_at=None)
    by_ip = dict(owners.values_list("ip", "instance_id"))
    return {
        by_ip[ramp.address]: Fact(position(ramp), reverse("dns:ramp", args=[ramp.pk]))
        for ramp in found
        if ramp.address in by_ip
    }


def address_page(address: str) -> str:
    """Return where an address's passport is."""
    return reverse("dns:address", args=[address])


def abnormal(now: datetime) -> list[Abnormal]:
    """Return a line for each ramp that is held, paused, out for blocks, or cannot write its records."""
    rows = ramp_rows(Ramp.objects.filter(RAMPS_TO_RUN), now)
    return [_abnormal(row, now) for row in rows if row.tone in {"bad", "warn"}]


def _abnormal(row: RampRow, now: datetime) -> Abnormal:
    ramp = row.ramp
    page = reverse("dns:ramp", args=[ramp.pk])
    return Abnormal(
        id=f"ramp-{ramp.pk}",
        subject=ramp.address,
        where="ramp",
        url=page,
        state=_state(ramp),
        tone=row.tone,
        since=None,
        figures=f"{row.position} under {ramp.relay_name}. {row.why}",
        reason="",
        quote="",
        moment=moment(ramp.looked_at, now, stale=is_old(ramp.looked_at, now)),
        action="Ramp",
        action_url=page,
    )


def _state(ramp: Ramp) -> str:
    if ramp.out == Out.BLOCK:
        return "blocked"
    if ramp.state == RampState.DONE:
        return "not written"
    return "ramp paused" if ramp.state == RampState.PAUSED else "ramp held"


def as_json(ramp: Ramp, now: datetime) -> dict[str, Any]:
    """Return a ramp with its decisions and dates, for programs."""
    (row,) = ramp_rows(Ramp.objects.filter(pk=ramp.pk), now)
    return row.as_json() | {
        "schedule": ramp.schedule_name,
        "source": ramp.source,
        "time_zone": ramp.time_zone,
        "decisions": [one.as_json() for one in decision_rows(ramp, now)],
        "days": [_day_json(one.day) for one in day_rows(ramp)],
    }


def _day_json(day: RampDay) -> dict[str, Any]:
    names = ("step", "share", "cap", "expected", "sent", "total", "meant", "deferred", "bounced", "blocked")
    return {"date": day.date.isoformat()} | {name: getattr(day, name) for name in names}
