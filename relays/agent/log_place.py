"""Where the reading of a log stopped, told so that it is found again once the log was renamed or copied.

A cursor is `{"v": 1, "read": s since 1970, "places": [...]}`: the place in the newest file that was begun
comes last, before it stand those in older files that may still be written to.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

from relays.agent.protocol import BadRequest, refuse_unknown

# So many bytes at the start of a file, and before a place in it, tell it from all others: some ten lines.
MARK_BYTES = 1024
# An older file is kept an eye on until nobody writes to it; rotations don't follow each other faster.
MAX_PLACES = 8

_HASH = re.compile(r"\A[0-9a-f]{16}\Z")
_MOST = 2**64


class Place(NamedTuple):
    """A place in a file: everything before byte `at` is counted.

    dev, ino: the file's. head, tail: hashes of the file's first bytes and of those before the place, at most
    MARK_BYTES each. over: the place is at the end of a file that nobody writes to any more.
    """

    dev: int
    ino: int
    at: int
    head: str
    tail: str
    over: bool = False

    def head_bytes(self) -> int:
        """Return how many bytes the hash `head` is of; as many are behind `tail`."""
        return min(self.at, MARK_BYTES)


class Cursor(NamedTuple):
    """A log's cursor. read: the host's clock when the places were last moved, seconds since 1970."""

    read: float
    places: tuple[Place, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the cursor as it stands in requests and replies."""
        return {"v": 1, "read": self.read, "places": [place._asdict() for place in self.places]}


class Progress:
    """A place that moves on. Its marks are made of what was read, as a compressed file is read only once."""

    def __init__(self, dev: int, ino: int) -> None:
        self.at = 0
        self._file = (dev, ino)
        self._head = b""
        self._tail = b""

    def advance(self, data: bytes) -> None:
        """Move on over the bytes that follow the place."""
        self.at += len(data)
        if len(self._head) < MARK_BYTES:
            self._head = (self._head + data[:MARK_BYTES])[:MARK_BYTES]
        self._tail = (self._tail + data[-MARK_BYTES:])[-MARK_BYTES:]

    def place(self) -> Place:
        """Return the place as it is now."""
        return Place(*self._file, self.at, fingerprint(self._head), fingerprint(self._tail))


def fingerprint(data: bytes) -> str:
    """Return 16 hex digits that tell these bytes from others."""
    return hashlib.sha256(data).hexdigest()[:16]


def parse_cursor(value: Any) -> Cursor:
    """Return the cursor of a request. Raises BadRequest where it is none that relayctl gave."""
    try:
        refuse_unknown(value, {"v", "read", "places"})
        if value["v"] != 1 or not 0 <= value["read"] < _MOST or not 0 < len(value["places"]) <= MAX_PLACES:
            raise ValueError
        return Cursor(float(value["read"]), tuple(_parse_place(place) for place in value["places"]))
    except (BadRequest, ValueError, TypeError, KeyError):
        raise BadRequest("a cursor is none that relayctl gave") from None


def _parse_place(value: Any) -> Place:
    place = Place(**value)
    numbers = (place.dev, place.ino, place.at)
    if any(type(number) is not int or not 0 <= number < _MOST for number in numbers):
        raise ValueError
    if type(place.over) is not bool or not _HASH.match(place.head) or not _HASH.match(place.tail):
        raise ValueError
    return place
