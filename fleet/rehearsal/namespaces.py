"""Namespaces that live as long as their first process, and commands run inside them.

The fleet's core is one PID, mount, IPC and network namespace; each host has its own inside it. Nothing is
bound to a name in the file system, so when the core's first process ends, by whatever signal, the kernel
ends every process of the fleet and lets go of its mounts, networks and interfaces.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from fleet.rehearsal.errors import DidNotStart, RehearsalError

# The first process of a namespace: it says that it is there, adopts orphans, and lets the kernel reap them.
_INIT = (
    "import os, signal; os.chdir('/'); signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "while True: signal.pause()"
)
INIT = ("/usr/bin/python3", "-IS", "-c", _INIT)
CORE = "core"
# Not a child of ours: it outlives this process, and who reaps it is the machine's first process.
_DETACHED = ("/usr/bin/setsid", "--fork")
UNSHARE = (
    "/usr/bin/unshare",
    *("--mount", "--uts", "--ipc", "--net", "--pid"),
    *("--fork", "--kill-child", "--"),
)
CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
_SETTLE_S = 30.0


@dataclass(frozen=True)
class Namespace:
    """The namespaces of one first process, by its PID as this process sees it."""

    pid: int

    @property
    def root(self) -> Path:
        """The file system as the processes inside see it; absolute symbolic links there lead outside."""
        return Path(f"/proc/{self.pid}/root")

    def command(self, *argv: str) -> list[str]:
        """Return the command that runs argv inside, in the namespace's own root and its folder `/`."""
        kinds = ("--mount", "--uts", "--ipc", "--net", "--pid")
        # In a chroot the namespace's first folder is the machine's, so --root and --wd name the target's.
        return ["/usr/bin/nsenter", "--target", str(self.pid), *kinds, "--root", "--wd", "--", *argv]

    def run(
        self,
        *argv: str,
        stdin: str | None = None,
        timeout_s: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run argv inside to its end. Raises RehearsalError where it fails and `check` is true."""
        done = subprocess.run(  # noqa: S603
            self.command(*argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env=CLEAN_ENVIRONMENT,
        )
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[-500:]
            raise RehearsalError(f"{' '.join(argv)[:200]} ended with status {done.returncode}: {said}")
        return done

    def spawn(self, *argv: str, log: Path, environment: dict[str, str] | None = None) -> None:
        """Start argv inside and leave it running, its output appended to `log` (a path of this machine)."""
        with log.open("ab") as output:
            subprocess.run(  # noqa: S603
                [*_DETACHED, *self.command(*argv)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=True,
                env={**CLEAN_ENVIRONMENT, **(environment or {})},
            )

    def kill(self) -> None:
        """End the first process, and with it all the others, as a power cut does."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        wait_until(lambda: not _lives(self.pid), "the end of a namespace")


def start(role: str, *, token: str, command: list[str], log: Path) -> Namespace:
    """Run `command`, which must end by executing INIT with token and role, and return its namespaces.

    Raises DidNotStart with the last it said.
    """
    with log.open("ab") as errors:
        # Its output ends with the last process that holds it, or with the word of the first one inside.
        process = subprocess.Popen(  # noqa: S603
            [*_DETACHED, *command, token, role],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=CLEAN_ENVIRONMENT,
        )
    with process, process.stdout or nullcontext() as output:
        said = output.readline() if output else b""
    if said.strip() != b"ready":
        raise DidNotStart(f"{role} did not start: {tail(log)}")
    found = find(token).get(role)
    if found is None:
        raise DidNotStart(f"{role} ended as soon as it had started: {tail(log)}")
    return found


def find(token: str) -> dict[str, Namespace]:
    """Return the namespaces whose first process bears the token, by role."""
    return {
        arguments[-1]: Namespace(pid)
        for pid, arguments in _bearers(token)
        if arguments[0] == INIT[0] and len(arguments) == len(INIT) + 2
    }


def destroy(token: str) -> None:
    """End every process of the fleet that bears the token, and wait until the last is gone."""
    core = find(token).get(CORE)
    if core is not None:
        core.kill()
    # Those that were starting, or whose core died under them: each is of this fleet, its token is random.
    for pid, _arguments in _bearers(token):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_until(lambda: not _bearers(token), f"the end of the processes of {token}")


def wait_until(
    true: Callable[[], bool], what: str, *, log: Path | None = None, timeout_s: float = _SETTLE_S
) -> None:
    """Wait until true() holds. Raises DidNotStart, with `what` and the end of `log`, after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            said = f": {tail(log)}" if log else ""
            raise DidNotStart(f"waited {timeout_s:g} s in vain for {what}{said}")
        time.sleep(0.02)


def tail(log: Path) -> str:
    """Return the last lines of a log file on one line, for an error's text."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"{log} cannot be read ({error.strerror})"
    return " / ".join(text.strip().splitlines()[-4:]) or "it said nothing"


def _bearers(token: str) -> list[tuple[int, list[str]]]:
    """Return the processes with the token among their arguments; zombies have none."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue
        if token in arguments:
            found.append((int(folder.name), arguments))
    return found


def _lives(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False
