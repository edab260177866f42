"""The rehearsal's hosts in the console's database."""

import pytest
from django.conf import LazySettings

from fleet.rehearsal import Fleet, register
from fleet.rehearsal.errors import RehearsalError
from relays.models import Host, Instance

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]


def test_hosts_are_registered_with_their_keys_and_the_nameless_instance_matched(
    fleet: Fleet, settings: LazySettings
) -> None:
    settings.READ_KEY_PATH = fleet.state.read_key
    settings.WRITE_KEY_PATH = fleet.state.write_key
    for public, private in zip(
        register.prepare(fleet), (fleet.state.read_key, fleet.state.write_key), strict=True
    ):
        assert public.split()[1] == private.with_suffix(".pub").read_text().split()[1]
    register.register(fleet)
    assert {host.name: (host.ssh_address, host.host_key) for host in Host.objects.all()} == {
        name: (host.ssh_address, host.host_key) for name, host in fleet.hosts.items()
    }
    matched = Instance.objects.get(host__name="leslie", name="default")
    assert matched.provider is not None
    assert matched.provider.slug == "gmail"
    assert matched.provider_by_hand


def test_hosts_of_an_earlier_fleet_get_their_new_address_and_key(
    fleet: Fleet, settings: LazySettings
) -> None:
    settings.READ_KEY_PATH = fleet.state.read_key
    register.prepare(fleet)
    old = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    Host.objects.create(name="rustin", ssh_address="198.18.250.10", host_key=old)
    register.register(fleet)
    rustin = Host.objects.get(name="rustin")
    assert (rustin.ssh_address, rustin.host_key) == (
        fleet.host("rustin").ssh_address,
        fleet.host("rustin").host_key,
    )


def test_a_host_of_the_operators_own_is_never_touched(fleet: Fleet, settings: LazySettings) -> None:
    settings.READ_KEY_PATH = fleet.state.read_key
    Host.objects.create(name="rustin", ssh_address="rustin.example.org")
    with pytest.raises(RehearsalError, match=r"rustin at rustin\.example\.org, which is not a rehearsal's"):
        register.prepare(fleet)
    assert register.forget(fleet) == 0
    assert Host.objects.filter(name="rustin").exists()


def test_forgotten_hosts_are_gone(fleet: Fleet, settings: LazySettings) -> None:
    settings.READ_KEY_PATH = fleet.state.read_key
    register.prepare(fleet)
    register.register(fleet)
    assert register.forget(fleet) == 3
    assert not Host.objects.exists()
