"""What other apps have to say on pages over instances and origins: they register it at start-up.

`relays` knows nothing of them. What is about instances is asked for all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from relays.selectors.markup import Markup, markup

if TYPE_CHECKING:
    from datetime import datetime

    from relays.models import Instance, Origin
    from relays.selectors.abnormal import Abnormal, May

# One form of the page's sends them all, so that a hundred cells need no hundred tokens.
_BUTTON = (
    '<button class="btn btn-sm" form="plan" formaction="{url}" name="address" value="{address}"'
    ' title="{label}: {address}">{label}<span class="visually-hidden"> {address} of {subject}</span></button>'
)
_CANNOT = '<span class="hint">{label}</span>'


class Fact(NamedTuple):
    """Something about an instance, in a few words, and the page that tells more."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of a page: its template, and what that needs, which it finds as `panel.context`."""

    template: str
    context: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RowAction:
    """What can be done about an address of an instance in one click: it leads to the plan.

    url: where the address is posted to; without one the label says why nothing can be done; lasting: it is
    seen also where nothing is wrong, for it takes back what somebody did.
    """

    label: str
    url: str = ""
    address: str = ""
    lasting: bool = False

    def html(self, subject: str) -> Markup:
        """Return the button, or the words in its place. subject: the instance's name."""
        if not self.url:
            return markup(_CANNOT, label=self.label)
        return markup(_BUTTON, url=self.url, address=self.address, label=self.label, subject=subject)


class Neighbour:
    """An app with something to say; by itself it says nothing."""

    def facts(self, _now: datetime) -> Mapping[int, Fact]:
        """Return what there is to say of instances, by id."""
        return {}

    def lines(self, _now: datetime) -> list[Abnormal]:
        """Return lines for "abnormal now"."""
        return []

    def row_actions(self, _may: May) -> Mapping[int, Sequence[RowAction]]:
        """Return what the reader may do about instances in one click, by id."""
        return {}

    def instance_panels(self, _instance: Instance, _now: datetime) -> list[Panel]:
        """Return parts of an instance's page."""
        return []

    def origin_panels(self, _origin: Origin, _now: datetime) -> list[Panel]:
        """Return parts of an origin's page."""
        return []

    def address_page(self, _address: str) -> str:
        """Return where an address has a page of its own; "" where it has none."""
        return ""


_neighbours: list[Neighbour] = []


def register(neighbour: Neighbour) -> None:
    """Have an app asked."""
    _neighbours.append(neighbour)


def facts_beside(now: datetime) -> dict[int, Fact]:
    """Return what there is to say of instances, by id."""
    return {pk: fact for each in _neighbours for pk, fact in each.facts(now).items()}


def lines_beside(now: datetime) -> list[Abnormal]:
    """Return the lines that other apps add to "abnormal now"."""
    return [line for each in _neighbours for line in each.lines(now)]


def row_actions(may: May) -> dict[int, list[RowAction]]:
    """Return what the reader may do about instances in one click, by id."""
    found: dict[int, list[RowAction]] = {}
    for each in _neighbours:
        for pk, actions in each.row_actions(may).items():
            found.setdefault(pk, []).extend(actions)
    return found


def instance_panels(instance: Instance, now: datetime) -> list[Panel]:
    """Return the panels of an instance, in the order of their registration."""
    return [panel for each in _neighbours for panel in each.instance_panels(instance, now)]


def origin_panels(origin: Origin, now: datetime) -> list[Panel]:
    """Return the panels of an origin, in the order of their registration."""
    return [panel for each in _neighbours for panel in each.origin_panels(origin, now)]


def address_page(address: str) -> str:
    """Return where an address has a page of its own; "" where it has none."""
    return next(filter(None, (each.address_page(address) for each in _neighbours)), "")
