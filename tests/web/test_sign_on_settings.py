"""What the environment says of single sign-on."""

from pathlib import Path

import pytest

from fleet.sign_on_settings import SignOnMisconfigured, SignOnSettings, read

WHOLE = {
    "FLEET_OIDC_ISSUER": "https://id.example.org/realms/mail",
    "FLEET_OIDC_CLIENT_ID": "relay-fleet",
    "FLEET_OIDC_CLIENT_SECRET": "s3cret",
    "FLEET_OIDC_ROLES": "cn=relay admins=administrator, staff=viewer",
}


def test_it_is_off_unless_an_issuer_is_named() -> None:
    assert read({}) is None
    assert read({"FLEET_OIDC_CLIENT_ID": "relay-fleet"}) is None


def test_a_group_may_hold_what_parts_it_from_its_role() -> None:
    configured = read(WHOLE)
    assert isinstance(configured, SignOnSettings)
    assert configured.roles == {"cn=relay admins": "administrator", "staff": "viewer"}
    assert "s3cret" not in repr(configured)


def test_the_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from the file\n")
    configured = read(WHOLE | {"FLEET_OIDC_CLIENT_SECRET_FILE": str(path)})
    assert configured is not None
    assert configured.client_secret == "from the file"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"FLEET_OIDC_ISSUER": "http://id.example.org"}, "must be an https address"),
        ({"FLEET_OIDC_ISSUER": "id.example.org"}, "must be an https address"),
        ({"FLEET_OIDC_ISSUER": "file:///etc/passwd"}, "must be an https address"),
        ({"FLEET_OIDC_CLIENT_ID": ""}, "FLEET_OIDC_CLIENT_ID"),
        ({"FLEET_OIDC_CLIENT_SECRET": ""}, "FLEET_OIDC_CLIENT_SECRET"),
        ({"FLEET_OIDC_CLIENT_SECRET_FILE": "/no/such/file"}, "No such file"),
        ({"FLEET_OIDC_ROLES": ""}, "FLEET_OIDC_ROLES"),
        ({"FLEET_OIDC_ROLES": "staff"}, "'staff' is not GROUP=ROLE"),
        ({"FLEET_OIDC_ROLES": "staff=root"}, "'staff=root' is not GROUP=ROLE"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(wrong: dict[str, str], words: str) -> None:
    with pytest.raises(SignOnMisconfigured, match=words):
        read(WHOLE | wrong)
