"""API tokens: scripts read the JSON of tables and charts with them, and nothing else."""

import hashlib
import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from fleet.models import ApiToken, TokenUser
from relays.domain.text import printable
from relays.services import audit
from relays.services.audit import Actor, Subject

READ = "read"
# So that a secret that was published by mistake is found by those who search for such.
PREFIX = "rft_"
MAX_DAYS = 366
ROUTES = frozenset(
    {
        "matrix-table",
        "instance-table",
        "provider-table",
        "instance-counts",
        "instance-ages",
        "instance-chart",
        "provider-chart",
    }
)
_USED_EVERY = timedelta(minutes=1)


def token_add(
    *, user: User, name: str, scopes: Iterable[str], days: int, actor: Actor
) -> tuple[ApiToken, str]:
    """Make a token and return it with its text, which is shown this once.

    scopes: READ, or permissions by name. Raises ValidationError.
    """
    chosen = sorted(set(scopes))
    _check(name, chosen, days)
    text = PREFIX + secrets.token_urlsafe(32)
    now = timezone.now()
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user,
            name=printable(name.strip(), 60),
            digest=_digest(text),
            scopes=chosen,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        _audit(token, actor, "token.add", {"scopes": ",".join(chosen), "days": days})
    return token, text


def token_remove(*, token: ApiToken, actor: Actor) -> None:
    """End a token."""
    with transaction.atomic():
        _audit(token, actor, "token.remove", {})
        token.delete()


def tokens_of(user: User) -> list[ApiToken]:
    """Return a user's tokens, oldest first."""
    return list(ApiToken.objects.filter(user=user))


class BearerMiddleware:
    """Lets a request with `Authorization: Bearer ...` be its token's user's, whatever its cookies say."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer 401 to what is no token that counts."""
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return self.get_response(request)
        user = _user_of(text.strip())
        if user is None:
            refused = HttpResponse("This token does not count.\n", status=401, content_type="text/plain")
            refused.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
            return refused
        request.user = user
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        """Keep tokens to what they are for."""
        if not isinstance(request.user, TokenUser):
            return
        page = request.resolver_match and request.resolver_match.url_name
        if request.method not in ("GET", "HEAD") or page not in ROUTES:
            raise PermissionDenied("A token reads tables and charts, and nothing else.")


def _user_of(text: str) -> TokenUser | None:
    now = timezone.now()
    token = ApiToken.objects.filter(digest=_digest(text), expires_at__gt=now).first()
    user = TokenUser.objects.filter(pk=token.user_id, is_active=True).first() if token else None
    if token is None or user is None:
        return None
    long_ago = Q(last_used_at=None) | Q(last_used_at__lt=now - _USED_EVERY)
    ApiToken.objects.filter(long_ago, pk=token.pk).update(last_used_at=now)
    user.token = token
    return user


def _check(name: str, scopes: list[str], days: int) -> None:
    if not name.strip():
        raise ValidationError({"name": "Say what the token is for."})
    if not 1 <= days <= MAX_DAYS:
        raise ValidationError({"days": f"A token counts for 1 to {MAX_DAYS} days."})
    if not scopes:
        raise ValidationError({"scopes": "Say what the token may do: read, or permissions by name."})
    known = {READ, *(f"{label}.{code}" for label, code in _permissions())}
    if unknown := [scope for scope in scopes if scope not in known]:
        raise ValidationError({"scopes": f"There is no permission {unknown[0][:60]!r}."})


def _permissions() -> Iterable[tuple[str, str]]:
    return Permission.objects.values_list("content_type__app_label", "codename")


def _digest(text: str) -> str:
    """Return a token as it is kept: 256 random bits need no salt."""
    return hashlib.sha256(text.encode()).hexdigest()


def _audit(token: ApiToken, actor: Actor, action: str, details: dict[str, Any]) -> None:
    subject = Subject(type="token", id=str(token.pk), name=token.name)
    owner = token.user.get_username()
    audit.record(
        actor=actor, action=action, phase="succeeded", subject=subject, details={"user": owner} | details
    )
