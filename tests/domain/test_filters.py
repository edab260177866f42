"""One filter for pages, commands, operations and the host."""

from typing import Any

import pytest

from relays.domain.filters import (
    NO_REPLY,
    NO_SENDER,
    BadFilter,
    QueueFilter,
    described,
    from_args,
    from_words,
    to_args,
    to_words,
)
from relays.domain.matching import Lines, Matcher, Replies, is_long, sender_check
from relays.domain.queue import Entry, Recipient, parse_entry, read_entries, read_entry
from tests.domain.test_queue_summary import NOW, line

REPLY = "host mx[192.0.2.1] said: 421 4.7.0 Try again later"
OTHER = "connect to mx[192.0.2.2]:25: Connection timed out"
DIGEST = Replies().of(REPLY)[0]
MESSAGE = Entry(
    "deferred",
    "4jWKWh04b5z1T1",
    NOW - 3600,
    2048,
    "List@Lists.example",
    [Recipient("A@Hotmail.com", REPLY), Recipient("b@outlook.com", OTHER)],
)


def takes(message: Entry = MESSAGE, /, **words: str) -> bool:
    return Matcher(from_words(words), now=NOW).takes(message)


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"queue": "deferred"},
        {"domain": "hotmail.com"},
        {"domain": "HOTMAIL.COM."},
        {"recipient": "a@hotmail.com"},
        {"sender": "list@lists.example"},
        {"sender_domain": "lists.example"},
        {"older": "59m"},
        {"newer": "2h"},
        {"larger": "1K"},
        {"smaller": "3K"},
        {"reply": DIGEST},
        {"text": "TRY AGAIN"},
        {"id": "4jWKWh04b5z1T1"},
        {"domain": "hotmail.com", "reply": DIGEST, "text": "421"},
    ],
)
def test_a_message_is_taken_for_what_it_is(words: dict[str, str]) -> None:
    assert takes(**words)


@pytest.mark.parametrize(
    "words",
    [
        {"queue": "hold,active"},
        {"domain": "mail.hotmail.com"},
        {"recipient": "a@outlook.com"},
        {"sender": "<>"},
        {"sender_domain": "example"},
        {"older": "2h"},
        {"newer": "1h"},
        {"larger": "2K"},
        {"smaller": "2K"},
        {"reply": NO_REPLY},
        {"text": "greylisted"},
        {"id": "4jWKWh04b5z1T2"},
        # Of one recipient the one holds, of the other the other: of neither both.
        {"domain": "outlook.com", "reply": DIGEST},
        {"recipient": "b@outlook.com", "text": "421"},
    ],
)
def test_a_message_is_left_for_what_it_is_not(words: dict[str, str]) -> None:
    assert not takes(**words)


def test_a_bounce_has_no_sender() -> None:
    bounce = MESSAGE._replace(sender="MAILER-DAEMON")
    assert takes(bounce, sender="<>")
    assert takes(bounce, sender="MAILER-DAEMON")
    assert from_args({"sender": ""}).sender == NO_SENDER


def test_recipients_are_those_that_are_asked_for() -> None:
    found = Matcher(from_words({"domain": "outlook.com"}), now=NOW).matching(MESSAGE)
    assert found == [MESSAGE.recipients[1]]


WHOLE = {
    "queue": "deferred,hold",
    "domain": "hotmail.com",
    "recipient": "a@hotmail.com",
    "sender_domain": "lists.example",
    "sender": "list@lists.example",
    "older": "90m",
    "newer": "2d",
    "larger": "500K",
    "smaller": "1048577B",
    "reply": f"{NO_REPLY},{DIGEST}",
    "text": "try again",
    "id": "4jWKWh04b5z1T1",
}


def test_a_filter_survives_an_address_and_a_request() -> None:
    wanted = from_words(WHOLE)
    assert to_words(wanted) == WHOLE
    assert from_args(to_args(wanted)) == wanted
    assert to_words(from_words({"reason": "rate-limited"})) == {"reason": "rate-limited"}


@pytest.mark.parametrize(
    "words",
    [
        {"queue": "corrupt"},
        {"older": "soon"},
        {"older": "9" * 10},
        {"older": "999999999d"},
        {"larger": "big"},
        {"reply": "xyz"},
        {"reply": ",".join(f"{n:016x}" for n in range(501))},
        {"id": "-"},
        {"id": "ALL"},
        {"id": "4jWKWh04b5z1T1\nALL"},
        {"text": "x" * 400},
        {"text": "\0"},
        {"recipient": "a\0@b.example"},
        {"reason": "<b>"},
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(BadFilter):
        from_words(words)


@pytest.mark.parametrize(
    "args",
    [
        {"queues": []},
        {"queues": "deferred"},
        {"queues": [7]},
        {"replies": ["x"]},
        {"older_than_s": -1},
        {"older_than_s": True},
        {"domain": 7},
        {"sender": "x" * 400},
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(BadFilter):
        from_args(args)


def test_a_reason_becomes_its_replies_and_never_everything() -> None:
    wanted = from_words({"reason": "rate-limited"})
    with pytest.raises(BadFilter):
        to_args(wanted)
    assert wanted.resolved([DIGEST]).replies == (DIGEST,)
    assert wanted.resolved([]).replies == (NO_REPLY,)
    both = from_words({"reason": "rate-limited", "reply": DIGEST})
    assert both.resolved([DIGEST, "1" * 16]).replies == (DIGEST,)
    assert both.resolved(["1" * 16]).replies == (NO_REPLY,)


def test_a_filter_is_said_in_words() -> None:
    assert described(QueueFilter()) == "of the whole queue"
    text = described(from_words({**WHOLE, "text": "a\x1b[31m\u202e"}))
    assert text.startswith("in deferred or hold, of the id 4jWKWh04b5z1T1, for hotmail.com, ")
    assert text.isprintable()
    assert described(from_words({"reason": "full"}), "Mailbox full") == "with the reason Mailbox full"
    assert described(from_words({"reply": DIGEST})) == f"with reply {DIGEST[:8]}"


@pytest.mark.parametrize(
    ("queue_id", "long"),
    [
        ("4jWKWh04b5z1T1", True),
        ("4jWKWh04b5zz1T1", True),
        ("4jWKWh04bz1T1", False),
        ("4B1C2D3E4F", False),
        ("4jWKWh04b5z", False),
        ("4aWKWh04b5z1T1", False),
        ("4jWKWh04b5z1T1\n", False),
        ("4jWKWh04b5z" + "1" * 30, False),
    ],
)
def test_a_long_queue_id_is_told_from_a_short_one(queue_id: str, long: bool) -> None:
    assert is_long(queue_id) is long


def test_senders_are_told_apart_without_naming_them() -> None:
    assert sender_check("a@b.example") != sender_check("A@b.example")
    assert len(sender_check("\ud800\x00")) == 16


@pytest.mark.parametrize(
    "written",
    [
        line(),
        line(sender="<script>\u202e\x1b[31m\x00" + "x" * 10_000),
        line(
            recipients=[{"address": "a@b.example", "delay_reason": 'said "no"'}, {"address": "c@d.example"}]
        ),
        line(recipients=[{"address": f"u{n}@b.example", "delay_reason": REPLY} for n in range(3)]),
        b"junk\n",
    ],
)
def test_the_fast_way_reads_what_the_slow_one_does(written: bytes) -> None:
    assert read_entry(written[:-1]) == parse_entry(written[:-1])
    assert read_entries(line() + written) in (None, [parse_entry(line()[:-1]), parse_entry(written[:-1])])


def test_whole_chunks_are_read_at_once_where_nothing_in_them_is_odd() -> None:
    two = [{"address": "a@b.example", "delay_reason": REPLY}, {"address": "c@d.example"}]
    lines = [line(), line(recipients=two), line(queue_name="maildrop")]
    assert read_entries(b"".join(lines)) == [parse_entry(each[:-1]) for each in lines]
    for odd in (line(sender="\u202e"), b"junk\n", line()[:60] + b"\n"):
        assert read_entries(lines[0] + odd + lines[1]) is None


def test_a_listing_cut_anywhere_gives_each_message_once() -> None:
    listing = line() + b"junk\n" + line(queue_id="4jWKWh04b5z1T2") + line(sender='"a b"@c.example')
    for size in (1, 7, 100, len(listing)):
        found: list[Entry] = []
        lines = Lines(found.append)
        for at in range(0, len(listing), size):
            lines.feed(listing[at : at + size])
        lines.finish()
        assert [entry.queue_id for entry in found] == ["4jWKWh04b5z1T1", "4jWKWh04b5z1T2", "4jWKWh04b5z1T1"]
        assert (lines.seen, lines.unparsable) == (4, 1)
