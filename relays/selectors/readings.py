"""The newest figures of many instances, without building a model for each."""

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple

from django.db.models import Case, Q, TextField, Value, When
from django.db.models.functions import Cast, Coalesce
from django.urls import reverse

from relays.domain.health import State
from relays.domain.shares import Outcome
from relays.models import Address, Instance
from relays.selectors.states import REMOVED

REMOVED_SHOWN_FOR = timedelta(days=1)


class Reading(NamedTuple):
    """One instance's newest figures, as the database holds them.

    Times stay its text, which sorts as they do: making 2,000 of them into objects takes longer than reading
    all the rest, and few are shown.
    """

    id: int
    name: str
    host_id: int
    provider_id: int | None
    removed: str | None
    sampled: str | None
    # One that was never asked is unknown, one that its host has no more is removed.
    state: str
    incoming: int | None
    active: int | None
    deferred: int | None
    hold: int | None
    corrupt: int | None
    oldest_s: int | None
    # Up to when its log is counted, and the last hour's outcomes up to then.
    counted: str | None
    hour_sent: int | None
    hour_deferred: int | None
    hour_bounced: int | None
    hour_expired: int | None

    @property
    def hour(self) -> Outcome | None:
        """The last hour's outcomes; None where its log was never read."""
        if self.hour_sent is None:
            return None
        return Outcome(
            sent=self.hour_sent,
            deferred=self.hour_deferred or 0,
            bounced=self.hour_bounced or 0,
            expired=self.hour_expired or 0,
        )


_STATE = Case(
    When(removed_at__isnull=False, then=Value(REMOVED)),
    default=Coalesce("state__state", Value(str(State.UNKNOWN))),
    output_field=TextField(),
)


def readings(now: datetime) -> list[Reading]:
    """Return every present instance's newest figures, and of those removed within a day, by name."""
    return [
        Reading._make(row)
        for row in Instance.objects.filter(Q(removed_at=None) | Q(removed_at__gt=now - REMOVED_SHOWN_FOR))
        .order_by("name", "host_id")
        .values_list(
            "id",
            "name",
            "host_id",
            "provider_id",
            Cast("removed_at", TextField()),
            Cast("state__sampled_at", TextField()),
            _STATE,
            "state__incoming",
            "state__active",
            "state__deferred",
            "state__hold",
            "state__corrupt",
            "state__oldest_s",
            Cast("state__outcomes_at", TextField()),
            "state__hour_sent",
            "state__hour_deferred",
            "state__hour_bounced",
            "state__hour_expired",
        )
    ]


NORMAL = frozenset({str(State.OK), str(State.QUIET)})


def normal(reading: Reading, stale: Collection[int]) -> bool:
    """Whether an instance may fold away: it is ok or has nothing to do, and so young a figure says so.

    stale: the ids of hosts whose figures are older than they should be.
    """
    return reading.state in NORMAL and reading.host_id not in stale


def time_of(text: str | None) -> datetime | None:
    """Return a time of the database's text; it is UTC, which SQLite does not say."""
    if text is None:
        return None
    return datetime.fromisoformat(text if "+" in text else f"{text}+00:00")


def addresses() -> dict[int, str]:
    """Return the addresses of every instance for the eye, by instance id, in one query.

    Of all, because naming some hundred ids in the query takes longer than reading the rows of thousands.
    """
    found: dict[int, str] = {}
    for instance_id, ip in Address.objects.order_by("id").values_list("instance_id", "ip"):
        found[instance_id] = f"{found[instance_id]}, {ip}" if instance_id in found else ip
    return found


# A script prefix is the installation's, the same for every request.
@cache
def instance_urls() -> str:
    """Return the address of an instance's page with {} for its id: cheaper than reverse() for each."""
    return reverse("relays:instance", args=[0]).replace("/0/", "/{}/")


@cache
def deferred_urls() -> str:
    """Return the address of the page of an instance's deferred messages likewise."""
    return f"{reverse('relays:queues')}?instance={{}}&queue=deferred"


@cache
def provider_urls() -> str:
    """Return the address of a provider's page with {} for its slug."""
    return reverse("relays:provider", args=["slug"]).replace("/slug/", "/{}/")
