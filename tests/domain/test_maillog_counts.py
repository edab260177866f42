"""Outcomes counted from a log: per recipient, the same however the log is cut, in bounded memory."""

import random
from collections import Counter as Tally
from datetime import UTC

import pytest

from relays.domain.maillog import counts as module
from relays.domain.maillog import tables
from relays.domain.maillog.counts import Counter
from relays.domain.maillog.tables import DELAY_BOUNDS, OTHER, OTHER_DIGEST, Counts
from relays.domain.queue import NO_DOMAIN
from tests.domain.maillog_cases import NOW, SAMPLES, counted, counter, parsed, recipients, samples

CASES = (SAMPLES / "cases.log").read_bytes()


def delivery(
    status: str = "sent (250 2.0.0 Ok)",
    *,
    relay: str = "mx.a.example[203.0.113.1]:25",
    to: str = "u@a.example",
    program: str = "postfix-msn-a/smtp",
    queue_id: str = "4jWKWh04b5z1T1",
    stamp: str = "Nov 20 15:49:04",
) -> bytes:
    return (
        f"{stamp} iron {program}[719]: {queue_id}: to=<{to}>, relay={relay}, delay=0.89,"
        f" delays=0.01/0.88/0/0.01, dsn=2.0.0, status={status}\n"
    ).encode()


def outcomes(counts: Counts) -> dict[str, int]:
    totals: Tally[str] = Tally()
    for (_, _, _, outcome, _, _), (n, _) in counts.rows.items():
        totals[outcome] += n
    return dict(totals)


def test_the_samples_have_these_outcomes() -> None:
    assert outcomes(counted(CASES)) == {
        "sent": 21,
        "handed_over": 3,
        "deferred": 2,
        "suspended": 1,
        "bounced": 4,
        "softbounce": 1,
        "expired": 2,
    }


def test_lines_that_lost_their_outcome_are_told_of() -> None:
    counts = counted(CASES)

    assert (counts.lines, counts.unrecognized, counts.foreign) == (63, 8, 2)
    assert len(counts.unrecognized_samples) == 5
    assert all(sample.isprintable() for sample in counts.unrecognized_samples)


def test_garbage_is_counted_and_sampled() -> None:
    counts = counted(b"\x00\x01garbage \xff\n\nNov 20 15:49:04 iron exim[1]: 1abc <= a@a.example\n")

    assert (counts.lines, counts.unrecognized, counts.foreign) == (3, 3, 1)
    assert counts.unrecognized_samples[0] == "\\x01garbage \\ufffd".replace("\\ufffd", "�")
    assert counts.first is None


def test_another_program_does_not_hide_a_line_of_postfix() -> None:
    noise = b"Nov 20 15:49:04 iron opendkim[1]: x\n" * 9

    counts = counted(noise + b"Nov 20 15:49:04 iron postfix/smtp[1]: 4jWKWh04b5z: to=<u@a.exa\n")

    assert any(sample.endswith("to=<u@a.exa") for sample in counts.unrecognized_samples)


def test_both_readers_agree_on_the_samples() -> None:
    assert recipients(counted(CASES)) == parsed(samples())


@pytest.mark.parametrize("seed", range(8))
def test_counts_do_not_depend_on_where_the_log_is_cut(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE", 700)
    chance = random.Random(seed)
    cuts = [chance.randrange(len(CASES)) for _ in range(chance.randrange(200))]

    assert counted(CASES, cuts) == counted(CASES)


def test_what_a_remote_server_says_is_no_outcome() -> None:
    log = delivery("deferred (host mx said: 421 4.7.0 no, status=sent (250 2.0.0 Ok), to=<x@b.example>)")

    assert outcomes(counted(log)) == {"deferred": 1}


def test_a_whole_line_in_a_remote_server_s_words_is_no_outcome() -> None:
    forged = delivery().decode().strip()

    assert outcomes(counted(delivery(f"bounced (host mx said: 550 {forged})"))) == {"bounced": 1}


def test_a_status_that_postfix_does_not_write_is_told_of() -> None:
    counts = counted(delivery("delighted (250 2.0.0 Ok)"))

    assert (outcomes(counts), counts.unrecognized) == ({}, 1)


@pytest.mark.parametrize(
    ("relay", "reply", "outcome"),
    [
        ("msn-b.relay.test[198.51.100.12]:25", "250 2.0.0 Ok", "handed_over"),
        ("msn-b.relay.test[198.51.100.120]:25", "250 2.0.0 Ok", "sent"),
        ("127.0.0.1[127.0.0.1]:10024", "250 2.0.0 Ok: queued as 1", "handed_over"),
        ("localhost[::1]:10024", "250 2.0.0 Ok: queued as 1", "handed_over"),
        ("127.0.0.1[127.0.0.1]:24", "250 2.0.0 <u@a.example> Saved", "sent"),
        ("iron[private/filter]", "250 2.0.0 Ok: queued as 1", "handed_over"),
        ("scan.relay.test[192.0.2.99]:10025", "250 2.0.0 Ok: queued as 1", "handed_over"),
        ("scan.relay.test[192.0.2.99]:25", "250 2.0.0 Ok: queued as 1", "sent"),
        ("spamfilter", "delivered via spamfilter service", "handed_over"),
    ],
)
def test_what_another_relay_or_a_filter_takes_is_handed_over(relay: str, reply: str, outcome: str) -> None:
    reader = Counter({}, ["198.51.100.12"], filters=["192.0.2.99:10025", "spamfilter"], now=NOW, zone=UTC)
    reader.feed(delivery(f"sent ({reply})", relay=relay) * 2)

    assert outcomes(reader.finish()) == {outcome: 2}


@pytest.mark.parametrize(
    ("names", "program", "instance"),
    [
        ({}, "postfix-msn-a/smtp", "msn-a"),
        ({}, "postfix-msn-a/drain/smtp", "msn-a"),
        ({}, "postfix/smtp", "default"),
        ({}, "postfix/submission/smtpd", "default"),
        ({}, "postfix-127.0.0.2/smtp", "127.0.0.2"),
        ({}, "relayhost/smtp", "relayhost"),
        ({}, "postfix-@a/smtp", "_a"),
        ({"relayhost": "msn-b"}, "relayhost/smtp", "msn-b"),
        ({"out/msn": "msn-c", "out": "other"}, "out/msn/drain/smtp", "msn-c"),
        ({"out/msn": "msn-c", "out": "other"}, "out/smtp", "other"),
    ],
)
def test_an_instance_is_told_by_its_syslog_name(names: dict[str, str], program: str, instance: str) -> None:
    reader = Counter(names, now=NOW, zone=UTC)
    reader.feed(delivery(program=program))

    ((_, counted_as, *_),) = reader.finish().rows
    assert counted_as == instance


def test_an_origin_is_counted_once_however_its_mail_passes_a_filter() -> None:
    accepted = counted(CASES).accepted

    assert {ip: n for (_, _, ip), n in accepted.items()} == {
        "192.0.2.10": 1,
        "2001:db8::25": 1,
        "192.0.2.11": 1,
        "": 1,
    }


def test_who_may_not_relay_is_counted_by_recipient() -> None:
    line = "Nov 20 15:49:04 iron postfix-msn-a/smtpd[7]: {}: reject: RCPT from {}: {}\n"
    denied = "454 4.7.1 <u@a.example>: Relay access denied; from=<b@c> to=<u@a.example> proto=ESMTP helo=<l>"
    log = (
        line.format("NOQUEUE", "lists.example[192.0.2.1]", denied)
        + line.format(
            "4jWKWh04b5z1T1", "lists.example[192.0.2.1]:4711", denied.replace("454 4.7.1", "554 5.7.1")
        )
        + line.format("NOQUEUE", "unknown[unknown]", denied)
        + line.format(
            "NOQUEUE", "lists.example[192.0.2.1]", denied.replace("Relay access denied", "User unknown")
        )
        + line.format(
            "NOQUEUE", "lists.example[192.0.2.1]", "554 5.7.1 <a: Relay access denied; b@c>: no"
        ).replace("reject: RCPT", "warning: RCPT")
    )

    counts = counted(log.encode())

    ts = min(ts for ts, _, _ in counts.denied)
    assert counts.denied == {(ts, "msn-a", "192.0.2.1"): 2, (ts, "msn-a", ""): 1}
    assert (counts.unrecognized, counts.clients, counts.accepted) == (0, {}, {})


def test_strangers_that_try_a_relay_are_counted_together_beyond_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)
    line = (
        "Nov 20 15:49:04 iron postfix/smtpd[7]: NOQUEUE: reject: RCPT from x[192.0.2.{n}]: "
        "554 <u@a>: Relay access denied; from=<b@c>\n"
    )

    denied = counted("".join(line.format(n=n % 4) for n in range(8)).encode()).denied

    assert sorted((ip, n) for (_, _, ip), n in denied.items()) == [
        ("", 4),
        ("192.0.2.0", 2),
        ("192.0.2.1", 2),
    ]


def test_delays_stand_in_the_bin_that_ends_at_them() -> None:
    log = b"".join(
        delivery().replace(b"delay=0.89", f"delay={d}".encode()) for d in (0.5, 0.51, 86400, 86401)
    )

    (bins,) = counted(log).delays.values()
    assert [bins[0], bins[1], bins[14], bins[15]] == [1, 1, 1, 1]
    assert len(bins) == len(DELAY_BOUNDS) + 1


@pytest.mark.parametrize("queue_id", ["4jWKWh04b5z1T1", "7EE66", "7EE668039"])
def test_bytes_are_the_sizes_of_the_messages(queue_id: str) -> None:
    queued = f"Nov 20 15:49:01 iron postfix-msn-a/qmgr[1]: {queue_id}: from=<a@b>, size=4321, nrcpt=1\n"

    ((n, size),) = counted(queued.encode() + delivery(queue_id=queue_id) * 3).rows.values()

    assert (n, size) == (3, 3 * 4321)


def test_a_remote_server_s_words_are_no_size() -> None:
    log = b"Nov 20 15:49:02 iron postfix/qmgr[311]: 4jWKWh04b5z1T1: from=<o@r.example>, size=5000, nrcpt=1\n"
    forged = delivery("sent (250 4jWKWh04b5z1T1: from=<>, size=1, nrcpt=1 (queue active))")

    assert [size for _, size in counted(log + forged + delivery()).rows.values()] == [10_000]


def test_what_is_told_again_in_the_same_words_is_counted_alike() -> None:
    said = "deferred (host mx.a.example[203.0.113.1] said: 421 4.7.0 try again later)"
    ids = ["4jWKWh04b5z1T1", "4jWKWh04b5z1T2", "4jWKWh04b5z1T3"]
    stamps = ["Nov 20 15:49:04", "Nov 20 15:49:09", "Nov 20 15:48:59"]
    log = b"".join(delivery(said, queue_id=name, stamp=at) for name, at in zip(ids, stamps, strict=True))
    end = f"Nov 20 15:49:30 iron postfix-msn-a/qmgr[1]: {ids[1]}: from=<o@r.example>, status=expired, back\n"

    counts = counted(log + end.encode())

    told = {(domain, outcome): n for (_, _, domain, outcome, _, _), (n, _) in counts.rows.items()}
    assert told == {("a.example", "deferred"): 3, ("a.example", "expired"): 1}
    (reply,) = counts.replies.values()
    assert reply.last - reply.first == 10


@pytest.mark.parametrize(
    ("stamp", "is_read"),
    [
        ("2026-11-20T15:49:04.000001+00:00", True),
        ("2026-11-20T16:49:04.000001+01:00", True),
        ("2026-11-20T15:49:04+00:00", True),
        ("Nov 20 15:49:04", True),
        ("2026-11-20T15:49:04.0000x1+00:00", False),
        ("2026-11-20T15:49:04.000001+00:0x", False),
    ],
)
def test_stamps_of_other_forms_stand_in_one_log(stamp: str, is_read: bool) -> None:
    counts = counted(delivery(stamp="2026-11-20T15:49:02.123456+00:00") + delivery(stamp=stamp))

    assert sum(n for n, _ in counts.rows.values()) == 1 + is_read
    assert len({ts for ts, *_ in counts.rows}) == 1
    assert counts.unrecognized == (not is_read)


def test_the_host_that_was_tried_is_the_domain_s_mx() -> None:
    mx = counted(CASES).mx

    assert mx["a.example"] == "mx1.a.example"
    assert mx["c.example"] == "mx.c.example"


def test_a_relay_of_ours_is_nobody_s_mx() -> None:
    reader = Counter({}, ["198.51.100.12"], now=NOW, zone=UTC)
    reader.feed(delivery("deferred (connect to msn-b.relay.test[198.51.100.12]:25: refused)", relay="none"))
    reader.feed(delivery(relay="msn-b.relay.test[198.51.100.12]:25"))

    assert reader.finish().mx == {}


def test_replies_that_say_the_same_are_one_cluster() -> None:
    said = (
        "deferred (host mx.a.example[203.0.113.{n}] said: 450 4.2.0 <u{n}@a.example>: Greylisted for {n} s)"
    )
    log = b"".join(delivery(said.format(n=n), stamp=f"Nov 20 15:49:{n:02}") for n in range(1, 60))

    ((digest, reply),) = counted(log).replies.items()
    ((*_, row_digest),) = counted(log).rows
    assert digest == row_digest
    assert (reply.code, reply.dsn, reply.last - reply.first) == (450, "2.0.0", 58)
    assert reply.masked == "host <mx>[<ip>] said: 450 4.2.0 <address>: Greylisted for <n> s"


def test_a_sample_of_a_reply_is_printable_and_short() -> None:
    (reply,) = counted(delivery("bounced (said: 550 \x1b[31m " + "x" * 5000)).replies.values()

    assert reply.sample.isprintable()
    assert len(reply.sample) <= module.MAX_SAMPLE


def test_taking_counts_begins_anew_and_loses_nothing() -> None:
    reader = counter()
    reader.feed(CASES)
    reader.feed(b"")
    pieces = [reader.take(), reader.finish()]
    once = counted(CASES)

    assert sum(piece.lines for piece in pieces) == once.lines
    assert recipients(pieces[0]) + recipients(pieces[1]) == recipients(once)


def test_a_line_without_end_is_one_unrecognised_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE", 700)
    monkeypatch.setattr(module, "MAX_LINE", 4096)
    log = delivery() + b"Nov 20 15:49:04 iron postfix/smtp[1]: " + b"x" * 50_000 + b"\n" + delivery()

    counts = counted(log, range(0, len(log), 999))

    assert counts == counted(log)
    assert (counts.lines, counts.unrecognized, outcomes(counts)) == (3, 1, {"sent": 2})


def test_domains_beyond_the_top_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "TOP_DOMAINS", 3)
    log = b"".join(delivery(to=f"u@d{n}.example") * n for n in range(1, 8))

    counts = counted(log)
    sums = {domain: n for (_, _, domain, *_), (n, _) in counts.rows.items()}
    bins = {domain: sum(values) for (_, _, domain), values in counts.delays.items()}
    assert sums == bins == {"d7.example": 7, "d6.example": 6, "d5.example": 5, OTHER: 10}


@pytest.mark.parametrize("limit", ["MAX_DOMAINS", "MAX_ROWS"])
def test_nothing_is_lost_beyond_a_limit(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, limit, 2)
    log = b"".join(
        delivery(to=f"u@d{n}.example") + delivery("bounced (no)", to=f"u@e{n}.example") for n in range(9)
    )

    counts = counted(log)

    assert outcomes(counts) == {"sent": 9, "bounced": 9}
    assert OTHER in {domain for _, _, domain, *_ in counts.rows}
    assert sum(map(sum, counts.delays.values())) == 9


def test_clusters_and_clients_beyond_a_limit_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REPLIES", 1)
    monkeypatch.setattr(module, "MAX_CLIENTS", 1)
    client = "Nov 20 15:49:04 iron postfix/smtpd[1]: 4jWKWh04b5z: client=h[192.0.2.{n}]\n"
    log = b"".join(client.format(n=n).encode() for n in range(3))

    counts = counted(delivery("bounced (one)") + delivery("bounced (two)") + log)

    assert {digest for *_, digest in counts.rows} == {next(iter(counts.replies)), OTHER_DIGEST}
    assert sorted(n for n in counts.accepted.values()) == [1, 2]


def test_what_is_remembered_of_messages_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIZES_REMEMBERED", 2)
    monkeypatch.setattr(module, "_PIECE", 512)
    queued = "Nov 20 15:49:01 iron postfix-msn-a/qmgr[1]: 4jWKWh04b5z{n:03}: from=<a@b>, size=7, nrcpt=1\n"
    log = b"".join(queued.format(n=n).encode() for n in range(100))

    ((_, size),) = counted(log + delivery(queue_id="4jWKWh04b5z001")).rows.values()
    ((_, newest),) = counted(log + delivery(queue_id="4jWKWh04b5z099")).rows.values()
    assert (size, newest) == (0, 7)


@pytest.mark.parametrize("stamp", ["Nov 20 15:49:04", "Nov 2 15:49:04"])
def test_a_line_that_lost_its_end_takes_no_other_with_it(stamp: str) -> None:
    cut = b"Nov 20 15:49:04 iron postfix-msn-a/sm\n"

    counts = counted(delivery() + cut + delivery(stamp=stamp) + delivery())

    assert (counts.lines, outcomes(counts)) == (4, {"sent": 3})


def test_a_queue_id_of_another_instance_lends_its_domain_to_no_expiry() -> None:
    deferred = delivery("deferred (later)", program="postfix-msn-a/smtp", queue_id="7EE66")
    end = "Nov 20 15:49:30 iron postfix-msn-{}/qmgr[1]: 7EE66: from=<o@r.example>, status=expired, back\n"

    told = [counted(deferred + end.format(name).encode()).rows for name in ("a", "b")]

    domains = [{domain for _, _, domain, outcome, *_ in rows if outcome == "expired"} for rows in told]
    assert domains == [{"a.example"}, {NO_DOMAIN}]
