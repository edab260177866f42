"""What relayctl read in a host's logs, checked: the rows of `log.read` (docs/relayctl.md) as values.

As hostile as all else from a relay: see reading.py. Counts are recipients, times are seconds since 1970.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from relays.domain import fields
from relays.domain.fields import BadRow, Condition
from relays.domain.text import printable

BUCKET_S = 300
DELAY_BINS = 16
# `suspended` is a deferred line that reached nobody; those of `deferred` reached the remote side.
OUTCOMES = frozenset(("sent", "deferred", "suspended", "bounced", "expired", "handed_over", "softbounce"))
MAX_CURSOR = 2_048
MAX_SOURCE = 255
MAX_SAMPLES = 5
# Of a line of at most 64 KiB.
_MAX_ROWS = 65_536
_MAX_SOURCES = 501

_SOURCE = re.compile(r"\A(?:journal|/[^\x00-\x1f\x7f]{1,254})\Z")
_DSN = re.compile(r"\A(?:[245]\.[0-9]{1,3}\.[0-9]{1,3})?\Z")
_DIGEST = re.compile(r"\A(?:[0-9a-f]{16}|other)?\Z")


class OutcomeRow(NamedTuple):
    """So many recipients with one outcome. ts: start of the 5 minutes; digest: of the reply, or ""."""

    instance: str
    ts: int
    domain: str
    outcome: str
    dsn: str
    digest: str
    n: int
    bytes: int


class DelayRow(NamedTuple):
    """Recipients sent or handed over by delay; bins: 16 counts, their bounds are the log parser's."""

    instance: str
    ts: int
    domain: str
    bins: tuple[int, ...]


class AcceptedRow(NamedTuple):
    """So many messages taken from a client; ip: its address, "" where Postfix could not tell it."""

    instance: str
    ts: int
    ip: str
    n: int


class DeniedRow(NamedTuple):
    """So many recipients that a client was not allowed to relay to; ip: as in AcceptedRow."""

    instance: str
    ts: int
    ip: str
    n: int


class ReplyRow(NamedTuple):
    """A cluster of replies. code: of SMTP, None where it has none; first, last: when it was heard."""

    digest: str
    masked: str
    sample: str
    code: int | None
    dsn: str
    first: int
    last: int


@dataclass(slots=True)
class _Tables:
    outcomes: list[OutcomeRow] = field(default_factory=list)
    delays: list[DelayRow] = field(default_factory=list)
    accepted: list[AcceptedRow] = field(default_factory=list)
    denied: list[DeniedRow] = field(default_factory=list)
    clients: dict[str, str] = field(default_factory=dict)
    mx: dict[str, str] = field(default_factory=dict)
    replies: list[ReplyRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SourceReading:
    """A piece of one log, counted. To be stored with its cursor in one transaction, or not at all.

    source: path of the log, or `journal`. cursor: what to send next time, JSON text, "" for none yet.
    lines, unrecognized, foreign, bytes: of this piece; foreign: of the unrecognized those of other programs;
    samples: some of the unrecognized.
    behind_bytes: what is left to be read, None where that is not known. first, last: stamps in this piece, s.
    clients: name by address. mx: the host that last took a domain's mail.
    """

    source: str
    cursor: str
    lines: int
    unrecognized: int
    samples: tuple[str, ...]
    bytes: int
    behind_bytes: int | None
    first: float | None
    last: float | None
    conditions: tuple[Condition, ...]
    foreign: int = 0
    outcomes: tuple[OutcomeRow, ...] = ()
    delays: tuple[DelayRow, ...] = ()
    accepted: tuple[AcceptedRow, ...] = ()
    denied: tuple[DeniedRow, ...] = ()
    clients: Mapping[str, str] = field(default_factory=dict)
    mx: Mapping[str, str] = field(default_factory=dict)
    replies: tuple[ReplyRow, ...] = ()


def parse_sources(rows: Iterable[Mapping[str, Any]]) -> tuple[SourceReading, ...]:
    """Return the pieces that all rows of a reply make, in the order of their `log` rows. Raises BadRow."""
    logs: dict[str, Mapping[str, Any]] = {}
    tables: dict[str, _Tables] = {}
    for row in rows:
        kind = row.get("kind")
        if kind != "log" and kind not in _TAKERS:
            continue
        source = fields.matching(row, "source", _SOURCE)
        if kind == "log":
            if source in logs:
                raise BadRow("source stands in two rows")
            logs[source] = row
        else:
            _TAKERS[kind](row, tables.setdefault(source, _Tables()))
    if not tables.keys() <= logs.keys() or len(logs) > _MAX_SOURCES:
        raise BadRow("source has no row of its own, or there are too many")
    return tuple(
        _source_reading(source, row, tables.get(source) or _Tables()) for source, row in logs.items()
    )


def _source_reading(source: str, row: Mapping[str, Any], tables: _Tables) -> SourceReading:
    return SourceReading(
        source=source,
        cursor=_cursor(row),
        lines=fields.needed_count(row, "lines"),
        unrecognized=fields.needed_count(row, "unrecognized"),
        samples=_samples(row),
        bytes=fields.needed_count(row, "bytes", fields.MAX_SIZE),
        behind_bytes=fields.count(row, "behind_bytes", fields.MAX_SIZE),
        first=_stamp(row, "first"),
        last=_stamp(row, "last"),
        conditions=tuple(fields.conditions(row)),
        foreign=fields.count(row, "foreign") or 0,
        outcomes=tuple(tables.outcomes),
        delays=tuple(tables.delays),
        accepted=tuple(tables.accepted),
        denied=tuple(tables.denied),
        clients=tables.clients,
        mx=tables.mx,
        replies=tuple(tables.replies),
    )


def _cursor(row: Mapping[str, Any]) -> str:
    cursor = row.get("cursor")
    if cursor is None:
        return ""
    text = json.dumps(fields.as_mapping(cursor, "cursor"), separators=(",", ":"), sort_keys=True)
    if len(text) > MAX_CURSOR:
        raise BadRow(f"cursor is longer than {MAX_CURSOR} characters")
    return text


def _samples(row: Mapping[str, Any]) -> tuple[str, ...]:
    samples = fields.sequence(row, "samples", MAX_SAMPLES)
    if samples and not fields.all_are(str, samples):
        raise BadRow("a sample is not text")
    return tuple(printable(sample, 500) for sample in samples)


def _stamp(row: Mapping[str, Any], key: str) -> float | None:
    return None if row.get(key) is None else fields.seconds(row, key)


def _take_outcomes(row: Mapping[str, Any], tables: _Tables) -> None:
    place = _place(row)
    for domain, outcome, dsn, digest, n, size in _rows(row, (str, str, str, str, int, int)):
        if outcome not in OUTCOMES:
            raise BadRow("outcome is none of those there are")
        tables.outcomes.append(
            OutcomeRow(*place, _name(domain), outcome, _dsn(dsn), _digest(digest), _count(n), _size(size))
        )


def _take_delays(row: Mapping[str, Any], tables: _Tables) -> None:
    place = _place(row)
    for domain, bins in _rows(row, (str, list)):
        if len(bins) != DELAY_BINS or not all(map(fields.is_count, bins)):
            raise BadRow(f"the bins of a delay are not {DELAY_BINS} counts")
        tables.delays.append(DelayRow(*place, _name(domain), tuple(bins)))


def _take_accepted(row: Mapping[str, Any], tables: _Tables) -> None:
    place = _place(row)
    tables.accepted.extend(AcceptedRow(*place, _ip(ip), _count(n)) for ip, n in _rows(row, (str, int)))


def _take_denied(row: Mapping[str, Any], tables: _Tables) -> None:
    place = _place(row)
    tables.denied.extend(DeniedRow(*place, _ip(ip), _count(n)) for ip, n in _rows(row, (str, int)))


def _take_clients(row: Mapping[str, Any], tables: _Tables) -> None:
    tables.clients.update((_ip(ip), _name(name)) for ip, name in _rows(row, (str, str)))


def _take_mx(row: Mapping[str, Any], tables: _Tables) -> None:
    tables.mx.update((_name(domain), _name(host)) for domain, host in _rows(row, (str, str)))


def _take_replies(row: Mapping[str, Any], tables: _Tables) -> None:
    for digest, masked, sample, code, dsn, first, last in _rows(
        row, (str, str, str, (int, type(None)), str, int, int)
    ):
        if code is not None and not 100 <= code <= 999:
            raise BadRow("code is no code of SMTP")
        tables.replies.append(
            ReplyRow(
                _digest(digest),
                printable(masked, 400),
                printable(sample, 2_048),
                code,
                _dsn(dsn),
                _count(first),
                _count(last),
            )
        )


_TAKERS: Mapping[object, Callable[[Mapping[str, Any], _Tables], None]] = {
    "outcomes": _take_outcomes,
    "delays": _take_delays,
    "accepted": _take_accepted,
    "denied": _take_denied,
    "clients": _take_clients,
    "mx": _take_mx,
    "replies": _take_replies,
}


def _place(row: Mapping[str, Any]) -> tuple[str, int]:
    """Return the instance and the 5 minutes that a row's counts belong to."""
    ts = fields.needed_count(row, "ts")
    if ts % BUCKET_S:
        raise BadRow("ts is not the start of five minutes")
    return fields.matching(row, "instance", fields.NAME), ts


def _rows(row: Mapping[str, Any], types: Sequence[type | tuple[type, ...]]) -> Sequence[Any]:
    """Return a table's rows, each with values of these types; true is no number."""
    rows = fields.sequence(row, "rows", _MAX_ROWS)
    if not rows:
        return rows
    if not fields.all_are(list, rows) or set(map(len, rows)) != {len(types)}:
        raise BadRow(f"a row of {row['kind']} has not {len(types)} values")
    for column, wanted in zip(zip(*rows, strict=True), types, strict=True):
        allowed = set(wanted) if isinstance(wanted, tuple) else {wanted}
        if not set(map(type, column)) <= allowed:
            raise BadRow(f"a row of {row['kind']} has a value of another type")
    return rows


def _count(value: int) -> int:
    if not 0 <= value <= fields.MAX_COUNT:
        raise BadRow("a count is out of range")
    return value


def _size(value: int) -> int:
    if not 0 <= value <= fields.MAX_SIZE:
        raise BadRow("bytes is out of range")
    return value


@lru_cache(maxsize=4_096)
def _name(value: str) -> str:
    return printable(value, 255)


@lru_cache(maxsize=1_024)
def _dsn(value: str) -> str:
    if not _DSN.match(value):
        raise BadRow("dsn is malformed")
    return value


@lru_cache(maxsize=4_096)
def _digest(value: str) -> str:
    if not _DIGEST.match(value):
        raise BadRow("digest is malformed")
    return value


@lru_cache(maxsize=4_096)
def _ip(value: str) -> str:
    if not value:
        return ""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise BadRow("an address is none") from None
