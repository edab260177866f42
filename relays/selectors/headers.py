"""Headers of a message, decoded for the eye, and its body: hostile text whatever it claims to be."""

from collections.abc import Iterable
from email.header import decode_header

from relays.domain.words import visible

_MAX_HEADER = 4_000


def header_lines(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, value) of each header, unfolded, with encoded words (RFC 2047) decoded."""
    found: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t") and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        elif colon and name and " " not in name:
            found.append((name, value.strip()))
        elif line.strip():
            found.append(("", line.strip()))
    return [(visible(name), visible(_decoded(value[:_MAX_HEADER]))) for name, value in found]


def body_lines(lines: Iterable[str]) -> list[str]:
    """Return the lines of a body as they were sent, what cannot be seen made visible, nothing decoded."""
    return [visible(line.removesuffix("\r").expandtabs()) for line in lines]


def _decoded(value: str) -> str:
    """Return what a header says, or the header itself where its encoding is none."""
    try:
        return "".join(
            text.decode(charset or "latin-1", "replace") if isinstance(text, bytes) else text
            for text, charset in decode_header(value)
        )
    except (ValueError, LookupError):
        return value
