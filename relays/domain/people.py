"""Addresses as somebody sees them who need not know whose they are."""

from relays.domain.replies import mask

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
