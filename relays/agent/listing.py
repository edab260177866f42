"""The verb `queue.list`: one instance's messages, filtered, a page at a time."""

from __future__ import annotations

import heapq
import re
import time
from typing import Any

from relays.agent.deadline import Deadline
from relays.agent.protocol import Answer, BadRequest, Tell, integer, text
from relays.agent.queue_read import filter_of, read
from relays.domain.matching import Matcher
from relays.domain.queue import Entry, Recipient
from relays.domain.text import printable

# A row shows so many recipients of a message, those that match the filter; recipients_total counts all.
RECIPIENTS_SHOWN = 20
_MAX_ADDRESS = 320
_MAX_REASON = 400

_CURSOR = re.compile(r"\A([0-9]{1,15})-([0-9A-Za-z]{6,31})\Z")
_FIRST = (0, "")


def position(entry: Entry) -> tuple[int, str]:
    """Return what messages are ordered by: arrival, then id."""
    return entry.arrival, entry.queue_id


class Page:
    """The first `limit` messages after a position that a filter takes, as rows."""

    def __init__(self, matcher: Matcher, after: tuple[int, str], limit: int) -> None:
        self._matcher = matcher
        self._after = after
        self._limit = limit
        # The last of the page lies on top. It holds one more than the page, to know whether there is another.
        self._heap: list[_Last] = []

    def add(self, entry: Entry) -> None:
        """Take the next message of the listing."""
        at = position(entry)
        full = len(self._heap) > self._limit
        if at <= self._after or (full and at >= self._heap[0].position):
            return
        recipients = self._matcher.matching(entry)
        # A message that moved to another queue while it was read is listed twice.
        if recipients is not None and all(item.position != at for item in self._heap):
            push = heapq.heappushpop if full else heapq.heappush
            push(self._heap, _Last(at, message_row(entry, recipients)))

    def rows(self) -> list[dict[str, Any]]:
        """Return the page, in order."""
        return [item.row for item in sorted(self._heap, reverse=True)][: self._limit]

    def cursor(self) -> str | None:
        """Return where the next page begins, None where this is the last."""
        if len(self._heap) <= self._limit:
            return None
        last = self.rows()[-1]
        return f"{last['arrival']}-{last['id']}"


class _Last:
    """A row that sorts by its position, the last one first: heapq keeps the smallest on top."""

    def __init__(self, at: tuple[int, str], row: dict[str, Any]) -> None:
        self.position = at
        self.row = row

    def __lt__(self, other: _Last) -> bool:
        return self.position > other.position


def message_row(entry: Entry, recipients: list[Recipient]) -> dict[str, Any]:
    """Return a message's row, with the first of those recipients that the filter asks for."""
    return {
        "kind": "message",
        "queue": entry.queue,
        "id": entry.queue_id,
        "arrival": entry.arrival,
        "size_bytes": entry.size,
        "sender": printable(entry.sender, _MAX_ADDRESS),
        "recipients": [
            {"address": printable(item.address, _MAX_ADDRESS), "reason": printable(item.reason, _MAX_REASON)}
            for item in recipients[:RECIPIENTS_SHOWN]
        ],
        "recipients_total": len(entry.recipients),
    }


def answer(args: dict[str, Any], deadline: Deadline, tell: Tell) -> Answer:
    """Return a page of messages, and in the end line its cursor; raise BadRequest or Refused."""
    wanted, limit = filter_of(args, "cursor", "limit"), integer(args, "limit", 1, 1000, 100)
    page = Page(Matcher(wanted, now=time.time()), _after(text(args, "cursor")), limit)
    lines = read(args, deadline, page.add, tell)
    return Answer(page.rows(), {"cursor": page.cursor(), "unparsable": lines.unparsable})


def _after(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return _FIRST
    match = _CURSOR.match(cursor)
    if match is None:
        raise BadRequest("cursor is not one that relayctl gave")
    return int(match[1]), match[2]
