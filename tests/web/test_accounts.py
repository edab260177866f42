"""Logging in, being locked out, logging out, changing one's password."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

PASSWORD = "correct horse battery"
pytestmark = pytest.mark.django_db


@pytest.fixture
def anna() -> User:
    return User.objects.create_user("anna", password=PASSWORD)


def log_in(client: Client, password: str, name: str = "anna", address: str = "192.0.2.1") -> int:
    form = {"username": name, "password": password}
    return client.post("/login/", form, REMOTE_ADDR=address).status_code


def test_it_logs_in_and_goes_where_one_wanted_to(client: Client, anna: User) -> None:
    answer = client.post("/login/", {"username": "anna", "password": PASSWORD, "next": "/hosts/"})
    assert answer["Location"] == "/hosts/"


def test_it_never_leads_to_another_site(client: Client, anna: User) -> None:
    form = {"username": "anna", "password": PASSWORD, "next": "https://evil.example/"}
    assert client.post("/login/", form)["Location"] == "/"


def test_a_wrong_password_says_so_without_saying_which_part(client: Client, anna: User) -> None:
    page = client.post("/login/", {"username": "anna", "password": "no"}).content.decode()
    assert "Please enter a correct username and password" in page


def test_the_name_is_locked_for_the_address_that_guessed(client: Client, anna: User) -> None:
    statuses = [log_in(client, f"guess {i}") for i in range(6)]
    assert statuses[:4] == [200] * 4
    assert statuses[-1] == 429
    answer = client.post("/login/", {"username": "anna", "password": PASSWORD}, REMOTE_ADDR="192.0.2.1")
    assert answer.status_code == 429
    assert "Too many failed log-ins" in answer.content.decode()


def test_others_are_not_locked_with_it(client: Client, anna: User) -> None:
    User.objects.create_user("berta", password=PASSWORD)
    for i in range(6):
        log_in(client, f"guess {i}")
    assert log_in(client, PASSWORD, name="berta") == 302
    assert log_in(Client(), PASSWORD, address="192.0.2.2") == 302


def test_a_poll_whose_session_ended_reloads_the_page_instead_of_showing_a_form_in_it(client: Client) -> None:
    answer = client.get("/", headers={"HX-Request": "true"}, follow=True)
    assert answer.headers["HX-Refresh"] == "true"
    assert b"<form" not in answer.content


def test_it_logs_out_by_post_only(viewer: Client) -> None:
    assert viewer.get("/logout/").status_code == 405
    assert viewer.post("/logout/")["Location"] == "/login/"
    assert viewer.get("/")["Location"] == "/login/?next=/"


def test_it_changes_the_password(viewer: Client) -> None:
    new = "a horse of another colour"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert viewer.post("/password/", form)["Location"] == "/"
    assert User.objects.get(username="vera").check_password(new)


def test_a_short_new_password_is_refused_beside_its_field(viewer: Client) -> None:
    form = {"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"}
    page = viewer.post("/password/", form).content.decode()
    assert "at least 12 characters" in page


def test_changing_a_password_needs_a_session(client: Client) -> None:
    assert client.get("/password/")["Location"] == "/login/?next=/password/"
