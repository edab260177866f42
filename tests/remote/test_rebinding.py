"""A name that leads to a relay host at one question and to a place of nobody's at the next (attack 56).

What is dialled is what was looked up and checked, once; TLS still proves the name.
"""

from typing import Any

import pytest

from tests.rebinding import GOOD, SWINGING, TRIES, tell

CLIENTS = ["ssh", "powerdns", "powerdns by TLS", "sign-on"]


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return tell()


@pytest.mark.parametrize("name", SWINGING)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_name_that_swings_is_dialled_only_where_hosts_can_be(
    told: dict[str, Any], client: str, name: str
) -> None:
    found = told[client][name]
    assert found["dialled"] == {GOOD: TRIES // 2}
    # Whoever asks twice for one connection checks one answer and dials the other.
    assert found["asked"] == TRIES
    refused = found["said"][1::2]
    assert all(f"{name} leads to {SWINGING[name]}" in text for text in refused), refused
    if client != "ssh":
        assert found["said"][::2] == ["", ""]


@pytest.mark.parametrize("client", CLIENTS)
def test_this_machine_is_dialled_by_its_own_name(told: dict[str, Any], client: str) -> None:
    found = told[client]["localhost"]
    assert found["dialled"] == {"127.0.0.1": TRIES}
    if client != "ssh":
        assert found["said"] == [""] * TRIES


@pytest.mark.parametrize("client", ["powerdns by TLS", "sign-on"])
def test_a_certificate_must_be_for_the_name(told: dict[str, Any], client: str) -> None:
    found = told[client]["other.example"]
    assert found["dialled"] == {GOOD: TRIES}
    assert all("certificate is not valid for 'other.example'" in text for text in found["said"])


@pytest.mark.parametrize("place", ["/file", "/metadata", "/plain"])
def test_single_sign_on_follows_no_redirect(told: dict[str, Any], place: str) -> None:
    found = told["sign-on, redirected"][place]
    assert found["dialled"] == {"127.0.0.1": TRIES}
    assert all(text.startswith("TooManyRedirects") for text in found["said"])


def test_the_api_of_a_zone_follows_no_redirect(told: dict[str, Any]) -> None:
    found = told["powerdns, redirected"]["/metadata"]
    assert found["dialled"] == {"127.0.0.1": TRIES}
    assert all("answered 302" in text for text in found["said"])
