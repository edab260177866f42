"""The project: settings, processes, and the pages that show the whole fleet."""

# shared_task binds to this app, so it must exist as soon as Django does.
from fleet.celery import app as celery_app

__all__ = ["celery_app"]
__version__ = "0.1.0"
