"""Reading the audit trail: for its page, its export and its verification."""

from collections.abc import Iterator

from relays.domain.audit import Event, Link
from relays.models import AuditEvent
from relays.services.audit import to_us

_ROWS_AT_ONCE = 5_000
_COLUMNS = tuple("at" if name == "at_us" else name for name in Event._fields)


def links(*, after: int = 0) -> Iterator[Link]:
    """Yield all events after a number in their order, as domain/audit.py verifies them."""
    rows = AuditEvent.objects.filter(seq__gt=after).order_by("seq")
    for seq, at, *rest in rows.values_list(*_COLUMNS, "prev_hash", "hash").iterator(_ROWS_AT_ONCE):
        *fields, prev_hash, own_hash = rest
        yield Link(Event(seq, to_us(at), *fields), prev_hash, own_hash)
