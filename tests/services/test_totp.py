"""One-time passwords, by the vectors of RFC 6238."""

import base64

import pytest

from fleet import totp

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_vectors_of_the_rfc_hold(at: int, code: str) -> None:
    assert totp.step_of(RFC_SECRET, code, at) == at // 30


def test_a_clock_may_be_one_step_off_and_not_two() -> None:
    code = totp.code_of(RFC_SECRET, 1000)
    found = [totp.step_of(RFC_SECRET, code, 30 * step) for step in (998, 999, 1000, 1001, 1002)]
    assert found == [None, 1000, 1000, 1000, None]


@pytest.mark.parametrize("code", ["", "28708", "2870822", "287082\n", "２８７０８２", "abcdef", "-87082"])
def test_what_is_no_code_is_none(code: str) -> None:
    assert totp.step_of(RFC_SECRET, code, 59) is None


def test_a_secret_has_160_bits_and_its_address_holds_what_an_app_needs() -> None:
    secret = totp.new_secret()
    assert len(base64.b32decode(secret)) == 20
    assert totp.uri("ABC", "anna b", "Relay Fleet") == (
        "otpauth://totp/Relay%20Fleet%3Aanna%20b?secret=ABC&issuer=Relay%20Fleet"
    )
