"""Where one is logged in, and ending it."""

import pytest
from django.test import Client

from fleet.models import UserSession
from relays.models import AuditEvent
from tests.people import PASSWORD, user_make

pytestmark = pytest.mark.django_db


def log_in(agent: str) -> Client:
    browser = Client(headers={"User-Agent": agent})
    assert browser.post("/login/", {"username": "anna", "password": PASSWORD}).status_code == 302
    return browser


def is_in(browser: Client) -> bool:
    return browser.get("/account/").status_code == 200


def test_the_list_shows_each_session_with_its_browser() -> None:
    user_make("anna", "operator")
    here = log_in("Firefox <b>")
    log_in("curl")
    page = here.get("/account/").content.decode()
    assert "Firefox &lt;b&gt;" in page
    assert "curl" in page
    assert page.count("this one") == 1


def test_one_is_ended_and_the_others_stay() -> None:
    user_make("anna", "operator")
    here, there = log_in("here"), log_in("there")
    here.post("/account/sessions/end/", {"session": UserSession.objects.get(user_agent="there").pk})
    assert (is_in(here), is_in(there)) == (True, False)


def test_sign_out_everywhere_ends_all() -> None:
    user_make("anna", "operator")
    browsers = [log_in(str(i)) for i in range(3)]
    answer = browsers[0].post("/account/sessions/end/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/login/")
    assert not any(is_in(browser) for browser in browsers)
    assert '"sessions":3' in AuditEvent.objects.get(action="session.end").details


def test_nobody_ends_anothers() -> None:
    user_make("anna", "operator")
    anna = log_in("anna's")
    other = Client()
    other.force_login(user_make("otto", "administrator"))
    other.post("/account/sessions/end/", {"session": UserSession.objects.get(user_agent="anna's").pk})
    assert is_in(anna)


def test_a_new_password_ends_the_others_and_this_one_stays_listed() -> None:
    user_make("anna", "operator")
    here, there = log_in("here"), log_in("there")
    new = "another battery staple"
    here.post("/password/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
    assert (is_in(here), is_in(there)) == (True, False)
    assert [row.user_agent for row in UserSession.objects.all()] == ["here"]
    assert "this one" in here.get("/account/").content.decode()
