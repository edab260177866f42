"""A provider of OpenID Connect for tests: django-oauth-toolkit in a process of its own.

It is of other hands than the client that is tested. Everybody's password there is PASSWORD.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urljoin
from wsgiref.simple_server import WSGIServer, make_server

import requests

from fleet.sign_on_settings import SignOnSettings
from tests.servers import Argv, Server

PASSWORD = "the provider's own"
CLIENT_ID = "relay-fleet"
CLIENT_SECRET = "planted-client-secret"
CALLBACK = "http://testserver/login/sign-on/done/"
GROUPS: Mapping[str, Sequence[str]] = {
    "olga": ["staff", "relay-ops"],
    "vera": ["staff"],
    "kim": ["relay-admins", "relay-ops"],
    "nina": ["accounting"],
}
ROLES = {"relay-admins": "administrator", "relay-ops": "operator", "staff": "viewer"}


class IdentityProvider(Server):
    """The process; a test's browser is a requests.Session that goes through its pages."""

    user = "root"

    def argv(self) -> Argv:
        """Run this module."""
        return [sys.executable, "-m", "tests.identity_provider", str(self.port)]

    def environment(self) -> dict[str, str]:
        """Find our code from another folder."""
        return super().environment() | {"PYTHONPATH": str(Path(__file__).parent.parent)}

    @property
    def settings(self) -> SignOnSettings:
        """What the console must be told of it."""
        return SignOnSettings(f"http://127.0.0.1:{self.port}/o", CLIENT_ID, CLIENT_SECRET, ROLES)


def log_in(browser: requests.Session, address: str, name: str) -> str:
    """Go to an address of the provider, log in where it asks, and return where it sends the browser back."""
    answer = browser.get(address, allow_redirects=False)
    for _ in range(10):
        place = urljoin(answer.url, answer.headers.get("Location", ""))
        if place.startswith(CALLBACK):
            return place
        if answer.is_redirect:
            answer = browser.get(place, allow_redirects=False)
            continue
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', answer.text)
        assert token, answer.text
        form = {"csrfmiddlewaretoken": token[1], "username": name, "password": PASSWORD}
        answer = browser.post(answer.url, form, allow_redirects=False)
    raise AssertionError(f"{answer.status_code}: {answer.text}")


def _serve(port: int) -> None:
    _configure(port)
    import django  # noqa: PLC0415 - once it is configured
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415

    django.setup()
    _fill()

    class Threaded(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    with make_server("127.0.0.1", port, get_wsgi_application(), server_class=Threaded) as server:
        server.serve_forever()


def _configure(port: int) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    page = "<form method=post>{% csrf_token %}{{ form }}<button>Log in</button></form>"
    settings.configure(
        SECRET_KEY="of a test",
        ALLOWED_HOSTS=["127.0.0.1"],
        USE_TZ=True,
        ROOT_URLCONF="tests.identity_provider",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path("db").resolve())}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "loaders": [("django.template.loaders.locmem.Loader", {"registration/login.html": page})],
                    "context_processors": ["django.template.context_processors.request"],
                },
            }
        ],
        LOGIN_URL="/login/",
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": pem.decode(),
            "OIDC_ISS_ENDPOINT": f"http://127.0.0.1:{port}/o",
            "OAUTH2_VALIDATOR_CLASS": "tests.identity_provider_claims.Validator",
            "PKCE_REQUIRED": True,
            "SCOPES": {"openid": "who it is", "profile": "name and groups"},
        },
    )


def _fill() -> None:
    from django.contrib.auth.models import Group, User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from oauth2_provider.models import Application  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    for name, groups in GROUPS.items():
        user = User.objects.create_user(name, password=PASSWORD)
        user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    Application.objects.create(
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        algorithm=Application.RS256_ALGORITHM,
        redirect_uris=CALLBACK,
        skip_authorization=True,
    )


def __getattr__(name: str) -> Any:
    """Give Django the addresses of the provider: they can be read only once it is configured."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.contrib.auth.views import LoginView  # noqa: PLC0415
    from django.urls import include, path  # noqa: PLC0415

    return [
        path("login/", LoginView.as_view()),
        path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    ]


if __name__ == "__main__":
    os.umask(0o077)
    _serve(int(sys.argv[1]))
