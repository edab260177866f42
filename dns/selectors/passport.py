"""An address's passport: what it is, which names it serves, and what became of it over time."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from django.db.models import F, Min, Q, Sum

from dns.domain.weights import percent, to_shares
from dns.models import AddressNote, PublishedState, Ramp, RelayName, Weight
from dns.selectors.ramps import RampRow, ramp_rows
from relays.domain.health import REFUSALS, State
from relays.models import Address, Flush, Instance, ReplyCountsDay
from relays.selectors.figures import Clock, clock, moment

DAY_S = 24 * 3600
BLOCKS_OF_DAYS = 30
_STATES_SHOWN = 60
_FLUSHES_SHOWN = 30
_NOTES_SHOWN = 100


class Served(NamedTuple):
    """A relay name that has the address."""

    name: RelayName
    weight: Weight


class ShareAt(NamedTuple):
    """From when on an address had which share of a relay name."""

    at: Clock | None
    name: RelayName
    share: str
    operation: int | None


class Refused(NamedTuple):
    """A UTC day on which recipients were refused for the address's sake."""

    day: date
    throttled: int
    blocked: int


class FlushLine(NamedTuple):
    """A flush from or to the address's instance."""

    operation: int
    at: Clock | None
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Passport:
    """All of it. counted: how far the instance's log is, "" where none is read."""

    address: str
    instance: Instance | None
    first_seen: Clock | None
    names: list[Served]
    ramps: list[RampRow]
    shares: list[ShareAt]
    refused: list[Refused]
    counted: str
    flushes: list[FlushLine]
    notes: list[AddressNote]


def passport(address: str, now: datetime) -> Passport | None:
    """Return what is known of an address; None for one that the fleet never had."""
    owners = Address.objects.filter(ip=address).select_related("instance__host", "instance__state")
    rows = list(owners.order_by("instance__removed_at"))
    served = list(Weight.objects.filter(address=address).select_related("relay_name"))
    if not rows and not served:
        return None
    present = next((row.instance for row in rows if row.instance.removed_at is None), None)
    instances = [row.instance_id for row in rows]
    return Passport(
        address=address,
        instance=present,
        first_seen=clock(owners.aggregate(at=Min("instance__first_seen_at"))["at"], now),
        names=[Served(weight.relay_name, weight) for weight in served],
        ramps=ramp_rows(Ramp.objects.filter(address=address), now),
        shares=_shares(address, [weight.relay_name_id for weight in served], now),
        refused=_refused(instances, now),
        counted=_counted(present, now),
        flushes=_flushes(instances, now),
        notes=list(AddressNote.objects.filter(address=address)[:_NOTES_SHOWN]),
    )


def _shares(address: str, names: list[int], now: datetime) -> list[ShareAt]:
    states = PublishedState.objects.filter(relay_name__in=names).select_related("relay_name")
    return [
        ShareAt(
            clock(state.at, now),
            state.relay_name,
            percent(to_shares(state.parts)[address]) if address in state.parts else "out",
            state.operation_id,
        )
        for state in states[:_STATES_SHOWN]
    ]


def _refused(instances: list[int], now: datetime) -> list[Refused]:
    """Return the days with refusals among the last 30, newest first, by what the replies mean."""
    since = int(now.timestamp()) // DAY_S * DAY_S - (BLOCKS_OF_DAYS - 1) * DAY_S
    rows = ReplyCountsDay.objects.filter(
        instance__in=instances, ts__gte=since, cluster__reason__in=list(REFUSALS)
    )
    blocking = [reason for reason, state in REFUSALS.items() if state == State.BLOCKED]
    number = F("deferred") - F("suspended") + F("bounced") + F("softbounce")
    sums = (
        rows.order_by()
        .values_list("ts")
        .annotate(
            throttled=Sum(number, filter=~Q(cluster__reason__in=blocking)),
            blocked=Sum(number, filter=Q(cluster__reason__in=blocking)),
        )
    )
    return [
        Refused(datetime.fromtimestamp(ts, UTC).date(), throttled or 0, blocked or 0)
        for ts, throttled, blocked in sorted(sums, reverse=True)
    ]


def _counted(instance: Instance | None, now: datetime) -> str:
    state = getattr(instance, "state", None)
    if state is None:
        return ""
    late = state.outcomes_at is not None and now - state.outcomes_at > timedelta(minutes=5)
    return moment(state.outcomes_at, now, stale=late)


def _flushes(instances: list[int], now: datetime) -> list[FlushLine]:
    found = Flush.objects.filter(Q(source__in=instances) | Q(target__in=instances), began_at__isnull=False)
    return [
        FlushLine(
            row.operation_id,
            clock(row.began_at, now),
            f"from {row.source_name} to {row.target_name}",
            row.operation.outcome,
        )
        for row in found.select_related("operation").order_by("-pk")[:_FLUSHES_SHOWN]
    ]
