"""API tokens: what they open, and when they stop."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.utils import timezone

from fleet import tokens
from fleet.models import ApiToken
from relays.models import AuditEvent
from relays.services.audit import SYSTEM
from tests.factories import host_make, instance_make
from tests.people import browser_of, user_make

pytestmark = pytest.mark.django_db
TABLE = "/tables/matrix/?format=json"


@pytest.fixture
def anna() -> User:
    return user_make("anna", "operator")


def token_of(user: User, *scopes: str) -> str:
    return tokens.token_add(user=user, name="graphs", scopes=scopes or ["read"], days=1, actor=SYSTEM)[1]


def status(token: str, path: str = TABLE, method: str = "GET") -> int:
    return Client().generic(method, path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_it_is_made_on_the_page_shown_once_and_reads_a_table() -> None:
    instance_make(host_make("rustin"), "msn-a", deferred=412)
    browser = browser_of("anna", "operator")
    page = browser.post("/account/tokens/add/", {"name": "graphs", "scope": "read", "days": "30"})
    found = re.search(r"rft_[\w-]{43}", page.content.decode())
    assert found is not None
    answer = Client().get(TABLE, headers={"Authorization": f"Bearer {found[0]}"})
    assert answer.status_code == 200
    assert answer.json()["rows"][0]["instance"] == "msn-a"
    assert found[0] not in browser.get("/account/").content.decode()
    assert found[0] not in str(list(ApiToken.objects.values()))
    assert ApiToken.objects.get().last_used_at is not None


def test_its_beginning_and_its_end_are_events() -> None:
    browser = browser_of("anna", "operator")
    browser.post("/account/tokens/add/", {"name": "graphs", "scope": "read", "days": "30"})
    browser.post(f"/account/tokens/{ApiToken.objects.get().pk}/remove/")
    assert list(AuditEvent.objects.values_list("action", flat=True)) == ["token.add", "token.remove"]


def test_it_opens_nothing_but_tables_and_charts(anna: User) -> None:
    host_make("rustin")
    token = token_of(anna)
    for path in ("/", "/hosts/", "/account/", "/account/second-factor/", "/operations/", "/audit/"):
        assert status(token, path) == 403, path
    for path in ("/hosts/rustin/poll/", "/account/tokens/add/", "/logout/", TABLE):
        assert status(token, path, "POST") == 403, path
    event = AuditEvent.objects.filter(action="request").first()
    assert event is not None
    assert (event.actor_kind, event.actor_name) == ("token", "anna")


def test_it_may_no_more_than_its_scope(anna: User) -> None:
    instance = instance_make(host_make("rustin"), "msn-a", provider="msn")
    token = token_of(anna, "relays.view_provider")
    assert status(token, "/providers/msn/outcomes.json") == 200
    assert status(token, f"/instances/{instance.pk}/outcomes.json") == 403


def test_it_may_no_more_than_its_user_now(anna: User) -> None:
    token = token_of(anna)
    assert status(token) == 200
    anna.groups.clear()
    assert status(token) == 403


def test_a_superusers_token_keeps_to_its_scope() -> None:
    root = User.objects.create_superuser("root")
    assert status(token_of(root, "relays.view_provider")) == 403


def test_it_ends_with_its_time_its_user_and_its_removal(anna: User) -> None:
    token = token_of(anna)
    User.objects.update(is_active=False)
    assert status(token) == 401
    User.objects.update(is_active=True)
    assert status(token) == 200
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert status(token) == 401
    tokens.token_remove(token=ApiToken.objects.get(), actor=SYSTEM)
    assert status(token) == 401


@pytest.mark.parametrize("token", ["", "rft_", "rft_" + "x" * 43, "x" * 5000, "\u00e9", "a b"])
def test_what_is_no_token_is_refused_even_beside_a_session(token: str) -> None:
    browser = browser_of("anna", "operator")
    answer = browser.get(TABLE, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_nobody_removes_anothers(anna: User) -> None:
    token_of(anna)
    ident = ApiToken.objects.get().pk
    assert browser_of("otto", "administrator").post(f"/account/tokens/{ident}/remove/").status_code == 404


@override_settings(REQUIRE_TOTP=True)
def test_a_required_second_factor_does_not_stop_a_script(anna: User) -> None:
    assert status(token_of(anna)) == 200


@pytest.mark.parametrize(
    "form",
    [
        {"name": "", "scope": "read", "days": "30"},
        {"name": "x", "scope": "relays.run_queue", "days": "30"},
        {"name": "x", "scope": "read", "days": "0"},
        {"name": "x", "scope": "read", "days": "9999"},
        {"name": " \u200b", "scope": "nothing", "days": "now"},
    ],
)
def test_a_wrong_wish_is_told_and_makes_none(form: dict[str, str]) -> None:
    assert browser_of("anna", "operator").post("/account/tokens/add/", form).status_code == 400
    assert not ApiToken.objects.exists()
