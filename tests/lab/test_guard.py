"""What only root can count on a host of the rehearsal, as the read user is told it."""

import json

import pytest

from fleet.rehearsal import Fleet
from fleet.rehearsal.host import Host

from .conftest import Wait

pytestmark = pytest.mark.lab

_PROGRAM = "/usr/local/libexec/relay-fleet/relayctl.pyz"
_REQUEST = '{"v": 1, "req_id": "0123456789", "verb": "snapshot"}'
_CORRUPT = "/var/spool/postfix-msn-a/corrupt/4jWKWh04b5z1T1"


def corrupt(host: Host) -> dict[str, int | None]:
    """Return the counts of a snapshot that relay-read asks for."""
    done = host.run(["/usr/sbin/runuser", "-u", "relay-read", "--", _PROGRAM], stdin=_REQUEST)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"]: row["queues"]["corrupt"] for row in rows if row.get("kind") == "instance"}


def test_a_corrupt_message_is_counted_also_after_a_reboot(fleet: Fleet, until: Wait) -> None:
    rustin = fleet.host("rustin")
    none = {"msn-a": 0, "msn-b": 0, "aol-a": 0, "therest-a": 0}
    until(
        lambda: {name: corrupt(rustin).get(name) for name in none} == none,
        "every instance is counted",
        timeout_s=120,
    )
    file = rustin.path(_CORRUPT)
    file.write_text("x")
    try:
        until(lambda: corrupt(rustin)["msn-a"] == 1, "a corrupt message is counted")
        rustin.reboot()
        until(lambda: corrupt(rustin)["msn-a"] == 1, "it is counted after a reboot")
    finally:
        rustin.path(_CORRUPT).unlink()


def test_a_guard_that_ended_leaves_the_count_unknown_once_it_is_old(fleet: Fleet, until: Wait) -> None:
    leslie = fleet.host("leslie")
    until(lambda: corrupt(leslie)["default"] == 0, "the plain instance is counted")
    leslie.run(["/usr/bin/pkill", "-f", "relayctl.pyz guard"])
    published = leslie.path("/run/relay-fleet/guard.json")
    fields = json.loads(published.read_text())
    published.write_text(json.dumps({**fields, "at": fields["at"] - 200}))
    try:
        assert corrupt(leslie)["default"] is None
    finally:
        leslie.start_guard()
    until(lambda: corrupt(leslie)["default"] == 0, "it is counted again")
