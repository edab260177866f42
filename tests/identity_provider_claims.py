"""What tests/identity_provider.py says of a person."""

from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator


class Validator(OAuth2Validator):  # type: ignore[misc]
    """Puts name and groups into the ID token."""

    oidc_claim_scope = None

    def get_additional_claims(self) -> dict[str, Any]:
        return {
            "preferred_username": lambda request: request.user.get_username(),
            "groups": lambda request: sorted(request.user.groups.values_list("name", flat=True)),
        }
