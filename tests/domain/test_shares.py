"""Shares of outcomes, and when they may be told."""

import pytest

from relays.domain.shares import MIN_FOR_SHARE, Outcome, percent, rose


def test_five_messages_are_no_percentage() -> None:
    assert Outcome(sent=4, deferred=1).deferral_share is None
    assert Outcome(sent=MIN_FOR_SHARE - 1).deferral_share is None
    assert Outcome(sent=MIN_FOR_SHARE).deferral_share == 0


def test_mail_handed_over_is_neither_success_nor_failure() -> None:
    assert Outcome(sent=40, handed_over=1000).lines == 40


def test_suspended_is_part_of_deferred_and_counts_once() -> None:
    outcome = Outcome(sent=50, deferred=50, suspended=45)
    assert (outcome.failures, outcome.lines, outcome.deferral_share) == (50, 100, 0.5)


def test_expired_went_back_as_bounced_did() -> None:
    assert Outcome(sent=90, bounced=4, expired=6).bounce_share == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0 %"),
        (0.0004, "< 0.1 %"),
        (0.061, "6.1 %"),
        (0.5, "50 %"),
        (0.9949, "99.5 %"),
        (0.9996, "> 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_a_percentage_never_rounds_to_none_or_all(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_a_share_that_doubled_with_enough_failures_rose() -> None:
    assert rose(Outcome(sent=70, deferred=30), Outcome(sent=980, deferred=20))


@pytest.mark.parametrize(
    ("now", "before"),
    [
        (Outcome(sent=1, deferred=9), Outcome(sent=1000)),
        (Outcome(sent=70, deferred=30), Outcome(sent=3)),
        (Outcome(sent=91, deferred=9), Outcome(sent=1000)),
        (Outcome(sent=91, deferred=13), Outcome(sent=95, deferred=5)),
        (Outcome(sent=30, deferred=70), Outcome(sent=60, deferred=40)),
    ],
    ids=["too few now", "too few before", "too few failures", "too few points", "not twice"],
)
def test_less_than_that_is_told_by_chance(now: Outcome, before: Outcome) -> None:
    assert not rose(now, before)
