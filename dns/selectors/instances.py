"""An instance and the relay names that lead to it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from django.db.models import OuterRef, Subquery
from django.urls import reverse

from dns.domain.weights import percent, to_shares
from dns.models import RAMPS_LIVE, Out, PublishedState, Ramp, RelayName, Weight
from dns.services.weights import AddressBack, AddressOut, weights_of
from relays.models import Address, Instance
from relays.selectors.beside import Panel, RowAction
from relays.selectors.figures import moment

# Whoever may not is offered no button.
CHANGE_WEIGHTS = AddressOut.permission
# An address of more relay names has its buttons on its instance's page.
ACTIONS_SHOWN = 3


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


def dns_actions() -> dict[int, list[RowAction]]:
    """Return for each instance, by id, how its address is taken out of relay names or put back, in one click.

    An address whose ramp has not begun was never in, and is none that comes back.
    """
    names = list(RelayName.objects.prefetch_related("weights"))
    if not names:
        return {}
    known = Address.objects.filter(instance__removed_at=None, ip__in=Weight.objects.values("address"))
    owners: dict[str, list[int]] = defaultdict(list)
    for address, pk in known.values_list("ip", "instance_id"):
        owners[address].append(pk)
    unstarted = Ramp.objects.filter(state__in=RAMPS_LIVE, out=Out.UNSTARTED)
    skipped = set(unstarted.values_list("relay_name_id", "address"))
    found: dict[int, list[tuple[RelayName, Weight]]] = defaultdict(list)
    for name in names:
        for weight in name.weights.all():
            if (name.pk, weight.address) not in skipped:
                for pk in owners.get(weight.address, ()):
                    found[pk].append((name, weight))
    return {pk: _actions(pairs) for pk, pairs in found.items()}


def _actions(pairs: Sequence[tuple[RelayName, Weight]]) -> list[RowAction]:
    if len(pairs) > ACTIONS_SHOWN:
        return [RowAction(f"{len(pairs)} relay names lead here: its page takes it out of each")]
    return [_action(name, weight, "DNS" if len(pairs) == 1 else name.name) for name, weight in pairs]


def _action(name: RelayName, weight: Weight, where: str) -> RowAction:
    url = _plan_urls()
    if not weight.is_on:
        back = url.format(name.pk, AddressBack.name)
        return RowAction(f"Put back into {where}", back, weight.address, lasting=True)
    if why := _why_it_stays(name, weight):
        return RowAction(why)
    return RowAction(f"Take out of {where}", url.format(name.pk, AddressOut.name), weight.address)


def _why_it_stays(name: RelayName, weight: Weight) -> str:
    """Say why an address may not go out, as domain/safety.py would refuse it; "" where it may."""
    rest = [one for one in name.weights.all() if one.is_on and one.pk != weight.pk]
    if not rest:
        return f"the only address of {name.name}: it stays"
    warm = sum(one.is_warm for one in rest)
    if warm >= name.min_warm:
        return ""
    which = "one of the last warm addresses" if warm else "the last warm address"
    return f"{which} of {name.name}: it stays"


@cache
def _plan_urls() -> str:
    """Return the pages that plan a change of a relay name, with {} for its id and for the kind."""
    return reverse("dns:relay-name-plan", args=[0, "kind"]).replace("0", "{}", 1).replace("kind", "{}")


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
