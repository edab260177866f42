"""A poll of one host, over a real sshd: what the tables say afterwards."""

from datetime import timedelta

from django.utils import timezone

from relays.models import Host, Instance, InstanceState, QueueSnapshot, Sample
from relays.models.host import PollOutcome
from relays.services import collect
from relays.services.providers import load_shipped
from tests.far_side import BOOT_ID, SHA256, Sshd, host_row, inventory_row, snapshot_row, unread_row


def poll(host: Host) -> collect.Poll:
    """Poll now, whatever is due, and read the row again."""
    result = collect.poll_host(host_id=host.pk, force=True)
    assert result is not None
    host.refresh_from_db()
    return result


def test_a_first_poll_finds_instances_and_their_queues(host: Host) -> None:
    load_shipped()
    result = poll(host)
    assert (result.outcome, result.instances, result.error) == (PollOutcome.COMPLETE, 2, "")
    assert host.last_outcome == PollOutcome.COMPLETE
    assert (host.relayctl_version, host.relayctl_sha256, host.boot_id) == ("0.1.0", SHA256, BOOT_ID)
    assert host.facts["cpus"] == 2
    msn = Instance.objects.get(name="msn-a")
    assert msn.provider is not None and msn.provider.slug == "msn"
    assert [a.ip for a in msn.addresses.all()] == msn.inventory["bind_addresses"]
    assert (msn.state.deferred, msn.state.active, msn.state.corrupt) == (412, 3, None)
    assert (msn.state.state, msn.state.top_reply_count) == ("throttled", 412)
    assert Sample.objects.get(instance=msn).deferred == 412
    assert "hotmail.com" in QueueSnapshot.objects.get(instance=msn).body


def test_a_host_that_is_not_due_is_left_alone(host: Host) -> None:
    assert collect.poll_host(host_id=host.pk) is not None
    attempt = Host.objects.get().last_attempt_at
    assert collect.poll_host(host_id=host.pk) is None
    assert Host.objects.get().last_attempt_at == attempt


def test_a_lost_poll_is_due_again_after_the_interval(host: Host) -> None:
    collect._claim(host.pk, force=False)
    host.refresh_from_db()
    assert host.next_poll_at is not None
    assert timezone.now() < host.next_poll_at <= timezone.now() + timedelta(seconds=60)
    Host.objects.update(next_poll_at=timezone.now())
    assert collect.poll_host(host_id=host.pk) is not None


def test_of_two_workers_one_gets_the_poll(host: Host) -> None:
    stale = Host.objects.get()
    assert collect._claim(host.pk, force=False) is not None
    # The second worker read the row before the first one took it.
    assert Host.objects.filter(pk=host.pk, next_poll_at=stale.next_poll_at).exists() is False
    assert collect._claim(host.pk, force=False) is None


def test_a_disabled_host_is_polled_only_by_force(host: Host) -> None:
    Host.objects.update(enabled=False)
    assert collect.poll_host(host_id=host.pk) is None
    assert collect.poll_host(host_id=host.pk, force=True) is not None


def test_a_host_that_is_gone_is_no_error(db: None) -> None:
    assert collect.poll_host(host_id=4711) is None


def test_an_unread_queue_keeps_its_figures_and_their_time(sshd: Sshd, host: Host) -> None:
    poll(host)
    before = InstanceState.objects.get(instance__name="aol-a")
    sshd.answers({"snapshot": [snapshot_row("msn-a"), unread_row("aol-a", "timed_out"), host_row()]})
    assert poll(host).outcome == PollOutcome.COMPLETE
    after = InstanceState.objects.get(instance__name="aol-a")
    assert (after.deferred, after.sampled_at) == (before.deferred, before.sampled_at)
    assert (after.state, after.condition, after.condition_detail) == ("unknown", "timed_out", "for this test")
    assert after.asked_at is not None and before.asked_at is not None and after.asked_at > before.asked_at


def test_a_queue_never_read_has_no_counts(sshd: Sshd, host: Host) -> None:
    sshd.answers(
        {
            "inventory": [inventory_row("msn-a")],
            "snapshot": [unread_row("msn-a", "not_listed", "instance"), host_row()],
        }
    )
    poll(host)
    state = InstanceState.objects.get()
    assert (state.deferred, state.active, state.oldest_s, state.sampled_at) == (None, None, None, None)
    assert (state.state, state.condition) == ("unknown", "not_listed")
    assert not Sample.objects.exists()


def test_a_stopped_instance_is_stopped_and_not_empty(sshd: Sshd, host: Host) -> None:
    poll(host)
    sshd.answers(
        {
            "snapshot": [
                snapshot_row("msn-a"),
                unread_row("aol-a", "stopped", "instance", running=False),
                host_row(),
            ]
        }
    )
    poll(host)
    state = InstanceState.objects.get(instance__name="aol-a")
    assert (state.state, state.condition, state.deferred) == ("stopped", "stopped", 412)
    assert InstanceState.objects.get(instance__name="msn-a").state == "throttled"
