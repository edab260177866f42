"""The verb `log.search`: lines of a host's logs, rotated or compressed, that hold a text or are of a message.

A request reads for a moment only and tells where it stopped: the next goes on from there. So a search of
gigabytes shows its first lines at once, never holds the host up, and is over when nobody asks on.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from relays.agent import children, log_read
from relays.agent.archive import own_path
from relays.agent.deadline import Deadline
from relays.agent.log_files import (
    Generation,
    LogFile,
    NotALog,
    NotDecompressed,
    Rotated,
    generations,
    open_generation,
)
from relays.agent.protocol import (
    Answer,
    BadRequest,
    Locked,
    condition,
    integer,
    refuse_unknown,
)
from relays.domain.maillog.lines import LINE, LITTER, MESSAGE
from relays.domain.maillog.stamps import Stamps
from relays.domain.text import printable

MAX_NEEDLES = 200
MAX_LINES = 2_000
_MAX_TEXT = 4_000
_MOST_TIME = 2**31 - 1
_CHUNK = 1 << 20
_KEYS = {"texts", "ids", "since", "until", "at", "budget_ms", "limit"}
_ID = re.compile(r"\A[0-9A-Za-z]{5,31}\Z")
# Lines are written in order but for a moment: what syslog held back, and a second told without its fraction.
_SLACK_S = 120


class Search(NamedTuple):
    """What is looked for, between two times (seconds since 1970).

    find: returns where in a chunk of whole lines it is found.
    """

    find: Callable[[bytes], Iterator[int]]
    since: int
    until: int
    until_monotonic: float
    limit: int


class Place(NamedTuple):
    """Where to go on: a byte of a file of a source."""

    source: str
    dev: int
    ino: int
    at: int


def answer(args: dict[str, Any], deadline: Deadline) -> Answer:
    """Return the lines that were found, and in the end line where to go on; raise BadRequest or Locked."""
    refuse_unknown(args, _KEYS)
    since = integer(args, "since", 0, _MOST_TIME, 0)
    until = integer(args, "until", since, _MOST_TIME, _MOST_TIME)
    budget_s = min(integer(args, "budget_ms", 50, 20_000, 1_500) / 1000, max(0.1, deadline.remaining_s() - 2))
    limit = integer(args, "limit", 1, MAX_LINES, 500)
    place = _place(args.get("at"))
    find = _finder(args)
    _only_one()
    os.nice(19)
    search = Search(find, since, until, time.monotonic() + budget_s, limit)
    end: dict[str, Any] = {}
    return Answer(_Reading(search, place, end).rows(), end)


def _finder(args: dict[str, Any]) -> Callable[[bytes], Iterator[int]]:
    texts, ids = _needles(args, "texts"), _needles(args, "ids")
    if bool(texts) == bool(ids):
        raise BadRequest("one of texts and ids must be given")
    if ids:
        if not all(map(_ID.match, ids)):
            raise BadRequest("ids must be queue ids")
        any_id = b"|".join(queue_id.encode() for queue_id in ids)
        of_message = re.compile(rb"\]: (?:\[ID [^\]]{1,40}\] )?(?:" + any_id + rb"): ")
        return lambda chunk: (found.start() for found in of_message.finditer(chunk))
    # Whatever the case of an address: receivers rarely care, and senders less.
    low = [text.encode().lower() for text in texts]
    return lambda chunk: _places_of(low, chunk.lower())


def _needles(args: dict[str, Any], key: str) -> list[str]:
    value = args.get(key, [])
    if not isinstance(value, list) or len(value) > MAX_NEEDLES:
        raise BadRequest(f"{key} must be a list of at most {MAX_NEEDLES}")
    if not all(isinstance(text, str) and 5 <= len(text) <= 1_000 and text.isprintable() for text in value):
        raise BadRequest(f"{key} must be printable texts of 5 to 1,000 characters")
    return value


def _places_of(needles: list[bytes], chunk: bytes) -> Iterator[int]:
    for needle in needles:
        at = chunk.find(needle)
        while at >= 0:
            yield at
            at = chunk.find(needle, at + 1)


def _place(value: Any) -> Place | None:
    if value is None:
        return None
    try:
        place = Place(**value)
    except TypeError:
        raise BadRequest("at is none that relayctl gave") from None
    numbers = (place.dev, place.ino, place.at)
    if not isinstance(place.source, str) or any(type(n) is not int or not 0 <= n < 2**64 for n in numbers):
        raise BadRequest("at is none that relayctl gave")
    return place


def _only_one() -> None:
    """Take the lock that lets one search at a time load the disk; it ends with this process."""
    path = own_path()
    if path is None:
        return
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked("another search reads this host's logs") from None


class _Reading:
    """A piece of a search: sources one after the other, each from its oldest file that matters."""

    def __init__(self, search: Search, place: Place | None, end: dict[str, Any]) -> None:
        self._search = search
        self._place = place
        self._end = end
        self._found = 0
        self._read = 0
        self._names: dict[str, str] = {}
        # Whether the newest file that was read went beyond what is asked for.
        self._over = False

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield lines as they are found, and what could not be read; fill the end line."""
        host = log_read.host()
        self._names = host.names
        sources = sorted(source.name for source in host.sources)
        if self._place is not None:
            sources = [name for name in sources if name >= self._place.source]
        self._end.update(at=None, total_bytes=0)
        for source in sources:
            yield from self._source(source)
            if self._end["at"] is not None:
                break
        self._end["read_bytes"] = self._read

    def _source(self, source: str) -> Iterator[dict[str, Any]]:
        if source == log_read.JOURNAL:
            yield from self._journal()
            return
        try:
            files = [g for g in generations(source) if g.is_live or g.mtime >= self._search.since - _SLACK_S]
        except (OSError, Rotated) as error:
            yield self._problem("not_readable", f"{source}: {error or 'it is being rotated'}")
            return
        self._end["total_bytes"] += sum(g.size for g in files)
        for generation in self._from_place(source, files):
            yield from self._generation(source, generation)
            if self._end["at"] is not None or self._over:
                return

    def _from_place(self, source: str, files: list[Generation]) -> list[Generation]:
        """Return the files from the one on that the search stopped in; all, where it has gone meanwhile."""
        self._over = False
        place = self._place
        if place is None or place.source != source:
            return files
        numbers = [n for n, g in enumerate(files) if (g.dev, g.ino) == (place.dev, place.ino)]
        if not numbers:
            self._place = None
            return files
        return files[numbers[0] :]

    def _generation(self, source: str, generation: Generation) -> Iterator[dict[str, Any]]:
        try:
            with open_generation(generation) as file:
                yield from self._file(source, generation, file)
        except (OSError, NotALog, NotDecompressed) as error:
            yield self._problem("not_readable", str(error))
        except Rotated:
            yield self._problem("rotated", f"{generation.path} was rotated while it was read")

    def _file(self, source: str, generation: Generation, file: LogFile) -> Iterator[dict[str, Any]]:
        stamps = Stamps(now=time.time() if generation.is_live else generation.mtime, zone=None)
        at = self._go_to_begin(generation, file, stamps)
        tail = b""
        while True:
            data = file.read(_CHUNK)
            self._read += len(data)
            lines = tail + data
            whole = lines.rfind(b"\n") + 1 if data else len(lines)
            if whole:
                yield from self._lines(lines[:whole], generation.path, stamps)
                if self._is_past(lines[:whole], stamps):
                    self._over = True
                    return
            # What has no end after two chunks is none of Postfix's.
            tail = lines[whole:] if len(lines) - whole < 2 * _CHUNK else b""
            at += len(data)
            if not data:
                return
            if time.monotonic() > self._search.until_monotonic or self._found >= self._search.limit:
                self._end["at"] = Place(source, generation.dev, generation.ino, at - len(tail))._asdict()
                return

    def _go_to_begin(self, generation: Generation, file: LogFile, stamps: Stamps) -> int:
        """Go to where the last piece stopped, or to the first line that is late enough; return that byte."""
        place, self._place = self._place, None
        if place is not None:
            _skip(file, place.at)
            return place.at
        if file.compression:
            return 0
        at = self._first_line_since(file, generation.size, stamps)
        file.jump(at)
        return at

    def _first_line_since(self, file: LogFile, size: int, stamps: Stamps) -> int:
        """Return a line's begin before which all is too early, by halving: lines are in order, nearly."""
        low, high = 0, size
        while high - low > _CHUNK:
            middle = (low + high) // 2
            file.jump(middle)
            data = file.read(64 * 1024)
            begin = data.find(b"\n") + 1
            stamp = _time_of(data[begin:], stamps)
            if stamp is None or stamp >= self._search.since - _SLACK_S:
                high = middle
            else:
                low = middle + begin
        return low

    def _is_past(self, lines: bytes, stamps: Stamps) -> bool:
        """Whether the last line of a chunk is later than what is asked for."""
        begin = lines.rfind(b"\n", 0, len(lines) - 1) + 1
        stamp = _time_of(lines[begin:], stamps)
        return stamp is not None and stamp > self._search.until + _SLACK_S

    def _lines(self, chunk: bytes, path: str, stamps: Stamps) -> Iterator[dict[str, Any]]:
        last = -1
        for at in sorted(self._search.find(chunk)):
            if at < last:
                continue
            begin = chunk.rfind(b"\n", 0, at) + 1
            last = chunk.find(b"\n", at)
            last = len(chunk) if last < 0 else last
            row = self._row(chunk[begin:last], path, stamps)
            if row is not None:
                self._found += 1
                yield row

    def _row(self, line: bytes, path: str, stamps: Stamps) -> dict[str, Any] | None:
        match = LINE.match(line.translate(None, LITTER))
        stamp = match and stamps[match[1]]
        if match is None or stamp is None or not self._search.since <= stamp <= self._search.until:
            return None
        message = MESSAGE.match(match[5])
        syslog_name = match[3].decode("ascii", "replace").rpartition("/")[0]
        return {
            "kind": "line",
            "time": stamp,
            "instance": self._instance(syslog_name),
            "queue_id": ((message and message[1]) or b"").decode("ascii", "replace"),
            "file": path,
            "text": printable(line.decode("utf-8", "backslashreplace"), _MAX_TEXT),
        }

    def _instance(self, syslog_name: str) -> str | None:
        """Return the instance that logs under a name, or under one that a service of its own goes on from."""
        while syslog_name not in self._names:
            syslog_name, slash, _ = syslog_name.rpartition("/")
            if not slash:
                return None
        return self._names[syslog_name]

    def _journal(self) -> Iterator[dict[str, Any]]:
        """Search the journal as the lines that syslog would have written; in one piece, within the time."""
        found: list[bytes] = []
        wait_s = max(1.0, self._search.until_monotonic - time.monotonic())
        times = (f"--since=@{max(0, self._search.since)}", f"--until=@{self._search.until + 1}")
        try:
            journalctl = children.find_program("journalctl")
            arguments = [journalctl, "--no-pager", "--quiet", "--output=short-iso", "--facility=mail", *times]
            children.run(arguments, timeout_s=wait_s, idle_s=wait_s, take=found.append)
        except (children.NotInstalled, OSError) as error:
            yield self._problem("not_readable", f"journal: {error}")
        except children.TimedOut:
            yield self._problem("cut", "journal: what was read in the time given; ask for less")
        chunk = b"".join(found)
        self._read += len(chunk)
        yield from self._lines(chunk, log_read.JOURNAL, Stamps(now=time.time(), zone=None))

    def _problem(self, code: str, detail: str) -> dict[str, Any]:
        return {"kind": "problem", **condition(code, "log", detail)}


def _skip(file: LogFile, at: int) -> None:
    """Go to a byte, by reading up to it where the file is compressed."""
    if not file.compression:
        file.jump(at)
        return
    while at > 0:
        data = file.read(min(_CHUNK, at))
        if not data:
            return
        at -= len(data)


def _time_of(line: bytes, stamps: Stamps) -> int | None:
    match = LINE.match(line.partition(b"\n")[0].translate(None, LITTER))
    return match and stamps[match[1]]
