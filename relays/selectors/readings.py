"""The newest figures of many instances, without building a model for each."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Q
from django.urls import reverse

from relays.domain.health import State
from relays.models import Instance
from relays.selectors.hosts import HostStatus
from relays.selectors.states import REMOVED

REMOVED_SHOWN_FOR = timedelta(days=1)


class Reading(NamedTuple):
    """One instance's newest figures, as the database holds them."""

    id: int
    name: str
    host_id: int
    provider_id: int | None
    removed_at: datetime | None
    known_state: str | None
    incoming: int | None
    active: int | None
    deferred: int | None
    hold: int | None
    corrupt: int | None
    oldest_s: int | None

    @property
    def state(self) -> str:
        """Its state; one that was never asked is unknown."""
        return REMOVED if self.removed_at else self.known_state or State.UNKNOWN


def readings(now: datetime) -> list[Reading]:
    """Return every present instance's newest figures, and of those removed within a day, by name."""
    return [
        Reading._make(row)
        for row in Instance.objects.filter(Q(removed_at=None) | Q(removed_at__gt=now - REMOVED_SHOWN_FOR))
        .order_by("name", "host__name")
        .values_list(
            "id",
            "name",
            "host_id",
            "provider_id",
            "removed_at",
            "state__state",
            "state__incoming",
            "state__active",
            "state__deferred",
            "state__hold",
            "state__corrupt",
            "state__oldest_s",
        )
    ]


def normal(reading: Reading, host: HostStatus) -> bool:
    """Whether an instance may fold away: it is ok or has nothing to do, and so young a figure says so."""
    return reading.state in (State.OK, State.QUIET) and host.fresh


class Details(NamedTuple):
    """What only an instance that is spelled out needs: when it was read, and its addresses for the eye."""

    sampled_at: datetime | None
    addresses: str


NO_DETAILS = Details(None, "")


def details_of(instance_ids: list[int]) -> dict[int, Details]:
    """Return the details of instances by instance id, in one query."""
    rows = (
        Instance.objects.filter(pk__in=instance_ids)
        .order_by("addresses__id")
        .values_list("id", "state__sampled_at", "addresses__ip")
    )
    found: dict[int, Details] = {}
    for instance_id, sampled_at, ip in rows:
        known = found.get(instance_id)
        found[instance_id] = Details(sampled_at, f"{known.addresses}, {ip}" if known else ip or "")
    return found


def instance_urls() -> str:
    """Return the address of an instance's page with {} for its id: cheaper than reverse() for each."""
    return reverse("relays:instance", args=[0]).replace("/0/", "/{}/")
