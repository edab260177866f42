"""What other apps have to say on pages over instances: they register it at start-up.

`relays` knows nothing of them; what is asked here is asked for all instances at once.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from relays.selectors.abnormal import Abnormal


class Fact(NamedTuple):
    """Something about an instance, in a few words, and the page that tells more."""

    text: str
    url: str


_facts: list[Callable[[datetime], Mapping[int, Fact]]] = []
_lines: list[Callable[[datetime], list[Abnormal]]] = []
_address_pages: list[Callable[[str], str]] = []


def register(
    *,
    facts: Callable[[datetime], Mapping[int, Fact]],
    lines: Callable[[datetime], list[Abnormal]],
    address_page: Callable[[str], str],
) -> None:
    """Have an app asked: for facts by instance id, lines of "abnormal now", and the page of an address."""
    _facts.append(facts)
    _lines.append(lines)
    _address_pages.append(address_page)


def facts_beside(now: datetime) -> dict[int, Fact]:
    """Return what there is to say of instances, by id."""
    found: dict[int, Fact] = {}
    for ask in _facts:
        found |= ask(now)
    return found


def lines_beside(now: datetime) -> list[Abnormal]:
    """Return the lines that other apps add to "abnormal now"."""
    return [line for ask in _lines for line in ask(now)]


def address_page(address: str) -> str:
    """Return where an address has a page of its own; "" where it has none."""
    return next((page(address) for page in _address_pages), "")
