"""The state folder of a fleet: what is needed to find it again, and what it shares with the machine.

Everything else lives in the fleet's own namespaces and goes with them.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet.rehearsal.errors import RehearsalError

DEFAULT_ROOT = Path("/run/fleet-rehearsal")
_NAME = re.compile(r"\A[a-z][a-z0-9-]{0,19}\Z")


class State:
    """The folder of one fleet, by default /run/fleet-rehearsal/NAME."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        if not _NAME.match(name):
            raise RehearsalError(
                f"'{name}' cannot name a fleet: a lower-case letter, then up to 19 letters, digits, dashes"
            )
        self.name = name
        self.folder = (folder or DEFAULT_ROOT / name).absolute()
        # mount(8) reads both as separators, and a unix socket's path holds 107 bytes.
        if re.search(r"[,:\\\s]", str(self.folder)) or len(str(self.folder)) > 80:
            raise RehearsalError(
                f"{self.folder} cannot be a state folder: at most 80 bytes, no space , : or \\"
            )

    @property
    def provider_socket(self) -> Path:
        return self.folder / "provider.sock"

    @property
    def traffic_socket(self) -> Path:
        return self.folder / "traffic.sock"

    @property
    def accepted(self) -> Path:
        """What the providers accepted, a JSON document a line."""
        return self.folder / "accepted.jsonl"

    @property
    def read_key(self) -> Path:
        """Private half of the key pair that the fleet makes when it is given no public key."""
        return self.folder / "read_ed25519"

    @property
    def write_key(self) -> Path:
        """Private half of the key pair that the fleet makes for changing its hosts."""
        return self.folder / "write_ed25519"

    def new_read_key(self) -> str:
        """Make a key pair and return its public half."""
        return _new_key(self.read_key)

    def new_write_key(self) -> str:
        """Make a key pair and return its public half."""
        return _new_key(self.write_key)

    def token(self) -> str | None:
        """Return the random text that marks this fleet's processes; None when there is no fleet."""
        try:
            return (self.folder / "token").read_text() or None
        except FileNotFoundError:
            return None

    def new_token(self) -> str:
        """Make the folder and a new token in it, on disk before any process bears it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = f"fleet-rehearsal-{self.name}-{secrets.token_hex(8)}"
        self._write("token", token)
        return token

    def save(self, facts: dict[str, Any]) -> None:
        self._write("fleet.json", json.dumps(facts, indent=1))

    def load(self) -> dict[str, Any] | None:
        """Return what `save` stored last; None when no fleet came so far."""
        try:
            facts: dict[str, Any] = json.loads((self.folder / "fleet.json").read_text())
        except FileNotFoundError:
            return None
        return facts

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the fleet for an up or a down. Raises RehearsalError where another one holds it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise RehearsalError(f"another command is bringing the fleet '{self.name}' up or down") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Remove every file of the folder, the token last: without it the processes cannot be found."""
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name == "token"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def remove(self) -> None:
        """Remove the folder, and the default root when this was the last fleet in it."""
        self.empty()
        self.folder.rmdir()
        if self.folder.parent == DEFAULT_ROOT and not any(DEFAULT_ROOT.iterdir()):
            DEFAULT_ROOT.rmdir()

    def _write(self, name: str, text: str) -> None:
        temporary = self.folder / f".{name}"
        temporary.write_text(text)
        temporary.rename(self.folder / name)


def _new_key(path: Path) -> str:
    command = ["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rehearsal", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=20)  # noqa: S603
    return path.with_suffix(".pub").read_text().strip()
