"""The verb `queue.pick`: the messages that a filter takes, each by what the host will know it again by."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from relays.agent.deadline import Deadline
from relays.agent.protocol import Answer, Refused, Tell, integer
from relays.agent.queue_read import filter_of, read
from relays.domain.matching import Matcher, is_long, sender_check
from relays.domain.queue import QUEUES, Entry

# An operation on more would take longer than anybody watches, and its list more than a reply may hold.
MOST = 100_000
_A_ROW = 500


def answer(args: dict[str, Any], deadline: Deadline, tell: Tell) -> Answer:
    """Return [id, arrival, check of the sender] of each, 500 a row; raise BadRequest or Refused."""
    wanted, most = filter_of(args, "most"), integer(args, "most", 1, MOST, MOST)
    picked = _Picked(Matcher(wanted, now=time.time()), most)
    lines = read(args, deadline, picked.add, tell)
    if picked.total > most:
        raise Refused(f"{picked.total} messages match, and at most {most} can be acted on at once")
    end = {"total": picked.total, "queues": picked.queues, "short_ids": picked.short_ids}
    return Answer(picked.rows(), {**end, "unparsable": lines.unparsable})


class _Picked:
    """What was picked, as JSON: tuples of so many would take several times the memory."""

    def __init__(self, matcher: Matcher, most: int) -> None:
        self.total = 0
        self.short_ids = 0
        self.queues = dict.fromkeys(QUEUES, 0)
        self._matcher = matcher
        self._most = most
        # By id: a message that moves while it is read is listed twice.
        self._found: dict[str, bytes] = {}

    def add(self, entry: Entry) -> None:
        if not self._matcher.takes(entry) or entry.queue_id in self._found:
            return
        self.total += 1
        if self.total > self._most:
            self._found.clear()
            return
        self.queues[entry.queue] += 1
        self.short_ids += not is_long(entry.queue_id)
        item = [entry.queue_id, entry.arrival, sender_check(entry.sender)]
        self._found[entry.queue_id] = json.dumps(item, separators=(",", ":")).encode("ascii")

    def rows(self) -> Iterator[bytes]:
        """Yield rows of at most 500 messages, in the order of the listing."""
        found = list(self._found.values())
        for at in range(0, len(found), _A_ROW):
            yield b'{"kind":"picked","items":[' + b",".join(found[at : at + _A_ROW]) + b"]}\n"
