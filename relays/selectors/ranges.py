"""The stretches of time that charts and tables show."""

from dataclasses import dataclass
from datetime import datetime

HOUR_S = 3600
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of time up to now. span_s and sample_span_s: how fine outcomes and queue samples are charted.

    No chart gets more than 2,200 spans. table_s: the coarser spans of a chart's figures as a table.
    """

    key: str
    label: str
    length_s: int
    span_s: int
    sample_span_s: int
    table_s: int

    def first(self, now: datetime, span_s: int) -> int:
        """Return the start of the oldest span of `span_s` that reaches into the range: seconds since 1970."""
        return (int(now.timestamp()) - self.length_s) // span_s * span_s

    @property
    def counts_span_s(self) -> int:
        """Return the spans that domains and replies are read by: hours, or days where those are too many."""
        return HOUR_S if self.length_s <= 7 * DAY_S else DAY_S


RANGES = {
    chosen.key: chosen
    for chosen in (
        Range("1h", "1 hour", HOUR_S, 300, 300, 300),
        Range("6h", "6 hours", 6 * HOUR_S, 300, 300, 1800),
        Range("24h", "24 hours", DAY_S, HOUR_S, 300, HOUR_S),
        Range("7d", "7 days", 7 * DAY_S, HOUR_S, 300, DAY_S),
        Range("30d", "30 days", 30 * DAY_S, HOUR_S, HOUR_S, DAY_S),
        Range("90d", "90 days", 90 * DAY_S, 3 * HOUR_S, HOUR_S, DAY_S),
        Range("1y", "1 year", 366 * DAY_S, DAY_S, DAY_S, 7 * DAY_S),
    )
}
DEFAULT_RANGE = "24h"


def range_named(key: str | None) -> Range:
    """Return the range of a key, the usual one for none that is known."""
    return RANGES.get(key or DEFAULT_RANGE, RANGES[DEFAULT_RANGE])
