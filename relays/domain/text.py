"""Hostile text made fit to store and show. relayctl carries it: standard library only, Python 3.9."""

from __future__ import annotations


def printable(text: str, limit: int) -> str:
    r"""Return the text with what cannot be seen (control, bidi, surrogates) as \x07 or \u202e.

    limit: the most characters of the result, which ends in "..." where it was cut.
    """
    text = text[: limit + 1]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escaped(char) for char in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _escaped(char: str) -> str:
    point = ord(char)
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
