"""Running ramps: what is due is decided once, whoever asks how often, and then written."""

import logging
from datetime import date, datetime, timedelta

from django.db.models import Q

from dns.domain.ramp import Before, Decision, Evidence, Verdict, decide, is_bad
from dns.domain.ramp_days import due, missed
from dns.models import RAMPS_LIVE, DecidedBy, Out, Ramp, RampChange, RampDecision, RampState
from dns.services.ramp_alerts import tell
from dns.services.ramp_days import (
    bad_in_a_row,
    binding,
    days_of,
    evidence,
    idle_in_a_row,
    last_decided,
    rails_of,
    refresh_day,
    spacing,
    steps_of,
    volume,
)
from dns.services.ramp_decisions import Choice, RampChanged, enter, unwritten, write
from dns.services.ramp_guards import by_hand, guard, stays_out

logger = logging.getLogger(__name__)

_A_DAY = timedelta(days=1)
_WRITTEN_WITHIN = timedelta(minutes=10)
# As far back as decisions in a row are looked for.
_LOOK_BACK = 30


# One that has finished while its address was out for the day has yet to bring it back.
RAMPS_TO_RUN = Q(state__in=RAMPS_LIVE) | Q(
    state=RampState.DONE,
    pk__in=RampDecision.objects.filter(
        change=RampChange.FINISH, share__isnull=False, is_written=False
    ).values("ramp"),
)


def run_all(*, now: datetime) -> None:
    """Run every ramp that goes on; one that fails keeps no other from its turn."""
    for pk in Ramp.objects.filter(RAMPS_TO_RUN).values_list("pk", flat=True):
        try:
            run(ramp_id=pk, now=now)
        except Exception:
            logger.exception("Ramp %s could not be run", pk)


def run(*, ramp_id: int, now: datetime) -> None:
    """Look at a ramp: note what was written, guard the day, decide what is due, have it written."""
    ramp = Ramp.objects.select_related("relay_name__zone").filter(RAMPS_TO_RUN, pk=ramp_id).first()
    if ramp is None:
        return
    write(ramp=ramp, now=now)
    if not ramp.is_live:
        Ramp.objects.filter(pk=ramp.pk).update(looked_at=now)
        return
    try:
        today = refresh_day(ramp, days_of(ramp).date_of(now), now)
        guard(ramp, today, now)
        _decide(ramp, now)
    except RampChanged:
        # Another worker, or a person, was faster: the next run sees what they made of it.
        return
    write(ramp=ramp, now=now)
    tell(ramp=ramp, now=now)
    Ramp.objects.filter(pk=ramp.pk).update(looked_at=now)


def _decide(ramp: Ramp, now: datetime) -> None:
    """Decide for the local date, where that is due."""
    last = last_decided(ramp)
    today = due(days_of(ramp), now, start=ramp.start_date, last=last, spacing=spacing())
    if today is None or ramp.state != RampState.RUNNING or _is_being_written(ramp, now):
        return
    if last is None or ramp.out == Out.UNSTARTED:
        verdict, seen = Verdict(Decision.START, 0, ("Its first date.",)), None
    else:
        seen = evidence(ramp, refresh_day(ramp, today - _A_DAY, now), now)
        verdict = _verdict(ramp, seen, missed(last.date, today))
    enter(ramp=ramp, choice=_choice(ramp, verdict, seen, now), day=today, now=now, by=DecidedBy.RULE)
    refresh_day(ramp, _date(ramp, now), now)


def _is_being_written(ramp: Ramp, now: datetime) -> bool:
    """Whether a change is so fresh that its records are waited for: a guard's, a moment ago, is no doubt."""
    newest = ramp.decisions.filter(share__isnull=False).first()
    patience = min(_WRITTEN_WITHIN, spacing() / 3)
    return newest is not None and not newest.is_written and abs(now - newest.at) < patience


def _verdict(ramp: Ramp, seen: Evidence | None, dates_missed: int) -> Verdict:
    if doubt := unwritten(ramp) or _drift(ramp):
        return Verdict(Decision.HOLD, ramp.step, (doubt,))
    made = list(ramp.decisions.exclude(decided_by=DecidedBy.GUARD)[:_LOOK_BACK])
    before = Before(
        ramp.step,
        failed=bad_in_a_row(made),
        idle=idle_in_a_row(made),
        missed=dates_missed,
        taken_out=_taken_out_on(ramp),
    )
    return decide(before, seen, steps=steps_of(ramp), rails=rails_of(ramp))


def _taken_out_on(ramp: Ramp) -> date | None:
    guards = ramp.decisions.filter(decided_by=DecidedBy.GUARD, change=RampChange.TAKE_OUT)
    return guards.values_list("local_date", flat=True).first()


def _drift(ramp: Ramp) -> str:
    wrong = ramp.relay_name.drift
    if not wrong:
        return ""
    return f"Not every name server serves {ramp.relay_name} as published: {', '.join(sorted(wrong))}."


def _choice(ramp: Ramp, verdict: Verdict, seen: Evidence | None, now: datetime) -> Choice:
    """Return a verdict with what follows from it for the ramp and for the records."""
    share: float | None = None
    fields: dict[str, object] = {}
    match verdict.decision:
        case Decision.START | Decision.ADVANCE | Decision.STEP_BACK:
            bound = binding(ramp, verdict.step or 0, volume(ramp.relay_name, now))
            if out := stays_out(ramp, bound, now):
                verdict = Verdict(verdict.decision, verdict.step, (*verdict.why, out))
            else:
                share, fields = bound.share, {"out": Out.NOT}
        case Decision.TAKE_OUT:
            share, fields = 0.0, {"out": Out.BLOCK}
        case Decision.FINISH:
            fields = {"state": RampState.DONE, "ended_at": now, "out": Out.NOT}
            # What somebody did by hand stays.
            if ramp.out == Out.CAP and by_hand(ramp) is None:
                share = binding(ramp, verdict.step or 0, volume(ramp.relay_name, now)).share
        case Decision.HOLD:
            pass
    return Choice(
        RampChange(verdict.decision),
        verdict.step,
        verdict.why,
        share,
        seen,
        is_bad=is_bad(verdict, seen, rails_of(ramp)),
        ramp=fields,
    )


def _date(ramp: Ramp, now: datetime) -> date:
    return days_of(ramp).date_of(now)
