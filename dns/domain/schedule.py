"""The schedule of a ramp: what an address may carry on each of its sending days.

A step says a share of the relay name's mail, a number of messages a day (the cap), or both. Presets are data:
dns/data/ramp_presets.json names the source of each.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

MAX_STEPS = 400
MAX_CAP = 100_000_000
_LINE = re.compile(r"(?:(?P<share>[0-9]{1,3}(?:[.,][0-9]{1,6})?) ?%)?(?:(?<=%) )?(?P<cap>[0-9]{1,9})?")


class BadSchedule(ValueError):
    """A schedule that cannot be run; the text says which step and why."""


class Step(NamedTuple):
    """One sending day. share: of the name's mail, above 0, at most 1; cap: messages; None: not limited so."""

    share: float | None
    cap: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the step as it is stored."""
        return {"share": self.share, "cap": self.cap}


@dataclass(frozen=True, slots=True)
class Preset:
    """A schedule that somebody published. source: where; note: how it was read."""

    id: str
    name: str
    source: str
    note: str
    steps: tuple[Step, ...]


def check(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps of a schedule that can be run. Raises BadSchedule.

    Neither shares nor caps may fall from one day to the next: stepping back is the guard rails' work.
    """
    found = tuple(steps)
    if not found:
        raise BadSchedule("A schedule needs at least one day.")
    if len(found) > MAX_STEPS:
        raise BadSchedule(f"A schedule has at most {MAX_STEPS} days; this one has {len(found):,}.")
    for number, step in enumerate(found, 1):
        _check_step(number, step)
    for number, (before, step) in enumerate(pairwise(found), 2):
        if _falls(before.share, step.share) or _falls(before.cap, step.cap):
            raise BadSchedule(f"Day {number} is less than the day before it.")
    return found


def _check_step(number: int, step: Step) -> None:
    if step.share is None and step.cap is None:
        raise BadSchedule(f"Day {number} says neither a share nor a number of messages.")
    if step.share is not None and not 0 < step.share <= 1:
        raise BadSchedule(f"The share of day {number} is not above 0 and at most 100 %.")
    if step.cap is not None and not 1 <= step.cap <= MAX_CAP:
        raise BadSchedule(f"The messages of day {number} are not between 1 and {MAX_CAP:,}.")


def _falls(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after < before


def from_json(value: Any) -> tuple[Step, ...]:
    """Return the steps of stored or sent JSON: a list of {"share": ..., "cap": ...}. Raises BadSchedule."""
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise BadSchedule("A schedule is a list of days.")
    return check(Step(_number(row.get("share")), _whole(row.get("cap"))) for row in value)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadSchedule("A share must be a number.")
    return float(value)


def _whole(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadSchedule("The messages of a day must be a whole number.")
    return value


def from_text(text: str) -> tuple[Step, ...]:
    """Return the steps of a table that somebody wrote: a line a day, "5 %", "2000" or "5 % 2000".

    Raises BadSchedule, with the line's number.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > MAX_STEPS:
        raise BadSchedule(f"A schedule has at most {MAX_STEPS} days; this one has {len(lines):,}.")
    return check(_from_line(number, line) for number, line in enumerate(lines, 1))


def _from_line(number: int, line: str) -> Step:
    found = _LINE.fullmatch(line)
    if found is None or not (found["share"] or found["cap"]):
        raise BadSchedule(
            f"Line {number} is not a share (5 %), a number of messages (2000) or both (5 % 2000)."
        )
    share = float(found["share"].replace(",", ".")) / 100 if found["share"] else None
    return Step(share, int(found["cap"]) if found["cap"] else None)


def linear(*, days: int, first: Step, last: Step) -> tuple[Step, ...]:
    """Return a schedule that grows by the same amount each day. Raises BadSchedule."""
    return _curve(days, first, last, lambda begin, end, part: begin + (end - begin) * part)


def exponential(*, days: int, first: Step, last: Step) -> tuple[Step, ...]:
    """Return a schedule that grows by the same factor each day. Raises BadSchedule."""
    return _curve(days, first, last, lambda begin, end, part: begin * (end / begin) ** part)


def _curve(days: int, first: Step, last: Step, between: Any) -> tuple[Step, ...]:
    if not 2 <= days <= MAX_STEPS:
        raise BadSchedule(f"A curve has between 2 and {MAX_STEPS} days.")
    for number, step in ((1, first), (days, last)):
        _check_step(number, step)
    if (first.share is None) != (last.share is None) or (first.cap is None) != (last.cap is None):
        raise BadSchedule("The first and the last day must say the same: a share, messages, or both.")
    parts = [day / (days - 1) for day in range(days)]
    return check(
        Step(
            None if first.share is None else round(between(first.share, last.share, part), 6),
            None if first.cap is None else round(between(first.cap, last.cap, part)),
        )
        for part in parts
    )


class Binding(NamedTuple):
    """What a step comes to for a name of a given volume.

    share: what the weights should say; cap: what ends the day; by: which of the two binds first ("share" or
    "cap"); expected: messages that the address carries; below_smallest: the wish is less than the rendering
    can give.
    """

    share: float
    cap: int | None
    by: str
    expected: int
    below_smallest: bool


def bind(step: Step, *, volume: int, smallest: float, largest: float) -> Binding:
    """Say how a step is run.

    volume: messages a day of the relay name; smallest: the least share that the rendering can give, above 0;
    largest: the most that the address may get. A share below the smallest is run by a cap: the address gets
    the smallest share until it has carried its part, where a volume is known to take the part of.
    """
    wished = step.share if step.share is not None else _share_of_cap(step.cap, volume, largest)
    share = min(max(wished, smallest), largest)
    below = wished < smallest
    cap = step.cap
    if below and step.share is not None and volume:
        part = max(1, math.floor(step.share * volume))
        cap = part if cap is None else min(cap, part)
    by_share = round(share * volume)
    binds = cap is not None and cap < by_share
    return Binding(
        share, cap, "cap" if binds else "share", cap if binds and cap is not None else by_share, below
    )


def _share_of_cap(cap: int | None, volume: int, largest: float) -> float:
    """Return the share that brings about a cap's number of messages in a day."""
    if cap is None or volume <= 0:
        return largest
    return min(cap / volume, largest)


def to_steps(rows: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Return a step for every day of published rows, which name only the days on which something changes."""
    steps: list[Step] = []
    for row in rows:
        while steps and len(steps) < row["day"] - 1:
            steps.append(steps[-1])
        steps.append(Step(row.get("share"), row.get("cap")))
    return check(steps)


def to_presets(rows: Iterable[Mapping[str, Any]]) -> dict[str, Preset]:
    """Return presets by id from the rows of dns/data/ramp_presets.json. Raises BadSchedule."""
    return {
        row["id"]: Preset(row["id"], row["name"], row["source"], row["note"], to_steps(row["days"]))
        for row in rows
    }
