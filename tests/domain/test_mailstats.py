import re

import pytest

from relays.domain.mailstats import BadStats, DayTotals, parse

GOOD = "postfix-msn-a:total:639\npostfix-msn-a:bounced:7\npostfix-msn-a:deferred:12\npostfix-msn-a:sent:620\n"


def test_four_lines_are_an_instances_totals() -> None:
    assert parse(GOOD.splitlines()) == {"postfix-msn-a": DayTotals(sent=620, deferred=12, bounced=7)}


def test_instances_may_be_mixed_and_lines_end_in_any_way() -> None:
    lines = ["a:sent:1\r\n", "b:sent:2", "", "  a:deferred:0 ", "b:deferred:0", "a:bounced:0", "b:bounced:3"]
    assert parse(lines) == {"a": DayTotals(1, 0, 0), "b": DayTotals(2, 0, 3)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "There is no line"),
        ("a:sent:1\nrubbish", "line 2: 'rubbish' is not of the form"),
        ("a:sent:-1", "line 1"),
        ("a:sent:1.5", "line 1"),
        ("a:sent:٣", "line 1"),
        ("\x1b[2Ja:sent:1", "line 1"),
        ("a b:sent:1", "line 1"),
        ("a:lost:1", "line 1: 'lost' is none of total, bounced, deferred, sent."),
        ("a:sent:1\na:sent:1", "line 2: a has a second sent line."),
        ("a:sent:9999999999", "line 1: 9,999,999,999 is more"),
        ("a:sent:1\na:bounced:1", "a has no deferred line."),
        (GOOD.replace("639", "640"), "its total is 640, but its other lines add up to 639."),
    ],
)
def test_what_is_not_the_scripts_output_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(BadStats, match=re.escape(told)) as refused:
        parse(text.split("\n"))
    assert str(refused.value).isprintable()
