"""One line of a log read whole, and the time of its stamp."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from relays.domain.maillog.lines import parse, parse_message
from relays.domain.maillog.stamps import Stamps
from tests.domain.maillog_cases import NOW, samples


def at(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]


def test_a_delivery_has_all_its_fields() -> None:
    line = parse(
        b"Nov 20 15:49:02 iron postfix-msn-a/drain/smtp[721]: 4jWKWh04b5z1T1: to=<h@a.example>,"
        b" orig_to=<l@b.example>, relay=mx[203.0.113.1]:25, conn_use=78, delay=35, delays=32/2.9/0.01/0,"
        b" tls=may?, dsn=2.0.0, x_new=1, status=sent (250 2.0.0 Ok (really))",
        Stamps(now=NOW, zone=UTC),
    )

    assert line is not None
    assert (line.time, line.host, line.name, line.program, line.pid) == (
        at(2026, 11, 20, 15, 49, 2),
        "iron",
        "postfix-msn-a/drain",
        "smtp",
        721,
    )
    assert (line.message.queue_id, line.message.kind) == ("4jWKWh04b5z1T1", "delivery")
    assert line.message.fields == {
        "to": "h@a.example",
        "orig_to": "l@b.example",
        "relay": "mx[203.0.113.1]:25",
        "conn_use": "78",
        "delay": "35",
        "delays": "32/2.9/0.01/0",
        "tls": "may?",
        "dsn": "2.0.0",
        "x_new": "1",
        "status": "sent",
        "reply": "250 2.0.0 Ok (really)",
    }


@pytest.mark.parametrize(
    ("message", "kind", "fields"),
    [
        (
            b"7EE668039: from=<a@b>, size=44, nrcpt=2 (queue active)",
            "queued",
            {"from": "a@b", "size": "44", "nrcpt": "2"},
        ),
        (
            b"7EE668039: from=<>, status=expired, returned to sender",
            "expired",
            {"from": "", "status": "expired"},
        ),
        (b"7EE668039: from=<a@b>, si", "other", {}),
        (
            b"7EE668039: client=h[192.0.2.1]:99, orig_client=o[192.0.2.2], sasl_method=PLAIN",
            "client",
            {
                "name": "h",
                "address": "192.0.2.1",
                "orig_name": "o",
                "orig_address": "192.0.2.2",
                "sasl_method": "PLAIN",
            },
        ),
        (b"7EE668039: uid=0 from=<root>", "story", {"uid": "0", "from": "root"}),
        (b"7EE668039: message-id=<1@a>", "story", {"message-id": "1@a"}),
        (b"7EE668039: removed", "other", {}),
        (b"NOQUEUE: reject: RCPT from x[192.0.2.1]: 554 no; from=<> to=<a@b>", "other", {}),
    ],
)
def test_messages_of_other_daemons(message: bytes, kind: str, fields: dict[str, str]) -> None:
    told = parse_message(message)

    assert told is not None
    assert (told.kind, told.fields) == (kind, fields)


@pytest.mark.parametrize(
    "message",
    [
        b"7EE668039: to=<a@b>, relay=none, delay=1",
        b"7EE668039: to=<a@b>, relay=none, status=delighted (x)",
        b"7EE668039: to=<a@b>, relay=none, dsn=2.0.0, status=sent(x)",
        b"7EE668039: from=<a@b>, status=exp",
        b"7EE668039: client=host[192.",
        b"two\nlines",
    ],
)
def test_a_message_that_lost_what_is_counted_is_none(message: bytes) -> None:
    assert parse_message(message) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"Nov 20 15:49:05 iron dovecot: to=<a@b>, status=sent (x)",
        b"Nov 20 15:49:05 iron sshd[1]: 7EE668039: to=<a@b>, status=sent (x)",
        b"Feb 30 15:49:05 iron postfix/smtp[1]: 7EE668039: removed",
        b"Nov 20 15:49:05 iron postfix/smtp[1]: " + b"x" * (1 << 20),
    ],
)
def test_what_is_no_line_of_postfix_is_none(line: bytes) -> None:
    assert parse(line, Stamps(now=NOW, zone=UTC)) is None


def test_every_prefix_of_the_samples_is_read() -> None:
    lines = [parse(line, Stamps(now=NOW, zone=UTC)) for line in samples() if b"@d.example>" in line]

    times = [line.time for line in lines if line]
    assert times == [at(2026, 11, 2, 5, 9, 2)] * 2 + [at(2026, 11, 20, 15, 49, 4)] * 9 + [
        at(2026, 11, 20, 15, 49, 5),
        at(2026, 11, 20, 15, 49, 6),
    ]


@pytest.mark.parametrize(
    ("now", "stamp", "expected"),
    [
        (at(2027, 1, 1, 0, 5), b"Dec 31 23:59:59", at(2026, 12, 31, 23, 59, 59)),
        (at(2027, 1, 1, 0, 5), b"Jan  1 00:00:01", at(2027, 1, 1, 0, 0, 1)),
        (at(2026, 12, 31, 23, 59), b"Jan  1 00:00:01", at(2027, 1, 1, 0, 0, 1)),  # a clock ahead of ours
        (at(2026, 12, 30), b"Jan  1 00:00:01", at(2026, 1, 1, 0, 0, 1)),
        (at(2028, 3, 1), b"Feb 29 12:00:00", at(2028, 2, 29, 12)),
        (at(2027, 3, 1), b"Feb 29 12:00:00", at(2024, 2, 29, 12)),
        (at(2103, 3, 1), b"Feb 29 12:00:00", None),  # 2096, and later than any count
        (at(2026, 11, 21), b"Nov  2 05:09:02", at(2026, 11, 2, 5, 9, 2)),
        (at(2026, 11, 21), b"Nov 31 05:09:02", None),
        (at(2026, 11, 21), b"Nov 20 25:09:02", None),
        (at(2026, 11, 21), b"Foo 20 05:09:02", None),
        (at(2026, 11, 21), b"1960-01-01T00:00:00Z", None),
        (at(2026, 11, 21), b"2040-01-01T00:00:00Z", None),
        (at(2026, 11, 21), b"2026-11-20T15:49:04.1-05:30", at(2026, 11, 20, 21, 19, 4)),
        (at(2026, 11, 21), b"2026-11-20T15:49:04+99:99", None),
        (at(2026, 11, 21), b"20 Nov 2026", None),
    ],
)
def test_the_time_of_a_stamp(now: float, stamp: bytes, expected: float | None) -> None:
    assert Stamps(now=now, zone=UTC)[stamp] == expected


def test_a_stamp_without_a_zone_is_of_the_host_s() -> None:
    stamps = Stamps(now=NOW, zone=timezone(timedelta(hours=2)))

    assert stamps[b"Nov 20 15:49:04"] == at(2026, 11, 20, 13, 49, 4)
    assert stamps[b"2026-11-20T15:49:04Z"] == at(2026, 11, 20, 15, 49, 4)


def test_no_zone_is_the_machine_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = Stamps(now=NOW, zone=None)

    assert stamps[b"Nov 20 15:49:04"] == datetime(2026, 11, 20, 15, 49, 4).timestamp()  # noqa: DTZ001


def test_stamps_without_number_do_not_fill_memory() -> None:
    stamps = Stamps(now=NOW, zone=UTC)
    for second in range(20_000):
        stamps[f"2026-11-20T15:49:04.{second:06}Z".encode()]

    assert len(stamps) <= 4096
