"""Rows about a queue's messages, from a host that lies."""

from typing import Any

import orjson
import pytest

from relays.domain.fields import BadRow
from relays.domain.queue_reading import TABLES, Groups, item_of, parse_groups, parse_picked

AGES = [1, *[0] * 9]
SUMS: dict[str, Any] = {
    "kind": "sums",
    "read_at": 1795188249.5,
    "messages": 1,
    "recipients": 1,
    "size_bytes": 1350,
    "oldest": 1795180000,
    "ages": AGES,
    "of": 2,
    "unparsable": 0,
}
EMPTY = [{"kind": "table", "by": name, "distinct": 0, "dropped": 0} for name in TABLES]
GROUP = {
    "kind": "group",
    "by": "reply",
    "key": "0" * 16,
    "messages": 1,
    "ages": AGES,
    "text": "said \x1b[31m",
}


def test_groups_are_values_that_survive_being_stored() -> None:
    groups = parse_groups([SUMS, *EMPTY, GROUP])
    assert groups.tables["reply"].rows[0].text == "said \\x1b[31m"
    assert Groups.from_json(orjson.loads(orjson.dumps(groups.as_json()))) == groups


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [SUMS],
        [*EMPTY],
        [SUMS, *EMPTY, {**GROUP, "by": "odd"}],
        [SUMS, GROUP, *EMPTY],
        [SUMS, *EMPTY, {**GROUP, "ages": [1]}],
        [SUMS, *EMPTY, {**GROUP, "messages": -1}],
        [{**SUMS, "messages": "1"}, *EMPTY],
        [{**SUMS, "read_at": "now"}, *EMPTY],
    ],
)
def test_groups_that_are_none_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(BadRow):
        parse_groups(rows)


@pytest.mark.parametrize(
    "item",
    [
        "ALL",
        ["ALL", 1, "0" * 16],
        ["-", 1, "0" * 16],
        ["4jWKWh04b5z1T1\n", 1, "0" * 16],
        ["4jWKWh04b5z1T1", -1, "0" * 16],
        ["4jWKWh04b5z1T1", 1.5, "0" * 16],
        ["4jWKWh04b5z1T1", 1, "0" * 15],
        [7, 1, "0" * 16],
    ],
)
def test_an_item_that_is_none_is_refused(item: object) -> None:
    with pytest.raises(BadRow):
        item_of(item)


def test_a_picked_row_has_its_items() -> None:
    assert parse_picked({"items": [["4jWKWh04b5z1T1", 1, "0" * 16]]}) == [("4jWKWh04b5z1T1", 1, "0" * 16)]
