"""The verb `queue.groups`: how many messages a filter takes, and what they have in common."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from relays.agent.deadline import Deadline
from relays.agent.protocol import Answer, Tell, integer
from relays.agent.queue_read import filter_of, read
from relays.domain.groups import QueueGroups
from relays.domain.matching import Lines, Matcher


def answer(args: dict[str, Any], deadline: Deadline, tell: Tell) -> Answer:
    """Return the sums in one row, then the greatest rows of each table; raise BadRequest or Refused."""
    wanted, limit = filter_of(args, "limit"), integer(args, "limit", 1, 1000, 100)
    now = time.time()
    groups = QueueGroups(Matcher(wanted, now=now), now=now)
    lines = read(args, deadline, groups.add, tell)
    groups.finish()
    return Answer(_rows(groups, lines, limit, now), {})


def _rows(groups: QueueGroups, lines: Lines, limit: int, now: float) -> Iterator[dict[str, Any]]:
    yield {
        "kind": "sums",
        "read_at": round(now, 3),
        "messages": groups.messages,
        "recipients": groups.recipients,
        "size_bytes": groups.size_bytes,
        "oldest": groups.oldest,
        "ages": groups.ages,
        "of": groups.seen,
        "unparsable": lines.unparsable,
    }
    for name, tally in groups.tables.items():
        yield {"kind": "table", "by": name, "distinct": len(tally), "dropped": tally.dropped}
        for row in tally.greatest(limit):
            yield {"kind": "group", "by": name, **row._asdict()}
