"""What other apps add to the page of an origin: they register it at start-up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from relays.models import Origin


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of a page: its template, and what that needs, which it finds as `panel.context`."""

    template: str
    context: Mapping[str, Any]


_origin_panels: list[Callable[[Origin, datetime], Panel]] = []


def register_origin_panel(make: Callable[[Origin, datetime], Panel]) -> None:
    """Have a panel on the page of every origin."""
    _origin_panels.append(make)


def origin_panels(origin: Origin, now: datetime) -> list[Panel]:
    """Return the panels of an origin, in the order of their registration."""
    return [make(origin, now) for make in _origin_panels]
