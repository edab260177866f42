"""A queue run on a host of the rehearsal, through sshd and sudo: once, also when the connection is cut."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.rehearsal import Fleet, faults
from fleet.rehearsal.host import Host
from relays.domain.written import JournalEntry
from relays.remote import ssh, write
from relays.remote.errors import Fenced, Refused, RemoteError, Unfinished
from relays.remote.ssh import Limits, Target

from .conftest import Wait

pytestmark = pytest.mark.lab

_RELAYCTL = "^/usr/bin/python3 -I /dev/fd/"


@pytest.fixture
def rustin(fleet: Fleet) -> Iterator[Host]:
    host = fleet.host("rustin")
    host.run(["rm", "-rf", "/var/lib/relay-fleet/instances/msn-a"])
    yield host
    ssh.close_all()


def target(fleet: Fleet, host: Host, user: str = write.USER) -> Target:
    key = fleet.state.write_key if user == write.USER else fleet.state.read_key
    return Target(host.ssh_address, host.ssh_port, user, host.host_key, key)


def run(fleet: Fleet, host: Host, req_id: str, *, fence: int = 1, idle_s: float = 15) -> write.WriteResult:
    limits = Limits(wall_s=40, idle_s=idle_s)
    return write.queue_run(
        target(fleet, host), req_id=req_id, op_id="7", fence=fence, instance="msn-a", limits=limits
    )


def failure(fleet: Fleet, host: Host, req_id: str, idle_s: float = 15.0) -> RemoteError:
    """Return how a queue run fails, as seen from here."""
    with pytest.raises(RemoteError) as raised:
        run(fleet, host, req_id, idle_s=idle_s)
    return raised.value


def kill(host: Host, *which: str) -> None:
    host.run(["pkill", "-KILL", *which])


def state_of(fleet: Fleet, host: Host, req_id: str) -> tuple[str, bool | None]:
    entry = write.op_result(target(fleet, host), req_id=req_id).entry
    return entry.state, entry.running


@contextmanager
def slow(host: Host, seconds: float) -> Iterator[Path]:
    """Have a queue run take so long; give the file that has a line for each."""
    host.run(["cp", "-pn", "/usr/sbin/postqueue", "/root/postqueue"])
    host.path("/root/slow").write_text(
        f'#!/bin/sh\ncase "$*" in *" -f") echo "$*" >>/root/effects; sleep {seconds};; esac\n'
        'exec /root/postqueue "$@"\n'
    )
    host.run(["chmod", "755", "/root/slow"])
    host.path("/root/effects").write_text("")
    host.run(["mount", "--bind", "/root/slow", "/usr/sbin/postqueue"])
    try:
        yield host.path("/root/effects")
    finally:
        host.run(["umount", "-l", "/usr/sbin/postqueue"])


@contextmanager
def interrupted(effects: Path, act: Callable[[], object]) -> Iterator[None]:
    """Act once the effect of a request has begun."""

    def wait_and_act() -> None:
        give_up_at = time.monotonic() + 30
        while not effects.read_text() and time.monotonic() < give_up_at:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_deferred_mail_leaves_at_once_and_a_second_time_nothing_is_done(
    fleet: Fleet, rustin: Host, until: Wait
) -> None:
    # What other tests have left there.
    rustin.run(["postsuper", "-c", "/etc/postfix-msn-a", "-d", "ALL"])
    fleet.provider.set_rule("throttle", provider="msn", source="msn-a")
    fleet.fabricate(50, domain="hotmail.com", via="msn-a")
    fleet.provider.clear()
    req_id = str(uuid.uuid4())
    plan = write.plan_queue_run(target(fleet, rustin), instance="msn-a").plan
    first = run(fleet, rustin, req_id)

    assert plan.counts == first.result.counts == {"deferred": 50, "messages": 50}
    assert first.result.ok
    until(lambda: not fleet.instance("msn-a").postqueue(), "the deferred mail leaves")
    assert run(fleet, rustin, req_id, fence=2).replayed
    with pytest.raises(Refused, match="at most 1 within 300 s"):
        run(fleet, rustin, str(uuid.uuid4()))


def test_a_connection_cut_after_the_request_leaves_one_effect_and_the_truth(
    fleet: Fleet, rustin: Host, until: Wait
) -> None:
    req_id = str(uuid.uuid4())
    with slow(rustin, 2) as effects:
        with interrupted(effects, lambda: kill(rustin, "-u", write.USER, "-x", "sshd")):
            error = failure(fleet, rustin, req_id)
        assert not isinstance(error, Refused)
        assert state_of(fleet, rustin, req_id) == ("begun", True)
        until(lambda: state_of(fleet, rustin, req_id) == ("done", False), "it comes to its end alone")
        assert run(fleet, rustin, req_id).replayed
        assert len(effects.read_text().splitlines()) == 1


def test_a_host_that_goes_silent_answers_for_the_request_later(
    fleet: Fleet, rustin: Host, until: Wait
) -> None:
    req_id = str(uuid.uuid4())
    with slow(rustin, 1) as effects:
        with interrupted(effects, lambda: faults.black_hole(rustin)):
            error = failure(fleet, rustin, req_id, idle_s=4)
        assert not isinstance(error, Refused)
        faults.end_black_hole(rustin)
        until(lambda: state_of(fleet, rustin, req_id) == ("done", False), "the host tells the result")
        assert len(effects.read_text().splitlines()) == 1


def test_relayctl_killed_in_its_middle_is_told_as_begun_and_never_done_again(
    fleet: Fleet, rustin: Host, until: Wait
) -> None:
    req_id = str(uuid.uuid4())
    with slow(rustin, 1) as effects:
        with interrupted(effects, lambda: kill(rustin, "-u", "root", "-f", _RELAYCTL)):
            error = failure(fleet, rustin, req_id)
        assert not isinstance(error, Refused)
        assert state_of(fleet, rustin, req_id) == ("begun", False)
        with pytest.raises(Unfinished):
            run(fleet, rustin, req_id)
        assert len(effects.read_text().splitlines()) == 1
    settled = write.op_result(target(fleet, rustin), req_id=req_id, instance="msn-a", fence=9).entry
    assert (settled.state, settled.running) == ("begun", False)
    with pytest.raises(Fenced):
        run(fleet, rustin, str(uuid.uuid4()), fence=8)


def test_the_host_s_journal_tells_of_each_change_and_where_it_came_from(fleet: Fleet, rustin: Host) -> None:
    req_id = str(uuid.uuid4())
    run(fleet, rustin, req_id)
    write.anchor(target(fleet, rustin), seq=41, head="ab" * 32)
    entries: list[JournalEntry] = []
    cursor = None
    while True:
        page = write.journal_read(target(fleet, rustin, "relay-read"), cursor, limit=5)
        entries += page.entries
        cursor = page.cursor
        if not page.more:
            break
    console = rustin.ssh_address.rpartition(".")[0] + ".1"

    assert [(row.event, row.address, row.user) for row in entries if row.req_id == req_id] == [
        ("begun", console, write.USER),
        ("ended", console, write.USER),
    ]
    assert (entries[-1].event, entries[-1].row["seq"], entries[-1].row["hash"]) == ("anchor", 41, "ab" * 32)
    assert not any(row.damaged for row in entries)


def test_a_reboot_forgets_no_fence_and_no_result(fleet: Fleet, rustin: Host) -> None:
    req_id = str(uuid.uuid4())
    run(fleet, rustin, req_id, fence=6)
    rustin.reboot()
    ssh.close_all()

    assert state_of(fleet, rustin, req_id) == ("done", False)
    with pytest.raises(Fenced):
        run(fleet, rustin, str(uuid.uuid4()), fence=5)


def test_the_read_key_opens_no_write_door_nor_the_write_key_the_other(fleet: Fleet, rustin: Host) -> None:
    swapped = Target(rustin.ssh_address, rustin.ssh_port, write.USER, rustin.host_key, fleet.state.read_key)
    with pytest.raises(Refused):
        write.check(swapped)
    with pytest.raises(Refused, match="as root, by the write user"):
        write.op_result(target(fleet, rustin, "relay-read"), req_id="12345678")
    assert write.check(target(fleet, rustin)).host.problem == ""
