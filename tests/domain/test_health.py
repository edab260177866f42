from dataclasses import replace

import pytest

from relays.domain.health import (
    MIN_DEFERRED,
    MIN_TRIED,
    RULES,
    SLOW_OLDEST_S,
    LastHour,
    QueueFigures,
    State,
    judge,
)

EMPTY = QueueFigures(deferred=0, oldest_s=None, sampled=0, throttled=0, blocked=0)
QUEUE = QueueFigures(deferred=100, oldest_s=60, sampled=100, throttled=0, blocked=0)
HOUR = LastHour(
    sent=100, deferred=0, bounced=0, expired=0, handed_over=0, accepted=100, throttled=0, blocked=0
)


def test_every_state_has_a_published_rule() -> None:
    assert set(RULES) == set(State)


def test_an_empty_queue_that_sends_is_ok() -> None:
    assert judge(EMPTY, HOUR) is State.OK
    assert judge(EMPTY, None) is State.OK


def test_half_of_the_queue_is_enough_to_call_it_throttled_or_blocked() -> None:
    assert judge(replace(QUEUE, throttled=50), None) is State.THROTTLED
    assert judge(replace(QUEUE, blocked=50), HOUR) is State.BLOCKED
    assert judge(replace(QUEUE, throttled=49, blocked=49), None) is State.OK


def test_a_fifth_of_the_last_hour_is_enough_too() -> None:
    refused = replace(HOUR, sent=80, deferred=20)
    assert judge(EMPTY, replace(refused, throttled=20)) is State.THROTTLED
    assert judge(EMPTY, replace(HOUR, sent=80, bounced=20, blocked=20)) is State.BLOCKED
    assert judge(EMPTY, replace(HOUR, sent=81, bounced=20, blocked=20)) is State.OK
    assert judge(EMPTY, refused) is State.SLOW


def test_blocked_is_told_before_throttled_and_that_before_slow() -> None:
    both = replace(QUEUE, throttled=50, blocked=50, oldest_s=SLOW_OLDEST_S)
    assert judge(both, None) is State.BLOCKED
    assert judge(replace(both, blocked=0), None) is State.THROTTLED


def test_a_handful_of_messages_is_no_verdict() -> None:
    few = replace(QUEUE, deferred=MIN_DEFERRED - 1, oldest_s=SLOW_OLDEST_S, throttled=19, blocked=19)
    assert judge(few, None) is State.OK
    tried = replace(HOUR, sent=0, bounced=MIN_TRIED - 1, blocked=MIN_TRIED - 1)
    assert judge(EMPTY, tried) is State.OK
    assert judge(EMPTY, replace(tried, sent=1)) is State.BLOCKED


@pytest.mark.parametrize("hour", [None, HOUR])
def test_old_mail_without_a_common_cause_is_slow(hour: LastHour | None) -> None:
    assert judge(replace(QUEUE, oldest_s=SLOW_OLDEST_S), hour) is State.SLOW
    assert judge(replace(QUEUE, oldest_s=SLOW_OLDEST_S - 1), hour) is State.OK


def test_without_replies_there_is_no_blame() -> None:
    assert judge(replace(QUEUE, sampled=0), None) is State.OK


def test_an_hour_without_mail_is_quiet() -> None:
    nothing = replace(HOUR, sent=0, accepted=0)
    assert judge(EMPTY, nothing) is State.QUIET
    for kind in ("sent", "deferred", "bounced", "expired", "handed_over", "accepted"):
        assert judge(EMPTY, replace(nothing, **{kind: 1})) is State.OK


def test_old_mail_in_the_queue_of_a_quiet_instance_is_slow() -> None:
    nothing = replace(HOUR, sent=0, accepted=0)
    assert judge(replace(QUEUE, oldest_s=SLOW_OLDEST_S), nothing) is State.SLOW


def test_mail_that_is_handed_over_is_not_tried() -> None:
    assert judge(EMPTY, replace(HOUR, sent=4, handed_over=100, deferred=5, throttled=5)) is State.OK
