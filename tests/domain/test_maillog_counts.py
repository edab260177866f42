"""Outcomes counted from a log: per recipient, the same however the log is cut."""

from collections.abc import Collection, Mapping
from datetime import UTC

from relays.domain.maillog.counts import Counter, Counts

# Sat, 21 Nov 2026, 00:00 UTC.
NOW = 1795219200.0


def counted(
    log: bytes,
    *,
    names: Mapping[str, str] | None = None,
    fleet: Collection[str] = (),
    filters: Collection[str] = (),
) -> Counts:
    counter = Counter(names or {}, fleet, filters=filters, now=NOW, zone=UTC)
    counter.feed(log)
    return counter.finish()


def delivery(status: str, *, relay: str = "mx.a.example[203.0.113.1]:25", to: str = "<u@a.example>") -> bytes:
    return (
        f"Nov 20 15:49:04 iron postfix-msn-a/smtp[719]: 4jWKWh04b5z1T1: to={to}, relay={relay}, delay=0.89,"
        f" delays=0.01/0.88/0/0.01, dsn=2.0.0, status={status}\n"
    ).encode()


def outcomes(counts: Counts) -> dict[str, int]:
    totals: dict[str, int] = {}
    for (_, _, _, outcome, _, _), (n, _) in counts.rows.items():
        totals[outcome] = totals.get(outcome, 0) + n
    return totals


def test_what_a_remote_server_says_is_no_outcome() -> None:
    log = delivery("deferred (host mx said: 421 4.7.0 no, status=sent (250 2.0.0 Ok), to=<x@b.example>)")

    assert outcomes(counted(log)) == {"deferred": 1}


def test_mail_that_another_relay_takes_is_handed_over() -> None:
    log = delivery("sent (250 2.0.0 Ok: queued as 1)", relay="198.51.100.12[198.51.100.12]:25")

    assert outcomes(counted(log, fleet=["198.51.100.12"])) == {"handed_over": 1}
    assert outcomes(counted(log)) == {"sent": 1}
