"""The sum over `postqueue -j`: exact where the listing is sound, and honest where it is not."""

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relays.domain import queue
from relays.domain.queue import NO_DOMAIN, NO_REASON, QueueSummary, domain_of, parse_entry

NOW = 1_795_190_000


def line(**changes: Any) -> bytes:
    """Return a line as Postfix 3.7 writes it, with these fields changed; None leaves one out."""
    fields = {
        "queue_name": "deferred",
        "queue_id": "4jWKWh04b5z1T1",
        "arrival_time": NOW - 60,
        "message_size": 1350,
        "forced_expire": False,
        "sender": "list@lists.example",
        "recipients": [{"address": "a@hotmail.com", "delay_reason": "said: 421 4.7.0 later"}],
    }
    kept = {key: value for key, value in {**fields, **changes}.items() if value is not None}
    return json.dumps(kept, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def summed(*chunks: bytes, now: float = NOW) -> QueueSummary:
    summary = QueueSummary(now=now)
    for chunk in chunks:
        summary.feed(chunk)
    summary.finish()
    return summary


def domain_rows(summary: QueueSummary) -> list[tuple[str, int, list[int]]]:
    return summary.domains(limit=1000, max_bytes=1 << 20).rows


def reply_rows(summary: QueueSummary) -> list[tuple[str, int]]:
    return [(text, count) for text, count, _ in summary.replies(limit=1000, max_bytes=1 << 20).rows]


def everything(summary: QueueSummary) -> tuple[object, ...]:
    return (
        summary.counts,
        summary.size_bytes,
        summary.unparsable,
        summary.newcomers,
        summary.oldest_s,
        summary.deferred_recipients,
        summary.sampled,
        domain_rows(summary),
        reply_rows(summary),
    )


def test_an_empty_listing_is_an_empty_queue() -> None:
    summary = summed()

    assert set(summary.counts.values()) == {0}
    assert summary.oldest_s is None
    assert domain_rows(summary) == []


def test_messages_count_by_queue_and_recipients_by_domain() -> None:
    two = [{"address": "b@outlook.com"}, {"address": "c@Hotmail.COM"}]
    summary = summed(line() + line(queue_name="active", recipients=two) + line(queue_name="hold"))

    assert summary.counts == {"incoming": 0, "active": 1, "deferred": 1, "hold": 1, "maildrop": 0}
    assert summary.size_bytes == 3 * 1350
    assert [(domain, total) for domain, total, _ in domain_rows(summary)] == [
        ("hotmail.com", 2),
        ("outlook.com", 1),
    ]


@pytest.mark.parametrize(
    ("age_min", "bucket"),
    [(0, 0), (4.9, 0), (5, 1), (9.9, 1), (10, 2), (640, 8), (1279, 8), (1280, 9), (99_999, 9)],
)
def test_ages_fall_into_the_buckets_of_qshape(age_min: float, bucket: int) -> None:
    ((_, _, counts),) = domain_rows(summed(line(arrival_time=int(NOW - age_min * 60))))

    assert counts == [int(index == bucket) for index in range(10)]


def test_the_oldest_is_of_mail_that_moves_not_of_held_mail() -> None:
    summary = summed(line(arrival_time=NOW - 500) + line(queue_name="hold", arrival_time=NOW - 9000))

    assert summary.oldest_s == 500


def test_mail_that_arrived_after_the_reading_began_is_told() -> None:
    summary = summed(line() + line(arrival_time=NOW + 2))

    assert summary.newcomers == 1
    assert summary.oldest_s == 60


def test_replies_of_deferred_recipients_are_clustered() -> None:
    reasons = [f"host mx[203.0.113.{n}] said: 421 4.7.0 wait {n} s" for n in range(50)]
    summary = summed(
        *(line(recipients=[{"address": "a@b.example", "delay_reason": text}]) for text in reasons)
    )

    assert reply_rows(summary) == [("host <mx>[<ip>] said: 421 4.7.0 wait <n> s", 50)]
    assert summary.sampled == summary.deferred_recipients == 50


def test_a_deferred_recipient_without_a_reason_is_counted_as_such() -> None:
    summary = summed(line(recipients=[{"address": "a@b.example"}]))

    assert reply_rows(summary) == [(NO_REASON, 1)]


def test_active_mail_has_no_replies() -> None:
    assert reply_rows(summed(line(queue_name="active"))) == []


def test_replies_are_left_out_where_nobody_asks_for_them() -> None:
    summary = QueueSummary(now=NOW, replies=False)
    summary.feed(line())
    summary.finish()

    assert summary.deferred_recipients == 1
    assert summary.sampled == 0


@pytest.mark.parametrize(
    "broken",
    [
        b"\n",
        b"postqueue: warning: something\n",
        b"[]\n",
        b"{}\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b'{"queue_name": NaN}\n',
        b"\x00\x00\x00\x00\n",
        line()[:-20] + b"\n",
        line(queue_id=None),
        line(queue_id="../../etc"),
        line(queue_name="trash"),
        line(queue_name=["deferred"]),
        line(arrival_time="1795188249"),
        line(arrival_time=True),
        line(arrival_time=-1),
        line(arrival_time=1.5),
        line(message_size=10**15),
        line(message_size=None),
        line(sender=7),
        line(recipients={}),
        line(recipients="abc"),
        line(recipients=["a@b.example"]),
        line(recipients=[{"delay_reason": "no address"}]),
        line(recipients=[{"address": "a@b.example", "delay_reason": 3}]),
        line().replace(b'"sender"', b'"queue_id": "4jWKWh04b5z1T1", "sender"'),
        line().replace(b"1350", b"01350"),
        line().replace(b"}\n", b"} trailing\n"),
    ],
)
def test_a_line_that_is_no_queue_entry_is_counted_and_the_others_are_summed(broken: bytes) -> None:
    summary = summed(line() + broken + line())

    assert summary.unparsable == 1
    assert summary.counts["deferred"] == 2


@pytest.mark.parametrize(
    "odd",
    [
        line(forced_expire=None),
        line(unknown_key="of a later Postfix"),
        line().replace(b", ", b",").replace(b": ", b":"),
        line(sender='quo"ted\\back'),
        line(sender="t\u00e4b\t"),
        line().replace(b"a@hotmail.com", b"a\xff\xfe@hotmail.com"),
        line().replace(b"a@hotmail.com", b"\\ud800@hotmail.com"),
        line().replace(b'"deferred"', b'"\\u0064eferred"'),
    ],
)
def test_a_sound_line_counts_however_it_is_written(odd: bytes) -> None:
    summary = summed(odd)

    assert summary.unparsable == 0
    assert summary.counts["deferred"] == 1
    assert [row[0] for row in domain_rows(summary)] == ["hotmail.com"]


def test_a_last_line_that_was_cut_is_unparsable() -> None:
    summary = summed(line() + line()[:50])

    assert (summary.counts["deferred"], summary.unparsable) == (1, 1)


def test_a_last_line_that_only_lacks_its_newline_counts() -> None:
    assert summed(line()[:-1]).counts["deferred"] == 1


def test_a_message_with_too_many_recipients_to_read_counts_as_a_message() -> None:
    many = [{"address": f"user{n}@b.example"} for n in range(50_000)]
    huge = line(recipients=many) + line()
    summary = summed(*(huge[at : at + 65_536] for at in range(0, len(huge), 65_536)))

    assert summary.counts["deferred"] == 2
    assert summary.oversized == 1
    assert summary.unparsable == 0
    assert [row[0] for row in domain_rows(summary)] == ["hotmail.com"]


def test_an_endless_line_costs_no_memory_and_one_unparsable() -> None:
    summary = QueueSummary(now=NOW)
    for _ in range(100):
        summary.feed(b"x" * 65_536)
        assert len(summary._tail) <= queue.MAX_LINE
    summary.feed(b"\n" + line())
    summary.finish()

    assert summary.unparsable == 1
    assert summary.counts["deferred"] == 1


def test_a_huge_line_in_one_chunk_is_not_looked_at_either() -> None:
    summary = summed(b"x" * (queue.MAX_LINE + 1) + b"\n" + line())

    assert (summary.unparsable, summary.counts["deferred"]) == (1, 1)


def test_tables_are_cut_by_rows_and_by_bytes_and_sum_up_the_rest() -> None:
    summary = summed(*(line(recipients=[{"address": f"a@d{n}.example"}]) for n in range(10)), line())

    few = summary.domains(limit=3, max_bytes=1 << 20)
    none = summary.domains(limit=3, max_bytes=10)

    assert len(few.rows) == 3
    assert few.rows[0][0] == "d0.example"
    assert few.other == sum(few.other_buckets) == 8
    assert few.distinct == 11
    assert (none.rows, none.other) == ([], 11)


def test_more_domains_than_can_be_kept_spill_into_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_DOMAINS_KEPT", 10)
    big = b"".join(line() for _ in range(5))
    summary = summed(big, *(line(recipients=[{"address": f"a@d{n}.example"}]) for n in range(100)))
    table = summary.domains(limit=1000, max_bytes=1 << 20)

    assert summary.domains_pruned
    assert table.rows[0][:2] == ("hotmail.com", 5)
    assert sum(count for _, count, _ in table.rows) + table.other == 105
    assert len(summary._by_spelling) <= 20


def test_spellings_of_few_domains_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_DOMAINS_KEPT", 4)
    names = [f"{bits:08b}".replace("0", "a").replace("1", "A") for bits in range(256)]
    summary = summed(*(line(recipients=[{"address": f"u@{name}.example"}]) for name in names))

    assert [row[:2] for row in domain_rows(summary)] == [("aaaaaaaa.example", 256)]
    assert len(summary._by_spelling) <= 8


def test_more_replies_than_can_be_kept_spill_into_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_REPLIES_KEPT", 10)
    monkeypatch.setattr(queue, "_REASONS_WAITING", 5)
    words = ["".join(chr(ord("a") + int(digit)) for digit in str(n)) for n in range(100)]
    unlike = (line(recipients=[{"address": "a@b.example", "delay_reason": word}]) for word in words)
    summary = summed(line() * 7, *unlike)
    table = summary.replies(limit=3, max_bytes=1 << 20)

    assert table.rows[0][:2] == ("said: 421 4.7.0 later", 7)
    assert sum(count for _, count, _ in table.rows) + table.other == summary.sampled == 107


def test_of_a_long_queue_a_stated_sample_of_replies_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "SAMPLED_WHOLLY", 50)
    reasons = (line(recipients=[{"address": "a@b.example", "delay_reason": f"wait {n}"}]) for n in range(250))
    summary = summed(*reasons)

    assert summary.deferred_recipients == 250
    assert summary.sampled == 50 + 200 // queue.SAMPLE_STRIDE
    assert reply_rows(summary) == [("wait <n>", summary.sampled)]


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("a@Hotmail.COM.", "hotmail.com"),
        ('"q@x"@b.example', "b.example"),
        ("a@[198.51.100.1]", "[198.51.100.1]"),
        ("a@\u00fcml\u00e4ut.example", "xn--mlut-moa5l.example"),
        ("a@" + "\u00fc" * 70 + ".example", "\\xfc" * 62 + "\\x..."),
        ("a@b\x00\x1b.example", "b\\x00\\x1b.example"),
        ("a@" + "x" * 300, "x" * 250 + "..."),
        ("root", NO_DOMAIN),
        ("a@", NO_DOMAIN),
        ("", NO_DOMAIN),
    ],
)
def test_a_recipient_domain_is_fit_to_compare_and_show(address: str, domain: str) -> None:
    assert domain_of(address) == domain


# What a hostile or merely odd message can bring into a listing, and what a fast reader could trip over.
_TEXTS = st.one_of(
    st.sampled_from(
        ["", "a@b.example", "A@B.EXAMPLE", '"q@x"@b.example', "no-at", "a@b, {", '"}]}', "\\", "\x7f"]
    ),
    st.text(max_size=20),
)
_RECIPIENTS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"address": _TEXTS}),
        st.fixed_dictionaries({"address": _TEXTS, "delay_reason": _TEXTS}),
    ),
    max_size=4,
)
_LINES = st.builds(
    line,
    queue_name=st.sampled_from(["incoming", "active", "deferred", "hold", "maildrop", "corrupt"]),
    arrival_time=st.integers(NOW - 200_000, NOW + 100),
    message_size=st.one_of(st.integers(0, 10**7), st.just(10**15)),
    forced_expire=st.one_of(st.none(), st.booleans()),
    sender=_TEXTS,
    recipients=_RECIPIENTS,
)
_DAMAGED = st.builds(
    lambda whole, at, junk: whole[:at] + junk + whole[at + 1 :],
    _LINES,
    st.integers(0, 300),
    st.sampled_from([b"", b"\n", b"\x00", b"\xff", b'"', b"\\", b" ", b"0", b"}"]),
)


def by_the_slow_path(listing: bytes) -> tuple[object, ...]:
    """Return what a summary says that reads each line through json alone."""
    summary = QueueSummary(now=NOW)
    lines = listing.split(b"\n")
    for each in lines[:-1]:
        summary._add_line(each)
    if lines[-1]:
        summary._add_line(lines[-1])
    summary.finish()
    return everything(summary)


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(_LINES, _DAMAGED), max_size=8), st.lists(st.integers(0, 1500), max_size=5))
def test_the_fast_reading_says_what_the_strict_one_says(lines: list[bytes], edges: list[int]) -> None:
    listing = b"".join(lines)

    assert everything(summed(*cut(listing, edges))) == by_the_slow_path(listing)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_end_the_reading(data: bytes) -> None:
    summary = summed(data)

    lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    assert summary.unparsable + sum(summary.counts.values()) == lines


def test_an_entry_tells_what_the_line_told() -> None:
    entry = parse_entry(line())

    assert entry is not None
    assert (entry.queue, entry.queue_id, entry.arrival) == ("deferred", "4jWKWh04b5z1T1", NOW - 60)
    assert entry.recipients == [("a@hotmail.com", "said: 421 4.7.0 later")]
