"""The three shares of a relay name's addresses, side by side: wanted, published, observed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from dns.domain.observed import (
    CHANCE,
    Observed,
    is_beyond_chance,
    likely_causes,
    most_draws,
    observe,
    standard_error,
)
from dns.domain.records import RecordSet
from dns.domain.weights import NotOurs, Rendering, percent, read_back, to_shares
from dns.models import PublishedState, RelayName
from dns.selectors.counts import Counts, counts_by_span, instances_of, totals
from dns.services.weights import weights_of
from relays.models import Address
from relays.selectors.accepted import BUCKET_S
from relays.selectors.outcomes import LATE, Counted, counted_of

# What is observed is counted over this long, or since the last change took effect.
_LOOK_BACK = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ShareRow:
    """An address with its shares, 0 to 1.

    unknown: why what is observed is not known, "" where it is; causes: why it leaves published by more than
    chance.
    """

    address: str
    weight: int
    is_on: bool
    is_warm: bool
    wanted_share: float
    published_share: float
    seen: Observed
    unknown: str
    causes: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """In percent."""
        return percent(self.wanted_share)

    @property
    def published(self) -> str:
        """In percent."""
        return percent(self.published_share)

    @property
    def observed(self) -> str:
        """In percent, with what the true share lies between and how many messages or draws tell it."""
        if self.unknown:
            return "not known"
        if not self.seen.total:
            return "no messages"
        between = f"{percent(self.seen.low)} to {percent(self.seen.high)}"
        told = f"{percent(self.seen.share)} ({between}, {self.seen.total:,} messages"
        few = self.seen.draws < self.seen.total
        return f"{told} by at most {self.seen.draws:,} draws)" if few else f"{told})"

    @property
    def is_off(self) -> str:
        """Say by how much observed leaves published where chance does not explain it; "" where it does."""
        if not self.causes:
            return ""
        by_chance = CHANCE * standard_error(self.published_share, self.seen.draws)
        return (
            f"{self.address} gets {percent(self.seen.share)} where {self.published} is published: "
            f"chance explains {100 * by_chance:.1f} points."
        )

    def as_json(self) -> dict[str, Any]:
        """Return the row for programs."""
        return {
            "address": self.address,
            "weight": self.weight,
            "on": self.is_on,
            "warm": self.is_warm,
            "wanted": self.wanted_share,
            "published": self.published_share,
            "observed": None
            if self.unknown
            else {
                "messages": self.seen.messages,
                "total": self.seen.total,
                "draws": self.seen.draws,
                "low": self.seen.low,
                "high": self.seen.high,
            },
            "likely_causes": list(self.causes),
        }


@dataclass(frozen=True, slots=True)
class Shares:
    """A relay name's addresses with their shares. since: when what is counted as observed began."""

    rows: list[ShareRow]
    counted: Counted
    since: datetime

    @property
    def unknown(self) -> str:
        """Say why what is observed is not known; "" where it is."""
        return next((row.unknown for row in self.rows if row.unknown), "")

    @property
    def off(self) -> list[str]:
        """Return of each address whose mail leaves its published share by how much it does."""
        return [row.is_off for row in self.rows if row.is_off]

    @property
    def causes(self) -> tuple[str, ...]:
        """Return the likely causes where observed leaves published by more than chance."""
        return next((row.causes for row in self.rows if row.causes), ())


def share_rows(relay_name: RelayName, *, now: datetime | None = None) -> list[ShareRow]:
    """Return a relay name's addresses with their shares."""
    return shares_of(relay_name, now=now or timezone.now()).rows


def shares_of(relay_name: RelayName, *, now: datetime) -> Shares:
    """Return a relay name's three shares, with how far the logs are counted that tell the third."""
    state = relay_name.published.first()
    since = max(now - _LOOK_BACK, state.effective_at) if state else now - _LOOK_BACK
    telling = list({*(state.parts if state else ()), *(a for a, w in weights_of(relay_name).items() if w)})
    counted = counted_of(instances_of(telling), now)
    counts = counts_by_span(
        [row.address for row in relay_name.weights.all()],
        origins=origins_of(relay_name),
        span_s=BUCKET_S,
        first=_first_bucket(since),
        end=whole_buckets(counted.oldest or now),
    )
    unknown = _unknown(sorted(telling), since, counted.oldest or now, now)
    return Shares(_rows(relay_name, state, counts, unknown), counted, since)


def origins_of(relay_name: RelayName) -> list[int]:
    """Return the ids of the origins whose mail alone is observed; of none, where it is everybody's."""
    return list(relay_name.zone.origins.values_list("pk", flat=True))


def lua_ttl(state: PublishedState | None) -> int | None:
    """Return for how long one drawn address serves all mail: of `lua` alone, in seconds."""
    sets = [RecordSet.from_json(item) for item in state.records] if state else []
    return next((item.ttl for item in sets if item.type == "LUA"), None)


def _unknown(addresses: Sequence[str], since: datetime, counted_to: datetime, now: datetime) -> str:
    """Say why nobody can tell what these addresses took since then; "" where all their logs are read."""
    senders = Address.objects.filter(ip__in=addresses, instance__removed_at=None)
    counted = dict(senders.values_list("ip", "instance__state__outcomes_at"))
    for address in addresses:
        if address not in counted:
            return f"no instance sends from {address}."
        if (at := counted[address]) is None or now - at > LATE:
            return f"the log of {address} is not read up to now."
    if _first_bucket(since) >= whole_buckets(counted_to):
        return "what is published has not been in effect for a bucket of 5 minutes yet."
    return ""


def _first_bucket(since: datetime) -> int:
    """Return when the first bucket begins wholly after this: one with a change tells of both sides."""
    return -(-int(since.timestamp()) // BUCKET_S) * BUCKET_S


def whole_buckets(counted_to: datetime) -> int:
    """Return up to when buckets are whole: logs are read to different times, and would tell unlike shares."""
    return int(counted_to.timestamp()) // BUCKET_S * BUCKET_S


def _published_rendering(relay_name: RelayName, state: PublishedState | None) -> Rendering:
    """Return how what is published is rendered: another one may be set and not published yet."""
    records = [RecordSet.from_json(item) for item in state.records] if state else []
    try:
        return read_back(relay_name.name, records).rendering
    except NotOurs:
        return Rendering(relay_name.rendering)


def _rows(
    relay_name: RelayName, state: PublishedState | None, counts: Counts, unknown: str
) -> list[ShareRow]:
    carrying = {address: weight for address, weight in weights_of(relay_name).items() if weight}
    wanted = to_shares(carrying)
    published = {address: float(share) for address, share in to_shares(state.parts).items()} if state else {}
    messages = totals(counts)
    total = sum(messages.values())
    draws = most_draws(total, seconds=len(counts) * BUCKET_S, ttl=lua_ttl(state))
    rendering = _published_rendering(relay_name, state)
    rows = []
    for row in relay_name.weights.all():
        share = published.get(row.address, 0.0)
        seen = observe(messages.get(row.address, 0), total, draws)
        beyond = not unknown and is_beyond_chance(seen, share)
        causes = likely_causes(rendering, published) if beyond else []
        rows.append(
            ShareRow(
                row.address,
                row.weight,
                row.is_on,
                row.is_warm,
                float(wanted.get(row.address, 0)),
                share,
                seen,
                unknown,
                tuple(causes),
            )
        )
    return rows
