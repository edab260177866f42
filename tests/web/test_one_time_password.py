"""The password printed at the first start lets in, and to one page only."""

import pytest
from django.contrib.auth.models import User

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
