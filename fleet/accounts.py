"""The first administrator, and what must be done before anything else: a new password, a second factor."""

import secrets
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import AbstractBaseUser, User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.crypto import salted_hmac

from fleet.models import OneTimePassword, TokenUser

FIRST_ADMIN = "admin"
_MUST_CHANGE = "must_change_password"
_PAGES_BEFORE_THE_CHANGE = {"password", "logout"}
_PAGES_BEFORE_THE_FACTOR = _PAGES_BEFORE_THE_CHANGE | {
    "account",
    "reauthenticate",
    "second-factor",
    "second-factor-begin",
}
_CHANGING_ROLES = ("operator", "administrator")
_WITH_SECOND_FACTOR = "second_factor"


def create_first_admin() -> str | None:
    """Create the administrator and return the one-time password; None where there is a user already."""
    with transaction.atomic():
        if User.objects.exists():
            return None
        password = secrets.token_urlsafe(12)
        admin = User.objects.create_superuser(FIRST_ADMIN, password=password)
        OneTimePassword.objects.create(user=admin, password_hash=admin.password)
    return password


def remember_one_time_password(request: HttpRequest, user: AbstractBaseUser, **_: Any) -> None:
    """Mark the session of a user who just logged in with the one-time password (signal user_logged_in)."""
    if _is_one_time(user):
        request.session[_MUST_CHANGE] = True


def keep_one_time(user: User, password: str) -> None:
    """Let a one-time password stay one when its log-in gave it a newer kind of hash.

    user: who just logged in with this password.
    """
    kept = OneTimePassword.objects.filter(user=user).exclude(password_hash=user.password).first()
    if kept is not None and check_password(password, kept.password_hash):
        kept.password_hash = user.password
        kept.save(update_fields=["password_hash"])


def _is_one_time(user: AbstractBaseUser) -> bool:
    return OneTimePassword.objects.filter(user_id=user.pk, password_hash=user.password).exists()


def throttled_name(request: HttpRequest | None, credentials: Mapping[str, Any] | None = None) -> str:
    """Return the name under which log-ins are counted: a user's own, a digest of one that nobody has.

    People type passwords into the wrong field, and the counts are kept in the database.
    """
    fields: Mapping[str, Any] = credentials or (request.POST if request else {})
    name = str(fields.get("username") or "")
    known = "\0" not in name and User.objects.filter(username=name).exists()
    return name if known or not name else f"nobody {salted_hmac('throttled_name', name).hexdigest()[:32]}"


def client_address(request: HttpRequest) -> str:
    """Return who asks, as the outermost of our proxies saw it; what stands before that is anybody's claim."""
    peer: str = request.META.get("REMOTE_ADDR", "")
    if not settings.TRUSTED_PROXIES:
        return peer
    seen = [entry.strip() for entry in request.headers.get("X-Forwarded-For", "").split(",")]
    if len(seen) < settings.TRUSTED_PROXIES:
        return peer
    try:
        return str(ip_address(seen[-settings.TRUSTED_PROXIES]))
    except ValueError:
        return peer


class OneTimePasswordMiddleware:
    """Sends a session that began with the one-time password to the page that changes it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """Redirect, while the password is the one-time one; no query in any other session."""
        if not request.session.get(_MUST_CHANGE) or not request.user.is_authenticated:
            return None
        if not _is_one_time(request.user):
            del request.session[_MUST_CHANGE]
            return None
        page = request.resolver_match and request.resolver_match.url_name
        return None if page in _PAGES_BEFORE_THE_CHANGE else redirect("password")


def mark_second_factor(request: HttpRequest) -> None:
    """Note that this session's user has shown its second factor."""
    request.session[_WITH_SECOND_FACTOR] = True


def has_shown_second_factor(request: HttpRequest) -> bool:
    """Return whether this session's user has shown its second factor."""
    return bool(request.session.get(_WITH_SECOND_FACTOR))


class RequiredSecondFactorMiddleware:
    """Sends operators and administrators without a second factor to set it up, where it is required."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """Redirect; no query where it is not required, nor in a session that has shown the factor."""
        if not settings.REQUIRE_TOTP or has_shown_second_factor(request):
            return None
        user = request.user
        # A token was made in a session that had shown the factor.
        if not isinstance(user, User) or isinstance(user, TokenUser) or not may_change(user):
            return None
        page = request.resolver_match and request.resolver_match.url_name
        return None if page in _PAGES_BEFORE_THE_FACTOR else redirect("account")


def may_change(user: User) -> bool:
    """Return whether a user has a role that changes something."""
    return user.is_superuser or user.groups.filter(name__in=_CHANGING_ROLES).exists()
