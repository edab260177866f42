"""Single sign-on by OpenID Connect: whoever the provider vouches for has the roles that its groups stand for.

authlib speaks the protocol: the code flow with PKCE, state and nonce, and the ID token's signature, issuer,
audience and times. What is ours is who that is here, and what it may: docs/decisions/0096-single-sign-on.md.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.base_client import MismatchingStateError
from authlib.integrations.django_client import DjangoOAuth2App, OAuth
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from joserfc.errors import JoseError
from requests import RequestException

from fleet import users
from fleet.models import SignOnIdentity
from fleet.sign_on_session import SignOnSession
from fleet.sign_on_settings import SignOnSettings
from relays.domain.text import printable
from relays.services.audit import Actor

logger = logging.getLogger(__name__)
# How far the provider's clock may be off.
_LEEWAY_S = 60
# RFC 8176: methods that say that there was a second factor.
_SECOND_FACTORS = {"mfa", "otp", "hwk", "swk"}


# What is taken of the provider's metadata. authlib would make settings of its session of them all:
# a proxy to ask through, certificates that are not looked at.
_TAKEN = {
    "_loaded_at",
    "authorization_endpoint",
    "id_token_signing_alg_values_supported",
    "jwks",
    "jwks_uri",
    "token_endpoint",
    "userinfo_endpoint",
}
_AMISS = (AuthlibBaseError, RequestException, ValueError, RuntimeError, LookupError, TypeError)


class _App(DjangoOAuth2App):  # type: ignore[misc]
    client_cls = SignOnSession

    def load_server_metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = super().load_server_metadata()
        for name in metadata.keys() - _TAKEN:
            del metadata[name]
        return metadata


class _OAuth(OAuth):  # type: ignore[misc]
    oauth2_client_cls = _App


class SignOnRefused(Exception):
    """Nobody is logged in; the text says why.

    proven: whether the provider vouched for somebody, or was impersonated: then it is an event.
    """

    def __init__(self, text: str, *, proven: bool = False) -> None:
        super().__init__(text)
        self.proven = proven


@dataclass(frozen=True, slots=True)
class Proven:
    """Who the provider says it is. at: when it asked for the credentials, seconds since 1970, if it tells."""

    subject: str
    name: str
    groups: frozenset[str]
    second_factor: bool
    at: float | None


def begin(request: HttpRequest, *, callback: str, again: bool) -> HttpResponse:
    """Send the browser to the provider. again: it asks for the credentials also of who is logged in there.

    Raises SignOnRefused where the provider does not answer.
    """
    more = {"prompt": "login", "max_age": 0} if again else {}
    try:
        answer: HttpResponse = _client().authorize_redirect(request, callback, **more)
    except _AMISS as error:
        raise _failed(error) from error
    return answer


def finish(request: HttpRequest) -> Proven:
    """Return whom the provider sent back. Raises SignOnRefused."""
    configured = _configured()
    wanted = {
        "iss": {"essential": True, "values": [configured.issuer]},
        "aud": {"essential": True, "values": [configured.client_id]},
    }
    client = _client()
    try:
        _take_signed_alone(client.load_server_metadata())
        token = client.authorize_access_token(request, claims_options=wanted, leeway=_LEEWAY_S)
        claims = token.get("userinfo") or {}
        if not claims.get("sub"):
            raise SignOnRefused("The provider sent no ID token.", proven=True)
        if configured.groups_claim not in claims:
            claims = _with_userinfo(client, token, claims)
    except MismatchingStateError as error:
        raise SignOnRefused("This log-in was not begun in this browser, or was finished before.") from error
    except JoseError as error:
        logger.warning("The provider's ID token does not hold: %s", error)
        raise SignOnRefused("The provider's ID token does not hold.", proven=True) from error
    except _AMISS as error:
        raise _failed(error) from error
    return _proven(claims)


def user_of(*, proven: Proven, actor: Actor) -> User:
    """Return the user that this is here, with the roles of now; made on the first log-in.

    Raises SignOnRefused for one without a role, one that was disabled, or one whose name a local account has.
    """
    roles = {role for group, role in _configured().roles.items() if group in proven.groups}
    with transaction.atomic():
        known = SignOnIdentity.objects.filter(issuer=_configured().issuer, subject=proven.subject)
        identity = known.select_related("user").first()
        user = identity.user if identity else _new_user(proven, roles, actor)
        if {group.name for group in user.groups.all()} != roles:
            users.user_roles(user=user, roles=roles, actor=actor)
    # After the transaction: roles that were taken away stay so.
    if not roles:
        raise SignOnRefused(f"{user.get_username()} has no role here.", proven=True)
    if not user.is_active:
        raise SignOnRefused(f"{user.get_username()} was disabled here.", proven=True)
    return user


def is_same(*, proven: Proven, user: User) -> bool:
    """Return whether this user is who the provider just vouched for, by credentials given just now."""
    just_now = proven.at is not None and abs(time.time() - proven.at) <= _LEEWAY_S
    return (
        just_now
        and SignOnIdentity.objects.filter(
            user=user, issuer=_configured().issuer, subject=proven.subject
        ).exists()
    )


def _new_user(proven: Proven, roles: Iterable[str], actor: Actor) -> User:
    if not roles:
        raise SignOnRefused(f"{printable(proven.name, 150) or 'This account'} has no role here.", proven=True)
    try:
        User(username=proven.name).clean_fields(exclude={"password"})
    except ValidationError as error:
        claim = _configured().name_claim
        raise SignOnRefused(f"The provider's claim {claim} holds no name for a user.", proven=True) from error
    if User.objects.filter(username=proven.name).exists():
        raise SignOnRefused(
            f"A local account is called {proven.name} too. An administrator can link the two: "
            f"manage.py user link {proven.name} {proven.subject}",
            proven=True,
        )
    return users.user_from_provider(
        name=proven.name, roles=roles, issuer=_configured().issuer, subject=proven.subject, actor=actor
    )


def _take_signed_alone(metadata: dict[str, Any]) -> None:
    """Leave the algorithms of the provider's own keys: neither none at all, nor the secret that we share."""
    offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
    metadata["id_token_signing_alg_values_supported"] = [
        name for name in offered if str(name).startswith(("RS", "PS", "ES", "Ed"))
    ]


def _with_userinfo(client: Any, token: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims with those of the user-info endpoint, where many providers keep the groups."""
    if "userinfo_endpoint" not in client.load_server_metadata():
        return dict(claims)
    more = client.userinfo(token=token)
    if more.get("sub") != claims["sub"]:
        raise SignOnRefused("The provider told of two people at once.", proven=True)
    return {**more, **claims}


def _proven(claims: Mapping[str, Any]) -> Proven:
    configured = _configured()
    groups = claims.get(configured.groups_claim) or []
    at = claims.get("auth_time")
    return Proven(
        subject=printable(str(claims["sub"]), 255),
        name=str(claims.get(configured.name_claim) or ""),
        groups=frozenset(map(str, groups)) if isinstance(groups, list) else frozenset([str(groups)]),
        second_factor=not _SECOND_FACTORS.isdisjoint(map(str, claims.get("amr") or [])),
        at=float(at) if isinstance(at, int | float) else None,
    )


def _client() -> Any:
    """Return a client that reads the provider's addresses and keys anew: both may change."""
    configured = _configured()
    return _OAuth().register(
        "sign_on",
        client_id=configured.client_id,
        client_secret=configured.client_secret,
        server_metadata_url=f"{configured.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={
            "scope": configured.scope,
            "code_challenge_method": "S256",
            "issuer": configured.issuer,
        },
    )


def _configured() -> SignOnSettings:
    configured: SignOnSettings | None = settings.SIGN_ON
    assert configured is not None  # noqa: S101 - the views answer 404 before
    return configured


def _failed(error: Exception) -> SignOnRefused:
    # The text is a stranger's: it goes into the log, with what cannot be seen spelled out.
    logger.warning("Single sign-on failed: %s: %s", type(error).__name__, printable(str(error), 500))
    return SignOnRefused("The provider did not answer as it should: try again, or use a local account.")
