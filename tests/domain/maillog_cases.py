"""Logs to test the reader with: our own samples, mutations of them, and what any reader must agree on."""

import random
from collections import Counter as Tally
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC
from pathlib import Path

from relays.domain.maillog.counts import Counter, name_by_convention
from relays.domain.maillog.lines import parse
from relays.domain.maillog.stamps import Stamps
from relays.domain.maillog.tables import BUCKET_S, Counts
from relays.domain.queue import domain_of

# Sat, 21 Nov 2026, 00:00 UTC.
NOW = 1795219200.0
FLEET = ("198.51.100.12",)
SAMPLES = Path(__file__).parents[1] / "samples/maillog"

_WORDS = [
    *(b": to=<", b", status=sent (250 ok)", b"status=", b": client=", b": from=<", b"]: ", b", relay=none"),
    *(b"Nov 20 15:49:02 ", b", dsn=", b"/smtp[1]: ", b"\xff", b"\xe2\x80\xae"),
    *(bytes([byte]) for byte in b'[]<>(),=:/\\" \0\r\x1b'),
]


def samples() -> list[bytes]:
    """Return the lines of our own samples."""
    return [line for path in sorted(SAMPLES.glob("*.log")) for line in path.read_bytes().split(b"\n")[:-1]]


def mutated(lines: Sequence[bytes], chance: random.Random) -> bytes:
    """Return one of the lines, damaged: cut, changed, with a hostile word in it, or joined with another."""
    line = bytearray(chance.choice(lines))
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(line) + 1)
        match chance.randrange(6):
            case 0:
                del line[at:]
            case 1:
                line[at : at + chance.randrange(12)] = b""
            case 2:
                line[at:at] = chance.choice(_WORDS)
            case 3:
                line[at : at + 1] = bytes([chance.randrange(256)])
            case 4:
                line[at:] = chance.choice(lines)[at:]
            case _:
                line[at:at] = line[: chance.randrange(60)] * chance.randrange(3)
    return bytes(line).replace(b"\n", b"?")


def counter(fleet: Collection[str] = FLEET) -> Counter:
    return Counter({}, fleet, now=NOW, zone=UTC)


def counted(log: bytes, cuts: Iterable[int] = ()) -> Counts:
    """Return what is counted of a log that is fed in pieces, cut where told."""
    reader = counter()
    start = 0
    for cut in (*sorted(cuts), len(log)):
        reader.feed(log[start:cut])
        start = cut
    return reader.finish()


def recipients(counts: Counts) -> Tally[tuple[int, str, str, str, str]]:
    """Return what was counted, as parsed() tells it."""
    totals: Tally[tuple[int, str, str, str, str]] = Tally()
    for (ts, instance, domain, outcome, dsn, _), (n, _) in counts.rows.items():
        told = {"suspended": "deferred", "handed_over": "sent"}.get(outcome, outcome)
        totals[ts, instance, "" if outcome == "expired" else domain, told, dsn] += n
    return totals


def parsed(lines: Iterable[bytes]) -> Tally[tuple[int, str, str, str, str]]:
    """Return the same by reading each line whole, one by one."""
    stamps = Stamps(now=NOW, zone=UTC)
    totals: Tally[tuple[int, str, str, str, str]] = Tally()
    for raw in lines:
        line = parse(raw, stamps)
        if line is None or line.message.kind not in ("delivery", "expired"):
            continue
        fields = line.message.fields
        status = fields["status"].lower().replace("force-", "")
        if status in ("deliverable", "undeliverable", "undeliverable-but-not-cached"):
            continue
        domain = "" if status == "expired" else domain_of(fields["to"])
        ts = line.time - line.time % BUCKET_S
        totals[ts, _instance(line.name), domain, status, fields.get("dsn", "")] += 1
    return totals


def _instance(name: str) -> str:
    return name_by_convention(name.partition("/")[0])
