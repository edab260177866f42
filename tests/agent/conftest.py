"""relayctl.pyz as it is installed, asked the way sshd asks it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relays.agent.build import build
from tests.agent.sandbox import Sandbox

REQ_ID = "0c6e2b6a-test"


@pytest.fixture(autouse=True)
def _no_alarm_is_left() -> Iterator[None]:
    """End the alarm of a deadline that a test made in this process, which would end a later test."""
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.fixture
def unmeasured(host: Sandbox) -> Iterator[None]:
    """Leave out of coverage what is killed at each of its steps: tests that end measure the same."""
    with host.unmeasured():
        yield


class Answered:
    """What came back: exit status, lines as JSON, and what it wrote to standard error."""

    def __init__(self, status: int, stdout: bytes, stderr: bytes) -> None:
        self.status = status
        self.stderr = stderr
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in stdout.splitlines()]

    @property
    def header(self) -> dict[str, Any]:
        return self.lines[0]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.lines[1:-1]

    @property
    def end(self) -> dict[str, Any]:
        return self.lines[-1]


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("relayctl") / "relayctl.pyz"
    path.write_bytes(build())
    path.chmod(0o755)
    return path


Ask = Callable[..., Answered]


@pytest.fixture(scope="session")
def ask(pyz: Path) -> Ask:
    """Return a function that sends relayctl a request: whole as bytes, or a verb with its arguments."""

    def send(request: bytes | str, *, timeout_s: float = 60, **args: Any) -> Answered:
        if isinstance(request, str):
            fields = {"v": 1, "req_id": REQ_ID, "verb": request, "args": args}
            request = json.dumps(fields).encode()
        done = subprocess.run([str(pyz)], input=request, capture_output=True, timeout=timeout_s, check=False)
        return Answered(done.returncode, done.stdout, done.stderr)

    return send
