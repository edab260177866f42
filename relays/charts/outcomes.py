"""What became of the mail over time, as one plotly figure: counts, shares of failures, delays."""

from collections.abc import Sequence
from typing import Any

from relays.charts.zone import Zone
from relays.selectors.flush_marks import FlushMark
from relays.selectors.outcome_page import delay_words
from relays.selectors.outcomes import Span

# From the good to the bad, which is how they are stacked. Legible on white and on near-black; what a colour
# means is told by the legend and the hover text as well.
COLOURS = {
    "sent": "#2f9e77",
    "handed over": "#3b82d6",
    "suspended": "#e8b066",
    "deferred": "#d9730d",
    "soft bounced": "#a3704c",
    "bounced": "#c93a3a",
    "expired": "#8a63d2",
}
# More spans than this are drawn as areas: thousands of bars are neither seen nor drawn in time.
MOST_BARS = 200
_DELAY_TICKS = (1, 10, 60, 600, 3600, 86_400)
_DELAY_TEXTS = ("1 s", "10 s", "1 min", "10 min", "1 h", "1 d")
# No bar of a logarithm begins at nothing; nobody asks what became of a tenth of a second.
_LEAST_DELAY_S = 0.1


def outcomes_figure(  # noqa: PLR0913
    spans: Sequence[Span], span_s: int, first: int, last: int, zone: Zone, *, marks: Sequence[FlushMark] = ()
) -> dict[str, Any]:
    """Return the figure from `first` to `last` (seconds since 1970); span_s: the length of a span."""
    layout = _layout(first, last, zone)
    layout["shapes"] = [_flushed(mark, first, last, zone) for mark in marks]
    layout["annotations"] += [_named(mark, first, last, zone) for mark in marks]
    times = [zone.axis(span.ts) for span in spans]
    bars = len(spans) <= MOST_BARS
    kinds = [
        (name, numbers)
        for name, numbers in _kinds(spans).items()
        if name in {"sent", "deferred", "bounced"} or any(numbers)
    ]
    return {
        "data": [
            *(_counts(name, times, numbers, span_s if bars else None) for name, numbers in kinds),
            _share("deferral share", times, [span.outcome.deferral_share for span in spans], "deferred"),
            _share("bounce share", times, [span.outcome.bounce_share for span in spans], "bounced"),
            _delay("delay p50", times, [span.delay(0.5) for span in spans], "solid"),
            _delay("delay p95", times, [span.delay(0.95) for span in spans], "dot"),
        ],
        "layout": layout,
    }


def _flushed(mark: FlushMark, first: int, last: int, zone: Zone) -> dict[str, Any]:
    """Return the band of a flush over all plots, from its redirect to its end; a line where it is short."""
    ended = last if mark.ended is None else max(mark.ended, mark.began)
    return {
        "type": "rect",
        "x0": zone.axis(max(first, mark.began)),
        "x1": zone.axis(min(last, ended)),
        "yref": "paper",
        "y0": 0,
        "y1": 0.95,
        "layer": "below",
        "fillcolor": "rgba(59,130,214,.15)",
        "line": {"color": COLOURS["handed over"], "width": 1, "dash": "dot"},
    }


def _named(mark: FlushMark, first: int, last: int, zone: Zone) -> dict[str, Any]:
    began = max(first, mark.began)
    return {
        "x": zone.axis(began),
        # Away from the nearer end, which would cut it off.
        "xanchor": "right" if 2 * began > first + last else "left",
        "y": 0.95,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
        "text": f"flush {mark.id}",
        "font": {"size": 10},
    }


def _kinds(spans: Sequence[Span]) -> dict[str, list[int]]:
    """Return each kind's counts in the order of the stack; tries apart from what reached nobody."""
    outcomes = [span.outcome for span in spans]
    return {
        "sent": [outcome.sent for outcome in outcomes],
        "handed over": [outcome.handed_over for outcome in outcomes],
        "suspended": [outcome.suspended for outcome in outcomes],
        "deferred": [outcome.deferred - outcome.suspended for outcome in outcomes],
        "soft bounced": [outcome.softbounce for outcome in outcomes],
        "bounced": [outcome.bounced for outcome in outcomes],
        "expired": [outcome.expired for outcome in outcomes],
    }


def _counts(name: str, times: list[int], numbers: list[int], bar_s: int | None) -> dict[str, Any]:
    trace = {"name": name, "x": times, "y": numbers, "hovertemplate": "%{y:,}"}
    if bar_s is None:
        # No line: those of what is zero would lie on top of all others.
        line = {"width": 0, "color": COLOURS[name], "shape": "hv"}
        area = {"stackgroup": "outcomes", "fillcolor": COLOURS[name]}
        return trace | area | {"type": "scatter", "mode": "lines", "line": line}
    # A bar covers its span: it begins where the span does.
    return trace | {
        "type": "bar",
        "marker": {"color": COLOURS[name]},
        "offset": 0,
        "width": bar_s * 920,
    }


def _share(name: str, times: list[int], shares: list[float | None], colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": times,
        "y": [None if share is None else round(100 * share, 2) for share in shares],
        "hovertemplate": "%{y:.1f} %",
        "yaxis": "y2",
        "line": {"color": COLOURS[colour], "width": 1.5, "shape": "hv"},
        "marker": {"size": 2},
        "showlegend": False,
    }


def _delay(name: str, times: list[int], delays: list[float | None], dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": times,
        "y": [None if delay is None else round(max(delay, _LEAST_DELAY_S), 2) for delay in delays],
        "text": [delay_words(delay) for delay in delays],
        "hovertemplate": "%{text}",
        "yaxis": "y3",
        "line": {"color": "#5b7fa6", "width": 1.5, "shape": "hv", "dash": dash},
        # A lone span between two gaps is a dot, not nothing.
        "marker": {"size": 2},
        "showlegend": False,
    }


def _layout(first: int, last: int, zone: Zone) -> dict[str, Any]:
    fixed = {"fixedrange": True, "automargin": True}
    return {
        "margin": {"l": 56, "r": 16, "t": 8, "b": 40},
        "height": 480,
        "barmode": "stack",
        "bargap": 0,
        "hovermode": "x unified",
        "annotations": [
            _title("recipients", 0.95),
            _title("share deferred (orange) and bounced (red)", 0.4),
            _title("delay: p50 (line) and p95 (dots)", 0.17),
        ],
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "xaxis": {
            "type": "date",
            "range": [zone.axis(first), zone.axis(last)],
            "anchor": "y3",
            "title": {"text": zone.title},
        },
        "yaxis": fixed
        | {
            "domain": [0.5, 0.95],
            "rangemode": "tozero",
            "tickformat": ",d",
        },
        "yaxis2": fixed
        | {
            "domain": [0.27, 0.4],
            "rangemode": "tozero",
            "nticks": 4,
            "ticksuffix": " %",
        },
        "yaxis3": fixed
        | {
            "domain": [0, 0.17],
            "type": "log",
            "tickmode": "array",
            "tickvals": list(_DELAY_TICKS),
            "ticktext": list(_DELAY_TEXTS),
        },
    }


def _title(text: str, top: float) -> dict[str, Any]:
    """Return what stands above one of the three plots; top: where it ends, of the height."""
    return {
        "text": text,
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": top,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 11},
    }
