"""relayctl on the hosts: installed the way an operator does it, as root on the host itself."""

import importlib.util

from fleet.rehearsal import ssh
from fleet.rehearsal.host import Host
from relays.agent.build import build

_PATH = "/root/relayctl.pyz"


def program() -> bytes | None:
    """Return relayctl.pyz; None while its sources have no installer."""
    return build() if importlib.util.find_spec("relays.agent.install") else None


def install(host: Host, content: bytes, *, read_key: str) -> None:
    """Run `relayctl.pyz install` on a host, and let sshd take its new configuration.

    Raises RehearsalError with what the installer said.
    """
    host.path(_PATH).write_bytes(content)
    host.namespace.run("/usr/bin/python3", _PATH, "install", "--read-key", read_key, "--yes")
    ssh.reload(host.namespace)
