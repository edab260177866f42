"""What zones, relay names and ramps add to the pages of instances and origins."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from dns.selectors import drift, instances, origins, ramps
from relays.models import Instance, Origin
from relays.selectors.abnormal import Abnormal, May
from relays.selectors.beside import Fact, Neighbour, Panel, RowAction


class Dns(Neighbour):
    """Which relay names lead to an instance, what its addresses' ramps say, and what origins need."""

    def facts(self, now: datetime) -> Mapping[int, Fact]:
        """Return "warming, day 3 of 14" and its like, by instance id."""
        return ramps.facts(now)

    def lines(self, now: datetime) -> list[Abnormal]:
        """Return a line for each ramp that is held or out, and each relay name not served as published."""
        return [*drift.abnormal(now), *ramps.abnormal(now)]

    def row_actions(self, may: May) -> Mapping[int, Sequence[RowAction]]:
        """Offer to take an instance's address out of DNS, or to put it back."""
        return instances.dns_actions() if may(instances.CHANGE_WEIGHTS) else {}

    def instance_panels(self, instance: Instance, now: datetime) -> list[Panel]:
        """Show the relay names that lead there."""
        return [instances.instance_panel(instance, now)]

    def origin_panels(self, origin: Origin, now: datetime) -> list[Panel]:
        """Show what the origin needs to use relay names."""
        return [origins.origin_panel(origin, now)]

    def address_page(self, address: str) -> str:
        """Lead to the address's passport."""
        return ramps.address_page(address)
