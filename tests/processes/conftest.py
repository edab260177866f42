"""The suite's second run, on PostgreSQL, begins with the first and is waited for at its end.

The tests mostly wait, for processes and for servers, so that the two take little longer than one.
"""

import subprocess
import sys
import tempfile
from typing import IO

import pytest

from fleet.supervisor import die_with_parent

SECOND_RUN = "test_every_test_that_uses_the_database_passes_on_postgresql"
_LIMIT_S = 1_800
_RUN = pytest.StashKey["Run"]()


class Run:
    """A run of the suite in a process of its own, that ends with this one."""

    def __init__(self) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.on_postgresql"],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no thread has begun when it is started
        )

    def wait(self) -> tuple[int, str]:
        """Return its exit status and what it printed, once it has ended."""
        status = self._process.wait(timeout=_LIMIT_S)
        self._output.seek(0)
        return status, self._output.read().decode(errors="replace")

    def end(self) -> None:
        """End it, finished or not."""
        self._process.terminate()
        self._process.wait()
        self._output.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the test that waits for the second run last."""
    items.sort(key=lambda item: item.name == SECOND_RUN)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the second run before the first test of this one."""
    if any(item.name == SECOND_RUN for item in session.items) and not session.config.option.collectonly:
        session.config.stash[_RUN] = Run()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the second run with this one, however this one ended."""
    run = config.stash.get(_RUN, None)
    if run is not None:
        run.end()


@pytest.fixture
def second_run(request: pytest.FixtureRequest) -> Run:
    """The run on PostgreSQL, begun when this one was."""
    return request.config.stash[_RUN]
