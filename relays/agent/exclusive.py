"""One writer an instance: its lock, its fence, and how often it was acted upon.

All of it lies in /var/lib/relay-fleet/instances/NAME. The kernel frees the lock when its holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from relays.agent import system
from relays.agent.manifest import sync_directory, write_file
from relays.agent.protocol import BadRequest, Fenced, Locked, Refused, RelayctlError
from relays.domain.text import printable

DIRECTORY = "/var/lib/relay-fleet/instances"
WAIT_S = 5.0
# A stolen key must not put the fence where the console can never come.
MAX_JUMP = 1_000_000

_TRY_EVERY_S = 0.1
_MODE = 0o600
_MAX_BYTES = 1 << 20
_FENCE = re.compile(rb"\A[0-9]{1,18}\n\Z")


class Pace(NamedTuple):
    """At most so many times within so many seconds, of what `key` names; amount: this is as many at once."""

    key: str
    times: int
    within_s: int
    amount: int = 1


class Instance:
    """The write path's own state of one instance; `name` is one that this host has."""

    def __init__(self, name: str) -> None:
        self._folder = os.path.join(DIRECTORY, name)

    @contextlib.contextmanager
    def locked(self, holder: dict[str, Any]) -> Iterator[None]:
        """Hold the instance's lock; raise Locked, with who has it, after 5 s. holder: told to others."""
        self._make_folder()
        descriptor = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            _take(descriptor)
            os.ftruncate(descriptor, 0)
            # Who has it is only told: a full disk keeps nobody from taking it.
            with contextlib.suppress(OSError):
                os.pwrite(
                    descriptor, json.dumps({**holder, "since": round(time.time(), 3)}).encode("ascii"), 0
                )
            yield
        finally:
            os.close(descriptor)

    def holder(self) -> dict[str, Any] | None:
        """Return who holds the lock now, None for nobody."""
        try:
            descriptor = os.open(self._path("lock"), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return None if _try(descriptor) else _holder(descriptor)
        finally:
            os.close(descriptor)

    def check_fence(self, fence: int) -> None:
        """Raise Fenced where a later claim was here already."""
        stored = self.fence()
        if fence < stored:
            raise Fenced(f"fence {fence} is behind {stored}: somebody has taken over since")
        if fence > stored + MAX_JUMP:
            raise BadRequest(f"fence {fence} is more than {MAX_JUMP} ahead of {stored}")

    def raise_fence(self, fence: int) -> bool:
        """Store a fence that is higher than the stored one, to stay; tell whether it was."""
        if fence <= self.fence():
            return False
        self._make_folder()
        write_file(self._path("fence"), f"{fence}\n".encode(), _MODE)
        return True

    def fence(self) -> int:
        """Return the highest fence that acted here, 0 for none."""
        content = self._read("fence")
        if content is None:
            return 0
        if not _FENCE.match(content):
            raise RelayctlError(f"{self._path('fence')} is damaged: nothing is done here until root looks")
        return int(content)

    def check_pace(self, pace: Pace) -> None:
        """Raise Refused where it was done too often of late."""
        now = _boottime()
        recent = sorted(
            (at, amount) for key, at, amount in self._done() if key == pace.key and at > now - pace.within_s
        )
        excess = sum(amount for _, amount in recent) + pace.amount - pace.times
        if excess <= 0:
            return
        again = "; again when it is fewer"
        for at, amount in recent:
            excess -= amount
            if excess <= 0:
                again = f"; again in {at + pace.within_s - now:.0f} s"
                break
        raise Refused(f"{pace.key}: at most {pace.times} within {pace.within_s} s{again}")

    def note(self, pace: Pace) -> None:
        """Write down that it is done now, before it is: a crash must not make room for another."""
        now = _boottime()
        kept = [done for done in self._done() if done[0] != pace.key or done[1] > now - pace.within_s]
        content = {"boot_id": system.boot_id(), "done": [*kept, [pace.key, round(now, 3), pace.amount]]}
        write_file(self._path("pace.json"), json.dumps(content).encode("ascii"), _MODE)

    def _done(self) -> list[tuple[str, float, int]]:
        """Return what was done since the host started, with the seconds since then, and how much at once."""
        content = self._read("pace.json")
        if content is None:
            return []
        try:
            fields = json.loads(content)
            if fields["boot_id"] != system.boot_id():
                return []
            return [(str(key), float(at), int(sum(amount) or 1)) for key, at, *amount in fields["done"]]
        except (ValueError, KeyError, TypeError):
            raise RelayctlError(f"{self._path('pace.json')} is damaged: root may remove it") from None

    def _make_folder(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
            sync_directory(DIRECTORY)

    def _read(self, name: str) -> bytes | None:
        try:
            with open(self._path(name), "rb") as file:
                return file.read(_MAX_BYTES)
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)


def _take(descriptor: int) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not _try(descriptor):
        if time.monotonic() >= give_up_at:
            raise Locked(_told(_holder(descriptor)))
        time.sleep(_TRY_EVERY_S)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _told(holder: dict[str, Any]) -> str:
    known = [
        f"{key} {printable(str(holder[key]), 80)}" for key in ("verb", "req_id", "op_id") if holder.get(key)
    ]
    since = holder.get("since")
    age = f", for {time.time() - since:.0f} s" if isinstance(since, float) else ""
    return f"held by {', '.join(known) or 'a request that has not said which'}{age}"


def _boottime() -> float:
    """Return seconds since the host started, which no change of its clock moves."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
