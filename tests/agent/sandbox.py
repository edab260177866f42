"""A machine of its own for tests that install or run Postfix: namespaces, and the system's folders overlaid.

Needs root. Whatever is written to /etc, /usr/local, /var/lib, /var/spool, /var/log, /run or /root stays in
there; the end of its first process ends every other and takes the mounts along.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tests.agent import measured

_OVERLAID = ("/etc", "/usr/local", "/var/lib", "/root")
_EMPTY = ("/run", "/var/spool", "/var/log")
_NOBODY = 65534
_UNSHARE = ("unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")


class Sandbox:
    """Start with `with`; then run commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._first = 0
        self._unshare: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Sandbox":
        if os.geteuid() != 0:
            raise PermissionError(
                "tests marked lab need root: run them as root, or leave them out with -m 'not lab'"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        script = self.folder / "init.sh"
        script.write_text(self._script())
        # Neither the namespace nor what is in it outlives a test run that is killed.
        self._unshare = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *_UNSHARE, "sh", script],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._first = self._wait_until_ready()
        measured.begin(self.inside("/"))
        return self

    def _script(self) -> str:
        lines = [
            "set -e",
            "umask 022",
            "ip link set lo up",
            f"mount -t tmpfs -o size=512m tmpfs {self.folder}",
        ]
        for target in _OVERLAID:
            upper, work = (f"{self.folder}/{kind}{target.replace('/', '_')}" for kind in ("upper", "work"))
            lines.append(f"mkdir {upper} {work}")
            lines.append(
                f"mount -t overlay -o lowerdir={target},upperdir={upper},workdir={work} overlay {target}"
            )
        lines += [f"mount -t tmpfs -o mode=755 tmpfs {target}" for target in _EMPTY]
        # The first process of a namespace inherits what lost its parent: a shell that waits buries it, a mere
        # sleep would keep it as a zombie that pgrep finds.
        lines += ["mkdir /run/sshd", "sleep infinity &", f"touch {self.folder}/ready", "wait"]
        return "\n".join(lines) + "\n"

    def _wait_until_ready(self) -> int:
        assert self._unshare is not None
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        give_up_at = time.monotonic() + 20
        while time.monotonic() < give_up_at and self._unshare.poll() is None:
            for pid in children.read_text().split():
                if Path(f"/proc/{pid}/root{self.folder}/ready").exists():
                    return int(pid)
            time.sleep(0.05)
        raise TimeoutError("the sandbox did not come up")

    def __exit__(self, *_: object) -> None:
        assert self._unshare is not None
        measured.end(self.inside("/"))
        os.kill(self._first, signal.SIGKILL)
        self._unshare.wait(20)

    def unmeasured(self) -> AbstractContextManager[None]:
        """Leave coverage out meanwhile, where a program is killed at each of its steps."""
        return measured.paused(self.inside("/"))

    def inside(self, path: str) -> Path:
        """Return the path, as seen from here, of a file in the sandbox."""
        return Path(f"/proc/{self._first}/root{path}")

    def command(self, arguments: Sequence[str], *, as_nobody: bool = False) -> list[str]:
        """Return the command line that runs a command in the sandbox."""
        entered = ["nsenter", "--target", str(self._first), "--mount", "--net", "--uts", "--pid", "--"]
        dropped = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"]
        return [*entered, *(dropped if as_nobody else []), *arguments]

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        as_nobody: bool = False,
        check: bool = True,
        env: dict[str, str] | None = None,
        timeout_s: float = 60,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the sandbox to its end."""
        done = subprocess.run(
            self.command(arguments, as_nobody=as_nobody),
            input=stdin,
            capture_output=True,
            check=False,
            env=env,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments} ended with {done.returncode}: {done.stderr.decode()}")
        return done

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file in the sandbox, with its directories."""
        there = self.inside(path)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(content.encode() if isinstance(content, str) else content)
        there.chmod(mode)
