"""A ramp over its dates, as a plotly figure: planned and actual share, planned and actual volume."""

from collections.abc import Sequence
from typing import Any

from dns.selectors.ramps import Dated

# Legible on white and on near-black; a dash and a marker tell planned from actual as well.
PLANNED, ACTUAL = "#7a8794", "#2f9e77"


def ramp_figure(days: Sequence[Dated]) -> dict[str, Any]:
    """Return the figure."""
    dates = [day.date for day in days]
    caps = [day.cap for day in days]
    return {
        "data": [
            _line("planned share", dates, [day.planned_share for day in days], PLANNED, "%{y:.1f} %"),
            _points("actual share", dates, [day.actual_share for day in days]),
            _bars("planned volume", dates, [day.planned for day in days], PLANNED),
            _bars("sent", dates, [day.sent for day in days], ACTUAL),
            *([_cap(dates, caps)] if any(cap is not None for cap in caps) else []),
        ],
        "layout": _layout(),
    }


def _line(
    name: str, dates: list[str], values: list[float | None], colour: str, template: str
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": dates,
        "y": values,
        "line": {"color": colour, "width": 2, "dash": "dash", "shape": "hvh"},
        "hovertemplate": template,
    }


def _points(name: str, dates: list[str], values: list[float | None]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": dates,
        "y": values,
        "line": {"color": ACTUAL, "width": 1.5},
        "marker": {"size": 7},
        "hovertemplate": "%{y:.1f} %",
    }


def _bars(name: str, dates: list[str], values: list[int | None], colour: str) -> dict[str, Any]:
    bar = {"type": "bar", "name": name, "x": dates, "y": values, "yaxis": "y2"}
    return bar | {"marker": {"color": colour}, "hovertemplate": "%{y:,}"}


def _cap(dates: list[str], caps: list[int | None]) -> dict[str, Any]:
    cap = _line("cap", dates, [None if cap is None else float(cap) for cap in caps], "#c93a3a", "%{y:,}")
    return cap | {"yaxis": "y2", "line": {"color": "#c93a3a", "width": 1.5, "shape": "hvh"}}


def _layout() -> dict[str, Any]:
    fixed = {"fixedrange": True, "automargin": True, "rangemode": "tozero"}
    return {
        "margin": {"l": 56, "r": 16, "t": 8, "b": 40},
        "height": 480,
        "barmode": "group",
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {"type": "date", "anchor": "y2"},
        "yaxis": fixed | {"domain": [0.5, 0.95], "ticksuffix": " %", "title": {"text": "share"}},
        "yaxis2": fixed | {"domain": [0, 0.44], "tickformat": ",d", "title": {"text": "recipients"}},
    }
