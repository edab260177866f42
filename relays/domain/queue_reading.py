"""What relayctl tells of the messages that a filter takes, checked: rows of `queue.groups` and `queue.pick`.

As hostile as all else from a relay: see reading.py. Times are seconds since 1970 by the host's clock.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, NamedTuple

from relays.domain import fields
from relays.domain.fields import BadRow
from relays.domain.queue import BUCKETS, QUEUES

TABLES = ("domain", "reply", "sender_domain", "sender", "queue")
_MAX_KEY = 400
_MAX_REPLY = 2_000
_DIGEST = re.compile(r"\A[0-9a-f]{16}\Z")
_QUEUE_ID = re.compile(r"\A[0-9A-Za-z]{6,31}\Z")
_PICKED_A_ROW = 1_000


class Group(NamedTuple):
    """Messages that have `key` in common, by age; text: of a reply, whose key is its digest."""

    key: str
    messages: int
    ages: list[int]
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """The greatest groups by one thing. distinct: how many there are; dropped: messages of forgotten ones."""

    rows: list[Group]
    distinct: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Groups:
    """The messages that a filter takes. of: those in the queue; unparsable: lines that could not be read."""

    read_at: float
    messages: int
    recipients: int
    size_bytes: int
    oldest: int | None
    ages: list[int]
    of: int
    unparsable: int
    tables: Mapping[str, Table]

    def as_json(self) -> dict[str, Any]:
        """Return what from_json() takes."""
        tables = {
            name: {
                "rows": [list(row) for row in table.rows],
                "distinct": table.distinct,
                "dropped": table.dropped,
            }
            for name, table in self.tables.items()
        }
        return {
            **{field.name: getattr(self, field.name) for field in dataclass_fields(self)},
            "tables": tables,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Groups":
        """Return the groups that as_json() gave."""
        tables = {
            name: Table([Group(*row) for row in table["rows"]], table["distinct"], table["dropped"])
            for name, table in value["tables"].items()
        }
        return cls(**{**value, "tables": tables})


class Item(NamedTuple):
    """A message as the host will know it again; check: of its sender, 16 hexadecimal digits."""

    queue_id: str
    arrival: int
    check: str


def parse_groups(rows: Iterable[Mapping[str, Any]]) -> Groups:
    """Return the rows of `queue.groups` as values. Raises BadRow."""
    sums: Mapping[str, Any] | None = None
    tables: dict[str, Table] = {}
    for row in rows:
        kind, by = row.get("kind"), row.get("by")
        if kind == "sums":
            sums = row
        elif by not in TABLES or (kind == "group" and by not in tables):
            raise BadRow("a table is none that is known")
        elif kind == "table":
            size = fields.needed_count(row, "distinct"), fields.needed_count(row, "dropped")
            tables[by] = Table([], *size)
        else:
            tables[by].rows.append(_group(row))
    if sums is None or set(tables) != set(TABLES):
        raise BadRow("the sums or a table are missing")
    return Groups(
        read_at=fields.seconds(sums, "read_at"),
        messages=fields.needed_count(sums, "messages"),
        recipients=fields.needed_count(sums, "recipients"),
        size_bytes=fields.needed_count(sums, "size_bytes", fields.MAX_SIZE),
        oldest=fields.count(sums, "oldest", fields.MAX_SIZE),
        ages=_ages(sums),
        of=fields.needed_count(sums, "of"),
        unparsable=fields.needed_count(sums, "unparsable"),
        tables=tables,
    )


def parse_picked(row: Mapping[str, Any]) -> list[Item]:
    """Return a `picked` row. Raises BadRow."""
    return [item_of(value) for value in fields.sequence(row, "items", _PICKED_A_ROW)]


def item_of(value: object) -> Item:
    """Return [id, arrival, check] as an item. Raises BadRow."""
    if not isinstance(value, list) or len(value) != 3:
        raise BadRow("an item is not [id, arrival, check]")
    queue_id, arrival, check = value
    well_formed = (
        isinstance(queue_id, str)
        and _QUEUE_ID.match(queue_id)
        and fields.is_number(arrival, 0, 1e11)
        and type(arrival) is int
        and isinstance(check, str)
        and _DIGEST.match(check)
    )
    if not well_formed:
        raise BadRow("an item is malformed")
    return Item(queue_id, arrival, check)


def parse_queues(end: Mapping[str, Any]) -> dict[str, int]:
    """Return the counts by queue in the end line of `queue.pick`. Raises BadRow."""
    queues = fields.mapping(end, "queues")
    return {queue: fields.needed_count(queues, queue) for queue in QUEUES}


def _group(row: Mapping[str, Any]) -> Group:
    return Group(
        fields.text(row, "key", _MAX_KEY),
        fields.needed_count(row, "messages"),
        _ages(row),
        fields.text(row, "text", _MAX_REPLY),
    )


def _ages(row: Mapping[str, Any]) -> list[int]:
    ages = row.get("ages")
    if not isinstance(ages, list) or len(ages) != BUCKETS or not all(map(fields.is_count, ages)):
        raise BadRow(f"ages are not {BUCKETS} counts")
    return ages
