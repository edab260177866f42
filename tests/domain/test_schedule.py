"""Schedules: presets, curves, tables of one's own, and what a day comes to."""

import json
from pathlib import Path

import pytest

from dns.domain.schedule import (
    MAX_STEPS,
    BadSchedule,
    Binding,
    Step,
    bind,
    check,
    exponential,
    from_json,
    from_text,
    linear,
    to_presets,
)

PRESETS = to_presets(json.loads((Path(__file__).parents[2] / "dns/data/ramp_presets.json").read_text()))


def test_every_preset_runs_and_names_its_source() -> None:
    assert len(PRESETS) >= 9
    for preset in PRESETS.values():
        assert check(preset.steps) == preset.steps
        assert preset.source and preset.name and preset.note


def test_a_day_that_a_table_leaves_out_is_as_the_one_before() -> None:
    sixths = PRESETS["sixths"].steps
    assert len(sixths) == 151
    assert [sixths[day - 1].share for day in (1, 30, 31, 151)] == [0.166667, 0.166667, 0.333333, 1.0]


def test_a_curve_meets_both_its_ends() -> None:
    assert [step.share for step in linear(days=5, first=Step(0.2, None), last=Step(1.0, None))] == [
        0.2, 0.4, 0.6, 0.8, 1.0,
    ]  # fmt: skip
    assert [step.cap for step in exponential(days=4, first=Step(None, 50), last=Step(None, 50_000))] == [
        50, 500, 5_000, 50_000,
    ]  # fmt: skip
    both = linear(days=2, first=Step(0.1, 100), last=Step(0.5, 1_000))
    assert both == (Step(0.1, 100), Step(0.5, 1_000))


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([], "at least one day"),
        ([Step(None, None)], "Day 1 says neither"),
        ([Step(0.0, None)], "share of day 1"),
        ([Step(1.1, None)], "share of day 1"),
        ([Step(None, 0)], "messages of day 1"),
        ([Step(0.5, None), Step(0.4, None)], "Day 2 is less"),
        ([Step(None, 9), Step(None, 8)], "Day 2 is less"),
        ([Step(0.5, None)] * (MAX_STEPS + 1), "at most 400 days"),
    ],
)
def test_a_schedule_that_cannot_be_run_says_which_day(steps: list[Step], why: str) -> None:
    with pytest.raises(BadSchedule, match=why):
        check(steps)


@pytest.mark.parametrize(
    ("days", "first", "last"),
    [
        (1, Step(0.1, None), Step(1.0, None)),
        (9, Step(0.1, None), Step(None, 100)),
        (9, Step(0.5, None), Step(0.1, None)),
        (9, Step(0.0, None), Step(0.1, None)),
    ],
)
def test_a_curve_that_cannot_be_is_refused(days: int, first: Step, last: Step) -> None:
    with pytest.raises(BadSchedule):
        exponential(days=days, first=first, last=last)


def test_steps_come_back_as_they_were_stored() -> None:
    steps = (Step(0.1, None), Step(0.2, 500), Step(None, 900))
    assert from_json([step.as_json() for step in steps]) == steps


@pytest.mark.parametrize(
    "value",
    [
        None,
        "x",
        [1],
        [{"share": "0.5"}],
        [{"share": True}],
        [{"cap": 1.5}],
        [{"cap": True}],
        [{"share": float("nan")}],
    ],
)
def test_hostile_schedules_are_refused(value: object) -> None:
    with pytest.raises(BadSchedule):
        from_json(value)


@pytest.mark.parametrize(
    ("step", "volume", "binding"),
    [
        (Step(0.5, None), 1_000, Binding(0.5, None, "share", 500, False)),
        (Step(0.5, 400), 1_000, Binding(0.5, 400, "cap", 400, False)),
        (Step(0.5, 600), 1_000, Binding(0.5, 600, "share", 500, False)),
        # Less than the rendering can give: the smallest share, and a cap of the part that was wished.
        (Step(0.01, None), 10_000, Binding(0.03125, 100, "cap", 100, True)),
        (Step(0.01, 60), 10_000, Binding(0.03125, 60, "cap", 60, True)),
        # Of a volume that is not known no part is taken: one message a day would never show enough.
        (Step(0.01, None), 0, Binding(0.03125, None, "share", 0, True)),
        (Step(0.01, 40), 0, Binding(0.03125, 40, "share", 0, True)),
        # A cap alone: the share that brings it about, within what the name can give.
        (Step(None, 250), 1_000, Binding(0.25, 250, "share", 250, False)),
        (Step(None, 50), 1_000_000, Binding(0.03125, 50, "cap", 50, True)),
        (Step(None, 5_000), 1_000, Binding(0.9, 5_000, "share", 900, False)),
        (Step(None, 50), 0, Binding(0.9, 50, "share", 0, False)),
    ],
)
def test_a_day_comes_to_a_share_and_a_cap_and_says_which_binds(
    step: Step, volume: int, binding: Binding
) -> None:
    assert bind(step, volume=volume, smallest=1 / 32, largest=0.9) == binding


def test_a_table_is_a_line_a_day() -> None:
    assert from_text("2.5 %\n\n 5% 500 \n10 %\n") == (Step(0.025, None), Step(0.05, 500), Step(0.1, None))
    assert from_text("50\n200") == (Step(None, 50), Step(None, 200))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5 %\nmany", "Line 2 is not a share"),
        ("%", "Line 1 is not"),
        ("5 % x", "Line 1 is not"),
        ("-5 %", "Line 1 is not"),
        ("9" * 5_000, "Line 1 is not"),
        ("101 %", "not above 0 and at most 100 %"),
        ("", "at least one day"),
        ("1\n" * 401, "at most 400 days"),
    ],
)
def test_a_table_that_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadSchedule, match=why):
        from_text(text)
