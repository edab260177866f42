"""What an operator needs to put relayctl on a host: the file, its digest, the console's read key."""

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from relays.agent.build import build
from relays.remote.keys import read_public_key


@dataclass(frozen=True, slots=True)
class RelayctlFile:
    """relayctl.pyz: its bytes, sha256 in hexadecimal, and the same in base64 (RFC 3230)."""

    content: bytes
    sha256: str
    digest: str


@dataclass(frozen=True, slots=True)
class Onboarding:
    """The steps' own values."""

    sha256: str
    read_key: str


@cache
def relayctl_file() -> RelayctlFile:
    """Return relayctl as this console would have it installed; the same bytes for the life of the process."""
    content = build()
    hashed = sha256(content)
    return RelayctlFile(content, hashed.hexdigest(), b64encode(hashed.digest()).decode())


def onboarding() -> Onboarding:
    """Return what the first-host page shows."""
    return Onboarding(relayctl_file().sha256, read_public_key())
