"""The command `guard`: ends redirects that must not go on, and counts what only root can see on a relay host.

What it saw it publishes for the read user.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from relays.agent import corrupt, items, lease, postfix, redirect
from relays.agent.manifest import temporary, write_file


def run(every_s: float | None, only: str | None) -> int:
    """Look once, or every so many seconds until SIGTERM; return the exit status. only: one of PARTS."""
    parts = [part for name, part in PARTS.items() if only in (name, None)]
    if every_s is None:
        for part in parts:
            part()
        return 0
    signal.signal(signal.SIGTERM, _end)
    while True:
        for part in parts:
            _try(part)
        time.sleep(every_s)


def _end(_signal: int, _frame: FrameType | None) -> None:
    # An exception, so that a program that is being asked is ended on the way out.
    raise SystemExit(0)


def _try(work: Callable[[], None]) -> None:
    """Do it, or say why not: what is published then grows old, and snapshots say so."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it was, the next round may do better
        _say(f"{type(error).__name__}: {error}")


def watch() -> None:
    """End redirects without a lease that holds, and tell everybody that it was looked at. Raises OSError."""
    seen = redirect.sweep(_say)
    _make_folder()
    lease.publish(seen)


def publish() -> None:
    """Count each instance's corrupt messages and write {"at": s since 1970, "corrupt": {queue directory: n}}.

    An instance that cannot be counted is left out. Raises OSError, and Refused where the directory is unsafe.
    """
    at = round(time.time(), 3)
    content = json.dumps({"at": at, "corrupt": _counts()}).encode()
    _make_folder()
    write_file(corrupt.PATH, content, 0o644)


def _make_folder() -> None:
    directory = items.Directory(os.path.dirname(corrupt.PATH))
    directory.apply()
    items.refuse_unsafe(directory.key)


PARTS: dict[str, Callable[[], None]] = {"redirects": watch, "corrupt": publish}


def withdraw() -> None:
    """Remove what was published."""
    for path in (temporary(corrupt.PATH), corrupt.PATH, temporary(lease.PUBLISHED), lease.PUBLISHED):
        with contextlib.suppress(OSError):
            os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(corrupt.PATH))


def _counts() -> dict[str, int]:
    found = {}
    for place in postfix.places():
        try:
            directory = postfix.parameters(place.config_dir, ["queue_directory"])["queue_directory"]
            found[directory] = corrupt.count(directory)
        except (postfix.Misconfigured, OSError) as error:
            _say(f"{place.name} is not counted: {error}")
    return found


def _say(text: str) -> None:
    # Who listens may have gone away, and that must not end the guard.
    with contextlib.suppress(OSError):
        print(f"relayctl: guard: {text}", file=sys.stderr, flush=True)
