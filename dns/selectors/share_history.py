"""The three shares of a relay name over time, with the changes of its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dns.domain.observed import Observed, most_draws, observe
from dns.domain.weights import percent, to_shares
from dns.models import PublishedState, RelayName
from dns.selectors.counts import counts_by_span, instances_of
from dns.selectors.shares import lua_ttl, origins_of, whole_buckets
from relays.models import Address
from relays.selectors.figures import Clock, clock
from relays.selectors.outcomes import counted_of
from relays.selectors.ranges import Range

# More changes than a chart has room for.
_STATES = 200


@dataclass(frozen=True, slots=True)
class ShareSpan:
    """A span of time: its start in seconds since 1970, and what each address got of its messages."""

    ts: int
    seen: Mapping[str, Observed]


@dataclass(frozen=True, slots=True)
class StateSince:
    """What was wanted and published from a time on (seconds since 1970), 0 to 1, and by which operation."""

    ts: int
    wanted: Mapping[str, float]
    published: Mapping[str, float]
    operation: int | None


@dataclass(frozen=True, slots=True)
class ShareHistory:
    """A relay name's shares from `first` to `last`: states oldest first, with the one in force at `first`.

    unknown: why no span is told, "" where all are.
    """

    addresses: list[str]
    spans: list[ShareSpan]
    states: list[StateSince]
    span_s: int
    first: int
    last: int
    unknown: str = ""


def share_history(relay_name: RelayName, chosen: Range, now: datetime) -> ShareHistory:
    """Return the shares of a range. A span without a message is left out: nothing was drawn in it."""
    span_s, first = chosen.span_s, chosen.first(now, chosen.span_s)
    addresses = list(relay_name.weights.values_list("address", flat=True))
    rows = list(relay_name.published.all()[:_STATES])
    counted = counted_of(instances_of(addresses), now)
    counts = counts_by_span(
        addresses,
        origins=origins_of(relay_name),
        span_s=span_s,
        first=first,
        end=whole_buckets(counted.oldest or now),
    )
    states = _states(rows, first)
    unknown = _unknown(states)
    spans = [
        ShareSpan(ts, _seen(addresses, messages, span_s, _in_force(rows, ts)))
        for ts, messages in ({} if unknown else counts).items()
    ]
    return ShareHistory(addresses, spans, states, span_s, first, int(now.timestamp()), unknown)


def _unknown(states: Sequence[StateSince]) -> str:
    """Say which log that tells of these was never read: without it the others' shares are wrong too."""
    published = {address for state in states for address, share in state.published.items() if share}
    silent = Address.objects.filter(
        ip__in=published, instance__removed_at=None, instance__state__outcomes_at=None
    )
    unread = sorted(silent.values_list("ip", flat=True))
    return f"Not known: the log of {', '.join(unread)} was never read." if unread else ""


def _seen(
    addresses: Sequence[str], messages: Mapping[str, int], span_s: int, state: PublishedState | None
) -> dict[str, Observed]:
    total = sum(messages.values())
    draws = most_draws(total, seconds=span_s, ttl=lua_ttl(state))
    return {address: observe(messages.get(address, 0), total, draws) for address in addresses}


def _in_force(newest_first: Sequence[PublishedState], ts: int) -> PublishedState | None:
    return next((row for row in newest_first if row.at.timestamp() <= ts), None)


def _states(newest_first: Sequence[PublishedState], first: int) -> list[StateSince]:
    shown: list[StateSince] = []
    for row in newest_first:
        shown.insert(0, _state(row))
        if row.at.timestamp() <= first:
            break
    return shown


def _state(row: PublishedState) -> StateSince:
    carrying = {address: weight for address, weight in row.wanted.items() if weight}
    return StateSince(
        int(row.at.timestamp()), _floats(carrying), _floats(row.parts), operation=row.operation_id
    )


def _floats(weights: Mapping[str, int]) -> dict[str, float]:
    return {address: float(share) for address, share in to_shares(weights).items()} if weights else {}


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A line of the chart's figures as a table: the messages of all, and the share of each address."""

    at: Clock | None
    messages: str
    observed: list[str]


def history_table(history: ShareHistory, now: datetime) -> list[HistoryRow]:
    """Return a chart's counts as a table, the newest first."""
    return [
        HistoryRow(
            clock(datetime.fromtimestamp(span.ts, UTC), now),
            f"{sum(seen.messages for seen in span.seen.values()):,}",
            [percent(span.seen[address].share) for address in history.addresses],
        )
        for span in reversed(history.spans)
    ]
