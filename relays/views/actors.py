"""Who makes a request, as the audit trail keeps it."""

import hashlib

from axes.helpers import get_client_ip_address
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest

from relays.domain.text import printable
from relays.services.audit import Actor

_USER_AGENT_LENGTH = 200


def actor_of(request: HttpRequest) -> Actor:
    """Return who makes a request: name, address, browser, roles, and a digest of the session's key."""
    details = {
        "ip": get_client_ip_address(request) or "",
        "user_agent": printable(request.headers.get("User-Agent", ""), _USER_AGENT_LENGTH),
    }
    user = getattr(request, "user", AnonymousUser())
    if not isinstance(user, User):
        return Actor("anonymous", "", None, details)
    token = getattr(user, "token", None)
    if token is not None:
        return Actor("token", user.get_username(), user.pk, details | {"token": token.pk})
    details["session"] = hashlib.sha256((request.session.session_key or "").encode()).hexdigest()[:16]
    details["roles"] = ",".join(sorted(user.groups.values_list("name", flat=True)))
    return Actor("user", user.get_username(), user.pk, details)


def user_of(request: HttpRequest) -> User:
    """Return the user who is logged in: LoginRequiredMiddleware lets nobody else through."""
    assert isinstance(request.user, User)  # noqa: S101 - for the type checker
    return request.user
