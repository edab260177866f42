"""Reading origins: what each handed over and through which instances, and the clients nobody claims."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from relays.domain.words import count, visible
from relays.models import Address, Client, Origin, Provider
from relays.selectors.accepted import NO_ADDRESS, Volume, accepted, fleet_clients
from relays.selectors.figures import moment
from relays.selectors.readings import instance_urls
from relays.services.origins import suggested_name

INSTANCES_SHOWN = 200
# More columns than a screen holds; all others share the last one.
ORIGINS_SHOWN = 5
# Addresses or instances in one cell of the table of origins.
SHOWN_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class OriginRow:
    """One line of the table of origins."""

    pk: int
    name: str
    addresses: str
    hour: str
    day: str
    instances: str
    moment: str


def origin_rows(now: datetime) -> list[OriginRow]:
    """Return all origins by name."""
    through: dict[int, list[tuple[str, Volume]]] = defaultdict(list)
    claimed = Q(client__origin__isnull=False)
    keys = ("client__origin_id", "instance_id", "instance__name")
    for (origin, _, instance), volume in accepted(*keys, now=now, where=claimed).items():
        through[origin].append((instance, volume))
    return [
        _origin_row(origin, through[origin.pk], now) for origin in Origin.objects.prefetch_related("clients")
    ]


def _origin_row(origin: Origin, through: list[tuple[str, Volume]], now: datetime) -> OriginRow:
    clients = list(origin.clients.all())
    busiest = sorted(through, key=lambda pair: (-pair[1].day, pair[0]))
    return OriginRow(
        pk=origin.pk,
        name=visible(origin.name),
        addresses=_some([client.ip for client in clients]),
        hour=count(sum(volume.hour for _, volume in through)),
        day=count(sum(volume.day for _, volume in through)),
        instances=_some([f"{visible(name)} {volume.day:,}" for name, volume in busiest]),
        moment=moment(max((c.last_seen_at for c in clients if c.last_seen_at), default=None), now),
    )


def _some(texts: list[str]) -> str:
    more = len(texts) - SHOWN_AT_ONCE
    return ", ".join(texts[:SHOWN_AT_ONCE]) + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One line of a table of clients."""

    pk: int
    ip: str
    name: str
    hour: str
    day: str
    first_seen: str
    moment: str


def unclaimed() -> QuerySet[Client]:
    """Return the clients that no origin claims and that are not the fleet's own, newest first."""
    own = fleet_clients().values("pk")
    seen = Client.objects.filter(origin=None, last_seen_at__isnull=False)
    return seen.exclude(pk__in=own).exclude(ip=NO_ADDRESS).order_by("-last_seen_at", "pk")


def client_rows(clients: Iterable[Client], now: datetime) -> list[ClientRow]:
    """Return table rows of the clients, with what each brought."""
    shown = list(clients)
    volumes = accepted("client_id", now=now, where=Q(client__in=[client.pk for client in shown]))
    return [_client_row(client, volumes.get((client.pk,), Volume()), now) for client in shown]


def _client_row(client: Client, volume: Volume, now: datetime) -> ClientRow:
    return ClientRow(
        pk=client.pk,
        ip=client.ip,
        name=visible(client.name),
        hour=count(volume.hour),
        day=count(volume.day),
        first_seen=moment(client.first_seen_at, now),
        moment=moment(client.last_seen_at, now),
    )


@dataclass(frozen=True, slots=True)
class AdoptableRow:
    """A client that waits, what a new origin of it would be called, and the origin that is called so."""

    client: ClientRow
    new_name: str
    origin: int | None


def adoptable_rows(clients: Iterable[Client], now: datetime) -> list[AdoptableRow]:
    """Return table rows of the clients, with what each could be adopted as."""
    shown = list(clients)
    names = [suggested_name(client) for client in shown]
    known = dict(Origin.objects.filter(name__in=names).values_list("name", "pk"))
    rows = zip(client_rows(shown, now), names, strict=True)
    return [AdoptableRow(row, visible(name), known.get(name)) for row, name in rows]


def origin_choices() -> list[tuple[int, str]]:
    """Return all origins, id and name."""
    return [(pk, visible(name)) for pk, name in Origin.objects.values_list("pk", "name")]


@dataclass(frozen=True, slots=True)
class NobodysRow:
    """A client that can be no origin's, and what it is."""

    ip: str
    what: str
    hour: str
    day: str


def nobodys_rows(now: datetime) -> list[NobodysRow]:
    """Return what can be no origin's of the last day, the busiest first: mostly the fleet's own clients."""
    where = Q(client__in=fleet_clients().values("pk")) | Q(client__ip=NO_ADDRESS)
    volumes = accepted("client__ip", now=now, where=where)
    instances: dict[str, list[str]] = defaultdict(list)
    present = Address.objects.filter(instance__removed_at=None, ip__in=[ip for (ip,) in volumes])
    for address in present.select_related("instance__host"):
        instances[address.ip].append(f"{visible(address.instance.name)} on {address.instance.host.name}")
    busiest = sorted(volumes.items(), key=lambda item: -item[1].day)
    return [_nobodys_row(ip, instances[ip], volume) for (ip,), volume in busiest]


def _nobodys_row(ip: str, instances: list[str], volume: Volume) -> NobodysRow:
    if ip == NO_ADDRESS:
        what = "no address in the log, or more clients than are kept apart"
        return NobodysRow("none", what, count(volume.hour), count(volume.day))
    what = f"{', '.join(instances) or 'the hosts themselves'}: handed over inside the fleet"
    return NobodysRow(ip, what, count(volume.hour), count(volume.day))


class _Place(NamedTuple):
    """An instance, as the accepted counts reach it."""

    id: int
    name: str
    host: str
    provider: str | None


_PLACE = ("instance_id", "instance__name", "instance__host__name", "instance__provider__slug")


@dataclass(frozen=True, slots=True)
class ShareRow:
    """What came through one instance, and its share of all that came for its provider."""

    instance: str
    url: str
    host: str
    provider: str
    hour: str
    day: str
    share: str
    # The day's count by column of the table's origins.
    origins: list[str]


@dataclass(frozen=True, slots=True)
class Shares:
    """Instances with what each accepted, and the origins that have a column."""

    origins: list[str]
    rows: list[ShareRow]
    # Instances beyond those shown.
    beyond: int


def providers_with_mail(now: datetime) -> list[str]:
    """Return the slugs of the providers whose instances accepted something in the last day, busiest first."""
    volumes = accepted("instance__provider__slug", now=now, where=_from_outside())
    busiest = sorted(volumes.items(), key=lambda item: (-item[1].day, str(item[0])))
    return [slug for (slug,), _ in busiest if slug is not None]


def provider_shares(provider: Provider, now: datetime) -> Shares:
    """Return how a provider's mail came in over its instances, and how much of it each origin sent."""
    where = _from_outside() & Q(instance__provider=provider)
    cells = accepted("instance_id", "client__origin__name", now=now, where=where)
    columns = _columns(cells)
    places = accepted(*_PLACE, now=now, where=where)
    return _shares({_Place._make(key): volume for key, volume in places.items()}, cells, columns)


def origin_shares(origin: Origin, now: datetime) -> Shares:
    """Return through which instances an origin's mail came in; a share is of its mail for a provider."""
    places = accepted(*_PLACE, now=now, where=Q(client__origin=origin))
    return _shares({_Place._make(key): volume for key, volume in places.items()}, {}, [])


def _from_outside() -> Q:
    return ~Q(client__in=fleet_clients().values("pk"))


def _columns(cells: dict[tuple[Any, ...], Volume]) -> list[list[str | None]]:
    """Return the names of the busiest origins, one a column, and all others in one; None: no origin's."""
    days: Counter[str | None] = Counter()
    for (_, name), volume in cells.items():
        days[name] += volume.day
    busiest = [name for name, _ in days.most_common()]
    columns: list[list[str | None]] = [[name] for name in busiest[:ORIGINS_SHOWN]]
    return [*columns, busiest[ORIGINS_SHOWN:]] if busiest[ORIGINS_SHOWN:] else columns


def _shares(
    places: dict[_Place, Volume], cells: dict[tuple[Any, ...], Volume], columns: list[list[str | None]]
) -> Shares:
    whole: Counter[str | None] = Counter()
    for place, volume in places.items():
        whole[place.provider] += volume.day
    shown = sorted(places, key=lambda place: (-whole[place.provider], -places[place].day, place))
    url = instance_urls()
    rows = [
        ShareRow(
            instance=visible(place.name),
            url=url.format(place.id),
            host=place.host,
            provider=place.provider or "",
            hour=count(places[place].hour),
            day=count(places[place].day),
            share=_percent(places[place].day, whole[place.provider]),
            origins=[
                count(sum(cells.get((place.id, name), Volume()).day for name in names)) for names in columns
            ],
        )
        for place in shown[:INSTANCES_SHOWN]
    ]
    return Shares([_heading(names) for names in columns], rows, max(0, len(shown) - INSTANCES_SHOWN))


def _heading(names: list[str | None]) -> str:
    if len(names) > 1:
        return f"{len(names)} others"
    return "no origin" if names[0] is None else visible(names[0])


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"
