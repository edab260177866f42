"""How many messages Postfix has put aside as corrupt: postqueue(1) lists none of them.

The directory is 0700, so the read user takes the count that root's guard publishes: docs/relayctl.md.
"""

from __future__ import annotations

import json
import os
import stat
import time

PATH = "/run/relay-fleet/guard.json"
# Three rounds of the guard's: an older count is no longer taken for the present one.
MAX_AGE_S = 180.0

_MAX_BYTES = 1 << 20
_OWNER = 0


class Unknown(Exception):
    """The number of corrupt messages cannot be told; the text says why."""


def number(queue_directory: str) -> int:
    """Return the number of corrupt messages: counted here, else by the guard. Raises Unknown."""
    try:
        return count(queue_directory)
    except PermissionError:
        return published(queue_directory)
    except OSError as error:
        raise Unknown(f"{queue_directory}/corrupt: {error.strerror}") from None


def count(queue_directory: str) -> int:
    """Count the files in an instance's corrupt queue, which hash_queue_names may spread. Raises OSError."""

    def fail(error: OSError) -> None:
        raise error

    return sum(len(files) for _, _, files in os.walk(f"{queue_directory}/corrupt", onerror=fail))


def published(queue_directory: str) -> int:
    """Return the guard's count for an instance; raise Unknown where there is none to trust."""
    content = _read()
    try:
        fields = json.loads(content)
        age_s = time.time() - fields["at"]
        counted = fields["corrupt"].get(queue_directory)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Unknown(f"{PATH} is not what the guard writes") from None
    # A moment ahead is rounding; more is a clock that was set back, and says nothing of the count's age.
    if not -1.0 <= age_s <= MAX_AGE_S:
        raise Unknown(f"the guard's count is {age_s:.0f} s old, over {MAX_AGE_S:.0f} s: does it still run?")
    if type(counted) is not int or counted < 0:
        raise Unknown(f"the guard could not count {queue_directory}/corrupt")
    return counted


def _read() -> bytes:
    """Return what the guard published, if nobody but root can have written it. Raises Unknown."""
    try:
        # Not blocking: whatever lies there is only looked at, a pipe too.
        descriptor = os.open(PATH, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unknown(f"no guard publishes a count: {PATH} is not there") from None
    except OSError as error:
        raise Unknown(f"{PATH}: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != _OWNER or status.st_mode & 0o022:
            raise Unknown(f"{PATH} is not a file that only root can write")
        return os.read(descriptor, _MAX_BYTES)
    finally:
        os.close(descriptor)
