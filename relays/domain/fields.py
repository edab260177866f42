"""Fields of a hostile row, checked: each returns the value, or raises BadRow with the key's name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relays.domain.text import printable

# As far as the database's integers reach.
MAX_COUNT = 2_147_483_647
MAX_SIZE = 2**62

# postmulti takes more; names here also stand in URLs and, later, in requests that change something.
NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
CODE = re.compile(r"\A[a-z_]{1,40}\Z")


class BadRow(ValueError):
    """A row that docs/relayctl.md does not allow; the message names the key."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A named reason why something could not be read; what: a queue, `queue`, `instance` or `log`."""

    code: str
    what: str
    detail: str


def conditions(row: Mapping[str, Any]) -> list[Condition]:
    """Return the row's conditions, in its order."""
    return [
        Condition(matching(entry, "code", CODE), matching(entry, "what", CODE), text(entry, "detail", 300))
        for entry in sequence(row, "conditions", 50)
    ]


def all_are(kind: type, values: Iterable[object]) -> bool:
    """Tell whether all values are of exactly this type, and there are any."""
    # type and not isinstance: true is no number here.
    return set(map(type, values)) == {kind}


def is_count(value: object) -> bool:
    """Tell whether a value is a whole number that the database can hold."""
    return type(value) is int and 0 <= value <= MAX_COUNT


def is_number(value: object, low: float, high: float) -> bool:
    """Tell whether a value is a number in this range."""
    return type(value) in (int, float) and low <= value <= high  # type: ignore[operator]


def count(row: Mapping[str, Any], key: str, most: int = MAX_COUNT) -> int | None:
    """Return a count, None where the row has null."""
    value = row.get(key)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= most:
        raise BadRow(f"{key} is not a count")
    return value


def needed_count(row: Mapping[str, Any], key: str, most: int = MAX_COUNT) -> int:
    """Return a count that must be there."""
    value = count(row, key, most)
    if value is None:
        raise BadRow(f"{key} is missing")
    return value


def seconds(row: Mapping[str, Any], key: str) -> float:
    """Return a time in seconds since 1970."""
    value = row.get(key)
    if not is_number(value, 0, 1e11):
        raise BadRow(f"{key} is not a time")
    return float(value)  # type: ignore[arg-type]


def flag(row: Mapping[str, Any], key: str) -> bool | None:
    """Return true, false, or None where the row has null."""
    value = row.get(key)
    if value is not None and type(value) is not bool:
        raise BadRow(f"{key} is neither true nor false")
    return value


def text(row: Mapping[str, Any], key: str, limit: int) -> str:
    """Return a text made printable, "" where the row has null."""
    value = row.get(key)
    if value is None:
        return ""
    if type(value) is not str:
        raise BadRow(f"{key} is not text")
    return printable(value, limit)


def matching(row: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    """Return a text that matches a pattern as it stands."""
    value = row.get(key)
    if type(value) is not str or not pattern.match(value):
        raise BadRow(f"{key} is missing or malformed")
    return value


def mapping(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an object."""
    return as_mapping(row.get(key), key)


def as_mapping(value: object, what: str) -> Mapping[str, Any]:
    """Return a value that must be an object; what: how to name it in BadRow."""
    if not isinstance(value, dict):
        raise BadRow(f"{what} is not an object")
    return value


def sequence(row: Mapping[str, Any], key: str, most: int) -> Sequence[Any]:
    """Return a list of at most so many values, empty where there is none."""
    value = row.get(key, [])
    if not isinstance(value, list) or len(value) > most:
        raise BadRow(f"{key} is not a list of at most {most}")
    return value
