"""Queue counts of one instance over time."""

from datetime import datetime

from relays.models import Instance, Sample, SampleDay, SampleHour
from relays.selectors.ranges import DAY_S, HOUR_S, Range

_TABLES: dict[int, type[Sample] | type[SampleHour] | type[SampleDay]] = {
    300: Sample,
    HOUR_S: SampleHour,
    DAY_S: SampleDay,
}


def counts_over_time(
    instance: Instance, chosen: Range, now: datetime
) -> list[tuple[int, int, int, int, int]]:
    """Return (start in seconds since 1970, incoming, active, deferred, hold) of each span, oldest first."""
    span_s = chosen.sample_span_s
    rows = _TABLES[span_s].objects.filter(instance=instance, ts__gte=chosen.first(now, span_s)).order_by("ts")
    return list(rows.values_list("ts", "incoming", "active", "deferred", "hold"))
