"""The verb `flush.log`: what became of single messages since a cursor, as a flush's account needs it.

At the source of a flush: what left through the drain and what went its own way. At the target: what came in
from the source, and what became of it there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from relays.agent import drain, log_follow, log_journal, log_place, log_read
from relays.agent.deadline import Deadline
from relays.agent.log_follow import Budget, Piece
from relays.agent.log_place import MARK_BYTES, Cursor, Place, fingerprint
from relays.agent.protocol import Answer, BadRequest, Refused, integer, refuse_unknown, text
from relays.domain.maillog.lines import Line, parse
from relays.domain.maillog.stamps import Stamps
from relays.domain.text import printable

# Of a request: what it makes of so much fits into a reply.
_MAX_BYTES = 8 << 20
_SECONDS = 10.0
_ROWS_A_LINE = 100
_MAX_REPLY_TEXT = 200
_MAX_ADDRESS = 320
_LATEST = 2**31 - 1
_KEYS = {"instance", "role", "client", "cursor", "since", "at_end"}
_NEXT_ID = re.compile(r"queued as ([0-9A-Za-z]{5,31})")
_SENT_ON = ("sent", "deferred", "bounced", "SOFTBOUNCE")
# What postsuper(1) says of a message that goes: under that queue id there is none any more.
_TAKEN_OUT = ("removed", "requeued")

Event = list[Any]


class Wanted(NamedTuple):
    """Whose lines are asked for. names: the instance's syslog_name, and that of its drain."""

    name: str
    drain_name: str
    client: str | None
    since: int


def answer(args: dict[str, Any], deadline: Deadline) -> Answer:
    """Return events since a cursor, and the next cursor in the end line; raise BadRequest and Refused."""
    refuse_unknown(args, _KEYS)
    source, wanted = _source(args)
    if args.get("at_end", False):
        return Answer([], {"cursor": end_of(source), "behind_bytes": 0})
    events: list[Event] = []
    take = _Taker(wanted, _events_of(args), events).feed
    until = time.monotonic() + min(_SECONDS, max(1.0, deadline.remaining_s() - 5))
    piece = _follow(source, args.get("cursor"), Budget(_MAX_BYTES, until), take)
    end = {"cursor": piece.cursor, "behind_bytes": piece.behind, "conditions": piece.conditions[:10]}
    return Answer(_rows(events), end)


def _source(args: dict[str, Any]) -> tuple[str, Wanted]:
    """Return the log that an instance writes to, and whose lines in it are meant."""
    instance, client = text(args, "instance"), text(args, "client")
    for source in log_read.host().sources:
        for name, written_by in source.instances.items():
            if written_by == instance:
                since = integer(args, "since", 0, _LATEST, 0)
                return source.name, Wanted(name, f"{name}/{drain.SERVICE}", client, since)
    raise Refused(f"the log of {printable(str(instance), 63)} is not known")


def _events_of(args: dict[str, Any]) -> Callable[[Line, Wanted], Event | None]:
    role = args.get("role")
    if role == "source":
        return _at_source
    if role == "target":
        return _at_target
    raise BadRequest("role must be source or target")


def _follow(source: str, cursor: Any, budget: Budget, take: log_follow.Take) -> Piece:
    if source == log_read.JOURNAL:
        parsed = None if cursor is None else log_journal.parse_cursor(cursor)
        return log_journal.follow(parsed, budget, take, timeout_s=_SECONDS)
    return log_follow.follow(source, None if cursor is None else log_place.parse_cursor(cursor), budget, take)


def end_of(source: str) -> dict[str, Any] | None:
    """Return the cursor behind a log's last whole line; None where it is to be read from its beginning."""
    if source == log_read.JOURNAL:
        return None
    try:
        with open(source, "rb") as file:
            status = os.fstat(file.fileno())
            file.seek(max(0, status.st_size - log_follow.MAX_LINE_BYTES))
            begin, rest = file.tell(), file.read(log_follow.MAX_LINE_BYTES)
            at = begin + rest.rfind(b"\n") + 1
            marked = min(at, MARK_BYTES)
            file.seek(0)
            head = file.read(marked)
            file.seek(at - marked)
            tail = file.read(marked)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{source}: {error.strerror}") from None
    if not at:
        return None
    place = Place(status.st_dev, status.st_ino, at, fingerprint(head), fingerprint(tail))
    return Cursor(round(time.time(), 3), (place,)).as_json()


class _Taker:
    """Turns chunks of whole lines into events."""

    def __init__(
        self, wanted: Wanted, event_of: Callable[[Line, Wanted], Event | None], events: list[Event]
    ) -> None:
        self._wanted = wanted
        self._event_of = event_of
        self._events = events
        self._stamps = Stamps(now=time.time(), zone=None)
        # Most lines of a shared log are others': these bytes stand in each that may be meant.
        self._mark = f" {wanted.name}/".encode()

    def feed(self, chunk: bytes) -> None:
        """Take the next lines of the log."""
        for raw in chunk.split(b"\n"):
            if self._mark not in raw:
                continue
            line = parse(raw, self._stamps)
            if line is None or line.time < self._wanted.since:
                continue
            event = self._event_of(line, self._wanted)
            if event is not None:
                self._events.append(event)


def _at_source(line: Line, wanted: Wanted) -> Event | None:
    """["out", time, id, recipient, status, dsn, id at the target or null, reply]: through the drain.

    ["direct", …] is the same of any other way, ["expired", time, id] a message whose time was up, and
    ["gone", time, id] one that somebody took out of the queue.
    """
    message = line.message
    if message.kind == "delivery" and line.name in (wanted.name, wanted.drain_name):
        fields = message.fields
        if fields.get("status") not in _SENT_ON:
            return None
        kind = "out" if line.name == wanted.drain_name else "direct"
        return [kind, *_delivery(line), _next_id(fields.get("reply", "")), _reply(fields)]
    if message.kind == "expired" and line.name == wanted.name:
        return ["expired", line.time, message.queue_id]
    if line.program == "postsuper" and line.name == wanted.name and message.text in _TAKEN_OUT:
        return ["gone", line.time, message.queue_id]
    return None


def _at_target(line: Line, wanted: Wanted) -> Event | None:
    """["in", time, id]: from the client that is asked for; ["mid", time, id, message-id] of any message.

    ["done", time, id, recipient, status, dsn, reply] and ["expired", time, id]: what became of any there.
    """
    message = line.message
    if line.name not in (wanted.name, wanted.drain_name):
        return None
    if message.kind == "client":
        return ["in", line.time, message.queue_id] if message.fields.get("address") == wanted.client else None
    if message.kind == "delivery" and message.fields.get("status") in _SENT_ON:
        return ["done", *_delivery(line), _reply(message.fields)]
    if message.kind == "expired":
        return ["expired", line.time, message.queue_id]
    if line.program == "cleanup" and "message-id" in message.fields:
        return ["mid", line.time, message.queue_id, printable(message.fields["message-id"], _MAX_ADDRESS)]
    return None


def _delivery(line: Line) -> list[Any]:
    fields = line.message.fields
    status = "softbounce" if fields["status"] == "SOFTBOUNCE" else fields["status"]
    return [
        line.time,
        line.message.queue_id,
        printable(fields.get("to", ""), _MAX_ADDRESS),
        status,
        fields.get("dsn", ""),
    ]


def _next_id(reply: str) -> str | None:
    found = _NEXT_ID.search(reply)
    return found[1] if found else None


def _reply(fields: dict[str, str]) -> str:
    return "" if fields["status"] == "sent" else printable(fields.get("reply", ""), _MAX_REPLY_TEXT)


def _rows(events: list[Event]) -> Iterator[dict[str, Any]]:
    for begin in range(0, len(events), _ROWS_A_LINE):
        yield {"kind": "events", "rows": events[begin : begin + _ROWS_A_LINE]}
