"""What an expression costs, and the words it needs."""

import re

import pytest

from relays.domain.expressions import MAX_WAYS, needed_words, ways


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "(a|a)*b",
        "(a|ab)*c",
        "(?:.*)*x",
        ".*one.*two",
        r"(\w+\s?)*end",
        "(?:a{1,50}){1,50}",
        "(?=(a+)+b)c",
    ],
)
def test_what_may_take_long_is_told(pattern: str) -> None:
    assert ways(pattern, 2048) > MAX_WAYS


@pytest.mark.parametrize(
    "pattern",
    ["mailbox full", ".*full", "one.{0,60}two.{0,60}three", r"no such (?:\S{1,20} ){0,2}user", "(?:a|b)+c"],
)
def test_what_is_bounded_is_not(pattern: str) -> None:
    assert ways(pattern, 2048) <= MAX_WAYS


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("mailbox full", {"mailbox full"}),
        ("(?:mail ?box|inbox) is (?:full|over)", {"inbox", "mail"}),
        (r"\bSPAM\b", {"spam"}),
        ("(?:quota )?exceeded", {"exceeded"}),
        ("(?:quota)+", {"quota"}),
        ("a|mailbox", set()),
        (r"\d{3}", set()),
        ("", set()),
        ("邮箱", {"邮箱"}),
    ],
)
def test_words_are_those_that_no_match_is_without(pattern: str, words: set[str]) -> None:
    assert needed_words(pattern) == words


def test_what_is_no_expression_is_refused() -> None:
    with pytest.raises(re.error):
        ways("(", 2048)
