"""The newest figures of many instances, without building a model for each."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Q
from django.urls import reverse

from relays.domain.health import State
from relays.models import Address, Instance
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
    sampled_at: datetime | None

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
            "state__sampled_at",
        )
    ]


def normal(reading: Reading, host: HostStatus) -> bool:
    """Whether an instance may fold away: it is ok, and so young a figure says so."""
    return reading.state == State.OK and host.fresh


def addresses_of(instance_ids: list[int]) -> dict[int, str]:
    """Return the addresses of instances, joined for the eye, by instance id."""
    found: dict[int, list[str]] = defaultdict(list)
    rows = Address.objects.filter(instance_id__in=instance_ids).values_list("instance_id", "ip")
    for instance_id, ip in rows:
        found[instance_id].append(ip)
    return {instance_id: ", ".join(ips) for instance_id, ips in found.items()}


def instance_urls() -> str:
    """Return the address of an instance's page with {} for its id: cheaper than reverse() for each."""
    return reverse("relays:instance", args=[0]).replace("/0/", "/{}/")
