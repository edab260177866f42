"""relayctl on the hosts: installed the way an operator does it, as root on the host itself."""

import json

from fleet.rehearsal import files
from fleet.rehearsal.host import Host
from relays.agent.build import build

_PATH = "/root/relayctl.pyz"
_LIMITS = "/etc/relay-fleet/limits.json"
# On a rehearsal fleet nobody loses mail: operators rehearse deleting here.
_ALLOWED = {"delete": True, "expire": True, "removals_a_day": 1_000_000, "bodies": True}


def install(host: Host, *, read_key: str, write_key: str) -> None:
    """Run `relayctl.pyz install` on a host. Raises RehearsalError with what the installer said."""
    host.path(_PATH).write_bytes(build())
    keys = ["--read-key", read_key, "--write-key", write_key]
    host.namespace.run("/usr/bin/python3", _PATH, "install", *keys, "--yes")
    host.path(_LIMITS).parent.mkdir(exist_ok=True)
    host.path(_LIMITS).write_text(json.dumps(_ALLOWED) + "\n")
    host.path(_LIMITS).chmod(0o644)


def onboard(host: Host, peers: list[str]) -> None:
    """Let mail be moved from the host's instances, and to `peers`, each NAME=ADDRESS, whatever host has it.

    Raises RehearsalError with what relayctl said.
    """
    host.namespace.run("/usr/bin/python3", _PATH, "onboard", "--yes")
    for instance in host.instances:
        for name in ("main.cf", "master.cf"):
            files.settle(host.path(f"{instance.config_dir}/{name}"))
    host.namespace.run("/usr/bin/python3", _PATH, "peers", "add", *peers)
