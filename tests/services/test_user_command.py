"""`manage.py user`: for scripts, and for who has locked himself out."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from fleet import second_factor
from fleet.models import OneTimePassword
from relays.models import AuditEvent

pytestmark = pytest.mark.django_db
STRONG = "correct horse battery"


def user(*words: str) -> str:
    out = io.StringIO()
    call_command("user", *words, stdout=out)
    return out.getvalue()


def user_json(*words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(user(*words, "--json"))
    return document


def test_a_user_is_added_with_a_one_time_password_that_works() -> None:
    made = user_json("add", "anna", "--role", "operator")
    anna = User.objects.get(username="anna")
    assert anna.check_password(made["one_time_password"])
    assert made["roles"] == ["operator"]
    assert OneTimePassword.objects.filter(user=anna).exists()
    assert user_json("list")["users"][0]["name"] == "anna"


def test_a_password_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{STRONG}\n"))
    assert "has the given password" in user("add", "anna", "--stdin")
    assert User.objects.get().check_password(STRONG)
    assert not OneTimePassword.objects.exists()


@pytest.mark.parametrize("password", ["short", "password1234", "", "anna-anna-anna"])
def test_a_weak_one_is_refused_and_nobody_is_made(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    with pytest.raises(CommandError):
        user("add", "anna-anna-anna", "--stdin")
    assert not User.objects.exists()
    assert not AuditEvent.objects.exists()


def test_roles_are_given_exactly() -> None:
    user("add", "anna", "--role", "viewer")
    assert user("role", "anna", "operator", "administrator") == "anna: administrator, operator\n"
    assert user("role", "anna") == "anna: no role\n"
    with pytest.raises(CommandError, match="There is no role 'root'"):
        user("role", "anna", "root")


def test_a_user_is_switched_off_and_on() -> None:
    user("add", "anna")
    assert user("disable", "anna") == "anna: no role, disabled\n"
    assert not User.objects.get().is_active
    assert user("enable", "anna") == "anna: no role\n"


def test_a_lost_phone_is_forgotten() -> None:
    user("add", "anna")
    anna = User.objects.get()
    second_factor.begin(user=anna)
    user("reset-totp", "anna")
    assert second_factor.pending_secret(anna) is None


def test_tokens_are_made_listed_and_removed() -> None:
    user("add", "anna")
    made = user_json("token", "anna", "--add", "graphs", "--days", "7")
    assert made["token"].startswith("rft_")
    listed = user_json("token", "anna")["tokens"]
    assert [(row["name"], row["scopes"]) for row in listed] == [("graphs", ["read"])]
    assert "token" not in listed[0]
    user("token", "anna", "--remove", str(made["id"]))
    assert user_json("token", "anna")["tokens"] == []
    with pytest.raises(CommandError, match="no permission"):
        user("token", "anna", "--add", "x", "--scope", "relays.no_such")
    with pytest.raises(CommandError, match="has no token"):
        user("token", "anna", "--remove", "987")


def test_each_change_is_an_event_without_its_secrets() -> None:
    made = user_json("add", "anna", "--role", "viewer")
    again = user_json("password", "anna")
    user("disable", "anna")
    actions = list(AuditEvent.objects.values_list("actor_kind", "action"))
    assert actions == [("shell", "user.add"), ("shell", "user.password"), ("shell", "user.disable")]
    everything = "".join(str(row) for row in AuditEvent.objects.values_list())
    assert made["one_time_password"] not in everything
    assert again["one_time_password"] not in everything


def test_who_is_not_there_is_told() -> None:
    with pytest.raises(CommandError, match="There is no user called 'anna'"):
        user("disable", "anna")
    user("add", "anna")
    with pytest.raises(CommandError, match="already exists"):
        user("add", "anna")
