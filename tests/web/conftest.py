"""Who looks at the pages: an operator who may change everything, a viewer who may not, and nobody."""

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
    """A browser that is logged in as somebody with the role viewer."""
    # Models can be read only once Django is set up, which is after this file.
    from tests.people import browser_of  # noqa: PLC0415

    return browser_of("vera", "viewer")


@pytest.fixture(autouse=True)
def _cheap_clients() -> Iterator[None]:
    """Spend the tests' time on pages: not on passwords, nor on reading static/ for each client."""
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    with override_settings(PASSWORD_HASHERS=hashers, WHITENOISE_AUTOREFRESH=True):
        yield
