"""An instance and the relay names that lead to it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import OuterRef, Subquery

from dns.domain.weights import percent, to_shares
from dns.models import PublishedState, Weight
from dns.services.weights import weights_of
from relays.models import Address, Instance
from relays.selectors.beside import Panel, RowAction
from relays.selectors.figures import moment
from relays.selectors.readings import instance_urls


@dataclass(frozen=True, slots=True)
class LeadsHere:
    """A relay name with the share of it that an address of the instance is to get, and the published one."""

    pk: int
    name: str
    address: str
    is_on: bool
    wanted: str
    published: str
    asof: str


def instance_panel(instance: Instance, now: datetime) -> Panel:
    """Return the panel for an instance's page."""
    return Panel("dns/_instance.html", {"rows": leads_here(instance, now)})


def leads_here(instance: Instance, now: datetime) -> list[LeadsHere]:
    """Return the relay names that know an address of an instance; the number of queries does not grow."""
    addresses = instance.addresses.values("ip")
    newest = PublishedState.objects.filter(relay_name=OuterRef("relay_name")).order_by("-at", "-id")
    weights = (
        Weight.objects.filter(address__in=addresses)
        .annotate(parts=Subquery(newest.values("parts")[:1]))
        .select_related("relay_name")
        .prefetch_related("relay_name__weights")
        .order_by("relay_name__name", "pk")
    )
    return [_row(weight, weight.parts or {}, now) for weight in weights]


def out_of_dns_actions(instance_ids: Collection[int]) -> dict[int, RowAction]:
    """Return for each of these instances that relay names lead to where it is taken out."""
    carrying = Weight.objects.filter(is_on=True).values("address")
    led_to = Address.objects.filter(instance__in=instance_ids, ip__in=carrying)
    return {
        pk: RowAction("Take out of DNS", f"{instance_urls().format(pk)}#relay-names")
        for pk in led_to.values_list("instance_id", flat=True)
    }


def _row(weight: Weight, parts: dict[str, int], now: datetime) -> LeadsHere:
    carrying = {address: number for address, number in weights_of(weight.relay_name).items() if number}
    wanted = to_shares(carrying).get(weight.address, 0)
    published = to_shares(parts).get(weight.address, 0)
    return LeadsHere(
        weight.relay_name_id,
        weight.relay_name.name,
        weight.address,
        weight.is_on,
        percent(float(wanted)),
        percent(float(published)),
        moment(weight.relay_name.served_at, now),
    )
