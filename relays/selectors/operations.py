"""Operations as their pages and commands show them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from relays.domain.audit import canonical, digest
from relays.domain.words import count, span, visible
from relays.models import Operation, OperationStep
from relays.models.operation import ENDED, LIVE, OperationState, StepState
from relays.selectors.abnormal import May
from relays.selectors.figures import Clock, clock, moment
from relays.selectors.flushes import FlushPanel, flush_panel
from relays.selectors.readings import instance_urls
from relays.services.kinds import Kind, PlanRefused, RelayNameKind, kind_of
from relays.services.operations import PLAN_HOLDS, names_must_be_typed

_TONES = {
    OperationState.PLANNED: "idle",
    OperationState.QUEUED: "info",
    OperationState.RUNNING: "info",
    OperationState.DONE: "ok",
    OperationState.FAILED_SAFE: "warn",
    OperationState.ABORTED: "idle",
    OperationState.UNKNOWN: "bad",
}
_STEP_TONES = {
    StepState.BEGUN: "info",
    StepState.DONE: "ok",
    StepState.FAILED: "warn",
    StepState.UNKNOWN: "bad",
}


@dataclass(frozen=True, slots=True)
class OperationRow:
    """A line of the list."""

    id: int
    title: str
    target: str
    state: str
    tone: str
    who: str
    reason: str
    outcome: str
    at: str
    took: str


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as its line and what is under it."""

    number: int
    name: str
    state: str
    tone: str
    begun: Clock | None
    took: str
    command: str
    output: str
    error: str
    req_id: str


@dataclass(frozen=True, slots=True)
class OperationPage:
    """Everything of one operation. tag: changes whenever anything that is shown does, but ages."""

    operation: Operation
    title: str
    # What is changed, and the page of that.
    subject: str
    subject_url: str
    state: str
    tone: str
    tag: str
    is_live: bool
    # Whether its reader may stop and confirm it.
    may_act: bool
    may_be_confirmed: bool
    plan_left: str
    type_name: bool
    counts: list[tuple[str, str]]
    commands: list[str]
    notes: list[str]
    params: list[tuple[str, str]]
    steps: list[StepRow]
    facts: list[tuple[str, str]]
    percent: int | None
    progress: str
    waits_for: str
    # It is in no worker's hands, though it could be.
    unclaimed: bool
    flush: FlushPanel | None


def operation_rows(operations: Iterable[Operation], now: datetime) -> list[OperationRow]:
    """Return operations as lines, in the order they come in."""
    return [_row(operation, now) for operation in operations]


def search(*, state: str = "", kind: str = "", instance: str = "", who: str = "") -> QuerySet[Operation]:
    """Return the operations that a filter asks for, newest first; an empty filter asks for nothing.

    state: a state's name, `live` or `ended`. Plans that nobody confirmed are left out unless asked for.
    """
    chosen: Q = {"live": Q(state__in=LIVE), "ended": Q(state__in=ENDED)}.get(state) or (
        Q(state=state) if state in OperationState.values else ~Q(state=OperationState.PLANNED)
    )
    if kind:
        chosen &= Q(kind=kind)
    if instance:
        chosen &= Q(instance_name=instance) | Q(host_name=instance) | Q(relay_name=instance)
    if who:
        chosen &= Q(requested_by_name=who)
    return Operation.objects.filter(chosen).order_by("-pk")


def operation_page(operation: Operation, now: datetime, may: May) -> OperationPage:
    """Return one operation as its page shows it to whoever may do this."""
    kind = _kind(operation)
    steps = list(operation.steps.all())
    left = operation.planned_at + PLAN_HOLDS - now
    planned = operation.state == OperationState.PLANNED
    progress = operation.progress or {}
    total = progress.get("total") or 0
    flush = flush_panel(operation, now) if operation.kind == "flush" else None
    waits_for = _waits_for(operation, now)
    return OperationPage(
        operation=operation,
        title=title_of(operation),
        subject=subject_of(operation),
        subject_url=url_of_subject(operation),
        state=operation.get_state_display(),
        tone=_TONES[OperationState(operation.state)],
        tag=_tag(operation, steps, now, bool(waits_for), *_of_flush(flush)),
        is_live=operation.is_live,
        may_act=kind is not None and may(kind.permission),
        may_be_confirmed=planned and left > timedelta(0),
        plan_left=span(left.total_seconds()),
        type_name=names_must_be_typed(operation),
        counts=[(name, count(number)) for name, number in operation.plan.get("counts", {}).items()],
        commands=[_command(words) for words in operation.plan.get("commands", [])],
        notes=list(operation.plan.get("notes", [])),
        params=_params(operation),
        steps=[_step(step) for step in steps],
        facts=_facts(operation, now),
        percent=min(100, 100 * progress.get("done", 0) // total) if total else None,
        progress=str(progress.get("text", "")),
        waits_for=waits_for,
        unclaimed=_is_unclaimed(operation, now),
        flush=flush,
    )


def _params(operation: Operation) -> list[tuple[str, str]]:
    """Return what was asked for, where the plan's own words do not say it all."""
    if operation.kind == "flush":
        return []
    return [(name, visible(_param(value))) for name, value in operation.params.items() if value is not None]


def _param(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_param(each)}" for key, each in value.items())
    return str(value)


def _row(operation: Operation, now: datetime) -> OperationRow:
    return OperationRow(
        id=operation.pk,
        title=title_of(operation),
        target=_target(operation),
        state=operation.get_state_display(),
        tone=_TONES[OperationState(operation.state)],
        who=operation.requested_by_name,
        reason=operation.reason,
        outcome=operation.outcome,
        at=moment(operation.confirmed_at or operation.planned_at, now),
        took=_took(operation.started_at, operation.ended_at),
    )


def title_of(operation: Operation) -> str:
    """Return what an operation does, as its button calls it."""
    kind = _kind(operation)
    return kind.title if kind else operation.kind


def subject_of(operation: Operation) -> str:
    """Return the name of what an operation changes."""
    return visible(operation.relay_name or operation.instance_name or operation.host_name)


def url_of_subject(operation: Operation) -> str:
    """Return the address of the page of what an operation changes; "" where there is none any more."""
    if operation.instance_id:
        return instance_urls().format(operation.instance_id)
    kind = _kind(operation)
    return kind.page_of(operation.relay_name) if isinstance(kind, RelayNameKind) else ""


def _kind(operation: Operation) -> Kind | None:
    """Return its kind; None for one of an app that is not installed any more."""
    try:
        return kind_of(operation.kind)
    except PlanRefused:
        return None


def _target(operation: Operation) -> str:
    if operation.relay_name:
        return operation.relay_name
    return " on ".join(name for name in (operation.instance_name, operation.host_name) if name)


def _facts(operation: Operation, now: datetime) -> list[tuple[str, str]]:
    facts = [
        ("From" if operation.kind == "flush" else "Target", _target(operation)),
        ("Asked for by", operation.requested_by_name),
        ("Reason", operation.reason),
        ("Ticket", operation.ticket),
        ("Planned", _told(operation.planned_at, now)),
        ("Confirmed", _told(operation.confirmed_at, now)),
        ("Begun", _told(operation.started_at, now)),
        ("Ended", _told(operation.ended_at, now)),
        ("Took", _took(operation.started_at, operation.ended_at)),
        ("Fence", str(operation.fence) if operation.fence else ""),
        ("Attempts", str(operation.attempt) if operation.attempt > 1 else ""),
        ("Plan", operation.plan_hash[:12]),
    ]
    return [(name, value) for name, value in facts if value]


def _told(at: datetime | None, now: datetime) -> str:
    shown = clock(at, now)
    return f"{shown.text} ({span((now - at).total_seconds())} ago)" if shown and at else ""


def _took(begun: datetime | None, ended: datetime | None) -> str:
    if begun is None or ended is None:
        return ""
    seconds = (ended - begun).total_seconds()
    return f"{seconds:.1f} s" if seconds < 10 else span(seconds)


def _step(step: OperationStep) -> StepRow:
    answer: dict[str, Any] = step.response
    return StepRow(
        number=step.number,
        name=step.name,
        state=step.get_state_display(),
        tone=_STEP_TONES[StepState(step.state)],
        begun=clock(step.begun_at, step.begun_at),
        took=_took(step.begun_at, step.ended_at),
        command=_command(answer.get("command") or []),
        output=visible(str(answer.get("output", ""))),
        error=step.error,
        req_id=str(step.req_id),
    )


def _command(words: list[str]) -> str:
    return visible(" ".join(words))


def _waits_for(operation: Operation, now: datetime) -> str:
    """Say what a live operation waits for by itself; "" where it does not."""
    if not operation.is_live:
        return ""
    if operation.abort_requested_by and operation.state == OperationState.RUNNING:
        return f"{operation.abort_requested_by} asked for it to stop: it does so after the step under way."
    if operation.due_at is not None and operation.due_at > now:
        return f"It goes on in {span((operation.due_at - now).total_seconds())}."
    return ""


def _is_unclaimed(operation: Operation, now: datetime) -> bool:
    waits = operation.due_at is not None and operation.due_at > now
    held = operation.lease_until is not None and operation.lease_until > now
    return operation.is_live and not waits and not held


def _of_flush(flush: FlushPanel | None) -> tuple[bool | int | str, ...]:
    """Return what of a flush is shown and stands neither in its operation nor in its steps."""
    row = flush.flush if flush else None
    return (flush.overdue, row.state, row.rate, row.paused_by) if flush and row else ()


def _tag(operation: Operation, steps: list[OperationStep], now: datetime, *besides: bool | int | str) -> str:
    """Return what changes with all that is shown. besides: what else is shown, or turns by time alone."""
    shown = [
        operation.state,
        operation.attempt,
        str(operation.due_at),
        operation.abort_requested_by,
        operation.progress,
        besides,
        # What is away, and so what it waits for, is no part of the operation.
        int(now.timestamp()) // 10 if _is_unclaimed(operation, now) else None,
        [step.state for step in steps],
    ]
    return digest(canonical(shown))[:12]
