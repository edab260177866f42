"""Writing readings: samples, states and snapshots in one transaction, in few statements.

The ORM spends most of its time building objects here: bulk_create took 11 times as long as plain SQL on
SQLite, and 9 times on PostgreSQL, for the 2,000 instances of a large fleet. `./run bench ingest` measures it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

SAMPLE_SPAN_S = 300


@dataclass(frozen=True, slots=True)
class Reading:
    """An instance's queue as it was read. Counts are messages, `at` is aware and of our clock.

    Texts must be free of NUL, which PostgreSQL stores nowhere, and within their column's length.
    """

    instance_id: int
    at: datetime
    incoming: int
    active: int
    deferred: int
    hold: int
    corrupt: int | None
    oldest_s: int | None
    size_bytes: int | None
    state: str
    condition: str = ""
    condition_detail: str = ""
    top_reply: str = ""
    top_reply_count: int = 0
    # JSON text for QueueSnapshot.body; None keeps the former one.
    snapshot: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """An instance that was asked for but whose queue could not be read: its last counts stay as they are."""

    instance_id: int
    at: datetime
    state: str
    condition: str
    condition_detail: str = ""


def store_readings(readings: Sequence[Reading], unread: Sequence[Unread] = ()) -> None:
    """Store what one or many polls brought, each instance at most once in the call.

    Replaying a call changes nothing, and an older reading never overwrites a newer one.
    Raises django.db.IntegrityError when an instance is gone, with nothing stored.
    """
    counts = [_counts_row(reading) for reading in readings]
    conditions = [(u.instance_id, _stamp(u.at), u.state, u.condition, u.condition_detail) for u in unread]
    snapshots = [(r.instance_id, _stamp(r.at), r.snapshot) for r in readings if r.snapshot is not None]
    with transaction.atomic():
        # Samples first: they look at the state rows to tell what is new.
        _run(_SAMPLE, _COUNTS, counts)
        _run(_STATE, _COUNTS, counts)
        _run(_CONDITION, _CONDITIONS, conditions)
        _run(_SNAPSHOT, _SNAPSHOTS, snapshots)


def _counts_row(reading: Reading) -> tuple[Any, ...]:
    span = int(reading.at.timestamp()) // SAMPLE_SPAN_S * SAMPLE_SPAN_S
    return (
        reading.instance_id,
        _stamp(reading.at),
        span,
        reading.incoming,
        reading.active,
        reading.deferred,
        reading.hold,
        reading.corrupt,
        reading.oldest_s,
        reading.size_bytes,
        reading.state,
        reading.condition,
        reading.condition_detail,
        reading.top_reply,
        reading.top_reply_count,
    )


def _stamp(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def _run(statement: str, columns: dict[str, str], rows: list[tuple[Any, ...]]) -> None:
    """Run a statement that reads its rows from `given`, in the way that is fast on this database.

    SQLite: the statement once a row, prepared once. PostgreSQL: once, with an array a column, because
    a round trip a row costs more than the writing.
    """
    if not rows:
        return
    names = ", ".join(columns)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            arrays = ", ".join(f"%s::{kind}[]" for kind in columns.values())
            given = f"WITH given ({names}) AS (SELECT * FROM unnest({arrays}))"
            cursor.execute(f"{given} {statement}", [list(column) for column in zip(*rows, strict=True)])
        else:
            values = ", ".join(["%s"] * len(columns))
            given = f"WITH given ({names}) AS (VALUES ({values}))"
            cursor.executemany(f"{given} {statement}", rows)


_COUNTS = {
    "instance_id": "bigint",
    "at": "timestamptz",
    "ts": "bigint",
    "incoming": "bigint",
    "active": "bigint",
    "deferred": "bigint",
    "hold": "bigint",
    "corrupt": "bigint",
    "oldest_s": "bigint",
    "size_bytes": "bigint",
    "state": "text",
    "condition": "text",
    "condition_detail": "text",
    "top_reply": "text",
    "top_reply_count": "bigint",
}
_CONDITIONS = {
    column: _COUNTS[column] for column in ("instance_id", "at", "state", "condition", "condition_detail")
}
_SNAPSHOTS = {"instance_id": "bigint", "at": "timestamptz", "body": "text"}

_SAMPLE = """
INSERT INTO relays_sample AS old
    (instance_id, ts, incoming, active, deferred, hold, deferred_max, oldest_s)
SELECT instance_id, ts, incoming, active, deferred, hold, deferred, oldest_s
FROM given
WHERE NOT EXISTS (
    SELECT 1 FROM relays_instancestate AS state
    WHERE state.instance_id = given.instance_id AND state.sampled_at >= given.at)
ON CONFLICT (instance_id, ts) DO UPDATE SET
    incoming = excluded.incoming, active = excluded.active,
    deferred = excluded.deferred, hold = excluded.hold,
    deferred_max = CASE WHEN excluded.deferred > old.deferred_max
        THEN excluded.deferred ELSE old.deferred_max END,
    oldest_s = CASE WHEN old.oldest_s IS NULL OR excluded.oldest_s > old.oldest_s
        THEN excluded.oldest_s ELSE old.oldest_s END"""

_STATE_SINCE = "CASE WHEN old.state = excluded.state THEN old.state_since ELSE excluded.state_since END"

# `WHERE true` tells SQLite's parser that ON CONFLICT belongs to the INSERT, not to a join.
_STATE = f"""
INSERT INTO relays_instancestate AS old
    (instance_id, sampled_at, asked_at, state_since, incoming, active, deferred, hold, corrupt, oldest_s,
     size_bytes, state, condition, condition_detail, top_reply, top_reply_count)
SELECT instance_id, at, at, at, incoming, active, deferred, hold, corrupt, oldest_s,
       size_bytes, state, condition, condition_detail, top_reply, top_reply_count
FROM given WHERE true
ON CONFLICT (instance_id) DO UPDATE SET
    sampled_at = excluded.sampled_at, asked_at = excluded.asked_at, state_since = {_STATE_SINCE},
    incoming = excluded.incoming, active = excluded.active, deferred = excluded.deferred,
    hold = excluded.hold, corrupt = excluded.corrupt, oldest_s = excluded.oldest_s,
    size_bytes = excluded.size_bytes, state = excluded.state, condition = excluded.condition,
    condition_detail = excluded.condition_detail, top_reply = excluded.top_reply,
    top_reply_count = excluded.top_reply_count
WHERE old.asked_at IS NULL OR old.asked_at < excluded.asked_at"""

_CONDITION = f"""
INSERT INTO relays_instancestate AS old
    (instance_id, asked_at, state_since, state, condition, condition_detail, top_reply, top_reply_count)
SELECT instance_id, at, at, state, condition, condition_detail, '', 0
FROM given WHERE true
ON CONFLICT (instance_id) DO UPDATE SET
    asked_at = excluded.asked_at, state_since = {_STATE_SINCE},
    state = excluded.state, condition = excluded.condition,
    condition_detail = excluded.condition_detail
WHERE old.asked_at IS NULL OR old.asked_at < excluded.asked_at"""

_SNAPSHOT = """
INSERT INTO relays_queuesnapshot AS old (instance_id, at, body)
SELECT instance_id, at, body FROM given WHERE true
ON CONFLICT (instance_id) DO UPDATE SET at = excluded.at, body = excluded.body
WHERE old.at < excluded.at"""
