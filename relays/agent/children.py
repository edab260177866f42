"""Other programs run with a deadline, a clean environment and no shell."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from relays.agent.trusted import is_roots

# Not searched by PATH: a user's environment must not choose what runs.
_DIRECTORIES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_READ_SIZE = 64 * 1024
_MAX_STDERR = 4 * 1024


class NotInstalled(Exception):
    """No such program in the system's own directories."""


class TimedOut(Exception):
    """The program did not end in time and was killed, with all it had started."""


class Failed(Exception):
    """The program ended with an error before its output was whole."""


class Result(NamedTuple):
    """How a program ended. stderr: its first 4 KiB, as text."""

    status: int
    stderr: str


def find_program(name: str) -> str:
    """Return the absolute path of a program, or raise NotInstalled. Root takes none that others may write."""
    for directory in _DIRECTORIES:
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK) and (os.geteuid() != 0 or _is_safe(path)):
            return path
    raise NotInstalled(f"{name} is not in {', '.join(_DIRECTORIES)}")


def _is_safe(path: str) -> bool:
    # Debian up to 11 lets the group staff write to /usr/local/bin.
    return all(is_roots(os.stat(place)) for place in (path, os.path.dirname(path)))


def run(
    arguments: list[str],
    *,
    timeout_s: float,
    idle_s: float,
    take: Callable[[bytes], None],
    stdin: bytes = b"",
) -> Result:
    """Run a program and hand what it writes to `take` as it comes, in chunks of at most 64 KiB.

    The first argument is an absolute path. Raises TimedOut after timeout_s in all, or idle_s without a byte.
    Whatever ends the reading, nothing that was started is left.
    """
    with _input(stdin) as given:
        process = subprocess.Popen(  # noqa: S603 - a list of ours, no shell
            arguments,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            start_new_session=True,
            cwd="/",
        )
    try:
        stderr = _drain(process, time.monotonic() + timeout_s, idle_s, take)
    except BaseException:
        # Before the child is reaped: until then its number cannot be anybody else's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        process.wait()
        for stream in _streams(process):
            stream.close()
    return Result(process.returncode, stderr.decode("utf-8", "replace"))


@contextlib.contextmanager
def _input(content: bytes) -> Iterator[int]:
    """Yield a descriptor with this content, whole before anybody reads it: no pipe that could fill up."""
    descriptor = os.memfd_create("input") if content else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with open(descriptor, "r+b" if content else "rb", closefd=False) as file:
            if content:
                file.write(content)
                file.seek(0)
        yield descriptor
    finally:
        os.close(descriptor)


def output(
    arguments: list[str], *, timeout_s: float, max_bytes: int = 1 << 20, stdin: bytes = b""
) -> tuple[Result, str]:
    """Run a program whose output is small; return how it ended and its output, cut at max_bytes."""
    received = bytearray()

    def take(chunk: bytes) -> None:
        received.extend(chunk[: max_bytes - len(received)])

    result = run(arguments, timeout_s=timeout_s, idle_s=timeout_s, take=take, stdin=stdin)
    return result, received.decode("utf-8", "replace")


def _streams(process: subprocess.Popen[bytes]) -> list[IO[bytes]]:
    return [stream for stream in (process.stdout, process.stderr) if stream is not None]


def _drain(
    process: subprocess.Popen[bytes], deadline: float, idle_s: float, take: Callable[[bytes], None]
) -> bytes:
    """Read both streams together (one alone can block the other), then wait; return the start of stderr."""
    stderr = b""
    still_open = _streams(process)
    while still_open:
        wait_s = min(idle_s, deadline - time.monotonic())
        ready = select.select(still_open, [], [], wait_s)[0] if wait_s > 0 else []
        if not ready:
            raise TimedOut
        for stream in ready:
            chunk = os.read(stream.fileno(), _READ_SIZE)
            if not chunk:
                still_open.remove(stream)
            elif stream is process.stdout:
                take(chunk)
            else:
                stderr = (stderr + chunk)[:_MAX_STDERR]
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimedOut from None
    return stderr


class Pipe:
    """What a program makes of an open file, read piece by piece. It is over with the request's deadline."""

    def __init__(self, arguments: list[str], file: IO[bytes]) -> None:
        self._program = arguments[0]
        self._process = subprocess.Popen(  # noqa: S603 - a list of ours, no shell
            arguments,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            start_new_session=True,
            cwd="/",
        )

    def read(self, most: int) -> bytes:
        """Return the next bytes, none at the end. Raises Failed where the program ended with an error."""
        (stdout,) = _streams(self._process)
        data = stdout.read(most)
        if not data and self._process.wait() != 0:
            raise Failed(f"{self._program} ended with status {self._process.returncode}")
        return data

    def close(self) -> None:
        """End the program, whatever it still had to say."""
        self._process.kill()
        self._process.wait()
        for stream in _streams(self._process):
            stream.close()
