"""Reading zones for their page."""

from dataclasses import dataclass
from datetime import datetime

from dns.models import Method, Zone
from relays.domain.words import visible
from relays.selectors.figures import moment


@dataclass(frozen=True, slots=True)
class ZoneRow:
    """A zone: how it is written, by which key or API, who uses it, and how its names were found last."""

    pk: int
    name: str
    method: str
    written: str
    servers: list[str]
    allowed: list[str]
    origins: str
    names: list[tuple[int, str, str]]
    asof: str


def zone_rows(now: datetime) -> list[ZoneRow]:
    """Return all zones by name, in a number of queries that does not grow."""
    return [_row(zone, now) for zone in Zone.objects.prefetch_related("origins", "relay_names")]


def _row(zone: Zone, now: datetime) -> ZoneRow:
    names = list(zone.relay_names.all())
    oldest = min((row.served_at for row in names if row.served_at), default=None)
    return ZoneRow(
        pk=zone.pk,
        name=zone.name,
        method=zone.get_method_display(),
        written=_written(zone),
        servers=zone.servers,
        allowed=zone.allowed_names,
        origins=", ".join(visible(origin.name) for origin in zone.origins.all()),
        names=[(row.pk, row.name, _state(row.drift)) for row in names],
        asof=moment(oldest, now),
    )


def _written(zone: Zone) -> str:
    if zone.method == Method.RFC2136:
        return f"to {zone.primary} with the key {zone.tsig_name} ({zone.tsig_algorithm})"
    return f"at {zone.api_url}" if zone.method == Method.POWERDNS else ""


def _state(drift: dict[str, str]) -> str:
    return f"{len(drift)} not as published" if drift else "as published"
