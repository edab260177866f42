"""The fleet as plain values, for the command line and for programs."""

from datetime import datetime
from typing import Any

from relays.domain.words import visible
from relays.models import InstanceState, Provider
from relays.selectors.hosts import HostStatus, host_statuses
from relays.selectors.readings import Reading, addresses, readings, time_of

_OUTCOMES = ("sent", "deferred", "suspended", "bounced", "expired", "handed_over", "accepted")


def fleet_report(now: datetime) -> dict[str, Any]:
    """Return hosts and present instances, in the matrix' order; docs/commands.md gives the keys.

    What is not known is None.
    """
    hosts = host_statuses(now)
    present = [reading for reading in readings(now) if reading.removed is None]
    providers = dict(Provider.objects.values_list("id", "slug"))
    order = {provider_id: place for place, provider_id in enumerate(providers)}
    present.sort(key=lambda reading: order.get(reading.provider_id or 0, len(order)))
    address, outcomes = addresses(), _last_hour()
    return {
        "at": _iso(now),
        "hosts": [_host(host) for host in hosts.values()],
        "instances": [
            _instance(
                reading,
                hosts[reading.host_id].name,
                providers.get(reading.provider_id or 0),
                address.get(reading.id),
                outcomes.get(reading.id),
            )
            for reading in present
        ],
    }


def _host(host: HostStatus) -> dict[str, Any]:
    return {
        "name": host.name,
        "state": host.state,
        "since": _iso(host.since),
        "error": "" if host.fresh else visible(host.error),
        "last_success_at": _iso(host.last_success_at),
    }


def _last_hour() -> dict[int, dict[str, Any]]:
    """Return the last hour's outcomes of the instances whose log was read, by instance id."""
    rows = InstanceState.objects.exclude(outcomes_at=None).values_list(
        "instance_id", "outcomes_at", *(f"hour_{name}" for name in _OUTCOMES)
    )
    return {
        pk: {"until": _iso(until), **dict(zip(_OUTCOMES, counts, strict=True))} for pk, until, *counts in rows
    }


def _instance(
    reading: Reading,
    host: str,
    provider: str | None,
    address: str | None,
    outcomes: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        "host": host,
        "name": visible(reading.name),
        "provider": provider,
        "address": address,
        "queues": {
            "incoming": reading.incoming,
            "active": reading.active,
            "deferred": reading.deferred,
            "hold": reading.hold,
            "corrupt": reading.corrupt,
        },
        "oldest_s": reading.oldest_s,
        "state": reading.state,
        "sampled_at": _iso(time_of(reading.sampled)),
        "last_hour": outcomes,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
