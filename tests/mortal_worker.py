"""A worker that dies at a commit of one's choice, by SIGKILL.

It reads lines from standard input: an operation's number, and how many points it lives through; there is a
point before and one behind each commit. For each line it forks a process that runs the operation, and prints
that one's exit status: -9 where it was killed, 0 where it came to its end first. The environment says which
database.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self


class MortalWorker:
    """The process that forks workers; it has no thread and no connection that they could share."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mortal_worker"],
            env=os.environ | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    def run(self, operation_id: int, *, points: int = sys.maxsize) -> int:
        """Run an operation in a worker that dies at that point; return the worker's exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(operation_id, points, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def _serve() -> None:
    import django  # noqa: PLC0415 - once the environment is that of the test

    django.setup()
    for line in sys.stdin:
        operation_id, points = map(int, line.split())
        child = os.fork()
        if child == 0:
            _run(operation_id, points)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _run(operation_id: int, points: int) -> None:
    from relays.services import operations  # noqa: PLC0415

    with _dying(points):
        operations.run(operation_id=operation_id)
    os._exit(0)


@contextmanager
def _dying(points: int) -> Iterator[None]:
    """Kill this process at that point: there is one before and one behind each commit."""
    from tests.commits import around_each_commit  # noqa: PLC0415

    def point() -> None:
        nonlocal points
        if points == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        points -= 1

    with around_each_commit(point):
        yield


if __name__ == "__main__":
    _serve()
