"""What queues have in common, put together from the readings of several instances."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log10

from relays.domain.people import masked_address
from relays.domain.queue import BUCKET_BOUNDS_S, BUCKETS
from relays.domain.queue_reading import Groups
from relays.domain.words import count, visible
from relays.models import Instance
from relays.selectors.instances import AGES
from relays.services.reasons import rule_table

# What the page can be grouped by, and the key of the filter that a group stands for.
BY = {
    "domain": "Recipient domain",
    "reason": "Reason",
    "reply": "Reply",
    "sender_domain": "Sender domain",
    "sender": "Sender",
    "age": "Age",
    "queue": "Queue",
}
SHOWN = 50
HEATS = 5


@dataclass(slots=True)
class Line:
    """A group over all instances. label: for people; words: what the filter is narrowed to by it."""

    key: str
    label: str
    words: dict[str, str]
    messages: int = 0
    ages: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    note: str = ""

    @property
    def cells(self) -> list[tuple[str, int]]:
        """The messages by age, each with its heat from 0 (none) to 5."""
        return [(f"{number:,}" if number else "", heat(number)) for number in self.ages]

    @property
    def shown(self) -> str:
        """How many messages."""
        return count(self.messages)


@dataclass(frozen=True, slots=True)
class Grouped:
    """A table of groups; note: what is not in it."""

    by: str
    title: str
    lines: list[Line]
    note: str
    ages: Sequence[str] = AGES


def heat(number: int) -> int:
    """Return how much a count stands out: by its logarithm, so that ten are seen beside ten thousand."""
    return min(HEATS, 1 + int(log10(number))) if number else 0


def grouped(
    by: str, readings: Iterable[tuple[Instance, Groups]], *, may_see: bool, limit: int = SHOWN
) -> Grouped:
    """Return the messages of all readings by one thing. may_see: whether addresses are shown whole."""
    found: dict[str, Line] = {}
    distinct = dropped = 0
    for instance, groups in readings:
        for line in _LINES[by](instance, groups):
            known = found.setdefault(line.key, line)
            if known is not line:
                known.messages += line.messages
                known.ages = [a + b for a, b in zip(known.ages, line.ages, strict=True)]
        table = groups.tables.get("reply" if by == "reason" else by)
        if table is not None:
            distinct = max(distinct, table.distinct)
            dropped += table.dropped
    lines = list(found.values())
    if by != "age":
        lines.sort(key=lambda line: (-line.messages, line.key))
    if by == "sender" and not may_see:
        lines = _without_people(lines)
    return Grouped(by, BY[by], lines[:limit], _note(len(lines), distinct, dropped, limit))


def _note(lines: int, distinct: int, dropped: int, limit: int) -> str:
    notes = []
    if max(lines, distinct) > limit:
        notes.append(f"the first {limit} of {count(max(lines, distinct))}")
    if dropped:
        notes.append(f"{count(dropped)} messages of rarer ones are left out: counts are lower bounds")
    return "; ".join(notes)


def _of_table(name: str) -> "Callable[[Instance, Groups], Iterable[Line]]":
    def lines(_instance: Instance, groups: Groups) -> Iterable[Line]:
        for row in groups.tables[name].rows:
            yield Line(
                row.key, visible(row.key) or "<>", {name: row.key or "<>"}, row.messages, list(row.ages)
            )

    return lines


def _replies(instance: Instance, groups: Groups) -> Iterable[Line]:
    provider, table = instance.provider.slug if instance.provider else "", rule_table()
    for row in groups.tables["reply"].rows:
        reason = table.reasons[table.classify(row.text, provider=provider).reason].title
        yield Line(row.key, visible(row.text), {"reply": row.key}, row.messages, list(row.ages), reason)


def _reasons(instance: Instance, groups: Groups) -> Iterable[Line]:
    provider, table = instance.provider.slug if instance.provider else "", rule_table()
    found: dict[str, Line] = {}
    for row in groups.tables["reply"].rows:
        reason = table.reasons[table.classify(row.text, provider=provider).reason]
        line = found.setdefault(reason.slug, Line(reason.slug, reason.title, {"reason": reason.slug}))
        line.messages += row.messages
        line.ages = [a + b for a, b in zip(line.ages, row.ages, strict=True)]
        line.note = reason.advice
    yield from found.values()


def _ages(_instance: Instance, groups: Groups) -> Iterable[Line]:
    bounds = [0, *BUCKET_BOUNDS_S]
    for place, number in enumerate(groups.ages):
        words = {"older": f"{bounds[place]}s"} if place else {}
        if place < len(BUCKET_BOUNDS_S):
            words["newer"] = f"{BUCKET_BOUNDS_S[place] + 1}s"
        label = f"up to {AGES[place]}" if place < BUCKETS - 1 else AGES[place]
        only = [number if at == place else 0 for at in range(BUCKETS)]
        yield Line(f"{place:02}", label, words, number, only)


def _without_people(lines: Iterable[Line]) -> list[Line]:
    merged: dict[str, Line] = {}
    for line in lines:
        label = masked_address(line.label)
        known = merged.setdefault(label, Line(label, label, {}))
        known.messages += line.messages
        known.ages = [a + b for a, b in zip(known.ages, line.ages, strict=True)]
    return sorted(merged.values(), key=lambda line: (-line.messages, line.key))


_LINES: Mapping[str, Callable[[Instance, Groups], Iterable[Line]]] = {
    "domain": _of_table("domain"),
    "reason": _reasons,
    "reply": _replies,
    "sender_domain": _of_table("sender_domain"),
    "sender": _of_table("sender"),
    "age": _ages,
    "queue": _of_table("queue"),
}
