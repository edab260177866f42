"""sshd's part of an installation: one snippet, tried before it is live and taken back where it fails."""

from __future__ import annotations

import contextlib
import os
import re
import signal

from relays.agent import children, system
from relays.agent.items import File
from relays.agent.manifest import temporary, write_file
from relays.agent.protocol import Refused

CONFIG = "/etc/ssh/sshd_config"
SNIPPETS = "/etc/ssh/sshd_config.d"

_TIMEOUT_S = 20.0
_INCLUDE = re.compile(
    rf"^\s*Include\s+(?:.*\s)?\"?(?:{SNIPPETS}|sshd_config\.d)/\*(?:\.conf)?\"?(?:\s|$)",
    re.MULTILINE | re.IGNORECASE,
)
_MATCH = re.compile(r"^\s*Match\s", re.MULTILINE | re.IGNORECASE)


class Snippet(File):
    """A file of sshd's that binds a user to one command; apply() leaves sshd as it was where it fails."""

    def __init__(self, name: str, user: str, keys: str, command: str, *, overwrite: bool = False) -> None:
        content = _CONTENT.format(user=user, keys=keys, command=command).encode()
        super().__init__(f"{SNIPPETS}/{name}", content, 0o644, overwrite=overwrite)
        self._user = user
        self._effective = {f"forcecommand {command}", f"authorizedkeysfile {keys}"}

    def apply(self) -> None:
        before = self._current()
        self._try_out()
        super().apply()
        try:
            self._check_effect()
        except Refused:
            self._put_back(before)
            raise
        reload()

    def _current(self) -> bytes | None:
        try:
            with open(self.key, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _try_out(self) -> None:
        """Have sshd read the new file ahead of its configuration, from where it reads no other."""
        trial, whole = f"{temporary(self.key)}-trial", f"{temporary(self.key)}-whole"
        try:
            _write(trial, self.content)
            _write(whole, f"Include {trial}\nInclude {CONFIG}\n".encode())
            ask(["-t", "-f", whole])
        finally:
            for path in (trial, whole):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _check_effect(self) -> None:
        """Raise Refused where sshd would not do to this user what the snippet says."""
        settings = ask(["-T", "-C", f"user={self._user},host=localhost,addr=127.0.0.1"]).splitlines()
        missing = self._effective - set(settings)
        if missing:
            raise Refused(f"another setting of sshd comes before {self.key}: {', '.join(sorted(missing))}")

    def _put_back(self, before: bytes | None) -> None:
        if before is None:
            os.unlink(self.key)
        else:
            write_file(self.key, before, self.mode)


_CONTENT = """\
# Made by relayctl install; relayctl uninstall removes it.
Match User {user}
    AuthorizedKeysFile {keys}
    AuthenticationMethods publickey
    ForceCommand {command}
    PermitTTY no
    DisableForwarding yes
    PermitUserRC no
    PermitTunnel no
    ClientAliveInterval 15
    ClientAliveCountMax 4
Match all
"""


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def is_snippet(path: str) -> bool:
    """Tell whether a file is one that sshd reads, so that it must hear of its end."""
    return os.path.dirname(path) == SNIPPETS


def check_ready() -> None:
    """Raise Refused where sshd's configuration cannot take a snippet."""
    text = system.read_text(CONFIG)
    if text is None:
        raise Refused(f"{CONFIG} cannot be read: is openssh-server installed?")
    include, match = _INCLUDE.search(text), _MATCH.search(text)
    if include is None or (match and match.start() < include.start()):
        raise Refused(f"{CONFIG} does not read {SNIPPETS}: add at its top: Include {SNIPPETS}/*.conf")
    ask(["-t"])


def ask(arguments: list[str]) -> str:
    """Run sshd's own check and return what it prints; raise Refused with its complaint."""
    try:
        result, text = children.output([children.find_program("sshd"), *arguments], timeout_s=_TIMEOUT_S)
    except children.NotInstalled as error:
        raise Refused(str(error)) from None
    except children.TimedOut:
        raise Refused(f"sshd {' '.join(arguments)} did not end") from None
    if result.status != 0:
        raise Refused(f"sshd {' '.join(arguments)} fails: {result.stderr.strip()}")
    return text


def running_pid() -> int | None:
    """Return the process that listens for connections, None where there is none: a unit may start them."""
    settings = dict(line.partition(" ")[::2] for line in ask(["-T"]).splitlines())
    pid = (system.read_text(settings.get("pidfile", "/run/sshd.pid")) or "").strip()
    if not pid.isdigit():
        return None
    return int(pid) if (system.read_text(f"/proc/{pid}/comm") or "").startswith("sshd") else None


def reload() -> None:
    """Have a running sshd read its configuration again; sessions stay."""
    pid = running_pid()
    if pid is not None:
        os.kill(pid, signal.SIGHUP)
