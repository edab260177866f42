"""Pages over providers."""

import pytest
from django.test import Client

from relays.models import Provider, ProviderDomain
from relays.services.providers import provider_save
from tests.factories import fleet_make, host_make, instance_make, provider_make

FORM = {
    "slug": "msn",
    "name": "Outlook",
    "position": "10",
    "domains": "hotmail.com\nMSN.com",
    "mx_suffixes": "",
}
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "posts"),
    [
        ("/providers/", False),
        ("/providers/msn/", False),
        ("/add-provider/", True),
        ("/providers/msn/change/", True),
    ],
)
def test_each_page_takes_its_methods_only_and_nobody_anonymous(
    client: Client, operator: Client, path: str, posts: bool
) -> None:
    provider_make("msn")
    assert client.get(path)["Location"] == f"/login/?next={path}"
    assert operator.get(path).status_code == 200
    assert (operator.post(path).status_code == 405) is not posts


@pytest.mark.parametrize("path", ["/add-provider/", "/providers/msn/change/"])
def test_a_viewer_may_change_nothing(viewer: Client, path: str) -> None:
    provider_make("msn")
    assert viewer.post(path, FORM).status_code == 403


def test_the_list_is_in_the_matrix_order_with_counts(viewer: Client) -> None:
    fleet_make()
    Provider.objects.filter(slug="yahoo").update(position=1)
    page = viewer.get("/providers/").content.decode()
    assert page.index(">yahoo<") < page.index(">msn<")


def test_an_empty_list_says_where_providers_come_from(viewer: Client) -> None:
    assert "No provider is known" in viewer.get("/providers/").content.decode()


def test_a_provider_shows_its_instances_and_domains(viewer: Client) -> None:
    fleet_make()
    ProviderDomain.objects.create(domain="hotmail.com", provider=Provider.objects.get(slug="msn"))
    page = viewer.get("/providers/msn/").content.decode()
    for name in (">msn-a<", ">msn-b<", ">msn-c<", "hotmail.com"):
        assert name in page


def test_many_instances_come_in_pages(viewer: Client) -> None:
    host = host_make()
    for i in range(101):
        instance_make(host, f"msn-{i:03}", 1, 60)
    assert "page 1 of 2" in viewer.get("/providers/msn/").content.decode()
    page = viewer.get("/providers/msn/?page=2").content.decode()
    assert ">msn-100<" in page
    assert ">msn-099<" not in page


def test_it_adds_a_provider(operator: Client) -> None:
    assert operator.post("/add-provider/", FORM)["Location"] == "/providers/msn/"
    assert set(Provider.objects.get().domains.values_list("domain", flat=True)) == {"hotmail.com", "msn.com"}


def test_it_changes_one(operator: Client) -> None:
    provider_save(slug="msn", name="Old", domains=["live.com"])
    operator.post("/providers/msn/change/", FORM)
    assert Provider.objects.get().name == "Outlook"
    assert not ProviderDomain.objects.filter(domain="live.com").exists()


def test_a_domain_of_another_provider_is_refused_by_name_and_nothing_is_lost(operator: Client) -> None:
    provider_save(slug="yahoo", name="Yahoo", domains=["ymail.com"])
    page = operator.post("/add-provider/", FORM | {"domains": "hotmail.com\nymail.com"}).content.decode()
    assert "ymail.com belongs to Yahoo" in page
    assert "hotmail.com\nymail.com" in page
    assert Provider.objects.count() == 1


def test_what_is_no_domain_is_refused_beside_its_field(operator: Client) -> None:
    page = operator.post("/add-provider/", FORM | {"domains": "<script>"}).content.decode()
    assert "is not a domain name" in page
    assert "<script>&" not in page


def test_a_slug_that_is_taken_is_refused(operator: Client) -> None:
    provider_make("msn")
    assert "already exists" in operator.post("/add-provider/", FORM).content.decode()
