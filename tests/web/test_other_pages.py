"""Search, the download of relayctl, and the pages for when something is wrong."""

import hashlib
from unittest.mock import patch

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from relays.agent.build import build
from relays.models import Address, Instance
from relays.services.providers import provider_save
from tests.factories import fleet_make, operation_make, replies_make, reply_cluster_make, snapshot_make

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("msn", ["msn-a", "msn-b", "msn-c"]),
        ("RUSTIN", ["rustin", "msn-a"]),
        ("198.51.100.2", ["msn-c", "gmail-a", "yahoo-a", "therest-b"]),
        ("ymail", ["ymail.com", "ymail.co.example"]),
    ],
)
def test_it_finds_by_a_piece_of_the_name(viewer: Client, query: str, found: list[str]) -> None:
    fleet_make()
    provider_save(slug="ya", name="Yahoo too", domains=["ymail.com", "ymail.co.example"])
    page = viewer.get("/search/", {"q": query}).content.decode()
    for name in found:
        assert f">{name}</a>" in page


def test_the_only_hit_is_where_it_leads(viewer: Client) -> None:
    instances = fleet_make()
    for query, path in {
        "198.51.100.23": f"/instances/{instances['yahoo-a'].pk}/",
        "gmail-a": f"/instances/{instances['gmail-a'].pk}/",
        "Therest-B.cleveland": f"/instances/{instances['therest-b'].pk}/",
    }.items():
        assert viewer.get("/search/", {"q": query})["Location"] == path


def test_an_address_is_found_however_it_is_written(viewer: Client) -> None:
    instance = fleet_make()["msn-a"]
    Address.objects.create(instance=instance, ip="2001:db8::1")
    answer = viewer.get("/search/", {"q": "2001:0DB8:0:0::0001"})
    assert answer["Location"] == f"/instances/{instance.pk}/"


@pytest.mark.parametrize(
    "query", ["", "  ", "nothing-like-this", "<script>alert(1)</script>", "%", "a\0b", "x" * 9999]
)
def test_a_search_without_a_hit_says_what_can_be_found(viewer: Client, query: str) -> None:
    fleet_make()
    page = viewer.get("/search/", {"q": query})
    assert page.status_code == 200
    assert "<script>alert" not in page.content.decode()
    assert "empty-note" in page.content.decode()


def test_search_is_for_those_logged_in_and_read_only(client: Client, viewer: Client) -> None:
    assert client.get("/search/?q=x")["Location"].startswith("/login/")
    assert viewer.post("/search/").status_code == 405


def test_relayctl_is_fetched_without_a_session_and_is_what_the_page_says(
    client: Client, viewer: Client
) -> None:
    answer = client.get("/relayctl.pyz")
    assert answer.content == build()
    assert hashlib.sha256(answer.content).hexdigest() in viewer.get("/hosts/").content.decode()
    assert client.post("/relayctl.pyz").status_code == 405


def test_what_is_not_there_is_404_for_anyone(client: Client, viewer: Client) -> None:
    for browser in (client, viewer):
        answer = browser.get("/nothing/like/this")
        assert answer.status_code == 404
        assert "Nothing here" in answer.content.decode()


def test_a_fault_has_a_page_that_needs_no_database(client: Client) -> None:
    client.raise_request_exception = False
    with patch("django.db.backends.utils.CursorWrapper.execute", side_effect=DatabaseError("gone")):
        answer = client.get("/login/?next=/")
        broken = client.post("/login/", {"username": "anna", "password": "x"})
    assert answer.status_code == 200
    assert broken.status_code == 500
    assert "The console has a fault" in broken.content.decode()


def test_a_form_without_its_token_says_that_nothing_was_changed() -> None:
    answer = Client(enforce_csrf_checks=True).post("/login/", {"username": "anna", "password": "x"})
    assert answer.status_code == 403
    assert "Nothing was changed" in answer.content.decode()


def test_ids_are_written_as_such_and_not_as_counts(operator: Client) -> None:
    """One of 12,345 leads nowhere, and a form that sends it is refused."""
    made = fleet_make()
    big = Instance.objects.create(
        pk=12_345,
        host=made["msn-a"].host,
        name="msn-z",
        config_dir="/etc/postfix-msn-z",
        first_seen_at=timezone.now(),
    )
    Address.objects.create(instance=big, ip="198.51.100.99")
    operation = operation_make(big)
    operation.pk = 12_346
    operation.save(force_insert=True)
    snapshot_make(big, [("hotmail.com", [1] * 10)], [("452 full", 10)])
    replies_make(big, reply_cluster_make("452 full"), provider=made["msn-a"].provider, deferred=10)
    for path, wanted in {
        "/instances/12345/": "?instance=12345",
        f"/instances/{made['msn-a'].pk}/flush/": 'value="12345"',
        "/operations/": "12346 · ",
        "/operations/12346/": "?operation=12346",
        "/queues/": "?instance=12345",
    }.items():
        page = operator.get(path).content.decode()
        assert wanted in page, path
        assert "12,345" not in page and "12,346" not in page, path
