"""Origins: who claims which client, and what is nobody's to claim."""

import pytest
from django.core.exceptions import ValidationError

from relays.models import Accepted, Client, Origin
from relays.services.origins import (
    clients_adopt,
    origin_add,
    origin_change,
    origin_remove,
    suggested_name,
)
from tests.factories import accepted_make, client_make, host_make, instance_make

pytestmark = pytest.mark.django_db


def addresses_of(origin: Origin) -> set[str]:
    return set(origin.clients.values_list("ip", flat=True))


def test_an_origin_is_known_by_its_addresses_in_one_spelling() -> None:
    origin = origin_add(name=" list1 ", addresses=["192.0.2.1", "::FFFF:192.0.2.1", "2001:DB8:0::1"])
    assert origin.name == "list1"
    assert addresses_of(origin) == {"192.0.2.1", "2001:db8::1"}


def test_a_client_that_was_seen_keeps_its_counts_when_it_is_claimed() -> None:
    accepted_make(instance_make(host_make(), "msn-a"), "192.0.2.1", 7)
    origin = origin_add(name="list1", addresses=["192.0.2.1"])
    assert Accepted.objects.get(client__origin=origin).messages == 7


@pytest.mark.parametrize(
    ("name", "addresses", "field", "text"),
    [
        ("", ["192.0.2.1"], "name", "cannot be blank"),
        ("list\u202e1", ["192.0.2.1"], "name", "can be seen"),
        ("x" * 254, ["192.0.2.1"], "name", "at most 253"),
        ("taken", ["192.0.2.1"], "name", "already exists"),
        ("list1", [], "addresses", "at least one"),
        ("list1", ["list1.example.org"], "addresses", "'list1.example.org' is not an IP address"),
        ("list1", ["192.0.2.0/24"], "addresses", "each address of a network"),
        ("list1", ["192.0.2.1", "192.0.2.9"], "addresses", "192.0.2.9 belongs to the origin taken"),
        ("list1", ["127.0.0.53"], "addresses", "every host's own"),
        ("list1", ["::1"], "addresses", "every host's own"),
        ("list1", ["::"], "addresses", "nobody's address"),
        ("list1", ["198.51.100.11"], "addresses", "198.51.100.11 is the address of msn-a on rustin"),
    ],
)
def test_what_cannot_be_is_refused_by_field_and_changes_nothing(
    name: str, addresses: list[str], field: str, text: str
) -> None:
    instance_make(host_make("rustin"), "msn-a", ip="198.51.100.11")
    origin_add(name="taken", addresses=["192.0.2.9"])
    with pytest.raises(ValidationError) as refused:
        origin_add(name=name, addresses=addresses)
    assert text in " ".join(refused.value.message_dict[field])
    assert [origin.name for origin in Origin.objects.all()] == ["taken"]
    assert [client.ip for client in Client.objects.all()] == ["192.0.2.9"]


def test_an_address_of_a_removed_instance_is_free_again() -> None:
    host = host_make()
    gone = instance_make(host, "msn-a", ip="198.51.100.11")
    gone.removed_at = gone.first_seen_at
    gone.save()
    assert addresses_of(origin_add(name="list1", addresses=["198.51.100.11"])) == {"198.51.100.11"}


def test_a_change_lets_go_of_the_addresses_that_are_not_given() -> None:
    client_make("192.0.2.1")
    origin = origin_add(name="list1", addresses=["192.0.2.1", "192.0.2.2"])
    origin_change(origin=origin, name="lists", addresses=["192.0.2.3"])
    assert (Origin.objects.get().name, addresses_of(origin)) == ("lists", {"192.0.2.3"})
    # The one that was seen waits for adoption; the other was never more than a word.
    assert [client.ip for client in Client.objects.filter(origin=None)] == ["192.0.2.1"]


def test_a_removed_origins_clients_stay_with_their_counts() -> None:
    accepted_make(instance_make(host_make(), "msn-a"), "192.0.2.1", 7)
    origin_remove(origin=origin_add(name="list1", addresses=["192.0.2.1", "192.0.2.2"]))
    assert not Origin.objects.exists()
    assert [(client.ip, client.origin) for client in Client.objects.all()] == [("192.0.2.1", None)]
    assert Accepted.objects.get().messages == 7


def test_clients_are_adopted_together_or_not_at_all() -> None:
    mine, theirs = client_make("192.0.2.1"), client_make("192.0.2.2")
    list1, list2 = Origin.objects.create(name="list1"), Origin.objects.create(name="list2")
    clients_adopt(origin=list2, clients=[theirs])
    with pytest.raises(ValidationError, match="belongs to the origin list2"):
        clients_adopt(origin=list1, clients=[mine, theirs])
    assert addresses_of(list1) == set()
    clients_adopt(origin=list1, clients=[mine])
    clients_adopt(origin=list1, clients=[mine])
    assert addresses_of(list1) == {"192.0.2.1"}


def test_the_fleets_own_clients_are_not_adopted() -> None:
    instance_make(host_make(), "msn-a", ip="198.51.100.11")
    origin = Origin.objects.create(name="list1")
    for ip in ("127.0.0.1", "198.51.100.11"):
        with pytest.raises(ValidationError, match="no origin's"):
            clients_adopt(origin=origin, clients=[client_make(ip)])
    assert addresses_of(origin) == set()


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("list1.example.org", "list1.example.org"),
        ("unknown", "192.0.2.1"),
        ("", "192.0.2.1"),
        ("list\u202e1", "192.0.2.1"),
        ("<b>list1</b>", "<b>list1</b>"),
    ],
)
def test_a_new_origin_is_called_as_the_resolver_named_it_where_that_can_be_seen(
    name: str, suggested: str
) -> None:
    assert suggested_name(Client(ip="192.0.2.1", name=name)) == suggested
