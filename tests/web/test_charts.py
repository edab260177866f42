"""Figures are what plotly understands, and cost no page plotly's model."""

import subprocess
import sys
from datetime import UTC, datetime

import plotly.graph_objects as go
import pytest
from django.utils import timezone
from plotly.offline import get_plotlyjs_version

from relays.charts.ages import ages_figure
from relays.charts.counts import Count, counts_figure
from relays.charts.outcomes import MOST_BARS, outcomes_figure
from relays.charts.zone import UTC_ZONE, Zone, zone_at
from relays.domain.shares import Outcome
from relays.selectors.flush_marks import FlushMark
from relays.selectors.instances import AGES
from relays.selectors.outcomes import NOTHING, Span

COUNTS = [Count(0, 0, 1, 5, 0), Count(300, 0, 1, 6, 0), Count(1200, 0, 2, 9, 1)]


def spans(number: int) -> list[Span]:
    outcome = Outcome(sent=90, deferred=9, suspended=4, bounced=1)
    return [Span(3600 * i, outcome, (1,) * len(NOTHING)) for i in range(number)]


def test_plotly_accepts_the_figures() -> None:
    for number in (0, 1, MOST_BARS + 1):
        go.Figure(outcomes_figure(spans(number), 3600, 0, 3600 * number, UTC_ZONE))
    go.Figure(counts_figure(COUNTS, 300, UTC_ZONE))
    go.Figure(counts_figure([], 300, UTC_ZONE))
    go.Figure(ages_figure(["hotmail.com", "a" * 90 + ".example"], list(AGES), [[0, 1] * 5, [2] * 10]))
    go.Figure(ages_figure([], list(AGES), []))


def test_a_flush_is_a_band_from_its_redirect_to_its_end_within_the_chart() -> None:
    marks = [
        FlushMark(7, 1800, 5400, None, "msn-a to msn-b", "", "/operations/7/"),
        FlushMark(8, 10_000, None, None, "msn-a to msn-b", "", "/operations/8/"),
        FlushMark(6, -99, 60, None, "msn-a to msn-b", "", "/operations/6/"),
    ]
    figure = outcomes_figure(spans(3), 3600, 0, 10_800, UTC_ZONE, marks=marks)
    go.Figure(figure)
    bands = [(shape["x0"], shape["x1"]) for shape in figure["layout"]["shapes"]]
    assert bands == [(1_800_000, 5_400_000), (10_000_000, 10_800_000), (0, 60_000)]
    named = [note for note in figure["layout"]["annotations"] if note["text"].startswith("flush ")]
    assert [(note["text"], note["xanchor"]) for note in named] == [
        ("flush 7", "left"), ("flush 8", "right"), ("flush 6", "left"),
    ]  # fmt: skip


def test_a_missing_span_is_a_gap_not_a_line() -> None:
    (deferred, *_) = counts_figure(COUNTS, 300, UTC_ZONE)["data"]
    assert deferred["x"] == [0, 300_000, 600_000, 1_200_000]
    assert deferred["y"] == [5, 6, None, 9]


def test_few_spans_are_bars_that_begin_where_the_span_does_and_many_are_areas() -> None:
    few = outcomes_figure(spans(3), 3600, 0, 10_800, UTC_ZONE)["data"][0]
    assert (few["type"], few["offset"], few["x"]) == ("bar", 0, [0, 3_600_000, 7_200_000])
    many = outcomes_figure(spans(MOST_BARS + 1), 3600, 0, 10_800, UTC_ZONE)["data"][0]
    assert (many["type"], many["stackgroup"]) == ("scatter", "outcomes")


def test_what_never_happened_has_no_trace_but_the_usual_outcomes_always_have() -> None:
    names = [
        trace["name"]
        for trace in outcomes_figure([Span(0, Outcome(sent=1), NOTHING)], 300, 0, 1, UTC_ZONE)["data"]
    ]
    assert names == [
        "sent",
        "deferred",
        "bounced",
        "deferral share",
        "bounce share",
        "delay p50",
        "delay p95",
    ]


def test_deferred_and_suspended_are_apart_and_add_up() -> None:
    traces = {trace["name"]: trace["y"] for trace in outcomes_figure(spans(1), 300, 0, 1, UTC_ZONE)["data"]}
    assert (traces["deferred"], traces["suspended"]) == ([5], [4])


@pytest.mark.parametrize(
    ("name", "at", "zone"),
    [
        ("UTC", datetime(2026, 7, 1, tzinfo=UTC), UTC_ZONE),
        ("Europe/Berlin", datetime(2026, 7, 1, tzinfo=UTC), Zone(7200, "Europe/Berlin, UTC+02:00")),
        ("Europe/Berlin", datetime(2026, 11, 1, tzinfo=UTC), Zone(3600, "Europe/Berlin, UTC+01:00")),
        ("America/St_Johns", datetime(2026, 1, 1, tzinfo=UTC), Zone(-12_600, "America/St_Johns, UTC-03:30")),
    ],
)
def test_an_axis_is_in_the_time_zone_of_the_pages_and_names_it(name: str, at: datetime, zone: Zone) -> None:
    with timezone.override(name):
        assert zone_at(at) == zone
    outcomes = outcomes_figure(spans(2), 3600, 0, 7200, zone)
    counts = counts_figure(COUNTS, 300, zone)
    first_ms = 1000 * zone.offset_s
    assert (outcomes["data"][0]["x"][0], counts["data"][0]["x"][0]) == (first_ms, first_ms)
    assert outcomes["layout"]["xaxis"]["range"] == [first_ms, first_ms + 7_200_000]
    assert {figure["layout"]["xaxis"]["title"]["text"] for figure in (outcomes, counts)} == {zone.title}


def test_an_hour_that_clocks_show_twice_is_drawn_once() -> None:
    autumn = int(datetime(2026, 10, 25, tzinfo=UTC).timestamp())
    hours = [Span(autumn + 3600 * n, Outcome(sent=1), NOTHING) for n in range(3)]
    with timezone.override("Europe/Berlin"):
        figure = outcomes_figure(hours, 3600, 0, 1, zone_at(datetime(2026, 10, 26, tzinfo=UTC)))
    assert len(set(figure["data"][0]["x"])) == 3


def test_a_domain_that_holds_markup_is_text() -> None:
    figure = ages_figure(["<a href='x'>y</a>"], list(AGES), [[1] * 10])
    assert figure["layout"]["yaxis"]["ticktext"] == ["&lt;a href=&#x27;x&#x27;&gt;y&lt;/a&gt;"]
    assert "<a" not in figure["data"][0]["customdata"][0][0]


def test_none_is_blank_and_not_zero() -> None:
    figure = ages_figure(["a.example"], list(AGES), [[0] * 9 + [3]])
    assert figure["data"][0]["z"][0][:9] == [None] * 9


def test_the_vendored_plotly_is_the_version_the_model_describes() -> None:
    assert get_plotlyjs_version() == "4.1.1"


def test_serving_a_figure_never_loads_plotly() -> None:
    program = (
        "import django, sys; django.setup(); import fleet.urls;"
        "sys.exit(any(name in sys.modules for name in ('plotly', 'numpy', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
