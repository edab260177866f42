"""Adding, changing and removing hosts; dispatching their polls."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from kombu.exceptions import OperationalError
from pytest_django import DjangoCaptureOnCommitCallbacks

from relays.models import Host
from relays.remote.errors import Unreachable
from relays.services import collect, hosts
from tests.far_side import Sshd, free_port

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM+e7Ss1oiicIj+DePGmSs/wNuPmoU/3j47f+VkeIz64"
pytestmark = pytest.mark.django_db


def messages() -> list[Path]:
    return sorted((Path(django_settings.DATA_DIR) / "broker" / "messages").iterdir())


@pytest.fixture(autouse=True)
def _empty_broker() -> None:
    for message in messages():
        message.unlink()


def add(**other: object) -> Host:
    given = {"name": "rustin", "ssh_address": "198.51.100.10", "host_key": KEY} | other
    return hosts.host_add(**given)  # type: ignore[arg-type]


def test_a_new_host_is_due_and_a_worker_is_told(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        host = add(host_key=f"{KEY} root@rustin")
    host.refresh_from_db()
    assert host.host_key == KEY
    assert host.next_poll_at is not None and host.next_poll_at <= timezone.now()
    assert len(messages()) == 1
    assert "relays.tasks.collect_host" in messages()[0].read_text()


def test_a_broker_that_is_down_loses_no_host(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("relays.services.dispatch.current_app.send_task", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        add()
    assert Host.objects.filter(collect._due(timezone.now())).count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "not a slug"),
        ("name", ""),
        ("ssh_address", "-oProxyCommand=id"),
        ("ssh_address", "a b"),
        ("ssh_address", "rustin\n"),
        ("ssh_address", "rustin:22"),
        ("ssh_port", 0),
        ("ssh_port", 65536),
        ("ssh_user", "root;id"),
        ("ssh_user", "Root"),
        ("host_key", ""),
        ("host_key", "ssh-ed25519 AAAA"),
    ],
)
def test_what_cannot_be_reached_safely_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        add(**{field: value})
    assert list(raised.value.message_dict) == [field]
    assert not Host.objects.exists()


@pytest.mark.parametrize("address", ["198.51.100.10", "2001:db8::1", "rustin", "rustin.example.org."])
def test_names_and_addresses_are_taken(address: str) -> None:
    assert add(ssh_address=address).ssh_address == address


def test_a_name_is_taken_once() -> None:
    add()
    with pytest.raises(ValidationError):
        add(ssh_address="198.51.100.20")


def test_a_change_keeps_the_pinned_key_and_polls_again() -> None:
    host = add()
    Host.objects.update(next_poll_at=timezone.now() + timedelta(hours=1))
    hosts.host_change(host=host, ssh_port=2222, poll_interval_s=30)
    host.refresh_from_db()
    assert (host.ssh_port, host.poll_interval_s, host.host_key) == (2222, 30, KEY)
    assert host.next_poll_at is not None and host.next_poll_at <= timezone.now()
    assert collect.interval_s(host) == 30
    hosts.host_change(host=host, poll_interval_s=0)
    assert collect.interval_s(host) == 60


def test_an_interval_out_of_reason_is_refused() -> None:
    with pytest.raises(ValidationError):
        hosts.host_change(host=add(), poll_interval_s=1)


def test_a_changed_key_is_accepted_by_hand(sshd: Sshd, host: Host) -> None:
    Host.objects.update(host_key=KEY)
    assert collect.poll_host(host_id=host.pk) is not None
    host.refresh_from_db()
    assert host.last_outcome == "key_changed"
    hosts.host_accept_key(host=host, host_key=host.offered_key)
    poll = collect.poll_host(host_id=host.pk)
    assert poll is not None and poll.outcome == "complete"
    host.refresh_from_db()
    assert host.offered_key == ""


def test_probe_tells_what_is_there(sshd: Sshd) -> None:
    assert hosts.probe(ssh_address="127.0.0.1", ssh_port=sshd.port) == sshd.host_key()
    with pytest.raises(Unreachable):
        hosts.probe(ssh_address="127.0.0.1", ssh_port=free_port())


def test_a_removed_host_is_gone_with_its_instances(host: Host) -> None:
    collect.poll_host(host_id=host.pk)
    hosts.host_remove(host=host)
    assert not Host.objects.exists()


def test_only_hosts_that_are_due_and_enabled_are_dispatched(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    due, later, disabled = (add(name=name) for name in ("due", "later", "disabled"))
    Host.objects.filter(pk=later.pk).update(next_poll_at=timezone.now() + timedelta(minutes=1))
    Host.objects.filter(pk=disabled.pk).update(enabled=False)
    with django_capture_on_commit_callbacks(execute=True):
        assert collect.dispatch_due_polls() == 1
    assert len(messages()) == 1
    assert Host.objects.get(pk=due.pk).next_poll_at is not None
