"""Single sign-on at a real provider of OpenID Connect: tests/identity_provider.py."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, override_settings

from fleet.models import SignOnIdentity
from relays.models import AuditEvent
from tests.factories import host_make
from tests.identity_provider import CLIENT_SECRET, IdentityProvider, log_in
from tests.people import browser_of, user_make
from tests.servers import free_port
from tests.web.test_second_factor import grow_old, set_up
from tests.web.test_secrets import database_text

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as provider:
        yield provider


@pytest.fixture(autouse=True)
def configured(provider: IdentityProvider) -> Iterator[None]:
    with override_settings(SIGN_ON=provider.settings):
        yield


def sign_on(client: Client, name: str, *, there: requests.Session | None = None, next_: str = "") -> str:
    """Log in at the provider and come back; return where the console sends the browser then."""
    begun = client.get("/login/sign-on/", {"next": next_})
    back = log_in(there or requests.Session(), begun.headers["Location"], name)
    answer = client.get(back)
    return answer.headers.get("Location", "") or answer.content.decode()


def test_the_log_in_page_offers_it_beside_local_accounts(client: Client) -> None:
    page = client.get("/login/?next=/hosts/").content.decode()
    assert 'href="/login/sign-on/?next=/hosts/"' in page
    assert "Log in by a local account" in page


def test_who_the_provider_vouches_for_is_in_with_the_roles_of_its_groups(client: Client) -> None:
    assert sign_on(client, "olga", next_="/hosts/") == "/hosts/"
    olga = User.objects.get(username="olga")
    assert sorted(olga.groups.values_list("name", flat=True)) == ["operator", "viewer"]
    assert not olga.has_usable_password()
    assert not olga.is_superuser
    assert client.get("/hosts/").status_code == 200
    told = list(AuditEvent.objects.values_list("actor_name", "action", "phase"))
    assert told == [
        ("single sign-on", "user.add", "succeeded"),
        ("single sign-on", "user.link", "succeeded"),
        ("olga", "login", "succeeded"),
    ]
    assert '"factor":"single sign-on"' in AuditEvent.objects.last().details  # type: ignore[union-attr]


def test_the_second_log_in_is_the_same_user_with_the_roles_of_now(
    client: Client, provider: IdentityProvider
) -> None:
    sign_on(client, "olga")
    with override_settings(SIGN_ON=replace(provider.settings, roles={"relay-ops": "administrator"})):
        sign_on(Client(), "olga")
    olga = User.objects.get()
    assert list(olga.groups.values_list("name", flat=True)) == ["administrator"]
    event = AuditEvent.objects.get(action="user.role")
    assert '"after":"administrator"' in event.details
    assert '"before":"operator,viewer"' in event.details


def test_who_has_no_role_there_is_not_let_in(client: Client) -> None:
    assert "nina has no role here" in sign_on(client, "nina")
    assert not User.objects.exists()
    event = AuditEvent.objects.get()
    assert (event.action, event.phase) == ("login", "failed")


def test_who_lost_the_last_role_there_loses_it_here(client: Client, provider: IdentityProvider) -> None:
    sign_on(client, "olga")
    with override_settings(SIGN_ON=replace(provider.settings, roles={"x": "viewer"})):
        assert "olga has no role here" in sign_on(Client(), "olga")
    assert not User.objects.get().groups.exists()
    assert client.get("/hosts/").status_code == 403


def test_who_was_disabled_here_stays_out(client: Client) -> None:
    sign_on(client, "olga")
    User.objects.update(is_active=False)
    assert "olga was disabled here" in sign_on(Client(), "olga")


def test_a_name_of_the_provider_takes_no_local_account(client: Client) -> None:
    user_make("olga", "administrator")
    page = sign_on(client, "olga")
    assert "A local account is called olga too" in page
    assert not client.session.get("_auth_user_id")


def test_an_administrator_links_a_local_account(client: Client) -> None:
    olga = user_make("olga")
    # django-oauth-toolkit's subject is the number of its user.
    call_command("user", "link", "olga", "1", verbosity=0)
    assert sign_on(client, "olga") == "/"
    assert SignOnIdentity.objects.get().user == olga
    assert olga.groups.count() == 2


def test_what_cannot_be_taken_back_asks_at_the_provider_again(client: Client) -> None:
    host_make("rustin")
    there = requests.Session()
    sign_on(client, "kim", there=there)
    grow_old(client)
    asked = client.get("/hosts/rustin/remove/").headers["Location"]
    page = client.get(asked).content.decode()
    assert "/login/sign-on/?next=/hosts/rustin/remove/" in page
    assert 'type="password"' not in page
    # Another person's credentials do not count, nor do those of a log-in that is over.
    begun = client.get("/login/sign-on/").headers["Location"]
    assert "prompt=login" in begun
    assert client.get(log_in(requests.Session(), begun, "olga")).status_code == 403
    assert client.get("/hosts/rustin/remove/").status_code == 302
    assert sign_on(client, "kim", there=there, next_="/hosts/rustin/remove/") == "/hosts/rustin/remove/"
    assert client.get("/hosts/rustin/remove/").status_code == 200
    phases = AuditEvent.objects.filter(action="reauthenticate").values_list("phase", flat=True)
    assert list(phases) == ["failed", "succeeded"]


def test_a_second_factor_of_ones_own_is_asked_for_where_the_provider_asked_for_none(client: Client) -> None:
    sign_on(client, "olga")
    _, codes = set_up(client, User.objects.get())
    client.post("/logout/")
    assert sign_on(client, "olga") == "/login/code/"
    assert client.get("/").status_code == 302
    assert client.post("/login/code/", {"code": codes[0]}).status_code == 302
    assert client.get("/").status_code == 200


def test_an_answer_counts_once_and_only_in_the_browser_that_asked(client: Client) -> None:
    begun = client.get("/login/sign-on/").headers["Location"]
    back = log_in(requests.Session(), begun, "olga")
    assert Client().get(back).status_code == 400
    assert client.get(back).status_code == 302
    client.post("/logout/")
    assert client.get(back).status_code == 400
    # Whoever sends such answers writes nothing into the trail by it.
    assert not AuditEvent.objects.filter(phase="failed").exists()


@pytest.mark.parametrize("place", ["//evil.example", "https://evil.example/", "javascript:alert(1)"])
def test_it_leads_to_no_other_site(client: Client, place: str) -> None:
    assert sign_on(client, "vera", next_=place) == "/"


def test_a_provider_that_is_away_is_told_and_local_accounts_go_on(
    client: Client, provider: IdentityProvider
) -> None:
    away = replace(provider.settings, issuer=f"http://127.0.0.1:{free_port()}/o")
    with override_settings(SIGN_ON=away):
        answer = client.get("/login/sign-on/")
        assert answer.status_code == 400
        assert "use a local account" in answer.content.decode()
        assert browser_of("vera", "viewer").get("/").status_code == 200


def test_no_secret_of_it_is_left_anywhere(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    begun = client.get("/login/sign-on/").headers["Location"]
    back = log_in(requests.Session(), begun, "olga")
    page = client.get(back, follow=True).content.decode()
    assert CLIENT_SECRET not in caplog.text + page + database_text()
    code = parse_qs(urlsplit(back).query)["code"][0]
    assert code not in database_text()


def test_where_it_is_off_there_is_none(client: Client) -> None:
    with override_settings(SIGN_ON=None):
        assert client.get("/login/sign-on/").status_code == 404
        assert client.get("/login/sign-on/done/?code=1&state=1").status_code == 404
        assert "local account" not in client.get("/login/").content.decode()
