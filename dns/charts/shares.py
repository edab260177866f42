"""A relay name's three shares over time, as a plotly figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from dns.domain.observed import Observed
from dns.domain.weights import percent
from dns.selectors.share_history import ShareHistory, StateSince
from relays.charts.zone import Zone

# Legible on white and on near-black, told apart without red against green.
_COLOURS = ("#3b82d6", "#d9730d", "#8a63d2", "#2f9e77", "#a3704c", "#c93a8a", "#7a8794", "#b59a1f")
_CHANGE = "#7a8794"


def shares_figure(history: ShareHistory, zone: Zone) -> dict[str, Any]:
    """Return the figure: a colour an address; observed with its error, published dotted, wanted dashed."""
    data = []
    for number, address in enumerate(history.addresses):
        colour = _COLOURS[number % len(_COLOURS)]
        data += [
            _observed(address, history, colour, zone),
            _steps(f"{address} published", [s.published for s in history.states], address, history, zone)
            | {"line": {"color": colour, "width": 1.75, "dash": "dot", "shape": "hv"}},
            _steps(f"{address} wanted", [s.wanted for s in history.states], address, history, zone)
            | {"line": {"color": colour, "width": 1, "dash": "dash", "shape": "hv"}},
        ]
    changes = [state for state in history.states if state.ts >= history.first]
    return {"data": data, "layout": _layout(history, changes, zone)}


def _observed(address: str, history: ShareHistory, colour: str, zone: Zone) -> dict[str, Any]:
    """Return what was counted, each with what its true share lies between; a span without mail is a gap."""
    times: list[int] = []
    seen: list[Observed | None] = []
    for span in history.spans:
        if times and zone.axis(span.ts) - times[-1] > history.span_s * 1000:
            times.append(times[-1] + history.span_s * 1000)
            seen.append(None)
        times.append(zone.axis(span.ts))
        seen.append(span.seen[address])
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": address,
        "legendgroup": address,
        "x": times,
        "y": [None if one is None else _percent(one.share) for one in seen],
        "text": [_words(one) for one in seen],
        "hovertemplate": "%{text}",
        "line": {"color": colour, "width": 2},
        "marker": {"size": 4},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [None if one is None else _percent(one.high - one.share) for one in seen],
            "arrayminus": [None if one is None else _percent(one.share - one.low) for one in seen],
            "thickness": 1,
            "width": 0,
            "color": colour,
        },
    }


def _words(seen: Observed | None) -> str:
    if seen is None:
        return ""
    return f"{percent(seen.share)} of {seen.total:,} ({percent(seen.low)} to {percent(seen.high)})"


def _steps(
    name: str, shares: Sequence[Mapping[str, float]], address: str, history: ShareHistory, zone: Zone
) -> dict[str, Any]:
    """Return a share that holds from one state to the next, up to now."""
    times = [max(state.ts, history.first) for state in history.states]
    values = [_percent(share.get(address, 0.0)) for share in shares]
    if times:
        times, values = [*times, history.last], [*values, values[-1]]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "legendgroup": address,
        "showlegend": False,
        "x": [zone.axis(ts) for ts in times],
        "y": values,
        "hovertemplate": "%{y:.1f} %",
    }


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _layout(history: ShareHistory, changes: Sequence[StateSince], zone: Zone) -> dict[str, Any]:
    return {
        "margin": {"l": 48, "r": 16, "t": 24, "b": 48},
        "height": 336,
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 0, "y": 1.06, "yanchor": "bottom"},
        "shapes": [_line(zone.axis(state.ts)) for state in changes],
        "annotations": [_mark(state, history, zone) for state in changes],
        "xaxis": {
            "type": "date",
            "range": [zone.axis(history.first), zone.axis(history.last)],
            "title": {"text": zone.title},
        },
        "yaxis": {"rangemode": "tozero", "range": [0, 105], "ticksuffix": " %", "fixedrange": True},
    }


def _line(at: int) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": at,
        "x1": at,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": _CHANGE, "width": 1, "dash": "dot"},
    }


def _mark(state: StateSince, history: ShareHistory, zone: Zone) -> dict[str, Any]:
    is_late = 2 * state.ts > history.first + history.last
    return {
        "x": zone.axis(state.ts),
        # Away from the nearer end, which would cut it off.
        "xanchor": "right" if is_late else "left",
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
        "text": f"operation {state.operation}" if state.operation else "found so",
        "font": {"size": 10},
    }
