"""What other apps have to say on pages over instances and origins: they register it at start-up.

`relays` knows nothing of them. What is about instances is asked for all of them at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from relays.models import Instance, Origin
    from relays.selectors.abnormal import Abnormal


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
    """What can be done about an instance on another page: a link beside what is abnormal of it."""

    label: str
    url: str


class Neighbour:
    """An app with something to say; by itself it says nothing."""

    def facts(self, _now: datetime) -> Mapping[int, Fact]:
        """Return what there is to say of instances, by id."""
        return {}

    def lines(self, _now: datetime) -> list[Abnormal]:
        """Return lines for "abnormal now"."""
        return []

    def row_actions(self, _instance_ids: Collection[int]) -> Mapping[int, RowAction]:
        """Return an action for each of these instances that has one."""
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


def row_actions(instance_ids: Collection[int]) -> dict[int, list[RowAction]]:
    """Return the actions of each of these instances that has any."""
    found: dict[int, list[RowAction]] = {}
    for each in _neighbours if instance_ids else ():
        for pk, action in each.row_actions(instance_ids).items():
            found.setdefault(pk, []).append(action)
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
