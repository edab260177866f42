"""What belongs to the installation rather than to its relays: its processes, its first administrator."""

from django.conf import settings
from django.db import models


class Heartbeat(models.Model):
    """When a kind of process last showed life; fleet/heartbeats.py writes it, wherever the process runs."""

    class Process(models.TextChoices):
        WORKER = "worker", "worker"
        SCHEDULER = "scheduler", "scheduler"

    process = models.CharField(max_length=20, choices=Process, primary_key=True)
    at = models.DateTimeField()


class OneTimePassword(models.Model):
    """A password that was shown once, at the first start: it must be changed before anything else.

    It counts while the user's password still is this hash, so every way of changing it ends it.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    password_hash = models.CharField(max_length=128)
