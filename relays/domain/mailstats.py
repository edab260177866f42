"""The output of the operator's old script: four lines an instance, such as `postfix-msn-a:sent:620`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LINE = re.compile(r"\A(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,79}):(?P<what>[a-z]+):(?P<number>[0-9]{1,10})\Z")
_WHAT = ("total", "bounced", "deferred", "sent")
_MAX_COUNT = 2**31 - 1


class BadStats(ValueError):
    """Text that is not the script's output; the message tells the line and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class DayTotals:
    """Recipients of one instance since its day began, as the script counts them: by lines of the log."""

    sent: int
    deferred: int
    bounced: int


def parse(lines: Iterable[str]) -> dict[str, DayTotals]:
    """Return the totals by the name that each instance logs under. Raises BadStats."""
    found: dict[str, dict[str, int]] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        name, what, count = _parse_line(text, number)
        counts = found.setdefault(name, {})
        if what in counts:
            raise BadStats(f"line {number}: {name} has a second {what} line.")
        counts[what] = count
    if not found:
        raise BadStats("There is no line in it.")
    return {name: _totals(name, counts) for name, counts in found.items()}


def _parse_line(text: str, number: int) -> tuple[str, str, int]:
    match = _LINE.match(text)
    if match is None:
        raise BadStats(f"line {number}: {text[:80]!r} is not of the form postfix-msn-a:sent:620.")
    if match["what"] not in _WHAT:
        raise BadStats(f"line {number}: {match['what']!r} is none of {', '.join(_WHAT)}.")
    count = int(match["number"])
    if count > _MAX_COUNT:
        raise BadStats(f"line {number}: {count:,} is more than can be counted.")
    return match["name"], match["what"], count


def _totals(name: str, counts: dict[str, int]) -> DayTotals:
    missing = [what for what in _WHAT[1:] if what not in counts]
    if missing:
        raise BadStats(f"{name} has no {missing[0]} line.")
    totals = DayTotals(counts["sent"], counts["deferred"], counts["bounced"])
    added = totals.sent + totals.deferred + totals.bounced
    if counts.get("total", added) != added:
        raise BadStats(f"{name}: its total is {counts['total']:,}, but its other lines add up to {added:,}.")
    return totals
