"""Figures and remote text as pages and the terminal show them."""

from relays.domain.text import printable

# Longer than any column it comes from, but for a snapshot's.
_SHOWN_CHARS = 1_000


def visible(text: str) -> str:
    """Return text from a relay or a form as it may be shown: whatever cannot be seen is spelled out."""
    return printable(text, _SHOWN_CHARS)


def span(seconds: float) -> str:
    """Return a length of time in its largest fitting unit: 12 s, 38 min, 5 h, 2 d."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 48 * 3600:
        return f"{whole // 3600} h"
    return f"{whole // 86400} d"


def count(number: int | None) -> str:
    """Return a count with thousands separated; a question mark for one that is not known."""
    return "?" if number is None else f"{number:,}"


def size(octets: int | None) -> str:
    """Return a size in binary units with one decimal: 12 B, 1.2 GiB; a question mark when unknown."""
    if octets is None:
        return "?"
    amount, unit = float(octets), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{octets} B" if unit == "B" else f"{amount:,.1f} {unit}"


def plural(number: int, noun: str) -> str:
    """Return a count and its noun: 1 host, 3 hosts."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
