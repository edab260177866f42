"""What the environment says of single sign-on; nothing, where it names no issuer.

No Django: the settings call it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ROLES = ("viewer", "operator", "administrator")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SignOnMisconfigured(SystemExit):
    """The variables do not fit together: one line for the operator, no traceback."""


@dataclass(frozen=True)
class SignOnSettings:
    """An OpenID Connect provider, and what its claims mean here.

    roles: role by what the claim `groups_claim` may hold; name_claim: the claim that names the user.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    roles: Mapping[str, str]
    groups_claim: str = "groups"
    name_claim: str = "preferred_username"
    scope: str = "openid profile"
    label: str = "single sign-on"


def read(environment: Mapping[str, str]) -> SignOnSettings | None:
    """Return the settings, or None where single sign-on is off. Raises SignOnMisconfigured."""
    issuer = environment.get("FLEET_OIDC_ISSUER", "")
    if not issuer:
        return None
    if not _is_safe(issuer):
        raise SignOnMisconfigured(f"FLEET_OIDC_ISSUER must be an https address, not {issuer}.")
    return SignOnSettings(
        issuer=issuer,
        client_id=_needed(environment, "FLEET_OIDC_CLIENT_ID"),
        client_secret=_secret(environment),
        roles=_roles(_needed(environment, "FLEET_OIDC_ROLES")),
        groups_claim=environment.get("FLEET_OIDC_GROUPS_CLAIM") or SignOnSettings.groups_claim,
        name_claim=environment.get("FLEET_OIDC_NAME_CLAIM") or SignOnSettings.name_claim,
        scope=environment.get("FLEET_OIDC_SCOPE") or SignOnSettings.scope,
        label=environment.get("FLEET_OIDC_LABEL") or SignOnSettings.label,
    )


def _is_safe(issuer: str) -> bool:
    place = urlsplit(issuer)
    return bool(place.hostname) and (place.scheme == "https" or place.hostname in _LOOPBACK)


def _needed(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise SignOnMisconfigured(f"FLEET_OIDC_ISSUER is set, so {name} must be too.")
    return environment[name]


def _secret(environment: Mapping[str, str]) -> str:
    path = environment.get("FLEET_OIDC_CLIENT_SECRET_FILE")
    if not path:
        return _needed(environment, "FLEET_OIDC_CLIENT_SECRET")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SignOnMisconfigured(f"FLEET_OIDC_CLIENT_SECRET_FILE: {path}: {error.strerror}.") from error


def _roles(text: str) -> dict[str, str]:
    """Return role by group: "relay-admins=administrator,staff=viewer"."""
    roles = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        group, _, role = pair.rpartition("=")
        if not group or role not in ROLES:
            raise SignOnMisconfigured(
                f"FLEET_OIDC_ROLES: {pair!r} is not GROUP=ROLE with {', '.join(ROLES)}."
            )
        roles[group] = role
    return roles
