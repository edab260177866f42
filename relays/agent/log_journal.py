"""The journal followed from a cursor, where syslog keeps no file: entries of the mail facility as lines.

The format is that of "Journal Export Format" (systemd.io/JOURNAL_EXPORT_FORMATS), which journalctl(1) writes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from relays.agent import children
from relays.agent.log_follow import Budget, Piece, Take
from relays.agent.protocol import BadRequest, condition, refuse_unknown

# A journal that is met for the first time is read from so long ago: it may hold months.
FIRST_S = 86_400
# What is longer is no message of Postfix's; it is passed over.
MAX_FIELD_BYTES = 64 * 1024
_BATCH_BYTES = 256 * 1024
_IDLE_S = 20.0
_CURSOR = re.compile(r"\A[!-~]{1,600}\Z")
_FIELDS = (
    b"__CURSOR",
    b"__REALTIME_TIMESTAMP",
    b"_HOSTNAME",
    b"SYSLOG_IDENTIFIER",
    b"SYSLOG_PID",
    b"MESSAGE",
)


class _Enough(Exception):
    """The budget is spent: journalctl is ended."""


def parse_cursor(value: Any) -> str:
    """Return the cursor of a request. Raises BadRequest where it is none that relayctl gave."""
    if isinstance(value, dict):
        refuse_unknown(value, {"v", "journal"})
        cursor = value.get("journal")
        if value.get("v") == 1 and isinstance(cursor, str) and _CURSOR.match(cursor):
            return cursor
    raise BadRequest("a cursor is none that relayctl gave")


def follow(cursor: str | None, budget: Budget, take: Take, *, timeout_s: float) -> Piece:
    """Hand to `take` what the mail facility wrote to the journal since the cursor, as lines of syslog's.

    What is left after a budget that ended is not known. Nothing is raised for what the journal is or does.
    """
    lines = _Lines(budget, take)
    entries = Entries(lines.add)
    try:
        arguments = [children.find_program("journalctl"), *_arguments(cursor)]
        result = children.run(arguments, timeout_s=timeout_s, idle_s=_IDLE_S, take=entries.feed)
    except _Enough:
        return lines.piece(cursor, None, [])
    except children.TimedOut:
        told = condition("timed_out", "log", f"journalctl was ended after {timeout_s:.0f} s")
        return lines.piece(cursor, None, [told])
    except (children.NotInstalled, OSError) as error:
        return lines.piece(cursor, None, [condition("failed", "log", str(error))])
    if result.status != 0:
        detail = result.stderr.strip() or f"journalctl ended with status {result.status}"
        return lines.piece(cursor, None, [condition("failed", "log", detail)])
    return lines.piece(cursor, 0, [])


def _arguments(cursor: str | None) -> list[str]:
    begin = f"--after-cursor={cursor}" if cursor else f"--since=@{time.time() - FIRST_S:.0f}"
    shown = ",".join(field.decode() for field in _FIELDS if not field.startswith(b"__"))
    # Facility 2 is mail, Postfix's unless syslog_facility says otherwise.
    return [
        "--quiet",
        "--no-pager",
        "--output=export",
        f"--output-fields={shown}",
        begin,
        "SYSLOG_FACILITY=2",
    ]


class _Lines:
    """Entries made lines, handed over in batches; the cursor is that of the last one handed over."""

    def __init__(self, budget: Budget, take: Take) -> None:
        self._budget = budget
        self._take = take
        self._batch: list[bytes] = []
        self._size = 0
        self._bytes = 0
        self._cursor = b""

    def add(self, entry: dict[bytes, bytes]) -> None:
        line = line_of(entry)
        self._batch.append(line)
        self._size += len(line)
        self._cursor = entry.get(b"__CURSOR", b"")
        if self._size >= _BATCH_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        self._take(b"".join(self._batch))
        self._bytes += self._size
        self._budget.spend(self._size)
        self._batch, self._size = [], 0
        if not self._budget.next_chunk():
            raise _Enough

    def piece(self, cursor: str | None, behind: int | None, conditions: list[dict[str, str]]) -> Piece:
        if self._batch:
            self._take(b"".join(self._batch))
        at = self._cursor.decode("ascii", "replace")
        if _CURSOR.match(at):
            cursor = at
        told = {"v": 1, "journal": cursor} if cursor else None
        return Piece(told, self._bytes + self._size, behind, conditions)


def line_of(entry: dict[bytes, bytes]) -> bytes:
    """Return an entry as syslog would have written it; a line end in it must not begin another line."""
    try:
        microseconds = int(entry[b"__REALTIME_TIMESTAMP"])
        stamp = datetime.fromtimestamp(microseconds / 1e6, timezone.utc).isoformat().encode()  # noqa: UP017 - Python 3.9
    except (KeyError, ValueError, OverflowError, OSError):
        stamp = b"-"
    host, program, pid, message = (
        entry.get(name, b"-").replace(b"\n", b" ")
        for name in (b"_HOSTNAME", b"SYSLOG_IDENTIFIER", b"SYSLOG_PID", b"MESSAGE")
    )
    return b"%s %s %s[%s]: %s\n" % (stamp, host, program, pid, message)


class Entries:
    """Takes the export format in chunks and hands over each whole entry, less what no line needs."""

    def __init__(self, take: Callable[[dict[bytes, bytes]], None]) -> None:
        self._take = take
        self._entry: dict[bytes, bytes] = {}
        self._rest = b""
        # Of a field that is too long: so many bytes are passed over, or all up to the next line end.
        self._skip = 0
        self._skip_line = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        data = self._rest + chunk
        at = 0
        while True:
            after = self._next(data, at)
            if after is None:
                break
            at = after
        self._rest = data[at:]

    def _next(self, data: bytes, at: int) -> int | None:
        """Take one field, or a part of one to pass over; return where the next begins, None to wait."""
        if self._skip:
            passed = min(self._skip, len(data) - at)
            self._skip -= passed
            return at + passed if passed else None
        end = data.find(b"\n", at)
        if end < 0:
            return self._pass_over_long_line(data, at)
        if self._skip_line:
            self._skip_line = False
            return end + 1
        line = data[at:end]
        if not line:
            self._end_entry()
            return end + 1
        name, equals, value = line.partition(b"=")
        if equals:
            self._keep(name, value)
            return end + 1
        return self._binary(data, name, end + 1)

    def _pass_over_long_line(self, data: bytes, at: int) -> int | None:
        if len(data) - at <= MAX_FIELD_BYTES:
            return None
        self._skip_line = True
        return len(data)

    def _binary(self, data: bytes, name: bytes, at: int) -> int | None:
        """A field with bytes that a line cannot hold: its length in 8 bytes, itself, a line end."""
        if len(data) < at + 8:
            # The name is looked at again, with what follows it.
            return None
        size = int.from_bytes(data[at : at + 8], "little")
        if size > MAX_FIELD_BYTES:
            self._skip = size + 1
            return at + 8
        end = at + 8 + size
        if len(data) <= end:
            return None
        self._keep(name, data[at + 8 : end])
        return end + 1

    def _keep(self, name: bytes, value: bytes) -> None:
        if name in _FIELDS and len(value) <= MAX_FIELD_BYTES:
            self._entry[name] = value

    def _end_entry(self) -> None:
        if self._entry:
            self._take(self._entry)
        self._entry = {}
