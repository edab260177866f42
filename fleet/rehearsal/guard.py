"""relayctl's guard on a host without systemd: a plain process, as its init script would start it."""

from fleet.rehearsal.namespaces import Namespace, wait_until

_PROGRAM = "/usr/local/libexec/relay-fleet/relayctl.pyz"
_PUBLISHED = "run/relay-fleet/guard.json"
_LOG = "/var/log/relay-fleet-guard.log"
# A rehearsal is watched: nobody waits long.
_EVERY_S = "5"
# Its output goes to a file: what started it waits for the end of its own.
_START = 'log=$1; shift; exec setsid --fork "$@" </dev/null >>"$log" 2>&1'


def start(host: Namespace) -> None:
    """Start the guard and wait for its first count. Raises RehearsalError with what it said."""
    host.run("/bin/sh", "-c", _START, "guard", _LOG, _PROGRAM, "guard", "--every", _EVERY_S)
    wait_until((host.root / _PUBLISHED).exists, "the guard's first count", log=host.root / _LOG.lstrip("/"))


def look_once(host: Namespace) -> None:
    """End what a redirect of before has left, as the host's init does before it starts Postfix."""
    host.run(_PROGRAM, "guard", check=False)
