"""Traces for pages: asked by a person, run by a worker, their lines kept for a day."""

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from relays.domain.trace import FoundLine
from relays.domain.trace_question import OF_PEOPLE, Question
from relays.models import Trace, TraceLine
from relays.models.trace import TraceState
from relays.services import audit, dispatch
from relays.services.audit import Actor
from relays.services.tracing import Tracing, asked_hosts, places

TASK = "relays.tasks.trace"
QUEUE = "collect"
SEE_ADDRESSES = "relays.see_addresses"
KEPT = timedelta(days=1)
_LIVE = (TraceState.WAITING, TraceState.READING)
# Renewed each second: a worker that died is found out by this.
_LEASE = timedelta(seconds=60)
_SEND_AGAIN = timedelta(seconds=10)


class NotAllowed(Exception):
    """The user may not ask this."""


def trace_ask(*, question: Question, user: User, actor: Actor) -> Trace:
    """Have a question answered by a worker. That it was asked stands in the audit trail.

    Raises NotAllowed where it is about a person and the user may see no addresses.
    """
    if question.kind in OF_PEOPLE and not user.has_perm(SEE_ADDRESSES):
        raise NotAllowed("Only who may see addresses may trace one person's mail.")
    now = timezone.now()
    forget_old(now=now)
    with transaction.atomic():
        trace = Trace.objects.create(
            asked_by=user,
            kind=question.kind,
            text=question.text,
            since=question.since,
            until=question.until,
            asked_at=now,
            sent_at=now,
        )
        record(question=question, actor=actor)
        _send(trace)
    return trace


def record(*, question: Question, actor: Actor) -> None:
    """Write down who traced what; whose mail it was can be deleted from the trail."""
    params = {"text": question.text, "since": question.since, "until": question.until}
    audit.record(
        actor=actor, action="trace", phase="noted", details={"looked_for": question.kind}, params=params
    )


def trace_send_again(*, trace: Trace) -> None:
    """Send a trace that nobody reads to the workers again: its message was lost, or its worker died."""
    now = timezone.now()
    lost = _unclaimed(now) & Q(pk=trace.pk, state__in=_LIVE, sent_at__lt=now - _SEND_AGAIN)
    if trace.is_live and Trace.objects.filter(lost).update(sent_at=now):
        _send(trace)


def trace_stop(*, trace: Trace) -> None:
    """End a trace; what was found stays."""
    _end(Trace.objects.filter(pk=trace.pk, state__in=_LIVE), TraceState.STOPPED)


def trace_run(*, trace_id: int) -> bool:
    """Answer a trace that nobody is answering; return whether it was answered to its end now."""
    trace = _claim(trace_id)
    if trace is None:
        return False
    asked = Question(trace.kind, trace.text, trace.since, trace.until)
    tracing = Tracing(asked, asked_hosts(), places())
    mine = Trace.objects.filter(pk=trace.pk, attempt=trace.attempt, state=TraceState.READING)
    told: dict[str, Any] = {}
    with closing(tracing.run()) as news:
        for lines in news:
            is_new, told = _told(tracing) != told, _told(tracing)
            if not _store(mine, trace, lines, told if is_new else {}):
                return False
    return bool(_end(mine, TraceState.DONE, **_told(tracing)))


def forget_old(*, now: datetime) -> int:
    """Delete traces that are a day old: they hold addresses."""
    return Trace.objects.filter(asked_at__lt=now - KEPT).delete()[0]


def _claim(trace_id: int) -> Trace | None:
    """Take a trace by compare-and-set; one that was begun before begins anew."""
    now = timezone.now()
    trace = Trace.objects.filter(_unclaimed(now), pk=trace_id, state__in=_LIVE).first()
    if trace is None:
        return None
    free = Trace.objects.filter(pk=trace.pk, attempt=trace.attempt, state__in=_LIVE)
    claimed = {"state": TraceState.READING, "begun_at": now, "lease_until": now + _LEASE}
    with transaction.atomic():
        if free.update(attempt=trace.attempt + 1, version=F("version") + 1, **claimed) != 1:
            return None
        trace.lines.all().delete()
    trace.attempt += 1
    return trace


def _store(mine: Any, trace: Trace, lines: Sequence[FoundLine], told: dict[str, Any]) -> bool:
    """Keep what was found, and how far it is; return whether the trace is still this worker's."""
    news = {"version": F("version") + 1, **told} if lines or told else {}
    with transaction.atomic():
        if mine.update(lease_until=timezone.now() + _LEASE, **news) != 1:
            return False
        TraceLine.objects.bulk_create(TraceLine(trace=trace, **line._asdict()) for line in lines)
    return True


def _told(tracing: Tracing) -> dict[str, Any]:
    return {"hosts": [host.as_json() for host in tracing.hosts], "cut": tracing.cut}


def _end(traces: Any, state: TraceState, **fields: Any) -> int:
    ended: int = traces.update(
        state=state, ended_at=timezone.now(), lease_until=None, version=F("version") + 1, **fields
    )
    return ended


def _unclaimed(now: datetime) -> Q:
    return Q(lease_until=None) | Q(lease_until__lte=now)


def _send(trace: Trace) -> None:
    dispatch.send_on_commit(TASK, ident=trace.pk, queue=QUEUE, expires_s=60)
