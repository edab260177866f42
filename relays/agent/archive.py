"""The file that runs, seen from inside it."""

from __future__ import annotations


def own_bytes() -> bytes | None:
    """Return the bytes of relayctl.pyz, None where this runs from a source tree."""
    path = getattr(__spec__.loader, "archive", None)
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()
