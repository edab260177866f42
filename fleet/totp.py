"""Time-based one-time passwords: RFC 6238 with HMAC-SHA1, six digits, 30 seconds, as every app has them."""

import base64
import hashlib
import hmac
import re
import secrets
import struct
from urllib.parse import quote, urlencode

STEP_S = 30
# A phone's clock may be one step off, either way.
_STEPS_OFF = (0, -1, 1)
_CODE = re.compile(r"\A[0-9]{6}\Z")


def new_secret() -> str:
    """Return 160 random bits in base32, as RFC 4226 wants them for SHA-1."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def code_of(secret: str, step: int) -> str:
    """Return the code of a step: the number of half minutes since 1970."""
    mac = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1)
    place = mac[-1] & 0x0F
    number = int.from_bytes(mac[place : place + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def step_of(secret: str, code: str, at: float) -> int | None:
    """Return the step whose code this is, around a time in seconds since 1970; None where it is none's."""
    if not _CODE.match(code):
        return None
    now = int(at) // STEP_S
    return next(
        (now + off for off in _STEPS_OFF if hmac.compare_digest(code_of(secret, now + off), code)), None
    )


def uri(secret: str, name: str, issuer: str) -> str:
    """Return what an app reads from the QR code: an otpauth address."""
    label = quote(f"{issuer}:{name}", safe="")
    return f"otpauth://totp/{label}?{urlencode({'secret': secret, 'issuer': issuer}, quote_via=quote)}"
