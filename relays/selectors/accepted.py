"""What instances accepted and from whom, over the last hour and the last day."""

from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Model, Q, QuerySet, Sum

from relays.models import Accepted, AcceptedHour, Address, Client

BUCKET_S = 300
HOUR_S = 3600
DAY_S = 24 * HOUR_S

# What is counted under it came from no address that a log told, or from more of them than are kept apart.
NO_ADDRESS = "::"


class Volume(NamedTuple):
    """Messages accepted in the last hour and in the last 24."""

    hour: int = 0
    day: int = 0


def fleet_clients() -> QuerySet[Client]:
    """Return the clients that are the fleet itself: its hosts' loopback, and its instances' addresses.

    What they brought had been accepted before, from an origin or from the host, and is handed over.
    """
    addresses = Address.objects.filter(instance__removed_at=None).values("ip")
    return Client.objects.filter(Q(ip__in=addresses) | Q(ip__startswith="127.") | Q(ip="::1"))


def accepted(*keys: str, now: datetime, where: Q | None = None) -> dict[tuple[Any, ...], Volume]:
    """Return volumes by the given fields of the accepted counts, of all clients unless `where` says which.

    The last hour is the 12 newest buckets, the last 24 are the 24 newest hours, with those that still grow.
    """
    at = int(now.timestamp())
    hour = _sums("messages", Accepted, keys, where, _hour_since(at))
    day = _sums("messages", AcceptedHour, keys, where, at // HOUR_S * HOUR_S - DAY_S + HOUR_S)
    return {key: Volume(hour.get(key, 0), day.get(key, 0)) for key in hour.keys() | day.keys()}


def denied(*keys: str, now: datetime, where: Q) -> dict[tuple[Any, ...], int]:
    """Return to how many recipients of the last hour clients were not allowed to relay: see accepted()."""
    return _sums("denied", Accepted, keys, where, _hour_since(int(now.timestamp())))


def _hour_since(at: int) -> int:
    return at // BUCKET_S * BUCKET_S - HOUR_S + BUCKET_S


def _sums(
    what: str, model: type[Model], keys: tuple[str, ...], where: Q | None, since: int
) -> dict[tuple[Any, ...], int]:
    counted = Q(**{f"{what}__gt": 0}, ts__gte=since)
    rows = model._default_manager.filter(where or Q(), counted).order_by().values_list(*keys)
    return {tuple(row[:-1]): row[-1] for row in rows.annotate(total=Sum(what))}
