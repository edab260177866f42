"""Passwords are kept as Argon2, also those of installations that kept them otherwise."""

import pytest
from django.conf import settings
from django.contrib.auth.hashers import identify_hasher, make_password
from django.contrib.auth.models import User
from django.test import Client, override_settings

from fleet import accounts
from fleet.models import OneTimePassword
from tests.people import PASSWORD

# As they were read: the tests of pages hash cheaply.
HASHERS = list(settings.PASSWORD_HASHERS)
pytestmark = pytest.mark.django_db


@override_settings(PASSWORD_HASHERS=HASHERS)
def test_a_password_is_kept_as_argon2() -> None:
    accounts.create_first_admin()
    assert identify_hasher(User.objects.get().password).algorithm == "argon2"


@override_settings(PASSWORD_HASHERS=HASHERS)
def test_an_older_hash_lets_in_once_more_and_becomes_argon2(client: Client) -> None:
    anna = User.objects.create(username="anna", password=make_password(PASSWORD, hasher="pbkdf2_sha256"))
    assert client.post("/login/", {"username": "anna", "password": PASSWORD}).status_code == 302
    anna.refresh_from_db()
    assert anna.password.startswith("argon2$argon2id$")


@override_settings(PASSWORD_HASHERS=HASHERS)
def test_a_one_time_password_with_an_older_hash_still_must_be_changed(client: Client) -> None:
    older = make_password(PASSWORD, hasher="pbkdf2_sha256")
    anna = User.objects.create(username="anna", password=older)
    OneTimePassword.objects.create(user=anna, password_hash=older)
    client.post("/login/", {"username": "anna", "password": PASSWORD})
    assert client.get("/").headers["Location"] == "/password/"


@override_settings(PASSWORD_HASHERS=HASHERS)
def test_a_password_of_ones_own_is_not_taken_for_the_one_time_one(client: Client) -> None:
    older = make_password("shown at the first start", hasher="pbkdf2_sha256")
    anna = User.objects.create(username="anna", password=make_password(PASSWORD))
    OneTimePassword.objects.create(user=anna, password_hash=older)
    client.post("/login/", {"username": "anna", "password": PASSWORD})
    assert client.get("/account/").status_code == 200
