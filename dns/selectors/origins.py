"""An origin and the relay names that it uses: what it needs, and whether its mail goes through them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import OuterRef, Q, Subquery

from dns.domain.observed import is_beyond_chance, most_draws, observe
from dns.domain.origins import Route, mynetworks, relayhost, transport_lines
from dns.domain.weights import to_shares
from dns.models import PublishedState, RelayName
from dns.selectors.counts import counts_by_span, totals
from dns.selectors.shares import lua_ttl
from relays.domain.words import count, visible
from relays.models import Instance, Origin
from relays.selectors.accepted import BUCKET_S, Volume, accepted, denied
from relays.selectors.beside import Panel
from relays.selectors.outcomes import LATE, Counted, counted_of

# A change is looked back on for so long: mail that its old records led to is no bypass.
_LOOK_BACK = timedelta(hours=2)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class InstanceNeed:
    """An instance that relay names lead an origin to, and what it accepted from there."""

    pk: int
    name: str
    host: str
    addresses: str
    # "" where its log is not read up to now.
    hour: str
    day: str
    has_taken: bool
    # Recipients of the last hour to which it was not allowed to relay: "" where there were none.
    denied: str
    # Messages of the last hour that its published share makes it expect, where none came: "" otherwise.
    missed: str


@dataclass(frozen=True, slots=True)
class Bypass:
    """An instance that accepted an origin's mail in the last hour, and to which no relay name of it leads."""

    pk: int
    name: str
    host: str
    messages: str


@dataclass(frozen=True, slots=True)
class OriginNeeds:
    """All that an origin's panel shows. clients: its addresses as mynetworks takes them."""

    pk: int
    lines: list[str]
    relayhost: str
    without_provider: list[str]
    clients: str
    needs: list[InstanceNeed]
    bypasses: list[Bypass]
    counted: Counted


def relay_names_of(origin: Origin) -> list[RelayName]:
    """Return the relay names that an origin uses: those of its zones, and of zones that name no origin."""
    used = Q(zone__origins=origin) | Q(zone__origins=None)
    found = RelayName.objects.filter(used).select_related("provider", "zone")
    return list(found.prefetch_related("provider__domains").distinct())


def transport_of(origin: Origin) -> tuple[list[str], str]:
    """Return the lines of an origin's transport map, and its relayhost, "" where it needs none."""
    routes = _routes(relay_names_of(origin))
    return transport_lines(routes), relayhost(routes)


def origin_panel(origin: Origin, now: datetime) -> Panel:
    """Return the panel for an origin's page."""
    return Panel("dns/_origin.html", {"needs": origin_needs(origin, now)})


def origin_needs(origin: Origin, now: datetime) -> OriginNeeds:
    """Return what an origin needs, and what the relays' logs tell of it."""
    names = relay_names_of(origin)
    routes = _routes(names)
    led_to = _led_to(names, now)
    volumes = accepted("instance_id", now=now, where=Q(client__origin=origin))
    by_instance = {pk: volume for (pk,), volume in volumes.items()}
    refused = {pk: n for (pk,), n in denied("instance_id", now=now, where=Q(client__origin=origin)).items()}
    missed = _missed(names, origin, now)
    present = Instance.objects.filter(removed_at=None).select_related("host", "state")
    present = present.prefetch_related("addresses")
    instances = [one for one in present if any(address.ip in led_to for address in one.addresses.all())]
    known = {one.pk for one in instances}
    return OriginNeeds(
        pk=origin.pk,
        lines=transport_lines(routes),
        relayhost=relayhost(routes),
        without_provider=[row.name for row in names if row.provider is None],
        clients=mynetworks(origin.clients.values_list("ip", flat=True)),
        needs=[
            _need(one, by_instance.get(one.pk, Volume()), refused.get(one.pk, 0), missed, now)
            for one in instances
        ],
        bypasses=_bypasses(present, by_instance, known) if names else [],
        counted=counted_of(Instance.objects.filter(removed_at=None), now),
    )


def _routes(names: Iterable[RelayName]) -> list[Route]:
    routes = []
    for row in names:
        if row.provider is None:
            continue
        domains = () if row.provider.catch_all else tuple(one.domain for one in row.provider.domains.all())
        if domains or row.provider.catch_all:
            routes.append(Route(row.name, domains))
    return routes


def _led_to(names: Iterable[RelayName], now: datetime) -> set[str]:
    """Return the addresses that are published, and those that were within the time that is looked back on."""
    since = now - _LOOK_BACK
    states = PublishedState.objects.filter(relay_name__in=names)
    before = states.filter(relay_name=OuterRef("relay_name"), effective_at__lt=since).order_by("-at", "-id")
    in_force_then = states.filter(pk=Subquery(before.values("pk")[:1]))
    found = states.filter(effective_at__gte=since) | in_force_then
    return {address for parts in found.values_list("parts", flat=True) for address in parts}


def _missed(names: Iterable[RelayName], origin: Origin, now: datetime) -> dict[str, int]:
    """Return of each address of which chance explains no absence how many messages it was to get in an hour.

    Of names that have served the same for an hour; an address that got any has missed none.
    """
    since = now - _HOUR
    states = [state for state in _newest(names) if state.effective_at < since]
    counts = counts_by_span(
        {address for state in states for address in state.parts},
        origins=[origin.pk],
        span_s=BUCKET_S,
        first=-(-int(since.timestamp()) // BUCKET_S) * BUCKET_S,
        end=int(now.timestamp()),
    )
    came = totals(counts)
    missed: dict[str, int] = {}
    for state in states:
        total = sum(came.get(address, 0) for address in state.parts)
        draws = most_draws(total, seconds=len(counts) * BUCKET_S, ttl=lua_ttl(state))
        for address, share in to_shares(state.parts).items():
            if not came.get(address) and is_beyond_chance(observe(0, total, draws), float(share)):
                missed[address] = missed.get(address, 0) + round(float(share) * total)
    return missed


def _newest(names: Iterable[RelayName]) -> list[PublishedState]:
    states = PublishedState.objects.filter(relay_name__in=names)
    newest = states.filter(relay_name=OuterRef("relay_name")).order_by("-at", "-id")
    return list(states.filter(pk=Subquery(newest.values("pk")[:1])))


def _need(
    instance: Instance, volume: Volume, refused: int, missed: Mapping[str, int], now: datetime
) -> InstanceNeed:
    addresses = [address.ip for address in instance.addresses.all()]
    state = getattr(instance, "state", None)
    # What came to an instance whose log is behind is not known yet.
    is_counted = state is not None and state.outcomes_at is not None and now - state.outcomes_at <= LATE
    expected = sum(missed.get(address, 0) for address in addresses) if is_counted else 0
    return InstanceNeed(
        instance.pk,
        visible(instance.name),
        instance.host.name,
        ", ".join(addresses),
        count(volume.hour) if is_counted else "",
        count(volume.day) if is_counted else "",
        volume.day > 0,
        count(refused) if refused else "",
        count(expected) if expected else "",
    )


def _bypasses(instances: Iterable[Instance], volumes: dict[int, Volume], led_to: set[int]) -> list[Bypass]:
    return [
        Bypass(one.pk, visible(one.name), one.host.name, count(volumes[one.pk].hour))
        for one in instances
        if one.pk not in led_to and one.pk in volumes and volumes[one.pk].hour
    ]
