"""Faults of a host and of the console: each ends in its named state, and nothing unknown becomes zero."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from unittest import mock

import pytest
from django.db import OperationalError
from django.utils import timezone

from relays.domain.freshness import HostState, host_state
from relays.models import Host, Instance, InstanceState
from relays.models.host import PollOutcome
from relays.remote import ssh
from relays.services import collect
from tests.far_side import Sshd, host_row, inventory_row, reply_script, snapshot_row


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut each deadline to what a test may take; what happens at it is the same."""
    real = ssh.Limits
    monkeypatch.setattr(
        collect,
        "Limits",
        lambda wall_s: replace(real(), connect_s=1, handshake_s=1.5, idle_s=1.5, wall_s=3),
    )


def poll(host: Host) -> collect.Poll:
    result = collect.poll_host(host_id=host.pk, force=True)
    assert result is not None
    host.refresh_from_db()
    return result


def state(host: Host) -> HostState:
    return host_state(host.last_outcome, host.last_success_at, timezone.now(), 60)


@pytest.fixture
def polled(host: Host) -> Iterator[Host]:
    """A host with one good poll behind it; whatever comes then, its figures must stay as they are."""
    poll(host)
    assert state(host) == HostState.FRESH
    succeeded_at = host.last_success_at
    before = list(InstanceState.objects.order_by("pk").values("deferred", "sampled_at", "active", "oldest_s"))
    yield host
    host.refresh_from_db()
    assert host.last_success_at == succeeded_at
    assert (
        list(InstanceState.objects.order_by("pk").values("deferred", "sampled_at", "active", "oldest_s"))
        == before
    )


def test_a_changed_host_key(sshd: Sshd, polled: Host) -> None:
    ssh.close_all()
    sshd.change_host_key()
    poll(polled)
    assert state(polled) == HostState.KEY_CHANGED
    assert polled.offered_key == sshd.host_key() != polled.host_key


def test_a_host_that_is_down(sshd: Sshd, polled: Host) -> None:
    ssh.close_all()
    sshd.stop()
    poll(polled)
    assert state(polled) == HostState.UNREACHABLE
    assert "refused" in polled.last_error.lower()


def test_a_black_hole(polled: Host) -> None:
    ssh.close_all()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        Host.objects.update(ssh_port=silent.getsockname()[1])
        started = time.monotonic()
        poll(polled)
        assert time.monotonic() - started < 4
    assert state(polled) == HostState.UNREACHABLE
    assert "does not speak SSH" in polled.last_error


def test_a_black_hole_behind_a_kept_connection(sshd: Sshd, polled: Host) -> None:
    sshd.says("#!/bin/sh\nexec sleep 30\n")
    poll(polled)
    assert state(polled) == HostState.UNREACHABLE
    assert "sent no byte" in polled.last_error


def test_one_byte_now_and_then(sshd: Sshd, polled: Host) -> None:
    sshd.says("#!/bin/sh\nwhile :; do printf x; sleep 1; done\n")
    poll(polled)
    assert state(polled) == HostState.LATE
    assert polled.last_outcome == PollOutcome.INCOMPLETE


def test_a_gigabyte(sshd: Sshd, polled: Host) -> None:
    sshd.says("#!/bin/sh\nhead -c 1000000000 /dev/zero\n")
    poll(polled)
    assert state(polled) == HostState.LATE
    assert "65,536" in polled.last_error


def test_a_reply_cut_before_its_end(sshd: Sshd, polled: Host) -> None:
    script = reply_script(sshd.folder, {"snapshot": [snapshot_row("msn-a"), host_row()]})
    rows = sshd.folder / "snapshot.rows"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    sshd.says(script)
    poll(polled)
    assert state(polled) == HostState.LATE
    assert "before its end line" in polled.last_error


def test_a_shell_that_says_something_else(sshd: Sshd, polled: Host) -> None:
    sshd.says("#!/bin/sh\necho This account is currently not available.\nexit 1\n")
    poll(polled)
    assert state(polled) == HostState.INCOMPATIBLE
    assert "currently not available" in polled.last_error


def test_a_key_no_longer_accepted(sshd: Sshd, polled: Host) -> None:
    ssh.close_all()
    (sshd.folder / "authorized_keys").write_text("")
    poll(polled)
    assert state(polled) == HostState.REFUSED


def test_a_host_without_a_pinned_key_is_not_asked(polled: Host) -> None:
    Host.objects.update(host_key="")
    poll(polled)
    assert state(polled) == HostState.REFUSED
    assert "No host key is pinned" in polled.last_error


def test_figures_grow_late_by_age_alone(host: Host) -> None:
    poll(host)
    now = timezone.now() + timedelta(minutes=10)
    assert host_state(host.last_outcome, host.last_success_at, now, 60) == HostState.LATE


def test_since_when_is_kept_while_the_outcome_stays(sshd: Sshd, host: Host) -> None:
    sshd.says("#!/bin/sh\nexit 3\n")
    poll(host)
    since = host.outcome_since
    poll(host)
    assert host.outcome_since == since
    sshd.answers({"inventory": [], "snapshot": [host_row()]})
    poll(host)
    assert host.outcome_since is not None and since is not None and host.outcome_since > since


def test_a_truncated_snapshot_stores_what_is_whole_and_is_late(sshd: Sshd, host: Host) -> None:
    poll(host)
    sshd.answers({"snapshot": [snapshot_row("msn-a", queues=_counts(7)), host_row()]})
    rows = sshd.folder / "snapshot.rows"
    rows.write_text(rows.read_text().replace('"truncated": false', '"truncated": true'))
    poll(host)
    assert state(host) == HostState.LATE
    assert InstanceState.objects.get(instance__name="msn-a").deferred == 7
    assert InstanceState.objects.get(instance__name="aol-a").deferred == 412
    assert Instance.objects.filter(removed_at=None).count() == 2


def test_a_renamed_instance_keeps_its_history(sshd: Sshd, host: Host) -> None:
    poll(host)
    before = Instance.objects.get(name="aol-a")
    _answers(sshd, ("msn-a", {}), ("yahoo-a", {"config_dir": "/etc/postfix-aol-a"}))
    poll(host)
    after = Instance.objects.get(pk=before.pk)
    assert (after.name, after.removed_at) == ("yahoo-a", None)
    assert Instance.objects.count() == 2


def test_two_instances_may_swap_their_names(sshd: Sshd, host: Host) -> None:
    poll(host)
    ids = dict(Instance.objects.values_list("name", "pk"))
    _answers(
        sshd,
        ("aol-a", {"config_dir": "/etc/postfix-msn-a"}),
        ("msn-a", {"config_dir": "/etc/postfix-aol-a"}),
    )
    assert poll(host).outcome == PollOutcome.COMPLETE
    assert dict(Instance.objects.values_list("name", "pk")) == {"aol-a": ids["msn-a"], "msn-a": ids["aol-a"]}


def test_an_instance_that_goes_is_marked_removed_and_may_return(sshd: Sshd, host: Host) -> None:
    poll(host)
    gone = Instance.objects.get(name="aol-a")
    _answers(sshd, ("msn-a", {}))
    poll(host)
    gone.refresh_from_db()
    assert gone.removed_at is not None
    assert gone.state.deferred == 412
    _answers(sshd, ("msn-a", {}), ("aol-a", {}))
    poll(host)
    gone.refresh_from_db()
    assert gone.removed_at is None


def test_a_new_name_in_place_of_a_removed_instance(sshd: Sshd, host: Host) -> None:
    poll(host)
    _answers(sshd, ("msn-a", {}), ("aol-a", {"config_dir": "/etc/postfix-aol-a-new"}))
    assert poll(host).outcome == PollOutcome.COMPLETE
    assert Instance.objects.filter(name="aol-a").count() == 2
    assert Instance.objects.get(name="aol-a", removed_at=None).config_dir == "/etc/postfix-aol-a-new"


def test_addresses_follow_the_inventory(sshd: Sshd, host: Host) -> None:
    poll(host)
    Host.objects.update(inventory_at=timezone.now() - timedelta(hours=2))
    _answers(sshd, ("msn-a", {}), ("aol-a", {}), bind_addresses=["198.51.100.77", "198.51.100.78"])
    poll(host)
    instance = Instance.objects.get(name="msn-a")
    assert [a.ip for a in instance.addresses.all()] == ["198.51.100.77", "198.51.100.78"]


def test_an_inventory_is_asked_for_only_when_something_changed(sshd: Sshd, host: Host) -> None:
    poll(host)
    first = host.inventory_at
    poll(host)
    assert host.inventory_at == first
    Host.objects.update(boot_id="another")
    poll(host)
    assert host.inventory_at != first


def test_a_clock_an_hour_off_gives_no_wrong_ages(sshd: Sshd, host: Host) -> None:
    row = snapshot_row("msn-a", sampled_at=time.time() - 3600)
    sshd.answers({"inventory": [inventory_row("msn-a")], "snapshot": [row, host_row()]}, clock_ahead_s=-3600)
    poll(host)
    assert state(host) == HostState.FRESH
    assert host.clock_skew_s == pytest.approx(-3600, abs=3)
    sampled_at = InstanceState.objects.get().sampled_at
    assert sampled_at is not None
    assert abs((timezone.now() - sampled_at).total_seconds()) < 5
    assert InstanceState.objects.get().oldest_s == 2280


def test_a_lying_host_sends_no_figures_from_the_future(sshd: Sshd, host: Host) -> None:
    row = snapshot_row("msn-a", sampled_at=time.time() + 200)
    sshd.answers({"inventory": [inventory_row("msn-a")], "snapshot": [row, host_row()]})
    poll(host)
    sampled_at = InstanceState.objects.get().sampled_at
    assert sampled_at is not None and sampled_at <= timezone.now()


def test_a_database_that_refuses_is_told_as_the_consoles_fault(polled: Host) -> None:
    with mock.patch.object(collect, "store_readings", side_effect=OperationalError("disk I/O error")):
        poll(polled)
    assert state(polled) == HostState.LATE
    assert polled.last_error == "The host answered, but the console's database refused it: disk I/O error"


def test_half_a_poll_is_never_seen(sshd: Sshd, host: Host) -> None:
    with mock.patch.object(collect, "store_readings", side_effect=OperationalError("full")):
        poll(host)
    assert not Instance.objects.exists()
    assert poll(host).outcome == PollOutcome.COMPLETE


def test_other_hosts_stay_fresh_while_one_hangs(sshd: Sshd, host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = Host.objects.create(
            name="dead", ssh_address="127.0.0.1", ssh_port=silent.getsockname()[1], host_key=host.host_key
        )
        poll(dead)
        poll(host)
    assert (state(dead), state(host)) == (HostState.UNREACHABLE, HostState.FRESH)


def _counts(deferred: int) -> dict[str, int | None]:
    return {"incoming": 0, "active": 0, "deferred": deferred, "hold": 0, "corrupt": None}


def _answers(sshd: Sshd, *instances: tuple[str, dict[str, str]], **inventory: object) -> None:
    sshd.answers(
        {
            "inventory": [inventory_row(name, **(other | inventory)) for name, other in instances],
            "snapshot": [*(snapshot_row(name, **other) for name, other in instances), host_row()],
        }
    )
