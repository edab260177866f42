"""What was begun by request: /var/lib/relay-fleet/ops/REQ_ID.json, written before the effect and again after.

An entry without a result is one whose process died in between: nothing is done twice on a guess.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from relays.agent.manifest import sync_directory, temporary, write_file
from relays.agent.protocol import Refused, RelayctlError, Replayed

DIRECTORY = "/var/lib/relay-fleet/ops"
KEPT_S = 30 * 86_400
MOST = 50_000

# Room for the result, taken before the effect: a disk that fills up meanwhile cannot make us forget.
_RESERVED = 32 * 1024
_MODE = 0o600
# Below this nobody looks whether some are old enough to go.
_FEW = 1000

Entry = dict[str, Any]


def find(req_id: str) -> Entry | None:
    """Return the entry of a request, None where it was never begun. Raises RelayctlError."""
    try:
        with open(_path(req_id), "rb") as file:
            entry = json.loads(file.read(1 << 20))
        if entry["req_id"] != req_id or entry["state"] not in ("begun", "done"):
            raise ValueError("it is another's")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RelayctlError(f"the entry of request {req_id} is damaged: {error}") from None
    return dict(entry)


def begin(entry: Entry) -> Entry:
    """Write that a request begins, and reserve room for its result. Raises OSError, nothing left behind.

    Raises Replayed for an id that is there by now: two instances have two locks, and ids are of the host.
    """
    entry = {**entry, "state": "begun", "begun_at": round(time.time(), 3)}
    with _one_at_a_time():
        if find(entry["req_id"]) is not None:
            raise Replayed(f"request {entry['req_id']} has just begun on another instance")
        _write_begun(entry)
    return entry


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    descriptor = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_begun(entry: Entry) -> None:
    path = _path(entry["req_id"])
    try:
        write_file(path, _encoded(entry), _MODE)
        _reserve(temporary(path))
    except OSError:
        abandon(entry["req_id"])
        raise


def abandon(req_id: str) -> None:
    """Forget a request that was not acted upon after all."""
    path = _path(req_id)
    for name in (temporary(path), path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    sync_directory(DIRECTORY)


def finish(entry: Entry, result: dict[str, Any]) -> Entry:
    """Write what came of a request over what was reserved. Raises OSError; then it stays begun."""
    entry = {**entry, "state": "done", "ended_at": round(time.time(), 3), "result": result}
    path, content = _path(entry["req_id"]), _encoded(entry)
    descriptor = os.open(temporary(path), os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.truncate(len(content))
        file.flush()
        os.fsync(descriptor)
    os.rename(temporary(path), path)
    sync_directory(DIRECTORY)
    return entry


def make_room() -> None:
    """Remove entries that nobody asks for any more; raise Refused where too many are left."""
    names = os.listdir(DIRECTORY)
    if len(names) <= _FEW:
        return
    oldest = time.time() - KEPT_S
    left = sum(not _removed_if_older(os.path.join(DIRECTORY, name), oldest) for name in names)
    if left > MOST:
        raise Refused(
            f"{DIRECTORY} holds {left} requests of the last 30 days, more than {MOST}: look who sent them"
        )


def _removed_if_older(path: str, oldest: float) -> bool:
    try:
        if os.lstat(path).st_mtime >= oldest:
            return False
        os.unlink(path)
    except FileNotFoundError:
        pass
    return True


def _reserve(path: str) -> None:
    # It may be there from a process that died: its room is as good.
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, _MODE)
    try:
        os.posix_fallocate(descriptor, 0, _RESERVED)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encoded(entry: Entry) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"


def _path(req_id: str) -> str:
    return os.path.join(DIRECTORY, f"{req_id}.json")
