"""Which provider an instance or a recipient domain belongs to."""

import re
from collections.abc import Collection

MAX_DOMAIN = 253
_LABEL = re.compile(r"\A(?!-)[a-z0-9-]{1,63}(?<!-)\Z")


class BadDomain(ValueError):
    """Text that is no domain name; the message says what is wrong with it."""


def normalise_domain(text: str) -> str:
    """Return a domain name as lower-case A-labels (RFC 5890), as Postfix logs and looks it up.

    Raises BadDomain. Wildcards, address literals, leading dots and empty labels are no domain names.
    """
    name = text.strip().removesuffix(".").lower()
    try:
        ascii_name = name.encode("idna").decode("ascii") if not name.isascii() else name
    except UnicodeError as error:
        raise BadDomain(f"{text!r} is not a domain name: {error}.") from error
    labels = ascii_name.split(".")
    if len(ascii_name) > MAX_DOMAIN or len(labels) < 2:
        raise BadDomain(
            f"{text!r} is not a domain name: it needs 2 labels or more, {MAX_DOMAIN} characters at most."
        )
    for label in labels:
        if not _LABEL.match(label):
            raise BadDomain(
                f"{text!r} is not a domain name: {label!r} is not made of letters, digits and hyphens."
            )
    return ascii_name


def provider_of_instance(name: str, slugs: Collection[str]) -> str | None:
    """Return the provider slug that an instance's name begins with: msn for `msn-a`, None for `default`.

    The longest wins, so that `yahoo-jp-a` is not yahoo's.
    """
    parts = name.split("-")
    heads = ("-".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((head for head in heads if head in slugs), None)
