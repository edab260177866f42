"""A recipient domain's provider, changed in its row."""

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from relays.models import Provider, ProviderDomain, RecipientDomain
from relays.services.providers import load_shipped

HTMX = {"HX-Request": "true"}
pytestmark = pytest.mark.django_db


@pytest.fixture
def domain() -> RecipientDomain:
    load_shipped()
    yahoo = Provider.objects.get(slug="yahoo")
    return RecipientDomain.objects.create(
        name="acme.example", mx_host="mta5.am0.yahoodns.net", provider=yahoo, first_seen_at=timezone.now()
    )


def path_of(domain: RecipientDomain) -> str:
    return f"/domains/{domain.pk}/provider/"


def test_it_is_for_those_who_may_change_providers(
    client: Client, viewer: Client, domain: RecipientDomain
) -> None:
    assert client.get(path_of(domain))["Location"].startswith("/login/")
    assert viewer.get(path_of(domain)).status_code == 403
    assert viewer.post(path_of(domain), {"provider": "msn"}).status_code == 403
    assert path_of(domain) not in render_to_string("relays/_domain_provider.html", {"domain": domain})


def test_a_row_becomes_a_form_and_a_row_again(operator: Client, domain: RecipientDomain) -> None:
    form = operator.get(path_of(domain), headers=HTMX).content.decode()
    assert "<html" not in form
    assert '<option value="">by its relay host: yahoo</option>' in form
    assert "what is counted stays where it was" in form
    row = operator.get(path_of(domain) + "?shown", headers=HTMX).content.decode()
    assert 'href="/providers/yahoo/"' in row and f'hx-get="{path_of(domain)}"' in row
    assert "what is counted" not in row


def test_the_choice_is_kept_and_told_in_the_row(operator: Client, domain: RecipientDomain) -> None:
    row = operator.post(path_of(domain), {"provider": "msn"}, headers=HTMX).content.decode()
    assert 'href="/providers/msn/"' in row
    assert "from now on; what is counted stays where it was" in row
    domain.refresh_from_db()
    assert domain.provider.slug == "msn"
    assert ProviderDomain.objects.get(domain="acme.example").provider.slug == "msn"
    form = operator.get(path_of(domain), headers=HTMX).content.decode()
    assert '<option value="msn" selected>msn</option>' in form
    operator.post(path_of(domain), {"provider": ""}, headers=HTMX)
    domain.refresh_from_db()
    assert domain.provider.slug == "yahoo"


def test_without_javascript_it_is_a_page(operator: Client, domain: RecipientDomain) -> None:
    page = operator.get(path_of(domain)).content.decode()
    assert "<html" in page and "mta5.am0.yahoodns.net" in page
    answer = operator.post(path_of(domain), {"provider": "msn"}, follow=True)
    assert answer.redirect_chain == [("/providers/msn/", 302)]
    assert "acme.example belongs to msn: its mail is counted there from now on." in answer.content.decode()


def test_a_provider_that_is_gone_is_refused_in_the_form(operator: Client, domain: RecipientDomain) -> None:
    form = operator.post(path_of(domain), {"provider": "gone"}, headers=HTMX).content.decode()
    assert "There is no such provider any more: nothing was changed." in form
    domain.refresh_from_db()
    assert domain.provider.slug == "yahoo"


@pytest.mark.parametrize("name", ["(other)", "[192.0.2.1]", "<script>alert(1)</script>\u202e"])
def test_what_is_no_domain_name_stays_where_it_is_and_is_only_text(
    operator: Client, domain: RecipientDomain, name: str
) -> None:
    RecipientDomain.objects.update(name=name)
    page = operator.get(path_of(domain)).content.decode()
    assert "<script>alert" not in page and "\u202e" not in page
    form = operator.post(path_of(domain), {"provider": "msn"}, headers=HTMX).content.decode()
    assert "is not a domain name" in form
    assert "\u202e" not in form
    assert not ProviderDomain.objects.filter(provider__slug="msn", domain=name).exists()


def test_what_stands_for_the_rest_has_no_control(operator: Client, domain: RecipientDomain) -> None:
    RecipientDomain.objects.update(name="(other)")
    row = operator.get(path_of(domain) + "?shown", headers=HTMX).content.decode()
    assert "change" not in row
