"""Events of the audit trail as its page and its export show them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from relays.domain.words import visible
from relays.models import AuditEvent
from relays.selectors.figures import Clock, clock

COLUMNS = (
    "seq",
    "at",
    "actor_kind",
    "actor_name",
    "action",
    "phase",
    "object_type",
    "object_name",
    "host",
    "instance",
    "operation",
    "reason",
    "details",
    "hash",
)
_TONES = {"denied": "bad", "failed": "warn", "unknown": "bad", "succeeded": "ok", "begun": "info"}


@dataclass(frozen=True, slots=True)
class EventRow:
    """A line of the page; details: (name, value) of what has no column."""

    event: AuditEvent
    at: Clock | None
    tone: str
    details: list[tuple[str, str]]


def search(  # noqa: PLR0913 - the fields of a filter
    *,
    who: str = "",
    what: str = "",
    instance: str = "",
    phase: str = "",
    operation: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[AuditEvent]:
    """Return the events that a filter asks for, newest first; what is empty asks for nothing.

    what: an action or the beginning of one, up to a dot; instance: an instance's or a host's name.
    """
    chosen = Q()
    if who:
        chosen &= Q(actor_name=who)
    if what:
        chosen &= Q(action=what) | Q(action__startswith=f"{what.rstrip('.')}.")
    if instance:
        chosen &= Q(instance=instance) | Q(host=instance)
    if phase:
        chosen &= Q(phase=phase)
    if operation is not None:
        chosen &= Q(operation_id=operation)
    if since is not None:
        chosen &= Q(at__gte=since)
    if until is not None:
        chosen &= Q(at__lt=until)
    return AuditEvent.objects.filter(chosen).order_by("-seq")


def event_rows(events: Iterable[AuditEvent], now: datetime) -> list[EventRow]:
    """Return events as lines, in the order they come in."""
    return [
        EventRow(event, clock(event.at, now), _TONES.get(event.phase, "idle"), _details(event))
        for event in events
    ]


def exported(events: QuerySet[AuditEvent]) -> Iterator[dict[str, Any]]:
    """Yield events as an export gives them: keys in the order of COLUMNS, times in ISO 8601 UTC."""
    for event in events.iterator(2_000):
        yield {
            "seq": event.seq,
            "at": event.at.isoformat(timespec="microseconds"),
            "actor_kind": event.actor_kind,
            "actor_name": event.actor_name,
            "action": event.action,
            "phase": event.phase,
            "object_type": event.object_type,
            "object_name": event.object_name,
            "host": event.host,
            "instance": event.instance,
            "operation": event.operation_id,
            "reason": event.reason,
            "details": json.loads(event.details),
            "hash": event.hash,
        }


def _details(event: AuditEvent) -> list[tuple[str, str]]:
    given: dict[str, Any] = json.loads(event.details)
    return [(name.replace("_", " "), visible(str(value))) for name, value in given.items() if value]
