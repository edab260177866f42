"""The three shares of a relay name's addresses, side by side: wanted, published, observed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, Sum
from django.utils import timezone

from dns.domain.observed import Observed, is_beyond_chance, likely_causes, observe
from dns.domain.weights import Rendering, percent, to_shares
from dns.models import RelayName
from dns.services.weights import weights_of
from relays.models import Accepted, Address
from relays.selectors.accepted import BUCKET_S, fleet_clients
from relays.selectors.outcomes import LATE

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
        """In percent, with what the true share lies between and how many messages tell it."""
        if self.unknown:
            return "not known"
        if not self.seen.total:
            return "no messages"
        between = f"{percent(self.seen.low)} to {percent(self.seen.high)}"
        return f"{percent(self.seen.share)} ({between}, {self.seen.total:,} messages)"

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
                "low": self.seen.low,
                "high": self.seen.high,
            },
            "likely_causes": list(self.causes),
        }


def share_rows(relay_name: RelayName, *, now: datetime | None = None) -> list[ShareRow]:
    """Return a relay name's addresses with their shares."""
    now = now or timezone.now()
    weights = list(relay_name.weights.all())
    carrying = {address: weight for address, weight in weights_of(relay_name).items() if weight}
    wanted = to_shares(carrying)
    state = relay_name.published.first()
    published = {address: float(share) for address, share in to_shares(state.parts).items()} if state else {}
    since = max(now - _LOOK_BACK, state.effective_at) if state else now - _LOOK_BACK
    origins = list(relay_name.zone.origins.values_list("pk", flat=True))
    counts = observed_counts([row.address for row in weights], since=since, origins=origins)
    total = sum(counts.values())
    unknown = _unknown(
        [*published, *(address for address in carrying if address not in published)], since, now
    )
    rows = []
    for row in weights:
        messages, share = counts.get(row.address, 0), published.get(row.address, 0.0)
        beyond = not unknown and is_beyond_chance(messages, total, share)
        causes = likely_causes(Rendering(relay_name.rendering), published) if beyond else []
        rows.append(
            ShareRow(
                row.address,
                row.weight,
                row.is_on,
                row.is_warm,
                float(wanted.get(row.address, 0)),
                share,
                observe(messages, total),
                unknown,
                tuple(causes),
            )
        )
    return rows


def _unknown(addresses: list[str], since: datetime, now: datetime) -> str:
    """Say why nobody can tell what these addresses took since then; "" where all their logs are read."""
    if _first_bucket(since) + BUCKET_S > now.timestamp():
        return "what is published has not been in effect for a bucket of 5 minutes yet."
    senders = Address.objects.filter(ip__in=addresses, instance__removed_at=None)
    counted = dict(senders.values_list("ip", "instance__state__outcomes_at"))
    for address in addresses:
        if address not in counted:
            return f"no instance sends from {address}."
        if (at := counted[address]) is None or now - at > LATE:
            return f"the log of {address} is not read up to now."
    return ""


def _first_bucket(since: datetime) -> int:
    """Return when the first bucket begins that is wholly after this."""
    return -(-int(since.timestamp()) // BUCKET_S) * BUCKET_S


def observed_counts(
    addresses: Iterable[str], *, since: datetime, origins: Sequence[int] = ()
) -> dict[str, int]:
    """Return messages accepted by the instance of each address, from others than the fleet itself.

    origins: ids of those whose mail alone counts, where some are given. Of whole buckets that began after
    `since`: one that a change falls into tells of both sides of it.
    """
    owners = dict(
        Address.objects.filter(ip__in=list(addresses), instance__removed_at=None).values_list(
            "instance_id", "ip"
        )
    )
    sent_by = Q(client__origin__in=origins) if origins else Q()
    rows = (
        Accepted.objects.filter(sent_by, instance__in=owners, ts__gte=_first_bucket(since))
        .exclude(client__in=fleet_clients())
        .order_by()
        .values_list("instance_id")
        .annotate(total=Sum("messages"))
    )
    return {owners[instance]: total for instance, total in rows}
