"""The client of relayctl: one function a verb, checked values out. docs/relayctl.md is the protocol."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import orjson

from relays.domain import fields, log_reading, queue_reading, reading
from relays.domain.fields import BadRow
from relays.domain.filters import QueueFilter, to_args
from relays.domain.log_reading import SourceReading
from relays.domain.queue_reading import Groups, Item
from relays.domain.reading import Header, InstanceFacts, InstanceReading, Message
from relays.domain.text import printable
from relays.remote import ssh
from relays.remote.errors import (
    Fenced,
    Incompatible,
    Incomplete,
    Locked,
    Refused,
    RemoteError,
    Replayed,
    Unfinished,
)
from relays.remote.ssh import Limits, Target

VERSION = 1
# A login shell may greet before relayctl speaks; more than this is not a greeting.
_NOISE_LINES = 64
_PROGRESS = b'{"kind":"progress",'
_Row = TypeVar("_Row")
# Is given how many messages of a queue were read so far, about once a second.
Progress = Callable[[int], None]
# Codes of a refusal; any other is a precondition that does not hold.
_ERRORS: Mapping[str, tuple[type[RemoteError], str]] = {
    "bad_request": (Incompatible, "relayctl does not understand the console"),
    "deadline": (Incomplete, "relayctl ended by its deadline"),
    "internal": (Incomplete, "relayctl failed"),
    "locked": (Locked, "The instance is in use"),
    "fenced": (Fenced, "Another claim came first"),
    "replayed": (Replayed, "The request's id was used before"),
    "unfinished": (Unfinished, "The request was begun before"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What every verb tells: who answered, and how far the host's clock is ahead of ours (s)."""

    header: Header
    clock_skew_s: float

    def our_time(self, host_time: float) -> datetime:
        """Return a time of the host's clock by ours."""
        return datetime.fromtimestamp(host_time - self.clock_skew_s, UTC)


@dataclass(frozen=True, slots=True)
class Inventory(Answer):
    """All instances of a host."""

    instances: tuple[InstanceFacts, ...]


@dataclass(frozen=True, slots=True)
class Snapshot(Answer):
    """All queues of a host; truncated: relayctl stopped early, each reading in here is whole."""

    instances: tuple[InstanceReading, ...]
    host: Mapping[str, Any]
    truncated: bool


@dataclass(frozen=True, slots=True)
class MessagePage(Answer):
    """A page of a queue; cursor: what to pass for the next page, None at the end."""

    messages: tuple[Message, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class QueueGroups(Answer):
    """The messages of an instance that a filter takes, by what they have in common."""

    groups: Groups


@dataclass(frozen=True, slots=True)
class Picked(Answer):
    """The messages that a filter takes. queues: how many lie in each; short_ids: how many have such an id."""

    items: tuple[Item, ...]
    queues: Mapping[str, int]
    short_ids: int


@dataclass(frozen=True, slots=True)
class LogReading(Answer):
    """A piece of each log of a host; those that have more say so in behind_bytes."""

    sources: tuple[SourceReading, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply: who answered, its rows, and its end line."""

    answer: Answer
    rows: list[dict[str, Any]]
    end: dict[str, Any]


def hello(target: Target, limits: Limits | None = None) -> Answer:
    """Return who answers. Raises RemoteError, as all verbs do."""
    return ask(target, "hello", {}, limits).answer


def inventory(target: Target, limits: Limits | None = None) -> Inventory:
    """Return all instances of the host. Raises Incomplete rather than leave one out."""
    reply = ask(target, "inventory", {}, limits)
    if reply.end.get("truncated"):
        raise Incomplete("relayctl stopped before its inventory was whole.")
    instances = parse(reply.rows, "instance", reading.parse_instance_facts)
    _check_distinct([(i.name, i.config_dir) for i in instances])
    return Inventory(reply.answer.header, reply.answer.clock_skew_s, instances)


def snapshot(target: Target, limits: Limits | None = None, *, domains: int = 200) -> Snapshot:
    """Return all queues of the host, each with so many of its recipient domains."""
    reply = ask(target, "snapshot", {"domains": domains}, limits)
    instances = parse(reply.rows, "instance", reading.parse_instance_reading)
    _check_distinct([(i.name, i.config_dir) for i in instances])
    _check_sampled(instances, reply.answer.header.now)
    hosts = parse(reply.rows, "host", reading.parse_host_facts)
    return Snapshot(
        reply.answer.header,
        reply.answer.clock_skew_s,
        instances,
        hosts[0] if hosts else {},
        bool(reply.end.get("truncated")),
    )


def queue_list(  # noqa: PLR0913 - keywords, as in write.py
    target: Target,
    limits: Limits | None = None,
    *,
    instance: str,
    wanted: QueueFilter,
    cursor: str | None = None,
    limit: int = 100,
    progress: Progress | None = None,
) -> MessagePage:
    """Return the messages of one instance that a filter takes, oldest first, from a page's cursor on."""
    args = {"instance": instance, "limit": limit, **to_args(wanted)}
    args |= {} if cursor is None else {"cursor": cursor}
    reply = _ask_telling(target, "queue.list", args, limits, progress)
    messages = parse(reply.rows, "message", reading.parse_message)
    following = reply.end.get("cursor")
    if following is not None and (not isinstance(following, str) or len(following) > 200):
        raise Incompatible("relayctl gave a cursor that is no text.")
    return MessagePage(reply.answer.header, reply.answer.clock_skew_s, messages, following)


def queue_groups(  # noqa: PLR0913
    target: Target,
    limits: Limits | None = None,
    *,
    instance: str,
    wanted: QueueFilter,
    limit: int = 100,
    progress: Progress | None = None,
) -> QueueGroups:
    """Count the messages of one instance that a filter takes. limit: rows a table."""
    args = {"instance": instance, "limit": limit, **to_args(wanted)}
    reply = _ask_telling(target, "queue.groups", args, limits, progress)
    if reply.end.get("truncated"):
        raise Incomplete("relayctl stopped before its tables were whole.")
    try:
        groups = queue_reading.parse_groups(reply.rows)
    except BadRow as error:
        raise Incompatible(f"relayctl sent something malformed: {error}.") from error
    return QueueGroups(reply.answer.header, reply.answer.clock_skew_s, groups)


def queue_pick(target: Target, limits: Limits | None = None, *, instance: str, wanted: QueueFilter) -> Picked:
    """Return all messages of one instance that a filter takes. Raises Refused for more than 100,000."""
    reply = ask(target, "queue.pick", {"instance": instance, **to_args(wanted)}, limits)
    found = tuple(item for row in parse(reply.rows, "picked", queue_reading.parse_picked) for item in row)
    if reply.end.get("truncated") or reply.end.get("total") != len(found):
        raise Incomplete("relayctl stopped before it had named every message.")
    try:
        queues, short = queue_reading.parse_queues(reply.end), fields.needed_count(reply.end, "short_ids")
    except BadRow as error:
        raise Incompatible(f"relayctl sent something malformed: {error}.") from error
    return Picked(reply.answer.header, reply.answer.clock_skew_s, found, queues, short)


def _ask_telling(
    target: Target, verb: str, args: dict[str, object], limits: Limits | None, progress: Progress | None
) -> "Reply":
    """Ask a verb that reads a whole queue; progress is told how far it is."""
    if progress is None:
        return ask(target, verb, args, limits)

    def heard(line: bytes) -> None:
        if line.startswith(_PROGRESS):
            progress(_told(line))

    return ask(target, verb, {**args, "progress": True}, limits, send=partial(ssh.request, heard=heard))


def _told(line: bytes) -> int:
    try:
        return fields.needed_count(_parse_line(line), "messages")
    except BadRow as error:
        raise Incompatible(f"relayctl sent something malformed: {error}.") from error


def log_read(
    target: Target,
    limits: Limits | None = None,
    *,
    cursors: Mapping[str, str],
    fleet: Iterable[str] = (),
    **args: int,
) -> LogReading:
    """Return what was written to the host's logs since these cursors, counted.

    cursors: by source, as SourceReading gave them; "" or none: that log from its beginning. fleet: addresses
    of the fleet's instances, delivery to which is handing over. args: max_bytes and seconds of `log.read`.
    Raises Incomplete rather than leave out any count.
    """
    given = {source: orjson.loads(text) for source, text in cursors.items() if text}
    reply = ask(target, "log.read", {"cursors": given, "fleet": list(fleet), **args}, limits)
    if reply.end.get("truncated"):
        raise Incomplete("relayctl stopped before its counts were whole.")
    try:
        sources = log_reading.parse_sources(reply.rows)
    except BadRow as error:
        raise Incompatible(f"relayctl sent something malformed: {error}.") from error
    return LogReading(reply.answer.header, reply.answer.clock_skew_s, sources)


def ask(  # noqa: PLR0913
    target: Target,
    verb: str,
    args: dict[str, object],
    limits: Limits | None,
    *,
    req_id: str = "",
    send: Callable[[Target, bytes, Limits], ssh.Output] = ssh.request,
    **envelope: object,
) -> Reply:
    """Send a request and return its complete reply. envelope: what write verbs have beside their args.

    Raises RemoteError.
    """
    limits = limits or Limits()
    req_id = req_id or str(uuid.uuid4())
    # A little less than ours, so that relayctl can still say why it stopped.
    deadline_s = max(1, min(300, int(limits.wall_s * 0.75)))
    fixed = {"v": VERSION, "req_id": req_id, "verb": verb, "args": args, "deadline_s": deadline_s}
    output = send(target, orjson.dumps(fixed | envelope), limits)
    place = _find_header(output, req_id)
    header_row = _parse_line(output.lines[place])
    _check_header(header_row, verb)
    rows = [_parse_line(line) for line in output.lines[place + 1 :] if line]
    end = _take_end(rows, output)
    if isinstance(end.get("error"), dict):
        raise _error_of(end["error"])
    header = parse([header_row], None, reading.parse_header)[0]
    # The host read its clock somewhere between our sending and its first byte: take the middle.
    skew = header.now - (output.sent_at + output.first_byte_at) / 2
    rows = [row for row in rows if row.get("kind") != "progress"]
    return Reply(Answer(header, round(skew, 3)), rows, end)


def _find_header(output: ssh.Output, req_id: str) -> int:
    """Return the number of the header's line, after what a noisy shell may have said first.

    Raises Incompatible where no relayctl answered, Incomplete where its first line was cut off.
    """
    wanted = req_id.encode()
    for place, line in enumerate(output.lines[:_NOISE_LINES]):
        if line.startswith(b'{"') and wanted in line:
            return place
    if output.rest.startswith(b'{"') and wanted in output.rest:
        raise Incomplete("The reply stopped within its first line.")
    raise Incompatible(_what_answered(output))


def _what_answered(output: ssh.Output) -> str:
    said = next((text for text in (*output.lines, output.rest, output.stderr) if text.strip()), b"")
    ended = "without an exit status" if output.status is None else f"with status {output.status}"
    quoted = printable(said.decode("utf-8", "replace").strip(), 200)
    return f"No relayctl answered. The command ended {ended}" + (f" and said: {quoted}" if said else ".")


def _check_header(row: dict[str, Any], verb: str) -> None:
    if row.get("v") != VERSION:
        raise Incompatible(f"relayctl speaks protocol version {row.get('v')!r:.20}, the console {VERSION}.")
    if row.get("ok") is True and row.get("verb") == verb:
        return
    error = row.get("error")
    if row.get("ok") is not False or not isinstance(error, dict):
        raise Incompatible("relayctl's header neither answers the request nor refuses it.")
    raise _error_of(error)


def _error_of(error: Mapping[str, Any]) -> RemoteError:
    """Return the error that relayctl tells, in its header or, where that was out, in its end line."""
    code, message = (printable(str(error.get(key, "")), 200) for key in ("code", "message"))
    error_class, words = _ERRORS.get(code, (Refused, f"relayctl refused ({code})"))
    return error_class(f"{words}: {message}")


def _parse_line(line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        quoted = printable(line[:100].decode("utf-8", "replace"), 100)
        raise Incompatible(f"The reply has a line that is not JSON: {quoted}") from error
    if not isinstance(row, dict):
        raise Incompatible("The reply has a line that is no object.")
    return row


def _take_end(rows: list[dict[str, Any]], output: ssh.Output) -> dict[str, Any]:
    if output.rest or not rows or rows[-1].get("end") is not True:
        raise Incomplete(f"The reply stopped before its end line, after {len(rows):,} rows.")
    end = rows.pop()
    if end.get("rows") != len(rows):
        raise Incomplete(f"The reply has {len(rows):,} rows, its end line says {end.get('rows')!r:.20}.")
    return end


def parse(
    rows: list[dict[str, Any]], kind: str | None, take: Callable[[Mapping[str, Any]], _Row]
) -> tuple[_Row, ...]:
    """Return the rows of a kind as values. Raises Incompatible."""
    try:
        return tuple(take(row) for row in rows if row.get("kind") == kind)
    except BadRow as error:
        raise Incompatible(f"relayctl sent something malformed: {error}.") from error


def _check_distinct(names: list[tuple[str, str]]) -> None:
    if len(names) > reading.MAX_INSTANCES:
        raise Incompatible(
            f"relayctl lists {len(names):,} instances; {reading.MAX_INSTANCES} are understood."
        )
    for column in zip(*names, strict=True):
        if len(set(column)) != len(column):
            raise Incompatible("relayctl lists two instances of one name or configuration directory.")


def _check_sampled(instances: tuple[InstanceReading, ...], now: float) -> None:
    """Refuse a reading that is older or newer than the reply it came with can be."""
    reach = timedelta(minutes=5).total_seconds()
    if any(abs(instance.sampled_at - now) > reach for instance in instances):
        raise Incompatible("relayctl sent a reading of another time than its own clock's.")
