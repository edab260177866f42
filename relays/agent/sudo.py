"""sudo's part of an installation: the write user may run one file of one digest as root."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable

from relays.agent import children, system
from relays.agent.items import File
from relays.agent.manifest import temporary, write_file
from relays.agent.protocol import Refused

CONFIG = "/etc/sudoers"
RULES = "/etc/sudoers.d"
RULE = f"{RULES}/relay-fleet"

_TIMEOUT_S = 20.0
_MODE = 0o440
_INCLUDE = re.compile(rf"^[@#]includedir\s+\"?{RULES}/?\"?\s*$", re.MULTILINE)


class Rule(File):
    """The rule for one program with these digests; apply() leaves sudo as it was where it fails.

    Two digests hold while one program takes the place of another: neither before nor after is the door shut.
    """

    def __init__(self, user: str, program: str, digests: Iterable[str], *, overwrite: bool = False) -> None:
        allowed = ", ".join(f"sha256:{digest}" for digest in digests)
        content = _CONTENT.format(user=user, program=program, digests=allowed).encode()
        super().__init__(RULE, content, _MODE, overwrite=overwrite)
        self._user = user
        self._program = program

    def apply(self) -> None:
        before = system.read_text(RULE)
        self._try_out()
        super().apply()
        try:
            self._check_effect()
        except Refused:
            self._put_back(before)
            raise

    def _try_out(self) -> None:
        """Have visudo read the new file first: one that it cannot read shuts sudo for everybody."""
        # sudo passes over names with a dot.
        trial = f"{temporary(RULE)}-trial"
        try:
            with open(trial, "wb") as file:
                file.write(self.content)
            _ask("visudo", "-c", "-q", "-f", trial)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(trial)

    def _check_effect(self) -> None:
        """Raise Refused where sudo would not do for this user what the rule says."""
        if os.path.exists(self._program):
            _ask("sudo", "-n", "-l", "-U", self._user, self._program)

    def _put_back(self, before: str | None) -> None:
        if before is None:
            os.unlink(RULE)
        else:
            write_file(RULE, before.encode(), _MODE)


# Nothing of the caller's environment reaches root but where its connection came from, for the journal.
_CONTENT = """\
# Made by relayctl install; relayctl uninstall removes it.
Defaults:{user} env_reset, !setenv, !env_check, env_keep = "SSH_CONNECTION"
Defaults:{user} secure_path = "/usr/sbin:/usr/bin:/sbin:/bin", !requiretty
{user} ALL = (root) NOPASSWD: {digests} {program} ""
"""


def command(program: str) -> str:
    """Return what sshd runs for the write user. Raises Refused where sudo is not installed."""
    return f"{_find('sudo')} -n {program}"


def check_ready() -> None:
    """Raise Refused where sudo's configuration cannot take a rule."""
    text = system.read_text(CONFIG)
    if text is None:
        raise Refused(f"{CONFIG} cannot be read: is sudo installed?")
    if not _INCLUDE.search(text):
        raise Refused(f"{CONFIG} does not read {RULES}: add at its end: @includedir {RULES}")
    _ask("visudo", "-c", "-q")


def _ask(name: str, *arguments: str) -> None:
    """Run one of sudo's programs; raise Refused with its complaint."""
    try:
        result, text = children.output([_find(name), *arguments], timeout_s=_TIMEOUT_S)
    except children.TimedOut:
        raise Refused(f"{name} {' '.join(arguments)} did not end") from None
    if result.status != 0:
        raise Refused(f"{name} {' '.join(arguments)} fails: {(result.stderr or text).strip()}")


def _find(name: str) -> str:
    try:
        return children.find_program(name)
    except children.NotInstalled as error:
        raise Refused(f"{error}: the write path needs sudo") from None
