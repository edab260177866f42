import pytest

from relays.domain.health import MIN_DEFERRED, RULES, SLOW_OLDEST_S, State, judge

THROTTLE = "host mx.example[203.0.113.10] said: 421 4.7.0 Too much mail (in reply to RCPT TO command)"
BLOCK = "host mx.example[203.0.113.10] refused to talk to me: 554 5.7.1 Your address is on our list"
FULL = "host mx.example[203.0.113.10] said: 452 4.2.2 Mailbox full (in reply to RCPT TO command)"


def judged(*replies: tuple[str, int], deferred: int = 100, oldest_s: int | None = 60) -> State:
    return judge(deferred, oldest_s, replies, sum(count for _, count in replies))


def test_every_state_has_a_published_rule() -> None:
    assert set(RULES) == set(State)


def test_an_empty_queue_is_ok() -> None:
    assert judged(deferred=0, oldest_s=None) is State.OK


def test_half_of_the_replies_are_enough_to_call_it_throttled_or_blocked() -> None:
    assert judged((THROTTLE, 50), (FULL, 50)) is State.THROTTLED
    assert judged((BLOCK, 50), (FULL, 50)) is State.BLOCKED
    assert judged((THROTTLE, 49), (FULL, 51)) is State.OK


def test_blocked_is_told_before_throttled() -> None:
    assert judged((BLOCK, 50), (THROTTLE, 50)) is State.BLOCKED


def test_a_handful_of_deferred_messages_is_no_verdict() -> None:
    assert judged((BLOCK, 19), deferred=MIN_DEFERRED - 1) is State.OK


def test_old_mail_without_a_common_cause_is_slow() -> None:
    assert judged((FULL, 100), oldest_s=SLOW_OLDEST_S) is State.SLOW
    assert judged((FULL, 100), oldest_s=SLOW_OLDEST_S - 1) is State.OK


def test_without_replies_there_is_no_blame() -> None:
    assert judge(100, 60, [], 0) is State.OK


@pytest.mark.parametrize(
    "text",
    [
        "connect to mx.example[203.0.113.10]:25: Connection refused",
        "host 421.example[203.0.113.10] lost connection",
        "said: 999 9.9.9 nothing",
        "",
    ],
)
def test_what_no_remote_server_said_is_neither(text: str) -> None:
    assert judged((text, 100)) is State.OK


def test_a_multi_line_reply_counts_by_its_first_code() -> None:
    assert (
        judged(("host mx.example[203.0.113.10] said: 451-4.7.650 slow down 451 later", 100))
        is State.THROTTLED
    )
