"""Child processes under one parent: their output, their deaths, and an end that is always reached in time.

No Django here. Linux only: the kernel is asked to kill the children when the parent dies.
"""

import ctypes
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_GRACE_S = 3.0
"""From the polite signal to the last one. Waiting on a remote host can take longer; the database tells the
truth about work that is cut off."""

_TICK_S = 0.2
_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 30.0
_STEADY_AFTER_S = 60.0
_LONGEST_LINE = 64 * 1024
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child between fork and exec must not import.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Ask the kernel, in a child before exec, to kill it when its parent dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True)
class Program:
    """What to run: a name for its log lines, the argument list, and file descriptors it inherits."""

    name: str
    argv: Sequence[str]
    pass_fds: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Start:
    """A start that is due at a monotonic time; delay_s is what the next one waits if this fails at once."""

    program: Program
    at: float = 0.0
    delay_s: float = _FIRST_DELAY_S


@dataclass(frozen=True)
class _Run:
    start: _Start
    started_at: float
    process: subprocess.Popen[bytes]

    def has_ended(self) -> bool:
        """Tell whether it ended, without taking its status: until then nobody else can get its number."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None

    def bury(self) -> int:
        """Kill what is left of its session, and take its status (negative: the signal that ended it)."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


class Supervisor:
    """Runs programs until a signal (INT, TERM, HUP) or stop(); each is started again when it ends."""

    def __init__(self, programs: Sequence[Program], *, write_line: Callable[[str, str], None]) -> None:
        """Take the programs, and what writes a line of output: it gets the program's name and the line."""
        self._starts = [_Start(program) for program in programs]
        self._runs: list[_Run] = []
        self._write_line = write_line
        self._outputs = selectors.DefaultSelector()
        self._stopping = False

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Let run() end. Safe in a signal handler, and any number of times."""
        self._stopping = True

    def run(self, *, when_stopping: Callable[[], None] | None = None) -> None:
        """Start everything, keep it running until stopped, and leave no process behind.

        when_stopping begins what else has to end, before the children are waited for.
        """
        for number in STOP_SIGNALS:
            signal.signal(number, self.stop)
        try:
            while not self._stopping:
                self._start_due()
                self._pass_output_on(_TICK_S)
                self._take_ended()
        finally:
            if when_stopping:
                when_stopping()
            self._end_all()

    def _start_due(self) -> None:
        now = time.monotonic()
        due = [start for start in self._starts if start.at <= now]
        self._starts = [start for start in self._starts if start.at > now]
        self._runs += [self._run(start, now) for start in due]

    def _run(self, start: _Start, now: float) -> _Run:
        output, theirs = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of our own, and no shell
                start.program.argv,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=subprocess.STDOUT,
                pass_fds=start.program.pass_fds,
                # A session of its own: Ctrl-C reaches this process alone, which ends the others in order.
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
            )
        finally:
            os.close(theirs)
        self._outputs.register(output, selectors.EVENT_READ, _Lines(start.program.name))
        return _Run(start, now, process)

    def _pass_output_on(self, timeout_s: float) -> None:
        for key, _ in self._outputs.select(timeout_s):
            lines: _Lines = key.data
            data = os.read(key.fd, _LONGEST_LINE)
            for line in lines.feed(data):
                self._write_line(lines.name, line)
            if not data:
                self._outputs.unregister(key.fd)
                os.close(key.fd)

    def _take_ended(self) -> None:
        for run in [run for run in self._runs if run.has_ended()]:
            self._runs.remove(run)
            status = run.bury()
            start = _next_start(run, time.monotonic())
            self._starts.append(start)
            wait_s = start.at - time.monotonic()
            self._write_line(
                start.program.name, f"ended with status {status}; starts again in {wait_s:.0f} s"
            )

    def _end_all(self) -> None:
        for run in self._runs:
            run.process.terminate()
        deadline = time.monotonic() + STOP_GRACE_S
        while time.monotonic() < deadline and not all(run.has_ended() for run in self._runs):
            self._pass_output_on(0.05)
        for run in self._runs:
            run.bury()
        self._pass_output_on(0)


def _next_start(run: _Run, now: float) -> _Start:
    """Return when to start again: soon after a long life, ever later after short ones."""
    delay_s = _FIRST_DELAY_S if now - run.started_at >= _STEADY_AFTER_S else run.start.delay_s
    return _Start(run.start.program, now + delay_s, min(delay_s * 2, _LONGEST_DELAY_S))


class _Lines:
    """Output cut into lines, as it comes: a line without an end is passed on when it grows too long."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Take bytes (none: the end), return the lines that are whole now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) >= _LONGEST_LINE):
            lines.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace") for line in lines]
