"""Which provider an instance or a recipient domain belongs to."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

MAX_DOMAIN = 253
_LABEL = re.compile(r"\A(?!-)[a-z0-9-]{1,63}(?<!-)\Z")


_Provider = TypeVar("_Provider")


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


@dataclass(frozen=True, slots=True)
class ProviderTable(Generic[_Provider]):
    """Recipient domains and MX suffixes (lower-case A-labels) by provider: a slug, or a row's id."""

    domains: Mapping[str, _Provider]
    mx_suffixes: Mapping[str, _Provider]
    catch_all: _Provider | None

    def of_domain(self, domain: str, mx_host: str = "") -> _Provider | None:
        """Return the provider of a recipient domain: its own, else its relay host's, else the catch-all.

        A suffix ends at a label, and the longest wins: aol's is a name under yahoo's.
        """
        if (own := self.domains.get(domain)) is not None:
            return own
        labels = mx_host.split(".")
        tails = (".".join(labels[n:]) for n in range(len(labels)))
        return next((self.mx_suffixes[tail] for tail in tails if tail in self.mx_suffixes), self.catch_all)
