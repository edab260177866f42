"""What every test has: settings with a data folder of their own, and the fence around coverage."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import django
import pytest
from django.conf import settings
from django.test import override_settings

# Before Django reads its settings: no test may touch the data of an installation in this checkout.
_DATA_DIR = tempfile.mkdtemp(prefix="fleet-tests-")
atexit.register(shutil.rmtree, _DATA_DIR, ignore_errors=True)
os.environ["FLEET_DATA"] = _DATA_DIR
os.environ["DJANGO_SETTINGS_MODULE"] = "fleet.settings"


def pytest_configure() -> None:
    """Set Django up here, for pytest-django does so before this file is read where the settings are named."""
    django.setup()


@pytest.fixture(autouse=True, scope="session")
def _pages_without_collectstatic() -> Iterator[None]:
    """Let pages be rendered with the files as they lie in static/, not as collectstatic names them."""
    storages = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    with override_settings(STORAGES=storages):
        yield
