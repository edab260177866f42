"""Messages of a queue counted by what they have in common, in bounded memory."""

import pytest

from relays.domain import groups
from relays.domain.filters import from_words
from relays.domain.groups import QueueGroups, Tally
from relays.domain.matching import Matcher
from relays.domain.queue import Entry, Recipient
from tests.domain.test_queue_summary import NOW

REPLY = "host mx[192.0.2.1] said: 452 4.2.2 <{}>: mailbox full"


def message(number: int, *addresses: str, queue: str = "deferred", age: int = 700) -> Entry:
    recipients = [Recipient(address, REPLY.format(address)) for address in addresses]
    return Entry(queue, f"4jWKWh04b5z1T{number}", NOW - age, 1000, "list@lists.example", recipients)


def summed(*messages: Entry, **words: str) -> QueueGroups:
    read = QueueGroups(Matcher(from_words(words), now=NOW), now=NOW)
    for each in messages:
        read.add(each)
    read.finish()
    return read


def test_a_message_counts_once_in_each_group_it_belongs_to() -> None:
    read = summed(
        message(1, "a@hotmail.com", "b@hotmail.com", "c@outlook.com"),
        message(2, "d@hotmail.com", queue="hold", age=10),
        message(3, "e@gmail.com", queue="maildrop"),
    )
    rows = {name: [row[:3] for row in tally.greatest(10)] for name, tally in read.tables.items()}

    assert (read.seen, read.messages, read.recipients, read.size_bytes) == (2, 2, 4, 2000)
    assert read.oldest == NOW - 700
    assert rows["domain"][0] == ("hotmail.com", 2, [1, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    assert rows["domain"][1][:2] == ("outlook.com", 1)
    assert [row[:2] for row in rows["queue"]] == [("deferred", 1), ("hold", 1)]
    assert [row[:2] for row in rows["sender"]] == [("list@lists.example", 2)]
    (reply,) = read.tables["reply"].greatest(10)
    assert (reply.messages, reply.text) == (2, "host <mx>[<ip>] said: 452 4.2.2 <address>: mailbox full")


def test_what_is_asked_for_can_be_asked_for_again_by_its_key() -> None:
    messages = [message(n, f"u{n}@hotmail.com") for n in range(5)] + [
        message(7, "a@b.example")._replace(recipients=[Recipient("a@b.example", "")])
    ]
    (digest, *_), other = summed(*messages).tables["reply"].greatest(2)

    assert summed(*messages, reply=digest).messages == 5
    assert summed(*messages, reply=other.key).messages == 1
    assert other.text == "(no reason recorded)"
    assert summed(*messages, domain="b.example").messages == 1


def test_a_table_keeps_the_greatest_rows_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_SENDERS_REMEMBERED", 10)
    tally = Tally(100)
    for number in range(1000):
        tally.add("often", 0, "said often")
        tally.add(f"once {number}", 9)
    assert tally.greatest(1)[0][:3] == ("often", 1000, [1000, *[0] * 9])
    assert len(tally) <= 100
    assert tally.dropped + sum(row.messages for row in tally.greatest(100)) == 2000
    assert summed(*(message(n, f"a@d{n}.example") for n in range(30))).messages == 30


def test_hostile_senders_are_printable() -> None:
    sender = message(1, "a@b.example")._replace(sender="<b>\x1b[31m\u202e@x.example")
    (row,) = summed(sender).tables["sender"].greatest(5)
    assert row.key.isprintable()
