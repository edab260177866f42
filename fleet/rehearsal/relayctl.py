"""relayctl on the hosts: installed the way an operator does it, as root on the host itself."""

from fleet.rehearsal.host import Host
from relays.agent.build import build

_PATH = "/root/relayctl.pyz"


def install(host: Host, *, read_key: str, write_key: str) -> None:
    """Run `relayctl.pyz install` on a host. Raises RehearsalError with what the installer said."""
    host.path(_PATH).write_bytes(build())
    keys = ["--read-key", read_key, "--write-key", write_key]
    host.namespace.run("/usr/bin/python3", _PATH, "install", *keys, "--yes")
