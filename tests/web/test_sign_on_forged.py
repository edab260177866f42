"""ID tokens that no real provider would send: each lets nobody in.

A double, because tests/identity_provider.py cannot be made to lie.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from fleet.sign_on_settings import SignOnSettings
from relays.models import AuditEvent

pytestmark = pytest.mark.django_db

KEY = RSAKey.generate_key(2048, {"kid": "one"})
ANOTHER = RSAKey.generate_key(2048, {"kid": "one"})
SECRET = "of the client, which is thirty-two bytes long"


class Forger(ThreadingHTTPServer):
    """A provider that sends whatever a test wants."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.nonce = ""
        self.claims: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str | None] = by(KEY)
        self.userinfo: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.asked: list[str] = []

    def answer(self, path: str) -> dict[str, Any]:
        if path.endswith("openid-configuration"):
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/keys",
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            } | self.metadata
        if path == "/keys":
            return {"keys": [KEY.as_dict(private=False)]}
        if path == "/userinfo":
            return self.userinfo
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "7",
            "aud": "relay-fleet",
            "iat": now,
            "exp": now + 60,
            "nonce": self.nonce,
            "preferred_username": "olga",
            "groups": ["staff"],
        } | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": "a", "token_type": "Bearer", "id_token": self.sign(claims)}


class _Handler(BaseHTTPRequestHandler):
    server: Forger

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = json.dumps(self.server.answer(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


def by(key: RSAKey | OctKey, alg: str = "RS256") -> Callable[[dict[str, Any]], str]:
    return lambda claims: jwt.encode({"alg": alg, "kid": "one"}, claims, key, algorithms=[alg])


def unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none"}, claims)
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."
    )


def cut_off(claims: dict[str, Any]) -> str:
    return by(KEY)(claims)[:-4]


@contextmanager
def serving() -> Iterator[Forger]:
    with Forger() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def forger() -> Iterator[Forger]:
    with serving() as server:
        roles = {"staff": "viewer"}
        with override_settings(SIGN_ON=SignOnSettings(server.issuer, "relay-fleet", SECRET, roles)):
            yield server


@pytest.fixture
def inside() -> Iterator[Forger]:
    """Something on this machine that is not the provider."""
    with serving() as server:
        yield server


def come_back(client: Client, forger: Forger) -> int:
    begun = client.get("/login/sign-on/").headers["Location"]
    asked = parse_qs(urlsplit(begun).query)
    assert asked["code_challenge_method"] == ["S256"]
    forger.nonce = forger.nonce or asked["nonce"][0]
    return client.get("/login/sign-on/done/", {"code": "c", "state": asked["state"][0]}).status_code


def test_what_it_would_send_in_truth_lets_in(client: Client, forger: Forger) -> None:
    assert come_back(client, forger) == 302
    assert User.objects.get().username == "olga"


HOURS_AGO = int(time.time()) - 7200


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another-client"},
        {"aud": "another-client", "azp": "relay-fleet"},
        {"aud": ["relay-fleet", "another-client"], "azp": "another-client"},
        {"exp": HOURS_AGO},
        {"exp": None},
        {"iat": int(time.time()) + 7200},
        {"nbf": int(time.time()) + 7200},
        {"nonce": "of another log-in"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    ],
    ids=" ".join,
)
def test_a_token_for_another_or_of_another_time_lets_nobody_in(
    client: Client, forger: Forger, claims: dict[str, Any]
) -> None:
    forger.claims = claims
    assert come_back(client, forger) == 403
    assert not User.objects.exists()
    assert AuditEvent.objects.get().phase == "failed"


@pytest.mark.parametrize(
    "sign",
    [by(ANOTHER), by(OctKey.import_key(SECRET), "HS256"), unsigned, cut_off, lambda _: "not.a.token"],
    ids=["another key", "the secret", "unsigned", "cut off", "garbage"],
)
def test_a_token_that_is_not_signed_by_the_provider_lets_nobody_in(
    client: Client, forger: Forger, sign: Callable[[dict[str, Any]], str]
) -> None:
    forger.sign = sign
    assert come_back(client, forger) in (400, 403)
    assert not User.objects.exists()


def test_an_answer_without_a_token_lets_nobody_in(client: Client, forger: Forger) -> None:
    forger.sign = lambda _: None
    assert come_back(client, forger) in (400, 403)
    assert not User.objects.exists()


def test_groups_may_come_from_the_user_info_of_the_same_person_alone(client: Client, forger: Forger) -> None:
    forger.claims = {"groups": None}
    forger.userinfo = {"sub": "8", "groups": ["staff"]}
    assert come_back(client, forger) == 403
    forger.nonce = ""
    forger.userinfo["sub"] = "7"
    assert come_back(Client(), forger) == 302


@pytest.mark.parametrize("name", ["", "a b", "<script>", "o" * 200, None, ["olga"], "ol\0ga"])
def test_a_name_that_is_none_lets_nobody_in(client: Client, forger: Forger, name: object) -> None:
    forger.claims = {"preferred_username": name}
    assert come_back(client, forger) == 403
    assert not User.objects.exists()


@pytest.mark.parametrize("groups", ["staff", ["staff", None, 7, {"a": 1}]])
def test_groups_of_any_shape_are_read(client: Client, forger: Forger, groups: object) -> None:
    forger.claims = {"groups": groups}
    assert come_back(client, forger) == 302


def test_a_second_factor_that_the_provider_asked_for_counts_here(client: Client, forger: Forger) -> None:
    forger.claims = {"amr": ["pwd", "otp"], "groups": ["staff"]}
    with override_settings(REQUIRE_TOTP=True):
        come_back(client, forger)
        assert client.session["second_factor"] is True


@pytest.mark.parametrize("named", ["token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    "place",
    [
        "http://localhost:{port}/",
        "https://127.0.0.1:{port}/",
        "http://127.1:{port}/",
        "//localhost:{port}/",
        "https://169.254.169.254/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "file:///etc/passwd",
        7,
    ],
)
def test_the_provider_sends_the_console_nowhere_else(
    client: Client, forger: Forger, inside: Forger, named: str, place: object
) -> None:
    forger.metadata = {named: place.format(port=inside.server_port) if isinstance(place, str) else place}
    assert come_back(client, forger) == 400
    assert inside.asked == []
    assert not User.objects.exists()


def test_the_provider_sets_nothing_of_how_it_is_asked(client: Client, forger: Forger, inside: Forger) -> None:
    forger.metadata = {
        "proxies": {"http": f"http://127.0.0.1:{inside.server_port}"},
        "client_id": "another",
        "issuer": f"http://localhost:{inside.server_port}",
    }
    assert come_back(client, forger) == 302
    assert inside.asked == []
    assert "/token" in forger.asked


@pytest.mark.parametrize("answer", [[], 7, None, "text"])
def test_metadata_that_are_none_let_nobody_in(
    client: Client, forger: Forger, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(forger, "answer", lambda path: answer)
    assert client.get("/login/sign-on/").status_code == 400
