"""The file that runs, seen from inside it."""

from __future__ import annotations

import functools
import hashlib


@functools.lru_cache(maxsize=1)
def own_bytes() -> bytes | None:
    """Return the bytes of relayctl.pyz, None where this runs from a source tree.

    sudo runs it as /dev/fd/N, the very file whose digest it has checked: a file that takes its name while it
    runs is another one.
    """
    path = own_path()
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def own_path() -> str | None:
    """Return the path that relayctl.pyz was started by, None where this runs from a source tree."""
    path: str | None = getattr(__spec__.loader, "archive", None)
    return path


def own_sha256() -> str | None:
    """Return the SHA-256 of relayctl.pyz in hexadecimal, None where this runs from a source tree."""
    content = own_bytes()
    return None if content is None else hashlib.sha256(content).hexdigest()
