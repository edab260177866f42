"""The verb `queue.list`: one instance's messages, filtered, a page at a time."""

from __future__ import annotations

import heapq
import re
import time
from itertools import islice
from typing import Any, NamedTuple

from relays.agent import postfix
from relays.agent.deadline import Deadline
from relays.agent.protocol import Answer, BadRequest, Refused, integer, refuse_unknown, text
from relays.agent.snapshot import RESERVED_S, chosen, names
from relays.domain.queue import MAX_LINE, QUEUES, Entry, Recipient, domain_of, parse_entry
from relays.domain.text import printable

# A row shows so many recipients of a message, those that match the filter; recipients_total counts all.
RECIPIENTS_SHOWN = 20
_MAX_ADDRESS = 320
_MAX_REASON = 400

_KEYS = {"instance", "queues", "domain", "sender", "recipient", "older_than_s", "cursor", "limit"}
_CURSOR = re.compile(r"\A([0-9]{1,15})-([0-9A-Za-z]{6,31})\Z")
_TEN_YEARS_S = 315_360_000
_FIRST = (0, "")
# How postqueue(1) shows the sender of a bounce.
NO_SENDER = "mailer-daemon"


class Filter(NamedTuple):
    """Which messages a request asks for. arrived_by: seconds since 1970; after: the page before's last."""

    queues: frozenset[str]
    domain: str | None
    sender: str | None
    recipient: str | None
    arrived_by: float
    after: tuple[int, str]

    def takes(self, entry: Entry) -> bool:
        """Tell whether a message matches and lies beyond the page before."""
        return (
            entry.queue in self.queues
            and entry.arrival <= self.arrived_by
            and position(entry) > self.after
            and (self.sender is None or entry.sender.lower() == self.sender)
            and (
                (self.recipient is None and self.domain is None)
                or any(map(self.takes_recipient, entry.recipients))
            )
        )

    def takes_recipient(self, recipient: Recipient) -> bool:
        """Tell whether a recipient is one that the filter asks for."""
        return (self.recipient is None or recipient.address.lower() == self.recipient) and (
            self.domain is None or domain_of(recipient.address) == self.domain
        )


def position(entry: Entry) -> tuple[int, str]:
    """Return what messages are ordered by: arrival, then id."""
    return entry.arrival, entry.queue_id


class Page:
    """The first `limit` messages that a filter takes, of a listing fed chunk by chunk, as rows."""

    def __init__(self, wanted: Filter, limit: int) -> None:
        # Lines that were no queue entry, or too long to be looked at.
        self.unparsable = 0
        self._wanted = wanted
        self._limit = limit
        self._tail = b""
        self._skipping = False
        # The last of the page lies on top. It holds one more than the page, to know whether there is another.
        self._heap: list[_Last] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of `postqueue -j`."""
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        for line in lines:
            if not self._skipping:
                self._add(line)
            self._skipping = False
        if len(self._tail) > MAX_LINE:
            self.unparsable += not self._skipping
            self._skipping = True
            self._tail = b""

    def finish(self) -> None:
        """Take a last line that has no newline."""
        if self._tail and not self._skipping:
            self._add(self._tail)
        self._tail = b""

    def rows(self) -> list[dict[str, Any]]:
        """Return the page, in order."""
        return [item.row for item in sorted(self._heap, reverse=True)][: self._limit]

    def cursor(self) -> str | None:
        """Return where the next page begins, None where this is the last."""
        if len(self._heap) <= self._limit:
            return None
        last = self.rows()[-1]
        return f"{last['arrival']}-{last['id']}"

    def _add(self, line: bytes) -> None:
        entry = parse_entry(line)
        if entry is None:
            self.unparsable += 1
            return
        full = len(self._heap) > self._limit
        if not self._wanted.takes(entry) or (full and position(entry) >= self._heap[0].position):
            return
        # A message that moved to another queue while it was read is listed twice.
        if all(item.position != position(entry) for item in self._heap):
            push = heapq.heappushpop if full else heapq.heappush
            push(self._heap, _Last(position(entry), message_row(entry, self._wanted)))


class _Last:
    """A row that sorts by its position, the last one first: heapq keeps the smallest on top."""

    def __init__(self, at: tuple[int, str], row: dict[str, Any]) -> None:
        self.position = at
        self.row = row

    def __lt__(self, other: _Last) -> bool:
        return self.position > other.position


def message_row(entry: Entry, wanted: Filter) -> dict[str, Any]:
    """Return a message's row, with the first of those recipients that the filter asks for."""
    asked_for = filter(wanted.takes_recipient, entry.recipients)
    return {
        "kind": "message",
        "queue": entry.queue,
        "id": entry.queue_id,
        "arrival": entry.arrival,
        "size_bytes": entry.size,
        "sender": printable(entry.sender, _MAX_ADDRESS),
        "recipients": [
            {"address": printable(item.address, _MAX_ADDRESS), "reason": printable(item.reason, _MAX_REASON)}
            for item in islice(asked_for, RECIPIENTS_SHOWN)
        ],
        "recipients_total": len(entry.recipients),
    }


def answer(args: dict[str, Any], deadline: Deadline) -> Answer:
    """Return a page of messages, and in the end line its cursor; raise BadRequest or Refused."""
    refuse_unknown(args, _KEYS)
    limit = integer(args, "limit", 1, 1000, 100)
    page = Page(_filter(args), limit)
    (place,) = chosen(postfix.places(), names([args.get("instance")]))
    try:
        budget_s = max(1.0, deadline.remaining_s() - RESERVED_S)
        postfix.list_queue(place.config_dir, timeout_s=budget_s, take=page.feed)
    except postfix.QueueFailure as failure:
        raise Refused(f"{failure.code}: {failure.detail}") from None
    page.finish()
    return Answer(page.rows(), {"cursor": page.cursor(), "unparsable": page.unparsable})


def _filter(args: dict[str, Any]) -> Filter:
    domain, sender, recipient = (text(args, key) for key in ("domain", "sender", "recipient"))
    return Filter(
        queues=_queues(args.get("queues", list(QUEUES))),
        domain=None if domain is None else domain_of(f"@{domain}"),
        sender=None if sender is None else sender.lower() or NO_SENDER,
        recipient=None if recipient is None else recipient.lower(),
        arrived_by=time.time() - integer(args, "older_than_s", 0, _TEN_YEARS_S, 0),
        after=_after(text(args, "cursor")),
    )


def _queues(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not value or not all(queue in QUEUES for queue in value):
        raise BadRequest(f"queues must be a list of {', '.join(QUEUES)}")
    return frozenset(value)


def _after(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return _FIRST
    match = _CURSOR.match(cursor)
    if match is None:
        raise BadRequest("cursor is not one that relayctl gave")
    return int(match[1]), match[2]
