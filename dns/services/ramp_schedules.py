"""The schedules to choose from: published ones, curves, and one's own table."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dns.domain.schedule import BadSchedule, Preset, Step, exponential, from_text, linear, to_presets

_PRESETS = Path(__file__).resolve().parents[1] / "data" / "ramp_presets.json"
CURVES = {"linear": linear, "exponential": exponential}
OWN = "own"


class Chosen(NamedTuple):
    """A schedule with its name, and where it was published ("" for one's own)."""

    name: str
    source: str
    steps: tuple[Step, ...]


@cache
def presets() -> dict[str, Preset]:
    """Return the published schedules, by id."""
    return to_presets(json.loads(_PRESETS.read_text()))


def preset(ident: str) -> Chosen:
    """Return a published schedule. Raises BadSchedule."""
    found = presets().get(ident)
    if found is None:
        raise BadSchedule(f"There is no schedule {ident[:40]!r}: {', '.join(presets())}.")
    return Chosen(found.name, found.source, found.steps)


def curve(kind: str, *, days: int, first: Step, last: Step) -> Chosen:
    """Return a schedule that grows by one rule from the first day to the last. Raises BadSchedule."""
    if kind not in CURVES:
        raise BadSchedule(f"A curve is {' or '.join(CURVES)}.")
    return Chosen(f"{kind}, {days} days", "", CURVES[kind](days=days, first=first, last=last))


def own(text: str) -> Chosen:
    """Return the schedule of a table that somebody wrote. Raises BadSchedule."""
    steps = from_text(text)
    return Chosen(f"own table, {len(steps)} days", "", steps)
