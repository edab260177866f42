"""The command `guard`: counts what only root can see on a relay host, and publishes it for the read user."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from types import FrameType

from relays.agent import corrupt, items, postfix
from relays.agent.manifest import temporary, write_file


def run(every_s: float | None) -> int:
    """Publish once, or every so many seconds until SIGTERM; return the exit status."""
    if every_s is None:
        publish()
        return 0
    signal.signal(signal.SIGTERM, _end)
    while True:
        _try_to_publish()
        time.sleep(every_s)


def _end(_signal: int, _frame: FrameType | None) -> None:
    # An exception, so that a program that is being asked is ended on the way out.
    raise SystemExit(0)


def _try_to_publish() -> None:
    """Publish, or say why not: the count then grows old, and snapshots say so."""
    try:
        publish()
    except Exception as error:  # noqa: BLE001 - whatever it was, the next round may do better
        _say(f"{type(error).__name__}: {error}")


def publish() -> None:
    """Count each instance's corrupt messages and write {"at": s since 1970, "corrupt": {queue directory: n}}.

    An instance that cannot be counted is left out. Raises OSError, and Refused where the directory is unsafe.
    """
    at = round(time.time(), 3)
    content = json.dumps({"at": at, "corrupt": _counts()}).encode()
    directory = items.Directory(os.path.dirname(corrupt.PATH))
    directory.apply()
    items.refuse_unsafe(directory.key)
    write_file(corrupt.PATH, content, 0o644)


def withdraw() -> None:
    """Remove what was published."""
    for path in (temporary(corrupt.PATH), corrupt.PATH):
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
