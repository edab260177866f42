"""The second factor: set up, asked for, lost, required; and proving again who one is."""

import re
import stat
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings

from fleet import bootstrap, second_factor, totp
from fleet.models import RecoveryCode, SecondFactor
from relays.models import AuditEvent
from relays.services import sealing
from tests.factories import host_make
from tests.people import PASSWORD, user_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna() -> User:
    return user_make("anna", "administrator")


@pytest.fixture
def browser(client: Client, anna: User) -> Client:
    client.force_login(anna)
    return client


def code_now(secret: str, steps: int = 0) -> str:
    return totp.code_of(secret, int(time.time()) // 30 + steps)


def set_up(browser: Client, anna: User) -> tuple[str, list[str]]:
    """Turn the second factor on; return its secret and its recovery codes."""
    browser.post("/account/second-factor/begin/")
    secret = second_factor.pending_secret(anna)
    assert secret is not None
    page = browser.post("/account/second-factor/", {"code": code_now(secret, -1)}).content.decode()
    return secret, re.findall(r"\b[a-z2-9]{4}(?:-[a-z2-9]{4}){3}\b", page)


def log_in(code: str = "", password: str = PASSWORD, name: str = "anna") -> tuple[Client, int]:
    browser = Client()
    browser.post("/login/", {"username": name, "password": password, "next": "/hosts/"})
    answer = browser.post("/login/code/", {"code": code})
    return browser, answer.status_code


def is_in(browser: Client) -> bool:
    return browser.get("/account/").status_code == 200


def test_it_is_set_up_by_a_picture_and_a_code(browser: Client, anna: User) -> None:
    browser.post("/account/second-factor/begin/")
    answer = browser.get("/account/second-factor/")
    page = answer.content.decode()
    assert 'src="data:image/svg+xml;' in page
    assert "no-store" in answer.headers["Cache-Control"]
    assert browser.post("/account/second-factor/", {"code": "000000"}).status_code == 200
    assert not second_factor.is_on(anna)
    secret, codes = set_up(browser, anna)
    assert len(set(codes)) == 10
    assert "10</b> recovery codes are left" in browser.get("/account/").content.decode()
    assert browser.get("/account/second-factor/").status_code == 302, "the secret is never shown again"
    assert secret not in browser.get("/account/").content.decode()


def test_the_password_alone_opens_nothing_then(browser: Client, anna: User) -> None:
    secret, _ = set_up(browser, anna)
    other = Client()
    answer = other.post("/login/", {"username": "anna", "password": PASSWORD, "next": "/hosts/"})
    assert answer.headers["Location"] == "/login/code/"
    assert not is_in(other)
    assert other.post("/login/code/", {"code": "000000"}).status_code == 200
    assert not is_in(other)
    answer = other.post("/login/code/", {"code": code_now(secret)})
    assert answer.headers["Location"] == "/hosts/"
    assert is_in(other)
    assert '"factor":"code"' in AuditEvent.objects.get(action="login", phase="succeeded").details


def test_a_code_counts_once(browser: Client, anna: User) -> None:
    secret, _ = set_up(browser, anna)
    code = code_now(secret)
    assert is_in(log_in(code)[0])
    assert not is_in(log_in(code)[0])


def test_a_recovery_code_lets_in_once_and_is_kept_as_a_digest(browser: Client, anna: User) -> None:
    _, codes = set_up(browser, anna)
    assert is_in(log_in(codes[0].upper().replace("-", " "))[0])
    assert not is_in(log_in(codes[0])[0])
    assert second_factor.codes_left(anna) == 9
    assert not RecoveryCode.objects.filter(digest__in=codes).exists()


def test_new_recovery_codes_end_the_old(browser: Client, anna: User) -> None:
    _, codes = set_up(browser, anna)
    page = browser.post("/account/recovery-codes/").content.decode()
    assert codes[0] not in page
    assert not is_in(log_in(codes[0])[0])


def test_wrong_codes_lock_as_wrong_passwords_do(browser: Client, anna: User) -> None:
    secret, _ = set_up(browser, anna)
    statuses = [log_in("000000")[1] for _ in range(5)]
    assert statuses[-1] == 429
    assert not is_in(log_in(code_now(secret))[0])
    assert AuditEvent.objects.filter(action="login.locked").count() == 1


def test_a_code_is_worth_nothing_without_the_password(browser: Client, anna: User) -> None:
    secret, _ = set_up(browser, anna)
    other, _ = log_in(code_now(secret), password="wrong")
    assert not is_in(other)
    assert Client().post("/login/code/", {"code": code_now(secret)}).headers["Location"] == "/login/"


def test_a_right_password_waits_five_minutes(
    browser: Client, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(browser, anna)
    other = Client()
    other.post("/login/", {"username": "anna", "password": PASSWORD})
    later = time.time() + 301
    monkeypatch.setattr("fleet.views.accounts.time.time", lambda: later)
    assert other.get("/login/code/").headers["Location"] == "/login/"


def test_a_disabled_account_does_not_get_past_its_code(browser: Client, anna: User) -> None:
    secret, _ = set_up(browser, anna)
    other = Client()
    other.post("/login/", {"username": "anna", "password": PASSWORD})
    User.objects.update(is_active=False)
    other.post("/login/code/", {"code": code_now(secret)})
    assert other.get("/account/").status_code == 302


def test_it_is_turned_off_and_every_change_is_an_event(browser: Client, anna: User) -> None:
    set_up(browser, anna)
    browser.post("/account/second-factor/off/")
    assert not second_factor.is_on(anna)
    actions = list(AuditEvent.objects.values_list("action", flat=True))
    assert actions == ["second_factor.on", "second_factor.off"]


def test_the_secret_is_sealed_in_the_database(browser: Client, anna: User) -> None:
    secret, _ = set_up(browser, anna)
    sealed = SecondFactor.objects.get().sealed_secret
    assert secret not in sealed
    assert sealed.startswith("gAAAA")


def test_the_sealing_key_lies_outside_the_database_for_its_owner_only() -> None:
    assert stat.S_IMODE(settings.SEALING_KEY_PATH.stat().st_mode) == 0o600
    sealed = sealing.seal("a secret")
    with override_settings(SEALING_KEY_PATH=other_key()), pytest.raises(sealing.CannotUnseal, match="bring"):
        sealing.unseal(sealed)


@override_settings(REQUIRE_TOTP=True)
def test_where_it_is_required_an_operator_comes_no_further_without(browser: Client, anna: User) -> None:
    assert browser.get("/").headers["Location"] == "/account/"
    assert browser.post("/hosts/rustin/poll/").headers["Location"] == "/account/"
    assert "set it up to go on" in browser.get("/account/").content.decode()
    set_up(browser, anna)
    assert browser.get("/").status_code == 200
    vera = Client()
    vera.force_login(user_make("vera", "viewer"))
    assert vera.get("/").status_code == 200


def test_what_cannot_be_taken_back_asks_again_after_15_minutes(browser: Client, anna: User) -> None:
    host_make("rustin")
    assert browser.get("/hosts/rustin/remove/").status_code == 200
    grow_old(browser)
    asked = browser.get("/hosts/rustin/remove/").headers["Location"]
    assert asked == "/reauthenticate/?next=%2Fhosts%2Frustin%2Fremove%2F"
    assert browser.post("/hosts/rustin/remove/", {"name": "rustin"}).headers["Location"] == asked
    assert "is more than 15 minutes old" in browser.get(asked).content.decode()
    assert "wrong" in browser.post(asked, {"password": "wrong"}).content.decode()
    assert browser.post(asked, {"password": PASSWORD}).headers["Location"] == "/hosts/rustin/remove/"
    assert browser.get("/hosts/rustin/remove/").status_code == 200
    phases = AuditEvent.objects.filter(action="reauthenticate").values_list("phase", flat=True)
    assert list(phases) == ["succeeded"]


def test_proving_it_takes_the_code_too_where_there_is_one(browser: Client, anna: User) -> None:
    _, codes = set_up(browser, anna)
    grow_old(browser)
    assert browser.post("/reauthenticate/", {"password": PASSWORD}).status_code == 200
    assert browser.post("/reauthenticate/", {"password": PASSWORD, "code": codes[3]}).status_code == 302


def test_proving_it_leads_to_no_other_site(browser: Client) -> None:
    for place in ("//evil.example/", "https://evil.example/", "javascript:alert(1)", "/\\evil.example"):
        answer = browser.post("/reauthenticate/", {"password": PASSWORD, "next": place})
        assert answer.headers["Location"] == "/"


def test_guessing_there_locks_too(browser: Client) -> None:
    statuses = [browser.post("/reauthenticate/", {"password": "no"}).status_code for _ in range(6)]
    assert statuses[-1] == 429


def grow_old(browser: Client) -> None:
    """Let 16 minutes pass since the session's user proved who it is."""
    session = browser.session
    session["authenticated_at"] = int(time.time()) - 16 * 60
    session.save()


def other_key() -> Path:
    path: Path = settings.SEALING_KEY_PATH.with_name("other_sealing_key")
    bootstrap.make_sealing_key(path)
    return path
