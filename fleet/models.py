"""What belongs to the installation rather than to its relays: its processes, its people."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone


class Heartbeat(models.Model):
    """When a kind of process last showed life; fleet/heartbeats.py writes it, wherever the process runs.

    The broker shows life by taking the scheduler's messages.
    """

    class Process(models.TextChoices):
        WORKER = "worker", "worker"
        SCHEDULER = "scheduler", "scheduler"
        BROKER = "broker", "broker"

    process = models.CharField(max_length=20, choices=Process, primary_key=True)
    at = models.DateTimeField()
    # When the process that shows it started.
    since = models.DateTimeField(default=timezone.now)


class OneTimePassword(models.Model):
    """A password that was shown once, at the first start: it must be changed before anything else.

    It counts while the user's password still is this hash, so every way of changing it ends it.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    password_hash = models.CharField(max_length=128)


class SecondFactor(models.Model):
    """The secret of a user's app. It counts once it was confirmed by a code."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    # fleet/sealing.py: the key lies outside the database.
    sealed_secret = models.TextField()
    confirmed_at = models.DateTimeField(null=True)
    # Of the last code that was taken: none is taken twice.
    last_step = models.PositiveBigIntegerField(default=0)


class RecoveryCode(models.Model):
    """One of the codes that stand in for a lost app, as its sha256."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True)


class UserSession(models.Model):
    """A session as its user sees it in the list of them."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    session_key = models.CharField(max_length=40, unique=True)
    began_at = models.DateTimeField()
    ip = models.CharField(max_length=45, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)


class SignOnIdentity(models.Model):
    """Who a user is at the provider of single sign-on: names change there and are given anew, this is not."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="sign_on_identity")]


class ApiToken(models.Model):
    """What a script shows instead of a log-in: kept as a digest, with what it may use of its user's rights.

    It reads tables and charts, and nothing else: docs/accounts.md.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=60)
    digest = models.CharField(max_length=64, unique=True)
    # "read" for everything that the user may see, or permissions by name: ["relays.view_instance"].
    scopes = models.JSONField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["pk"]


class TokenUser(User):
    """A user who acts by a token: may what both of them may."""

    token: ApiToken

    class Meta:
        proxy = True
        default_permissions = ()

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Ask the token first; the user's own permissions, as they are now, after it."""
        return _may(self.token.scopes, perm) and super().has_perm(perm, obj)


def _may(scopes: list[str], perm: str) -> bool:
    return perm in scopes or ("read" in scopes and perm.partition(".")[2].startswith("view_"))
