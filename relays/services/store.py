"""Writing readings: samples, states and snapshots in one transaction, in few statements.

The ORM spends most of its time building objects here: bulk_create took 11 times as long as plain SQL on
SQLite, and 9 times on PostgreSQL, for the 2,000 instances of a large fleet. `./run bench ingest` measures it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from django.db import connection, transaction

from relays.services.statements import Row, run, stamp

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

    Replaying a call changes nothing, and an older reading never overwrites a newer one. What is said of an
    instance that is gone meanwhile is dropped.
    """
    # Within a poll's transaction a savepoint would be two more statements, and nothing returns to it.
    with transaction.atomic(savepoint=False):
        # Samples first: the states still tell which readings are the first of their span.
        run(_SAMPLE, _SAMPLE_COLUMNS, _sample_rows(readings))
        run(_STATE, _STATE_COLUMNS, [_state_row(reading) for reading in readings])
        run(_CONDITION, _CONDITION_COLUMNS, [_condition_row(instance) for instance in unread])
        run(_SNAPSHOT, _SNAPSHOT_COLUMNS, [_snapshot_row(r) for r in readings if r.snapshot is not None])


def store_states(states: Mapping[int, str], *, at: datetime) -> None:
    """Change states by instance id: since `at`, when what they follow from came to be known."""
    run(_RESTATE, _RESTATE_COLUMNS, [(pk, stamp(at), state) for pk, state in sorted(states.items())])


def _sample_rows(readings: Sequence[Reading]) -> list[Row]:
    spans = [_span(reading.at) for reading in readings]
    due = {span: _not_sampled_since(span, readings) for span in set(spans)}
    return [
        (
            r.instance_id,
            span,
            r.incoming,
            r.active,
            r.deferred,
            r.hold,
            r.oldest_s,
        )
        for r, span in zip(readings, spans, strict=True)
        if r.instance_id in due[span]
    ]


@lru_cache(maxsize=1024)
def _span(at: datetime) -> int:
    return int(at.timestamp()) // SAMPLE_SPAN_S * SAMPLE_SPAN_S


def _not_sampled_since(span: int, readings: Sequence[Reading]) -> set[int]:
    """Return the instances without a reading in this span yet: few but in its first poll.

    A range stands for the readings' ids, because a list of 2,000 parameters costs more than the writing.
    """
    ids = [reading.instance_id for reading in readings]
    began = stamp(datetime.fromtimestamp(span, UTC))
    with connection.cursor() as cursor:
        cursor.execute(_NOT_SAMPLED_SINCE, [min(ids), max(ids), began])
        return {instance_id for (instance_id,) in cursor.fetchall()}


def _state_row(reading: Reading) -> Row:
    return (
        reading.instance_id,
        stamp(reading.at),
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


def _condition_row(unread: Unread) -> Row:
    return (
        unread.instance_id,
        stamp(unread.at),
        unread.state,
        unread.condition,
        unread.condition_detail,
    )


def _snapshot_row(reading: Reading) -> Row:
    return (reading.instance_id, stamp(reading.at), reading.snapshot)


_STATE_COLUMNS = {
    "instance_id": "bigint",
    "at": "timestamptz",
    "incoming": "integer",
    "active": "integer",
    "deferred": "integer",
    "hold": "integer",
    "corrupt": "integer",
    "oldest_s": "integer",
    "size_bytes": "bigint",
    "state": "text",
    "condition": "text",
    "condition_detail": "text",
    "top_reply": "text",
    "top_reply_count": "integer",
}
_CONDITION_COLUMNS = {
    name: _STATE_COLUMNS[name] for name in ("instance_id", "at", "state", "condition", "condition_detail")
}
_RESTATE_COLUMNS = {name: _STATE_COLUMNS[name] for name in ("instance_id", "at", "state")}
_SAMPLE_COLUMNS = {
    "instance_id": "bigint",
    "ts": "integer",
    "incoming": "integer",
    "active": "integer",
    "deferred": "integer",
    "hold": "integer",
    "oldest_s": "integer",
}
_SNAPSHOT_COLUMNS = {"instance_id": "bigint", "at": "timestamptz", "body": "text"}

_NOT_SAMPLED_SINCE = """
SELECT instance_id FROM relays_instancestate
WHERE instance_id BETWEEN %s AND %s AND (sampled_at IS NULL OR sampled_at < %s)"""
_SAMPLE = """
INSERT INTO relays_sample (instance_id, ts, incoming, active, deferred, hold, oldest_s)
SELECT {instance_id}, {ts}, {incoming}, {active}, {deferred}, {hold}, {oldest_s} {source}
WHERE true
ON CONFLICT (instance_id, ts) DO NOTHING"""

_STATE_SINCE = "CASE WHEN relays_instancestate.state = {state} THEN state_since ELSE {at} END"
_IS_NEWER = "relays_instancestate.instance_id = {instance_id} AND (asked_at IS NULL OR asked_at < {at})"

_STATE = (
    "UPDATE relays_instancestate SET sampled_at = {at}, asked_at = {at},"
    f" state_since = {_STATE_SINCE},"
    " incoming = {incoming}, active = {active}, deferred = {deferred}, hold = {hold}, corrupt = {corrupt},"
    " oldest_s = {oldest_s}, size_bytes = {size_bytes},"
    " state = {state}, condition = {condition}, condition_detail = {condition_detail},"
    " top_reply = {top_reply}, top_reply_count = {top_reply_count}"
    f" {{source}} WHERE {_IS_NEWER}"
)
_CONDITION = (
    f"UPDATE relays_instancestate SET asked_at = {{at}}, state_since = {_STATE_SINCE},"
    " state = {state}, condition = {condition}, condition_detail = {condition_detail}"
    f" {{source}} WHERE {_IS_NEWER}"
)

_RESTATE = (
    f"UPDATE relays_instancestate SET state_since = {_STATE_SINCE}, state = {{state}}"
    " {source} WHERE relays_instancestate.instance_id = {instance_id}"
)

_SNAPSHOT = """
INSERT INTO relays_queuesnapshot AS old (instance_id, at, body)
SELECT {instance_id}, {at}, {body} {source}
WHERE EXISTS (SELECT 1 FROM relays_instance WHERE relays_instance.id = {instance_id})
ON CONFLICT (instance_id) DO UPDATE SET at = excluded.at, body = excluded.body
WHERE old.at < excluded.at"""
