"""A rehearsal fleet for the tests marked `lab`: one for the session, named after this process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fleet.rehearsal import Fleet

Wait = Callable[..., None]


@contextmanager
def guarded(fleet: Fleet) -> Iterator[Fleet]:
    """Take a fleet down at the end, also when this process is killed."""
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.watchdog", fleet.name],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield fleet
    finally:
        fleet.down()
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        watchdog.wait(timeout=60)


@pytest.fixture(scope="session")
def lab() -> Iterator[Fleet]:
    """The session's fleet: three relay hosts, nine instances, two origins; every provider takes all mail."""
    with guarded(Fleet(f"t{os.getpid()}")) as fleet:
        fleet.up()
        yield fleet


@pytest.fixture
def fleet(lab: Fleet) -> Iterator[Fleet]:
    """The session's fleet with no rule set before or after the test."""
    lab.provider.clear()
    yield lab
    lab.provider.clear()


@pytest.fixture(scope="session")
def until() -> Wait:
    """`until(condition, what)`: wait, and fail with `what` after 30 s."""

    def wait(condition: Callable[[], object], what: str, *, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain: {what}"
            time.sleep(0.1)

    return wait
