"""Who looks at the pages: an operator who may change things, a viewer who may not, and nobody."""

from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings


@pytest.fixture
def operator(db: None) -> Client:
    """A browser that is logged in as a superuser."""
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("anna", password="correct horse battery"))
    return client


@pytest.fixture
def viewer(db: None) -> Client:
    """A browser that is logged in without any permission."""
    client = Client()
    client.force_login(get_user_model().objects.create_user("vera", password="correct horse battery"))
    return client


@pytest.fixture(autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """Spend the tests' time on pages."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield
