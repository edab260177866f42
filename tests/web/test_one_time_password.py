"""The password printed at the first start lets in, and to one page only."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from fleet import accounts

pytestmark = pytest.mark.django_db


def test_the_first_start_creates_an_administrator_and_the_second_nothing() -> None:
    password = accounts.create_first_admin()
    admin = User.objects.get()
    assert password is not None
    assert admin.is_superuser
    assert admin.check_password(password)
    assert accounts.create_first_admin() is None


def test_no_administrator_is_created_beside_an_existing_user() -> None:
    User.objects.create_user("anna")
    assert accounts.create_first_admin() is None
    assert User.objects.count() == 1


def test_a_session_with_the_one_time_password_reaches_only_the_page_that_changes_it(client: Client) -> None:
    accounts.create_first_admin()
    admin = User.objects.get()
    client.force_login(admin)
    assert client.get("/").headers["Location"] == "/password/"
    assert client.get("/password/").status_code == 200

    admin.set_password("a-better-one-of-my-own")
    admin.save()
    client.force_login(admin)
    assert client.get("/").status_code == 200
