"""A flush in figures: the equation, the guards, the ranking, and what hosts may send."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relays.domain.fields import BadRow
from relays.domain.flush import (
    Account,
    Candidate,
    Event,
    Message,
    PeerFacts,
    must_end,
    outcome,
    parse_check,
    parse_events,
    parse_messages,
    parse_peer,
    parse_redirect,
    parse_scan,
    rank,
)

ALL_MOVED = Account(selected=100, moved=100, there_sent=90, there_queued=10)


def test_every_recipient_in_one_known_place_adds_up() -> None:
    assert ALL_MOVED.adds_up
    assert ALL_MOVED.adds_up_there
    assert ALL_MOVED.left == 100
    kept = Account(selected=10, moved=3, direct=2, waiting=2, bounced=1, expired=1, gone=1, there_sent=3)
    assert kept.adds_up
    assert kept.left == 8


@pytest.mark.parametrize(
    "account",
    [
        replace(ALL_MOVED, unknown=1),
        replace(ALL_MOVED, moved=99),
        replace(ALL_MOVED, bounced_by_drain=1),
    ],
)
def test_what_is_missing_or_bounced_by_the_move_does_not(account: Account) -> None:
    assert not account.adds_up


def test_what_vanished_at_the_target_does_not_add_up_there() -> None:
    assert not replace(ALL_MOVED, there_queued=9, there_unknown=1).adds_up_there


@given(st.lists(st.integers(0, 1_000), min_size=6, max_size=6), st.integers(-5, 5))
def test_the_equation_holds_exactly_where_the_parts_are_the_whole(parts: list[int], off: int) -> None:
    moved, direct, waiting, bounced, expired, gone = parts
    account = Account(
        selected=max(0, sum(parts) + off),
        moved=moved,
        direct=direct,
        waiting=waiting,
        bounced=bounced,
        expired=expired,
        gone=gone,
    )
    assert account.adds_up is (account.selected == sum(parts))


def test_an_account_comes_back_as_it_was_stored() -> None:
    assert Account.from_json(ALL_MOVED.as_json()) == ALL_MOVED
    assert Account.from_json({}) == Account()


@pytest.mark.parametrize(
    ("account", "words"),
    [
        (ALL_MOVED, ""),
        (Account(selected=9, soft_bounces=1), "refused 1 of 1 for good"),
        (Account(selected=900, moved=500, soft_bounces=6), "refused 6 of 506"),
        (Account(selected=900, moved=500, soft_bounces=5), ""),
        (Account(selected=900, bounced_by_drain=1), "must never be"),
        (Account(selected=900, moved=100, there_sent=80, there_deferred=20), "deferred too: 20 of 100"),
        (Account(selected=900, moved=100, there_sent=90, there_bounced=10), "bounced too: 10 of 100"),
        (Account(selected=900, moved=40, there_sent=20, there_deferred=20), ""),
    ],
)
def test_a_guard_ends_it_and_says_why(account: Account, words: str) -> None:
    told = must_end(account, since_progress_s=0, past_deadline=False)
    assert words in told
    assert bool(told) is bool(words)


def test_time_ends_it_too() -> None:
    assert must_end(ALL_MOVED, since_progress_s=0, past_deadline=True) == "Its time is up."
    assert "moved for 5 minutes" in must_end(ALL_MOVED, since_progress_s=301, past_deadline=False)


def test_the_outcome_names_what_is_not_moved_and_why_it_ended() -> None:
    told = outcome(
        Account(selected=10, moved=7, waiting=2, unknown=1, there_sent=6, there_deferred=1, duplicates=1),
        why_ended="anna asked for it to stop.",
    )
    assert told == (
        "7 of 10 recipients moved, 2 still there, 1 not accounted for. At the target 6 are delivered,"
        " 0 queued and 1 deferred. 1 message arrived twice: listed. The redirect is off."
        " anna asked for it to stop."
    )


def candidate(name: str, **fields: Any) -> Candidate:
    usual = Candidate(1, name, "rustin", "198.51.100.12", True, "ok", True, 0, 0, False, False)
    return usual._replace(**fields)


def test_targets_are_ranked_by_health_then_provider_then_load() -> None:
    ranked = rank(
        [
            candidate("sick", state="throttled"),
            candidate("other", same_provider=False),
            candidate("full", deferred=900),
            candidate("best", state="quiet"),
            candidate("stale", fresh=False),
            candidate("redirected", redirected=True),
            candidate("busy", busy=True),
        ]
    )
    assert [item.candidate.name for item in ranked] == [
        *("best", "full", "other"),
        *("busy", "redirected", "sick", "stale"),
    ]
    problems = {item.candidate.name: item.problem for item in ranked}
    assert problems["sick"] == "it is throttled itself"
    assert problems["best"] == ""
    assert ranked[0].notes == ("0 deferred, 0 active", "sent nothing in the last hour")
    assert "for another provider" in ranked[2].notes
    (unread,) = rank([candidate("unread", deferred=None, active=None)])
    assert unread.notes == ("its queue was never read",)


SCANNED = {
    "counts": {
        "messages": 2,
        "recipients": 3,
        "bytes": 900,
        "elsewhere": 0,
        "near_end": 1,
        "too_large": 0,
        "smtputf8": 0,
    },
    "oldest": 5,
    "domains": [["hotmail.com", 3]],
}


def test_what_hosts_send_is_read_and_made_inert() -> None:
    assert parse_scan(SCANNED).domains == (("hotmail.com", 3),)
    row = {"rows": [["deferred", "4jWKWh04b5z1T1", 5, 900, [["a@b.cc", "host said: \x1b[31m"]]]]}
    (message,) = parse_messages(row)
    assert message == Message("deferred", "4jWKWh04b5z1T1", 5, 900, (("a@b.cc", message.recipients[0][1]),))
    assert "\x1b" not in message.recipients[0][1]
    events = parse_events(
        {
            "rows": [
                ["out", 1, "ID1", "a@b.cc", "sent", "2.0.0", "ID2", ""],
                ["direct", 1, "ID1", "a@b.cc", "deferred", "4.7.0", None, "busy"],
                ["done", 1, "ID2", "a@b.cc", "sent", "2.0.0", ""],
                ["mid", 1, "ID2", "x@y"],
                ["in", 1, "ID2"],
                ["expired", 1, "ID2"],
            ]
        }
    )
    assert events[0] == Event("out", 1, "ID1", "a@b.cc", "sent", "2.0.0", "ID2", "")
    assert [event.kind for event in events] == ["out", "direct", "done", "mid", "in", "expired"]
    peer = {"name": "msn-b", "size_limit": 5, "smtputf8": True}
    assert parse_peer(peer) == PeerFacts("msn-b", 5, True, False, False)
    encrypts = parse_peer(peer | {"starttls": True, "encrypts": True})
    assert encrypts == PeerFacts("msn-b", 5, True, True, True)
    assert parse_check({"check": "accepts", "ok": False, "detail": "no", "remedy": "do"}).remedy == "do"
    redirect = parse_redirect(
        {"instance": "msn-a", "onboarded": True, "problems": ["x"], "domains": [], "to": None, "left_s": 5.5}
    )
    assert (redirect.to, redirect.left_s, redirect.problems) == ("", 5.5, ("x",))


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"rows": [["out", 1, "ID"]]},
        {"rows": [["in", 1, "ID", "more"]]},
        {"rows": [["what", 1, "ID"]]},
        {"rows": [["in", -1, "ID"]]},
        {"rows": [["in", 1, 7]]},
        {"rows": [[]]},
        {"rows": 5},
    ],
)
def test_malformed_events_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(BadRow):
        parse_events(row)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"rows": [["deferred", "ID", 5, 900]]},
        {"rows": [["deferred", "ID", 5, 900, [["a"]]]]},
        {"rows": [[1] * 5]},
    ],
)
def test_malformed_messages_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(BadRow):
        parse_messages(row)


def test_malformed_totals_and_redirects_are_refused() -> None:
    for end in (
        {},
        SCANNED | {"domains": 5},
        SCANNED | {"domains": [["a"]]},
        SCANNED | {"domains": [["a", "b"]]},
    ):
        with pytest.raises(BadRow):
            parse_scan(end)
    with pytest.raises(BadRow):
        parse_redirect({"instance": "msn-a", "problems": None, "domains": []})
