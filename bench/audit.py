"""Verifying a trail of 1,000,000 events, on SQLite and PostgreSQL; and that a changed one in it is found."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bench.databases import databases, measured
from bench.figures import Figure, arguments, report

if TYPE_CHECKING:
    from relays.models import AuditEvent

EVENTS = 1_000_000
LIMIT_S = 60
_AT_ONCE = 10_000


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--measure", action="store_true", help="measure on DATABASE_URL and print seconds")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.events)))
        return 0
    with databases() as urls:
        found = [figure for name, url in urls.items() for figure in figures(name, url, options.events)]
    return report(found, as_json=options.json)


def figures(name: str, url: str, events: int) -> Iterator[Figure]:
    """Fill, measure and break the trail of a database."""
    took = measured("audit", url, "--events", str(events))
    yield Figure(f"{name}: verify {events:,} events", took["verify"], "s", at_most=LIMIT_S)
    yield Figure(f"{name}: append one event", took["append_ms"], "ms")
    yield Figure(f"{name}: one changed bit is found", took["found"], "", at_least=1)


def measure(events: int) -> dict[str, float]:
    """Return seconds to verify, milliseconds to append, and how many breaks one changed bit made."""
    import django  # noqa: PLC0415  (after DATABASE_URL is known)

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from relays.services.audit_check import verify  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    fill(events)
    append_ms = min(append(1_000) for _ in range(3))
    began = time.perf_counter()
    verdict = verify()
    took = time.perf_counter() - began
    if not verdict.holds:
        raise SystemExit(f"The bench's own trail does not hold: {verdict.breaks}")
    flip_a_bit(events // 2)
    return {"verify": took, "append_ms": append_ms, "found": len(verify().breaks)}


def fill(events: int) -> None:
    """Write a trail as record() would, but many rows at once."""
    from django.db import connection, transaction  # noqa: PLC0415

    from relays.domain.audit import canonical  # noqa: PLC0415
    from relays.models import AuditEvent, AuditHead, AuditParams  # noqa: PLC0415
    from relays.services.audit import SYSTEM, record  # noqa: PLC0415

    head = record(actor=SYSTEM, action="bench", phase="noted")
    params = canonical({"domain": "hotmail.com"})
    columns = [field.attname for field in AuditEvent._meta.fields]
    last_hash = head.hash
    for first in range(2, events + 1, _AT_ONCE):
        rows = rows_of(range(first, min(first + _AT_ONCE, events + 1)), last_hash, params)
        last_hash = rows[-1].hash
        with transaction.atomic(), connection.cursor() as cursor:
            _insert(cursor, AuditEvent, columns, ([getattr(row, name) for name in columns] for row in rows))
            _insert(cursor, AuditParams, ["event_id", "text"], ((row.seq, params) for row in rows))
    AuditHead.objects.update(seq=events, hash=last_hash)


def rows_of(seqs: range, prev_hash: str, params: str) -> "list[AuditEvent]":
    """Return the events with these numbers, chained behind prev_hash."""
    from relays.domain.audit import Event, canonical, digest, key_id  # noqa: PLC0415
    from relays.services.audit import _row, key  # noqa: PLC0415

    details = canonical({"ip": "192.0.2.7", "user_agent": "Mozilla/5.0", "req_id": "0" * 36, "fence": 7})
    rows: list[AuditEvent] = []
    for seq in seqs:
        event = Event(
            seq, 1_795_188_249_000_000 + seq, "user", 3, "anna", "operation.queue.run", "succeeded",
            "operation", "81", "queue.run 81", "rustin", "msn-a", 81, "stuck since noon", details,
            digest(params), key_id(key()),
        )  # fmt: skip
        rows.append(_row(event, rows[-1].hash if rows else prev_hash))
    return rows


def _insert(cursor: Any, model: type, columns: list[str], rows: Iterable[Any]) -> None:
    """Insert rows by plain SQL: bulk_create would take ten times as long on SQLite."""
    table = model._meta.db_table  # type: ignore[attr-defined]
    values = ", ".join(["%s"] * len(columns))
    cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", list(rows))


def append(number: int) -> float:
    """Return milliseconds an event, appended one by one."""
    from relays.services.audit import SYSTEM, record  # noqa: PLC0415

    began = time.perf_counter()
    for _ in range(number):
        record(actor=SYSTEM, action="bench", phase="noted", details={"n": 1})
    return 1_000 * (time.perf_counter() - began) / number


def flip_a_bit(seq: int) -> None:
    """Change an event as a superuser of the database could."""
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER audit_no_update")
        else:
            cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE relays_auditevent SET reason = 'stuck since Noon' WHERE seq = %s", [seq])


if __name__ == "__main__":
    sys.exit(main())
