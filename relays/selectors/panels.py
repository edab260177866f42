"""What other apps add to pages over origins and instances: they register it at start-up."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from relays.models import Instance, Origin


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


_origin_panels: list[Callable[[Origin, datetime], Panel]] = []
_instance_panels: list[Callable[[Instance, datetime], Panel]] = []
_row_actions: list[Callable[[Collection[int]], Mapping[int, RowAction]]] = []


def register_origin_panel(make: Callable[[Origin, datetime], Panel]) -> None:
    """Have a panel on the page of every origin."""
    _origin_panels.append(make)


def register_instance_panel(make: Callable[[Instance, datetime], Panel]) -> None:
    """Have a panel on the page of every instance."""
    _instance_panels.append(make)


def register_row_action(find: Callable[[Collection[int]], Mapping[int, RowAction]]) -> None:
    """Have an action beside the instances that it is for; find gets all their ids at once."""
    _row_actions.append(find)


def origin_panels(origin: Origin, now: datetime) -> list[Panel]:
    """Return the panels of an origin, in the order of their registration."""
    return [make(origin, now) for make in _origin_panels]


def instance_panels(instance: Instance, now: datetime) -> list[Panel]:
    """Return the panels of an instance, in the order of their registration."""
    return [make(instance, now) for make in _instance_panels]


def row_actions(instance_ids: Collection[int]) -> dict[int, list[RowAction]]:
    """Return the actions of each of these instances that has any."""
    found: dict[int, list[RowAction]] = {}
    for find in _row_actions if instance_ids else ():
        for pk, action in find(instance_ids).items():
            found.setdefault(pk, []).append(action)
    return found
