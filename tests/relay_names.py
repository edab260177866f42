"""Relay names for tests, as operations and polls would leave them; no name server is asked."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.utils import timezone

from dns.domain.weights import Rendering, read_back, render
from dns.models import PublishedState, RelayName, Weight, Zone
from relays.models import InstanceState
from tests.factories import accepted_make, host_make, instance_make, provider_make

MSN = "msn.smtp.example.org"
OLD, NEW = "192.0.2.11", "192.0.2.12"
SERVERS = ["192.0.2.53", "192.0.2.54"]
CLIENT = "198.51.100.1"


def relay_name_make(weights: Mapping[str, int] | None = None, *, rendering: str = "mx") -> RelayName:
    """Return a relay name that has served these weights for two days: five to one if left out."""
    zone = Zone.objects.create(
        name="smtp.example.org", primary=SERVERS[0], servers=SERVERS, allowed_names=[MSN]
    )
    row = RelayName.objects.create(
        zone=zone,
        name=MSN,
        provider=provider_make("msn"),
        rendering=rendering,
        served_at=timezone.now() - timedelta(seconds=40),
    )
    state_make(row, weights or {OLD: 5, NEW: 1}, at=timezone.now() - timedelta(days=2))
    return row


def state_make(row: RelayName, weights: Mapping[str, int], *, at: datetime) -> PublishedState:
    """Add a state that is served from a time on, and make its weights those that are wanted."""
    rendered = render(row.name, weights, rendering=Rendering(row.rendering), ttl=row.ttl)
    for address, weight in weights.items():
        fields = {"weight": weight or 1, "is_on": weight > 0}
        Weight.objects.update_or_create(relay_name=row, address=address, defaults=fields)
    return PublishedState.objects.create(
        relay_name=row,
        at=at,
        effective_at=at + timedelta(seconds=row.ttl),
        serial=2026113001,
        records=[item.as_json() for item in rendered.records],
        parts=dict(read_back(row.name, rendered.records).parts),
        wanted=dict(weights),
    )


def mail_make(messages: Mapping[str, int], *, hours_ago: float = 0.1) -> None:
    """Add messages that an origin handed to the instance of each address; its log is counted up to now."""
    at = timezone.now() - timedelta(hours=hours_ago)
    for address, number in messages.items():
        name = f"msn-{chr(ord('a') + int(address.rpartition('.')[2]) - 11)}"
        state = InstanceState.objects.filter(instance__name=name).select_related("instance").first()
        host = state.instance.host if state else host_make(f"relay-{name[-1]}")
        instance = state.instance if state else instance_make(host, name, ip=address)
        InstanceState.objects.filter(instance=instance).update(outcomes_at=timezone.now())
        accepted_make(instance, CLIENT, number, at=at)
