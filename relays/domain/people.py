"""Addresses as somebody sees them who need not know whose they are."""

import re

from relays.domain.replies import mask

# In angle brackets a local part may hold anything; elsewhere it ends where an address cannot go on.
_LOCAL_PART = re.compile(r'(?<=<)[^<>]{1,320}@|(?:"(?:[^"\\]|\\.){0,320}"|[^\s<>(),;"\[\]{}]{1,320})@')
_NOBODY = ("", "<>", "mailer-daemon")


def masked_address(address: str) -> str:
    """Return an address without whose it is: …@lists.example. A bounce's sender stays."""
    if address.lower() in _NOBODY:
        return address
    _, at, domain = address.rpartition("@")
    return f"\N{HORIZONTAL ELLIPSIS}@{domain}" if at else "\N{HORIZONTAL ELLIPSIS}"


def masked_reply(text: str) -> str:
    """Return a reply without addresses and whatever else varies from message to message."""
    return mask(text)


def masked_line(text: str) -> str:
    """Return a line of a log in which every address is only its domain; all else stands as it is."""
    return text if "@" not in text else _LOCAL_PART.sub("\N{HORIZONTAL ELLIPSIS}@", text)
