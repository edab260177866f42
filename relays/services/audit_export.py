"""Exporting the audit trail. An export is an event itself: who took what out of it."""

import csv
import io
from collections.abc import Iterator

from django.db.models import Max, Min, QuerySet

from relays.domain.audit import canonical
from relays.domain.exporting import formula_safe
from relays.models import AuditEvent
from relays.selectors.audit_events import COLUMNS, exported
from relays.services.audit import Actor, record

FORMATS = ("jsonl", "csv")


def export(events: QuerySet[AuditEvent], form: str, *, actor: Actor) -> Iterator[str]:
    """Yield events, oldest first, as lines of JSON or of CSV; the export is written down before the first.

    form: one of FORMATS. The event keeps how many there were and the first and the last of them.
    """
    chosen = events.order_by("seq")
    span = chosen.aggregate(first=Min("seq"), last=Max("seq"))
    record(
        actor=actor,
        action="audit.export",
        phase="succeeded",
        details={"format": form, "events": chosen.count(), **span},
    )
    # The event that was just written belongs to no export but the next.
    chosen = chosen.filter(seq__lte=span["last"] or 0)
    return _csv(chosen) if form == "csv" else _json_lines(chosen)


def _json_lines(events: QuerySet[AuditEvent]) -> Iterator[str]:
    for row in exported(events):
        yield canonical(row) + "\n"


def _csv(events: QuerySet[AuditEvent]) -> Iterator[str]:
    yield _csv_line(COLUMNS)
    for row in exported(events):
        cells = [canonical(value) if isinstance(value, dict) else value for value in row.values()]
        yield _csv_line([formula_safe(cell) if isinstance(cell, str) else cell for cell in cells])


def _csv_line(cells: object) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)  # type: ignore[arg-type]
    return line.getvalue()
