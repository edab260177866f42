"""The host's own record of what was asked of its write door: /var/log/relay-fleet/journal.jsonl.

It is appended to only, the second of two records: the console holds its audit log against it. The read user
may read it, through the group of the directory.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from relays.agent import system
from relays.agent.deadline import Deadline
from relays.agent.manifest import sync_directory
from relays.agent.protocol import Answer, BadRequest, Refused, encode_line, integer, refuse_unknown, text
from relays.agent.trusted import is_roots

DIRECTORY = "/var/log/relay-fleet"
PATH = f"{DIRECTORY}/journal.jsonl"
MAX_ENTRY = 16 * 1024

_MODE = 0o640
_READ_SIZE = 1 << 20
# A page fits into one reply, whatever is in it.
_MAX_PAGE = 4 << 20
_CURSOR = re.compile(r"\A([0-9]{1,20})-([0-9]{1,18})\Z")


def append(event: str, fields: dict[str, Any]) -> None:
    """Write an entry so that a power cut cannot take it. Raises Refused and OSError; nothing is overwritten.

    An entry that a crash cut off is left as it is, on a line of its own.
    """
    entry = {"at": round(time.time(), 3), "event": event, "boot_id": system.boot_id(), **fields}
    line = encode_line(entry)
    descriptor = _open()
    try:
        size = os.fstat(descriptor).st_size
        cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        _write(descriptor, b"\n" + line if cut else line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not size:
        sync_directory(DIRECTORY)


def _open() -> int:
    # Through its directory, which only root may have made: /var/log is a group's own on some systems.
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        directory = os.open(DIRECTORY, flags)
    except FileNotFoundError:
        raise Refused(f"{DIRECTORY} is not there: run relayctl's install again, with --write-key") from None
    try:
        if not is_roots(os.fstat(directory)):
            raise Refused(f"{DIRECTORY} must be root's, and nobody else may write to it")
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(os.path.basename(PATH), flags, _MODE, dir_fd=directory)
    finally:
        os.close(directory)
    # Whatever the umask is: its group may read it.
    os.fchmod(descriptor, _MODE)
    return descriptor


def _write(descriptor: int, line: bytes) -> None:
    """Write a whole line, or raise OSError: with room for a part of it the kernel writes that part."""
    written = os.write(descriptor, line)
    if written < len(line):
        os.write(descriptor, line[written:])


def size_bytes() -> int:
    """Return how long the journal is, 0 where there is none yet."""
    try:
        return os.stat(PATH).st_size
    except FileNotFoundError:
        return 0


def answer(args: dict[str, Any], _deadline: Deadline) -> Answer:
    """Answer the verb `journal.read`: a page of entries, and in the end line the cursor of the next one."""
    refuse_unknown(args, {"cursor", "limit"})
    page = _Page(text(args, "cursor"), integer(args, "limit", 1, 10_000, 1000))
    return Answer(page.rows(_open_to_read()), page.end)


def _open_to_read() -> int | None:
    """Open the journal by the caller's own right, None where there is none yet."""
    try:
        return os.open(PATH, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{PATH} cannot be read: {error.strerror}") from None


class _Page:
    """Entries from a cursor on. `end` is complete once the rows were taken."""

    def __init__(self, cursor: str | None, limit: int) -> None:
        self.end: dict[str, Any] = {"cursor": None, "more": False, "restarted": cursor is not None}
        self._limit = limit
        self._inode, self._offset = _parsed(cursor)

    def rows(self, descriptor: int | None) -> Iterator[dict[str, Any]]:
        if descriptor is None:
            return
        with open(descriptor, "rb") as file:
            self._find_start(os.fstat(descriptor))
            file.seek(self._offset)
            yield from self._read(file)

    def _find_start(self, status: os.stat_result) -> None:
        """Begin again where it is another file than the cursor's, or a shorter one: the end line says so."""
        goes_on = self._inode == status.st_ino and self._offset <= status.st_size
        if goes_on:
            self.end["restarted"] = False
        else:
            self._offset = 0
        self._inode = status.st_ino
        self._keep_place()

    def _read(self, file: BufferedReader) -> Iterator[dict[str, Any]]:
        ends_by = self._offset + _MAX_PAGE
        for _ in range(self._limit):
            if self._offset > ends_by:
                break
            line = file.readline(_READ_SIZE)
            if not line.endswith(b"\n") and len(line) < _READ_SIZE:
                # The last entry is being written, or was cut off: the next page looks again.
                return
            offset, self._offset = self._offset, self._offset + len(line)
            self._keep_place()
            yield _row(line, offset)
        self.end["more"] = bool(file.peek(1))

    def _keep_place(self) -> None:
        self.end["cursor"] = f"{self._inode}-{self._offset}"


def _parsed(cursor: str | None) -> tuple[int | None, int]:
    if cursor is None:
        return None, 0
    match = _CURSOR.match(cursor)
    if match is None:
        raise BadRequest("cursor is not one that relayctl gave")
    return int(match[1]), int(match[2])


def _row(line: bytes, offset: int) -> dict[str, Any]:
    """Return an entry's row; a line that is none is a row, too: somebody or something changed it."""
    try:
        entry = json.loads(line) if len(line) <= MAX_ENTRY else None
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        return {"kind": "damaged", "offset": offset, "bytes": len(line)}
    return {"kind": "entry", "offset": offset, "entry": entry}
