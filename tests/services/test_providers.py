"""Shipped providers, operators' edits, and which instance is whose."""

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from relays.models import Host, Instance, Provider, ProviderDomain, RecipientDomain
from relays.services.instances import instance_match, instance_match_by_name
from relays.services.providers import (
    domain_assign,
    load_shipped,
    provider_remove,
    provider_save,
    provider_table,
    shipped_table,
)

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


def mail_to(name: str, mx_host: str = "") -> RecipientDomain:
    """Return a domain that mail went to, under the provider it belongs to."""
    provider_id = provider_table().of_domain(name, mx_host)
    assert provider_id is not None
    return RecipientDomain.objects.create(
        name=name, mx_host=mx_host, provider_id=provider_id, first_seen_at=timezone.now()
    )


def provider_of(domain: RecipientDomain) -> str:
    domain.refresh_from_db()
    return domain.provider.slug


def test_the_shipped_table_says_what_the_loaded_one_says() -> None:
    load_shipped()
    slugs = dict(Provider.objects.values_list("pk", "slug"))
    loaded, shipped = provider_table(), shipped_table()
    assert {domain: slugs[pk] for domain, pk in loaded.domains.items()} == shipped.domains
    assert {suffix: slugs[pk] for suffix, pk in loaded.mx_suffixes.items()} == shipped.mx_suffixes
    assert loaded.catch_all is not None and slugs[loaded.catch_all] == shipped.catch_all == "therest"


def test_a_domain_given_to_a_provider_is_its_own_until_it_is_given_back() -> None:
    load_shipped()
    domain = mail_to("acme.example", "mta5.am0.yahoodns.net")
    assert provider_of(domain) == "yahoo"
    given = domain_assign(domain="ACME.example.", provider=Provider.objects.get(slug="msn"))
    assert (given, provider_of(domain)) == (domain, "msn")
    domain_assign(domain="acme.example", provider=Provider.objects.get(slug="gmail"))
    assert provider_of(domain) == "gmail"
    domain_assign(domain="acme.example", provider=None)
    assert provider_of(domain) == "yahoo"
    assert not ProviderDomain.objects.filter(domain="acme.example").exists()


def test_a_domain_may_be_given_before_any_mail_goes_there() -> None:
    load_shipped()
    assert domain_assign(domain="new.example", provider=Provider.objects.get(slug="msn")) is None
    assert provider_of(mail_to("new.example")) == "msn"


@pytest.mark.parametrize("domain", ["(other)", "", "[192.0.2.1]", "a_b.example"])
def test_what_is_no_domain_cannot_be_given(domain: str) -> None:
    load_shipped()
    with pytest.raises(ValidationError, match="is not a domain name"):
        domain_assign(domain=domain, provider=Provider.objects.get(slug="msn"))


def test_recipient_domains_follow_a_providers_names() -> None:
    load_shipped()
    by_name, by_host, other = (
        mail_to("a.example"),
        mail_to("b.example", "mx.acme.example"),
        mail_to("c.example"),
    )
    acme = provider_save(slug="acme", name="Acme", domains=["a.example"], mx_suffixes=["acme.example"])
    assert [provider_of(domain) for domain in (by_name, by_host, other)] == ["acme", "acme", "therest"]
    provider_remove(provider=acme)
    assert [provider_of(domain) for domain in (by_name, by_host, other)] == ["therest"] * 3
