"""Rows of `log.search`: lines that a host found, checked. docs/relayctl.md is the protocol."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from relays.domain import fields

MAX_LINE = 4_000
_QUEUE_ID = re.compile(r"\A(?:[0-9A-Za-z]{5,31}|)\Z")
_INSTANCE = re.compile(r"\A(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,62}|)\Z")


class HostLine(NamedTuple):
    """A line by the host's clock (seconds since 1970). instance: "" where none logs so."""

    time: int
    instance: str
    queue_id: str
    text: str


def parse_line(row: Mapping[str, Any]) -> HostLine:
    """Return a row of the kind `line`. Raises BadRow."""
    instance = {"instance": row.get("instance") or ""}
    return HostLine(
        fields.needed_count(row, "time"),
        fields.matching(instance, "instance", _INSTANCE),
        fields.matching(row, "queue_id", _QUEUE_ID),
        fields.text(row, "text", MAX_LINE),
    )


def parse_problem(row: Mapping[str, Any]) -> str:
    """Return a row of the kind `problem` as a sentence's worth of text. Raises BadRow."""
    return f"{fields.matching(row, 'code', fields.CODE).replace('_', ' ')}: {fields.text(row, 'detail', 300)}"
