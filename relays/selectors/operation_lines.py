"""Operations as lines of "abnormal now": what changes a relay at the moment, and what ended unknown."""

from datetime import datetime, timedelta

from django.db.models import Q
from django.urls import reverse

from relays.domain.words import plural, visible
from relays.models import Operation
from relays.models.operation import LIVE, OperationState
from relays.selectors.abnormal import Abnormal
from relays.selectors.figures import clock, moment
from relays.selectors.operations import subject_of, title_of
from relays.services.job import LEASE

# Whoever claims an operation holds it for 80 s and is followed within 20 s: what is in nobody's hands longer
# waits for a worker that is not there.
STUCK_AFTER = timedelta(seconds=120)
# An operation whose end is not known asks for somebody's look so long.
UNKNOWN_SHOWN_FOR = timedelta(days=1)


def operation_lines(now: datetime) -> list[Abnormal]:
    """Return a line for each operation that runs, is stuck, or ended within a day as unknown; worst first."""
    unknown = Q(state=OperationState.UNKNOWN, ended_at__gt=now - UNKNOWN_SHOWN_FOR)
    found = Operation.objects.filter(Q(state__in=LIVE) | unknown).order_by("pk")
    lines = [_line(operation, now) for operation in found]
    return sorted(lines, key=lambda line: line.tone == "info")


def _line(operation: Operation, now: datetime) -> Abnormal:
    instance = reverse("relays:instance", args=[operation.instance_id]) if operation.instance_id else ""
    page = reverse("relays:operation", args=[operation.pk])
    state, tone = _state(operation, now)
    seen = _last_seen(operation)
    return Abnormal(
        id=f"operation-{operation.pk}",
        subject=subject_of(operation) or f"operation {operation.pk}",
        where=visible(operation.host_name),
        url=instance or page,
        state=state,
        tone=tone,
        since=clock(operation.started_at or operation.confirmed_at, now),
        figures=_figures(operation),
        reason="",
        quote=visible(operation.outcome),
        moment=moment(seen, now, stale=tone != "info"),
        action="Watch" if operation.is_live else "What to check",
        action_url=page,
    )


def _state(operation: Operation, now: datetime) -> tuple[str, str]:
    if not operation.is_live:
        return "unknown", "bad"
    # Waiting for a time is no standstill.
    since = max(filter(None, [operation.due_at, operation.lease_until, operation.confirmed_at]), default=now)
    if now - since > STUCK_AFTER:
        return "stuck", "bad"
    return operation.state, "info"


def _last_seen(operation: Operation) -> datetime | None:
    """Return when a worker last touched it; when it was asked for, where none did."""
    if operation.lease_until is not None:
        return operation.lease_until - LEASE
    return operation.ended_at or operation.started_at or operation.confirmed_at


def _figures(operation: Operation) -> str:
    progress = operation.progress or {}
    told = str(progress.get("text", ""))
    if not told and progress.get("total"):
        told = f"{progress.get('done', 0):,} of {plural(progress['total'], 'message')}"
    what = f"{title_of(operation)}, by {visible(operation.requested_by_name)}"
    return f"{what}: {visible(told)}" if told else what
