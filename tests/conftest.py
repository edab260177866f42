"""What every test has: settings with a data folder of their own, and the fence around coverage."""

import atexit
import os
import shutil
import tempfile

# Before Django reads its settings: no test may touch the data of an installation in this checkout.
_DATA_DIR = tempfile.mkdtemp(prefix="fleet-tests-")
atexit.register(shutil.rmtree, _DATA_DIR, ignore_errors=True)
os.environ["FLEET_DATA"] = _DATA_DIR
os.environ["DJANGO_SETTINGS_MODULE"] = "fleet.settings"

import django  # noqa: E402  (the settings must find the folder above)

# pytest-django sets Django up by itself only where the settings are named before this file is read.
django.setup()
