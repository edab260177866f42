"""The verb `log.read`: what was written to a host's logs since the cursors of a request, counted."""

from __future__ import annotations

import os
import re
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from relays.agent import inventory, log_follow, log_journal, log_place, postfix
from relays.agent.deadline import Deadline
from relays.agent.log_follow import Budget, Piece
from relays.agent.protocol import (
    END_ROOM,
    MAX_LINE,
    MAX_REPLY,
    MAX_ROWS,
    Answer,
    BadRequest,
    condition,
    encode_line,
    integer,
    refuse_unknown,
)
from relays.domain.maillog.counts import Counter
from relays.domain.maillog.tables import Counts, Reply

JOURNAL = "journal"
MAX_FLEET = 5_000
_MAX_CURSORS = 1_000
# What a source may be called: the console stores it.
_PATH = re.compile(r"\A/[^\x00-\x1f\x7f]{1,254}\Z")

_KEYS = {"cursors", "fleet", "max_bytes", "seconds"}
_MEBIBYTE = 1 << 20
_DEFAULT_BYTES = 32 * _MEBIBYTE
_DEFAULT_SECONDS = 10
# For writing what was counted.
_RESERVED_S = 3.0
# Each log gets on by so much however many there are, or by less where its counts would not fit.
_LEAST_BYTES = _MEBIBYTE
_LEAST_TRIED_BYTES = 32 * 1024
# As far as the console's times reach.
_LATEST = 2**31 - 1
# Of a log, so many are told of: each rotated file may be unreadable.
_CONDITIONS = 20
# Of a reply for its header, of a line for what stands around its rows.
_HEADER_ROOM = 4 * 1024
_FRAME = 1024


class Source(NamedTuple):
    """A log. instances: of those that write to it, by syslog_name; is_lossy: through postlogd(8)."""

    name: str
    instances: dict[str, str]
    conditions: list[dict[str, str]]
    is_lossy: bool


class Host(NamedTuple):
    """What of a host's inventory its logs are read by. filters: its content filters, see Counter."""

    sources: list[Source]
    names: dict[str, str]
    filters: set[str]


class Room:
    """What is left of the caps of a reply."""

    def __init__(self) -> None:
        self.bytes = MAX_REPLY - END_ROOM - _HEADER_ROOM
        self.lines = MAX_ROWS

    def fits(self, lines: Iterable[bytes]) -> list[bytes] | None:
        """Return the lines if all of them fit, and take their room; None as soon as one doesn't."""
        kept: list[bytes] = []
        size = 0
        for line in lines:
            size += len(line)
            if size > self.bytes or len(kept) >= self.lines:
                return None
            kept.append(line)
        self.bytes -= size
        self.lines -= len(kept)
        return kept


def answer(args: dict[str, Any], deadline: Deadline) -> Answer:
    """Return a row for each log, with the rows of what was counted in it; raise BadRequest."""
    refuse_unknown(args, _KEYS)
    cursors = _cursors(args.get("cursors", {}))
    fleet = _fleet(args.get("fleet", []))
    max_bytes = integer(args, "max_bytes", _LEAST_BYTES, 1024 * _MEBIBYTE, _DEFAULT_BYTES)
    seconds = integer(args, "seconds", 1, 60, _DEFAULT_SECONDS)
    until = time.monotonic() + min(seconds, max(1.0, deadline.remaining_s() - _RESERVED_S))
    return Answer(_Logs(host(), fleet, cursors).lines(max_bytes, until), {})


def _cursors(value: Any) -> dict[str, Any]:
    """Return the cursors of a request by their source, each checked as its source has them."""
    if not isinstance(value, dict) or len(value) > _MAX_CURSORS:
        raise BadRequest(f"cursors must be an object of at most {_MAX_CURSORS}")
    parse = {True: log_journal.parse_cursor, False: log_place.parse_cursor}
    return {source: parse[source == JOURNAL](cursor) for source, cursor in value.items()}


def _fleet(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_FLEET:
        raise BadRequest(f"fleet must be a list of at most {MAX_FLEET}")
    if not all(isinstance(ip, str) and len(ip) <= 45 for ip in value):
        raise BadRequest("fleet holds what is no address")
    return value


def host() -> Host:
    """Return the logs that the host's own instances write to, and whatever a line tells an instance by."""
    written: dict[str, list[tuple[str, str, bool]]] = {}
    found = Host([], {}, set())
    for place in postfix.places():
        try:
            settings = postfix.parameters(place.config_dir, ["syslog_name", "maillog_file", "content_filter"])
        except postfix.Misconfigured:
            # The inventory tells: its log is not known.
            continue
        name = settings["syslog_name"]
        found.names.setdefault(name, place.name)
        found.filters.update(_filters(settings["content_filter"]))
        log = inventory.log_of(settings["maillog_file"], name)
        source = log and log.get("path", JOURNAL)
        if source and (source == JOURNAL or _PATH.match(source)):
            written.setdefault(source, []).append((name, place.name, bool(settings["maillog_file"])))
    found.sources.extend(_source(name, writers) for name, writers in written.items())
    return found


def _filters(content_filter: str) -> Iterator[str]:
    """Yield what `relay=` may call a content filter: its transport, for pipe(8), or its next hop."""
    transport, _, next_hop = content_filter.partition(":")
    yield from filter(None, (transport, next_hop.replace("[", "").replace("]", "")))


def _source(name: str, writers: list[tuple[str, str, bool]]) -> Source:
    instances: dict[str, str] = {}
    conditions = []
    for syslog_name, instance, _ in writers:
        other = instances.setdefault(syslog_name, instance)
        if other != instance:
            told = f"{instance} and {other} both log as {syslog_name}: all of it counts as {other}'s"
            conditions.append(condition("ambiguous", "log", told))
    return Source(name, instances, conditions, any(is_lossy for _, _, is_lossy in writers))


class _Logs:
    """The logs of a host, read one after the other."""

    def __init__(self, host: Host, fleet: list[str], cursors: dict[str, Any]) -> None:
        self._host = host
        self._fleet = fleet
        self._cursors = cursors
        self._room = Room()

    def lines(self, max_bytes: int, until: float) -> Iterator[bytes]:
        """Yield the lines of each log, those with the least to read first: what they leave is the others'."""
        sources = sorted(self._host.sources, key=self._backlog)
        for number, source in enumerate(sources):
            left = len(sources) - number
            now = time.monotonic()
            share = max(_LEAST_BYTES, max_bytes // left)
            read, lines = self._read(source, share, now + max(0.0, until - now) / left)
            max_bytes -= read
            yield from lines

    def _backlog(self, source: Source) -> int:
        if source.name == JOURNAL:
            return 0
        cursor = self._cursors.get(source.name)
        try:
            size = os.stat(source.name).st_size
        except OSError:
            return 0
        return size - (cursor.places[-1].at if cursor else 0)

    def _read(self, source: Source, max_bytes: int, until: float) -> tuple[int, list[bytes]]:
        """Return how many bytes of a log were read, and the lines; less is read until these have room."""
        while True:
            counter = self._counter(source)
            piece = self._follow(
                source, Budget(max_bytes, until), counter, max(1.0, until - time.monotonic())
            )
            tables = _Tables(source, self._host.names.values())
            lines = self._room.fits(tables.lines(piece, counter.finish()))
            if lines is not None:
                return piece.bytes, lines
            if max_bytes <= _LEAST_TRIED_BYTES:
                return 0, []
            max_bytes = max(_LEAST_TRIED_BYTES, min(max_bytes, piece.bytes) // 2)

    def _counter(self, source: Source) -> Counter:
        names = {**self._host.names, **source.instances}
        return Counter(names, self._fleet, filters=self._host.filters, now=time.time(), zone=None)

    def _follow(self, source: Source, budget: Budget, counter: Counter, timeout_s: float) -> Piece:
        cursor = self._cursors.get(source.name)
        if source.name == JOURNAL:
            return log_journal.follow(cursor, budget, counter.feed, timeout_s=timeout_s)
        return log_follow.follow(source.name, cursor, budget, counter.feed)


class _Tables:
    """A log's counts as the lines of a reply. What another log is counted for stands there, not here."""

    def __init__(self, source: Source, everywhere: Iterable[str]) -> None:
        self._source = source
        self._here = set(source.instances.values())
        self._elsewhere = set(everywhere) - self._here
        self._left_out: Tally[str] = Tally()
        self._out_of_time = 0

    def lines(self, piece: Piece, counts: Counts) -> Iterator[bytes]:
        """Yield the tables of what was counted, then the row of the log itself."""
        yield from self._by_bucket(
            "outcomes",
            (((ts, instance), (*key, *numbers)) for (ts, instance, *key), numbers in counts.rows.items()),
        )
        yield from self._by_bucket(
            "delays",
            (((ts, instance), (domain, bins)) for (ts, instance, domain), bins in counts.delays.items()),
        )
        yield from self._by_bucket(
            "accepted", (((ts, instance), (ip, n)) for (ts, instance, ip), n in counts.accepted.items())
        )
        yield from self._by_bucket(
            "denied", (((ts, instance), (ip, n)) for (ts, instance, ip), n in counts.denied.items())
        )
        yield from self._table("clients", {}, counts.clients.items())
        yield from self._table("mx", {}, counts.mx.items())
        yield from self._table("replies", {}, map(_reply_row, counts.replies.items()))
        yield encode_line(self._log_row(piece, counts))

    def _by_bucket(
        self, kind: str, found: Iterable[tuple[tuple[int, str], Sequence[Any]]]
    ) -> Iterator[bytes]:
        buckets: dict[tuple[int, str], list[Sequence[Any]]] = {}
        for (ts, instance), row in found:
            owner = self._owner(instance)
            if not 0 <= ts <= _LATEST:
                self._out_of_time += kind == "outcomes"
            elif owner is None:
                self._left_out[instance] += kind == "outcomes"
            else:
                buckets.setdefault((ts, owner), []).append(row)
        for (ts, instance), rows in buckets.items():
            yield from self._table(kind, {"instance": instance, "ts": ts}, rows)

    def _owner(self, instance: str) -> str | None:
        """Return the instance that a name in a log stands for; None: its mail is counted in a log of its own.

        postlogd(8) writes for its own instance alone, whatever a service calls itself with `-o syslog_name`.
        """
        if instance in self._here:
            return instance
        if instance in self._elsewhere:
            return None
        if self._source.is_lossy and len(self._here) == 1:
            return next(iter(self._here))
        return instance.lstrip("_.-") or "default"

    def _table(self, kind: str, head: dict[str, Any], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
        """Yield the rows in as many lines as it takes."""
        begin = encode_line({"kind": kind, "source": self._source.name, **head})[:-2] + b',"rows":['
        encoded: list[bytes] = []
        size = 0
        for row in rows:
            text = encode_line(row)[:-1]
            if size + len(text) > MAX_LINE - _FRAME:
                yield begin + b",".join(encoded) + b"]}\n"
                encoded, size = [], 0
            encoded.append(text)
            size += len(text) + 1
        if encoded:
            yield begin + b",".join(encoded) + b"]}\n"

    def _log_row(self, piece: Piece, counts: Counts) -> dict[str, Any]:
        return {
            "kind": "log",
            "source": self._source.name,
            "cursor": piece.cursor,
            "lines": counts.lines,
            "unrecognized": counts.unrecognized + self._out_of_time,
            "foreign": counts.foreign,
            "samples": counts.unrecognized_samples,
            "bytes": piece.bytes,
            "behind_bytes": piece.behind,
            "first": counts.first,
            "last": counts.last,
            "conditions": [*piece.conditions, *self._source.conditions, *self._notices()][:_CONDITIONS],
        }

    def _notices(self) -> Iterator[dict[str, str]]:
        if self._source.is_lossy:
            told = "postlogd(8) writes it, and loses lines whenever Postfix stops; a syslog daemon doesn't"
            yield condition("lossy", "log", told)
        for instance, rows in sorted(self._left_out.items()):
            told = f"{instance} has a log of its own, so {rows} of its counts in this one are left out"
            yield condition("elsewhere", "log", told)


def _reply_row(item: tuple[str, Reply]) -> Sequence[Any]:
    digest, reply = item
    times = (max(0, min(_LATEST, time)) for time in (reply.first, reply.last))
    return (digest, reply.masked, reply.sample, reply.code, reply.dsn, *times)
