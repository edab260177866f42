"""What a trace may be asked for."""

from datetime import UTC, datetime

import pytest

from relays.domain.fields import BadRow
from relays.domain.found_lines import parse_line, parse_problem
from relays.domain.people import masked_line
from relays.domain.trace_question import BadQuestion, arrival_of, moment, question

NOW = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "text", "texts"),
    [
        ("recipient", " <anna@hotmail.com> ", ("to=<anna@hotmail.com>",)),
        ("sender", "b@lists.example", ("from=<b@lists.example>",)),
        ("sender", "<>", ("from=<>",)),
        ("message_id", "<m@lists.example>", ("message-id=<m@lists.example", "message-id=m@lists.example")),
        ("queue_id", "4jWKWh04b5z1T1", ()),
    ],
)
def test_a_question_becomes_parts_of_lines(kind: str, text: str, texts: tuple[str, ...]) -> None:
    assert question(kind, text, 1, 2).texts == texts


@pytest.mark.parametrize(
    ("kind", "text", "since", "until"),
    [
        ("body", "x", 1, 2),
        ("recipient", "", 1, 2),
        ("recipient", "a@b\nto=<c@d>", 1, 2),
        ("recipient", "a@b>, orig_to=<c@d", 1, 2),
        ("recipient", "a\0@b", 1, 2),
        ("recipient", "a\u202e@b", 1, 2),
        ("message_id", "a" * 901, 1, 2),
        ("queue_id", "ALL", 1, 2),
        ("queue_id", "-", 1, 2),
        ("queue_id", "4jWKWh04b5z1T1\n", 1, 1),
        ("queue_id", "4jWKWh04b5z1T1", 2, 1),
        ("queue_id", "4jWKWh04b5z1T1", 0, 2**31 - 1),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused(kind: str, text: str, since: int, until: int) -> None:
    with pytest.raises(BadQuestion):
        question(kind, text, since, until)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("90m", "2026-11-28T13:00:00+00:00"),
        ("24h", "2026-11-27T14:30:00+00:00"),
        ("3d", "2026-11-25T14:30:00+00:00"),
        ("2026-11-28", "2026-11-28T00:00:00+00:00"),
        ("2026-11-28 09:15", "2026-11-28T09:15:00+00:00"),
        ("2026-11-28T09:15:00+01:00", "2026-11-28T09:15:00+01:00"),
    ],
)
def test_a_time_is_an_age_or_a_date(text: str, told: str) -> None:
    assert moment(text, NOW, UTC).isoformat() == told


@pytest.mark.parametrize("text", ["", "yesterday", "5 y", "999999d", "1900-01-01", "2099-01-01", "\0"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadQuestion):
        moment(text, NOW, UTC)


def test_a_long_queue_id_tells_when_its_message_came_in() -> None:
    assert arrival_of("4jWKWh04b5z1T1") == 1_795_189_744
    assert arrival_of("8BE8F5E79") is None
    assert arrival_of("ALL") is None
    assert arrival_of("zzzzzzzzzzzzzzzz1") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("to=<anna@hotmail.com>, relay=x", "to=<…@hotmail.com>, relay=x"),
        ("from=<bounce+anna=hotmail.com@lists.example>", "from=<…@lists.example>"),
        ('to=<"a b@c"@hotmail.com>', "to=<…@hotmail.com>"),
        ("said: 550 anna@hotmail.com unknown", "said: 550 …@hotmail.com unknown"),
        ("bounce+anna=hotmail.com@lists.example", "…@lists.example"),
        ("removed", "removed"),
        ("from=<>, size=1", "from=<>, size=1"),
    ],
)
def test_addresses_lose_what_tells_whose_they_are(text: str, told: str) -> None:
    assert masked_line(text) == told


def test_a_row_is_a_line_with_what_cannot_be_seen_spelt_out() -> None:
    row = {"kind": "line", "time": 5, "instance": None, "queue_id": "", "file": "x", "text": "a\x1b[31m"}
    assert parse_line(row) == (5, "", "", "a\\x1b[31m")
    problem = {"code": "not_readable", "what": "log", "detail": "/var/log/mail.log.2.gz: no"}
    assert parse_problem(problem) == "not readable: /var/log/mail.log.2.gz: no"
    for wrong in (
        {"time": "x"},
        {"time": 2**40},
        {"time": 5.5},
        {"instance": "../x"},
        {"queue_id": "a b"},
        {"text": 5},
    ):
        with pytest.raises(BadRow):
            parse_line(row | wrong)
