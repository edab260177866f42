"""The Celery application: queues `collect` and `operate`, and the static schedule."""

import logging.config
import os
import warnings
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")

# What makes a worker that is root dangerous is a message that runs code; ours are JSON and hold ids.
warnings.filterwarnings("ignore", "You're running the worker with superuser privileges")

TRANSPORT_ALIASES["filesystem"] = "fleet.filesystem_broker:Transport"

app = Celery("fleet")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def _keep_our_logging(**_: Any) -> None:
    # Listening is enough to stop Celery from adding its own handlers.
    logging.config.dictConfig(settings.LOGGING)


setup_logging.connect(_keep_our_logging)
