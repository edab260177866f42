"""Log-ins, failures, lock-outs, log-outs, password changes and denials stand in the audit trail."""

import json

import pytest
from django.contrib.auth.models import User
from django.test import Client

from relays.models import AuditEvent
from relays.services import audit
from tests.people import PASSWORD, browser_of, user_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna() -> User:
    return user_make("anna", "operator")


def log_in(client: Client, password: str, name: str = "anna") -> int:
    return client.post("/login/", {"username": name, "password": password}).status_code


def events() -> list[tuple[str, str, str]]:
    return list(AuditEvent.objects.values_list("actor_name", "action", "phase"))


def test_a_log_in_and_a_log_out_are_events(client: Client, anna: User) -> None:
    assert log_in(client, PASSWORD) == 302
    client.post("/logout/")
    assert events() == [("anna", "login", "succeeded"), ("anna", "logout", "succeeded")]
    details = json.loads(AuditEvent.objects.get(action="login").details)
    assert (details["ip"], details["roles"]) == ("127.0.0.1", "operator")
    assert details["session"]


def test_who_fails_is_written_down_and_what_was_typed_is_not(client: Client, anna: User) -> None:
    log_in(client, "my-secret-guess")
    log_in(client, "x", name="my-password-in-the-wrong-field")
    assert events() == [("", "login", "failed")] * 2
    told = [json.loads(event.details)["user"] for event in AuditEvent.objects.all()]
    assert told == ["anna", "(no such user)"]
    everything = "".join(str(row) for row in AuditEvent.objects.values_list())
    assert "my-" not in everything


def test_a_name_that_no_database_can_hold_is_a_failure_as_any_other(client: Client) -> None:
    assert log_in(client, "x", name="an\0na") == 200
    assert events() == [("", "login", "failed")]


def test_a_lock_out_is_one_event_however_long_it_is_tried(client: Client, anna: User) -> None:
    for guess in range(12):
        log_in(client, f"guess {guess}")
    assert events() == [("", "login", "failed")] * 4 + [("", "login.locked", "denied")]


def test_a_log_in_that_cannot_be_written_down_does_not_happen(
    client: Client, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(audit, "record", full)
    with pytest.raises(OSError, match="no space"):
        log_in(client, PASSWORD)
    assert client.get("/").status_code == 302


def test_a_password_change_is_an_event_and_so_is_a_wrong_old_one() -> None:
    browser = browser_of("anna", "operator")
    new = {"new_password1": "another battery staple", "new_password2": "another battery staple"}
    browser.post("/password/", {"old_password": "wrong"} | new)
    browser.post("/password/", {"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"})
    browser.post("/password/", {"old_password": PASSWORD} | new)
    assert events() == [("anna", "password", "failed"), ("anna", "password", "succeeded")]


def test_a_denial_is_an_event_with_what_was_tried_but_not_what_was_looked_for() -> None:
    browser_of("vera", "viewer").post("/add-host/?q=anna@example.org")
    event = AuditEvent.objects.get()
    assert (event.actor_name, event.action, event.phase) == ("vera", "request", "denied")
    details = json.loads(event.details)
    assert (details["method"], details["path"]) == ("POST", "/add-host/")
    assert "example.org" not in event.details


def test_a_forged_request_is_an_event_where_somebody_is_logged_in(client: Client) -> None:
    user = user_make("anna", "administrator")
    browser = Client(enforce_csrf_checks=True)
    assert browser.post("/hosts/rustin/poll/").status_code == 403
    assert events() == []
    browser.force_login(user)
    assert browser.post("/hosts/rustin/poll/").status_code == 403
    assert events() == [("anna", "request", "denied")]
