"""Queue counts over time, as a plotly figure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from relays.charts.zone import Zone

# Legible on white and on near-black; red and green never stand alone against each other.
COLOURS = {"deferred": "#d9730d", "active": "#3b82d6", "incoming": "#8a63d2", "hold": "#7a8794"}


class Count(NamedTuple):
    """One span of time: its start in seconds since 1970 (UTC), and what was queued."""

    ts: int
    incoming: int
    active: int
    deferred: int
    hold: int


def counts_figure(counts: Iterable[Count], span_s: int, zone: Zone) -> dict[str, Any]:
    """Return the figure; span_s: the length of a span. A missing span is a gap in every line."""
    times, series = _with_gaps(list(counts), span_s, zone)
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": queue,
                "x": times,
                "y": series[queue],
                "line": {"color": colour, "width": 2 if queue == "deferred" else 1.25},
                "hovertemplate": "%{y:,}",
                "connectgaps": False,
            }
            for queue, colour in COLOURS.items()
        ],
        "layout": {
            "margin": {"l": 56, "r": 16, "t": 8, "b": 48},
            "height": 288,
            "hovermode": "x unified",
            "legend": {"orientation": "h", "x": 0, "y": 1.12},
            "xaxis": {"type": "date", "title": {"text": zone.title}},
            "yaxis": {"rangemode": "tozero", "tickformat": ",d", "title": {"text": "messages"}},
        },
    }


def _with_gaps(
    counts: list[Count], span_s: int, zone: Zone
) -> tuple[list[int | None], dict[str, list[int | None]]]:
    """Return places on the axis and each queue's counts, with one null after a span that has no successor."""
    times: list[int | None] = []
    series: dict[str, list[int | None]] = {queue: [] for queue in COLOURS}
    for i, row in enumerate(counts):
        times.append(zone.axis(row.ts))
        for queue, values in series.items():
            values.append(getattr(row, queue))
        if i + 1 < len(counts) and counts[i + 1].ts - row.ts > span_s:
            times.append(zone.axis(row.ts + span_s))
            for values in series.values():
                values.append(None)
    return times, series
