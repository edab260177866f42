"""Shipped providers, operators' edits, and which instance is whose."""

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from relays.models import Host, Instance, Provider, ProviderDomain
from relays.services.instances import instance_match, instance_match_by_name
from relays.services.providers import load_shipped, provider_remove, provider_save

pytestmark = pytest.mark.django_db


@pytest.fixture
def instance() -> Instance:
    host = Host.objects.create(name="rustin", ssh_address="198.51.100.10")
    return Instance.objects.create(
        host=host, name="acme-a", config_dir="/etc/postfix-acme-a", first_seen_at=timezone.now()
    )


def test_shipped_providers_are_loaded_once() -> None:
    assert load_shipped() > 10
    assert load_shipped() == 0
    assert Provider.objects.get(catch_all=True).slug == "therest"
    assert ProviderDomain.objects.get(domain="hotmail.com").provider.slug == "msn"


def test_loading_again_keeps_what_operators_made() -> None:
    load_shipped()
    msn = Provider.objects.get(slug="msn")
    provider_save(provider=msn, slug="msn", name="Redmond", position=1, domains=["outlook.com"])
    Provider.objects.get(slug="gmail").delete()
    assert load_shipped() == 1
    msn.refresh_from_db()
    assert (msn.name, [d.domain for d in msn.domains.all()]) == ("Redmond", ["outlook.com"])


def test_domains_are_normalised_and_belong_to_one_provider() -> None:
    provider_save(slug="acme", name="Acme", domains=["BÜCHER.example", "acme.example."])
    assert set(ProviderDomain.objects.values_list("domain", flat=True)) == {
        "xn--bcher-kva.example",
        "acme.example",
    }
    with pytest.raises(ValidationError, match="belongs to Acme"):
        provider_save(slug="other", name="Other", domains=["acme.example"])
    assert not Provider.objects.filter(slug="other").exists()


@pytest.mark.parametrize("domain", ["", "nodots", "*.acme.example", "acme.example\n* x"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(ValidationError):
        provider_save(slug="acme", name="Acme", domains=[domain])
    assert not Provider.objects.exists()


def test_a_new_provider_takes_the_instances_of_its_name(instance: Instance) -> None:
    acme = provider_save(slug="acme", name="Acme")
    instance.refresh_from_db()
    assert instance.provider == acme
    provider_remove(provider=acme)
    instance.refresh_from_db()
    assert instance.provider is None


def test_a_match_by_hand_stays(instance: Instance) -> None:
    other = provider_save(slug="other", name="Other")
    instance_match(instance=instance, provider=other)
    acme = provider_save(slug="acme", name="Acme")
    instance.refresh_from_db()
    assert (instance.provider, instance.provider_by_hand) == (other, True)
    instance_match_by_name(instance=instance)
    assert (instance.provider, instance.provider_by_hand) == (acme, False)


def test_the_provider_of_all_else_stays() -> None:
    load_shipped()
    with pytest.raises(ValidationError):
        provider_remove(provider=Provider.objects.get(catch_all=True))
