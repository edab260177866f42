"""Who asks: the read user, the write user through sudo, or root at the host itself; and what each may ask."""

from __future__ import annotations

import ipaddress
import os
from typing import NamedTuple

from relays.agent.protocol import WRITE_VERBS, Refused

WRITE_USER = "relay-write"


class Caller(NamedTuple):
    """Whoever sent the request. user: by name; address: where it connects from, if that is told."""

    user: str
    address: str | None
    is_root: bool

    @property
    def at_write_door(self) -> bool:
        """Whether the write user came in through sudo."""
        return self.is_root and self.user == WRITE_USER

    def check(self, verb: str) -> None:
        """Raise Refused for a verb that is not this caller's."""
        if verb in WRITE_VERBS and not self.is_root:
            raise Refused(f"{verb} is run as root, by the write user through sudo")
        # `hello` tells nothing but who answers: the doctor asks it through this door, too.
        if self.at_write_door and verb not in WRITE_VERBS and verb != "hello":
            raise Refused(f"{verb} is for the read user: nothing is read as root for the console")


def caller() -> Caller:
    """Return who asks. sudo says whom it became root for; nobody else can be root and be told so."""
    is_root = os.geteuid() == 0
    user = os.environ.get("SUDO_USER", "root") if is_root else str(os.geteuid())
    return Caller(user[:32], _address(), is_root)


def _address() -> str | None:
    """Return the client's address out of what sshd says of its connection, which sudo lets through."""
    first = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
    try:
        return str(ipaddress.ip_address(first))
    except ValueError:
        return None
