"""The rehearsal's hosts and relay names in the console's database."""

import pytest
from django.conf import LazySettings

from dns.models import RelayName, Zone
from dns.selectors.origins import transport_of
from dns.services.zones import check_relay_name, doctor
from fleet.rehearsal import Fleet, register, spec
from fleet.rehearsal.errors import RehearsalError
from relays.models import Host, Instance, Origin

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


def test_relay_names_are_taken_over_as_they_are_served_and_can_be_written(
    fleet: Fleet, settings: LazySettings
) -> None:
    settings.READ_KEY_PATH = fleet.state.read_key
    register.prepare(fleet)
    register.register(fleet)
    register.register(fleet)
    assert RelayName.objects.count() == 10
    msn = {"198.51.100.11": 1, "198.51.100.12": 1, "198.51.100.21": 1}
    for zone in spec.ZONES:
        row = RelayName.objects.get(name=f"msn.{zone.name}")
        assert {weight.address: weight.weight for weight in row.weights.all()} == msn
        assert [origin.name for origin in row.zone.origins.all()] == [zone.origin]
        assert set(doctor(zone=row.zone).values()) == {""}
        assert check_relay_name(relay_name=row) == {}


def test_an_origins_own_transport_map_is_the_one_that_its_page_offers(
    fleet: Fleet, settings: LazySettings
) -> None:
    settings.READ_KEY_PATH = fleet.state.read_key
    register.prepare(fleet)
    register.register(fleet)
    for name, host in fleet.origins.items():
        theirs = set(host.path("/etc/postfix/transport.relay").read_text().splitlines())
        offered, rest = transport_of(Origin.objects.get(name=name))
        assert theirs <= set(offered)
        assert host.run(["postconf", "-h", "relayhost"]).stdout.strip() == rest
        host.path("/etc/postfix/transport.offered").write_text("\n".join(offered) + "\n")
        asked = ["postmap", "-q", "hotmail.com", "texthash:/etc/postfix/transport.offered"]
        assert host.namespace.run(*asked).stdout.strip() == f"smtp:msn.smtp.{name}.test"


def test_a_zone_of_the_operators_own_is_never_touched(fleet: Fleet, settings: LazySettings) -> None:
    settings.READ_KEY_PATH = fleet.state.read_key
    Zone.objects.create(name=spec.ZONES[0].name, primary="192.0.2.53", servers=["192.0.2.53"])
    with pytest.raises(
        RehearsalError, match=r"smtp\.lists\.test on 192\.0\.2\.53, which is not a rehearsal's"
    ):
        register.prepare(fleet)
    assert register.forget(fleet) == 0
    assert Zone.objects.exists()


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
    assert not Zone.objects.exists()
    assert not Origin.objects.exists()
