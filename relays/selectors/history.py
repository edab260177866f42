"""Queue counts of one instance over time."""

from dataclasses import dataclass
from datetime import datetime

from relays.models import Instance, Sample, SampleDay, SampleHour


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of time a chart can show, and the table whose spans give it at most 2,200 points."""

    label: str
    days: int
    table: type[Sample] | type[SampleHour] | type[SampleDay]
    span_s: int


RANGES = {
    "1d": Range("1 day", 1, Sample, 300),
    "7d": Range("7 days", 7, Sample, 300),
    "90d": Range("90 days", 90, SampleHour, 3600),
    "1y": Range("1 year", 366, SampleDay, 86_400),
}
DEFAULT_RANGE = "1d"


def counts_over_time(
    instance: Instance, chosen: Range, now: datetime
) -> list[tuple[int, int, int, int, int]]:
    """Return (start in seconds since 1970, incoming, active, deferred, hold) of each span, oldest first."""
    first = int(now.timestamp()) - chosen.days * 86_400
    rows = chosen.table.objects.filter(instance=instance, ts__gt=first).order_by("ts")
    return list(rows.values_list("ts", "incoming", "active", "deferred", "hold"))
