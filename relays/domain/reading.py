"""What relayctl tells of a host, checked: rows of docs/relayctl.md as values.

Every row is hostile: a number out of range, a text too long or a key of another type raises BadRow. Text
is made printable here, once, so that no control or direction character gets any further.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from relays.domain.text import printable

MAX_COUNT = 2_147_483_647
MAX_SIZE = 2**62
MAX_INSTANCES = 500
MAX_DOMAIN = 255
MAX_REPLY = 2_000
AGE_BUCKETS = 10
QUEUES = ("incoming", "active", "deferred", "hold", "corrupt")

# postmulti takes more; names here also stand in URLs and, later, in requests that change something.
_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_PATH = re.compile(r"\A/[^\x00-\x1f\x7f]{0,254}\Z")
_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")
_BOOT_ID = re.compile(r"\A[0-9a-fA-F-]{1,36}\Z")
_TOKEN = re.compile(r"\A[!-~]{0,20}\Z")
_CODE = re.compile(r"\A[a-z_]{1,40}\Z")

# The one that explains an unread queue best comes first.
_CONDITION_ORDER = (
    "stopped",
    "not_listed",
    "misconfigured",
    "not_readable",
    "timed_out",
    "failed",
    "truncated",
    "unparsable",
)


class BadRow(ValueError):
    """A row that docs/relayctl.md does not allow; the message names the key."""


@dataclass(frozen=True, slots=True)
class Header:
    """Who answered: relayctl's version and digest, the host's boot id, clock (s since 1970) and Postfix."""

    relayctl: str
    sha256: str
    boot_id: str
    now: float
    postfix: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A named reason why something could not be read; what: a queue, `queue` or `instance`."""

    code: str
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """A row of `inventory`. row: the whole of it, its text made printable, for the configuration page."""

    name: str
    config_dir: str
    running: bool | None
    myhostname: str
    helo_name: str
    syslog_name: str
    queue_directory: str
    ips: tuple[str, ...]
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InstanceReading:
    """A row of `snapshot`: one queue as it was at sampled_at (the host's clock, s since 1970).

    None: a count that could not be read, and running where that could not be told. domains and replies are
    tables as the protocol gives them, None where the queue was not read. corrupt_unread: why corrupt is None.
    """

    name: str
    config_dir: str
    running: bool | None
    sampled_at: float
    incoming: int | None
    active: int | None
    deferred: int | None
    hold: int | None
    corrupt: int | None
    oldest_s: int | None
    size_bytes: int | None
    domains: Mapping[str, Any] | None
    replies: Mapping[str, Any] | None
    condition: Condition | None
    corrupt_unread: str = ""

    @property
    def was_read(self) -> bool:
        """Whether the four queues of `postqueue` are all known; `corrupt` is read by other means."""
        return None not in (self.incoming, self.active, self.deferred, self.hold)


@dataclass(frozen=True, slots=True)
class Message:
    """A row of `queue.list`; recipients: (address, reason), the first of recipients_total."""

    queue: str
    queue_id: str
    arrival: int
    size_bytes: int
    sender: str
    recipients: tuple[tuple[str, str], ...]
    recipients_total: int


def parse_header(row: Mapping[str, Any]) -> Header:
    """Return who answered. Raises BadRow."""
    return Header(
        relayctl=_matching(row, "relayctl", _TOKEN),
        sha256=_matching(row, "sha256", _SHA256),
        boot_id=_matching(row, "boot_id", _BOOT_ID),
        now=_seconds(row, "now"),
        postfix="" if row.get("postfix") is None else _matching(row, "postfix", _TOKEN),
    )


def parse_instance_facts(row: Mapping[str, Any]) -> InstanceFacts:
    """Return one instance of an `inventory`. Raises BadRow."""
    return InstanceFacts(
        name=_matching(row, "name", _NAME),
        config_dir=_matching(row, "config_dir", _PATH),
        running=_flag(row, "running"),
        myhostname=_text(row, "myhostname", 253),
        helo_name=_text(row, "helo_name", 253),
        syslog_name=_text(row, "syslog_name", 80),
        queue_directory=_text(row, "queue_directory", 255),
        ips=_ips(row),
        row=_printable_tree(row),
    )


def parse_instance_reading(row: Mapping[str, Any]) -> InstanceReading:
    """Return one instance of a `snapshot`. Raises BadRow."""
    queues = _mapping(row, "queues")
    conditions = _conditions(row)
    return InstanceReading(
        name=_matching(row, "name", _NAME),
        config_dir=_matching(row, "config_dir", _PATH),
        running=_flag(row, "running"),
        sampled_at=_seconds(row, "sampled_at"),
        incoming=_count(queues, "incoming"),
        active=_count(queues, "active"),
        deferred=_count(queues, "deferred"),
        hold=_count(queues, "hold"),
        corrupt=_count(queues, "corrupt"),
        oldest_s=_count(row, "oldest_s"),
        size_bytes=_count(row, "size_bytes", MAX_SIZE),
        domains=_domains(row),
        replies=_replies(row),
        condition=_worst(conditions),
        corrupt_unread=next((c.detail for c in conditions if _is_about_corrupt(c)), ""),
    )


def parse_host_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"load": [3 floats], "cpus": n, "spools": [...]} of a `snapshot`'s host row. Raises BadRow."""
    load = row.get("load")
    if not isinstance(load, list) or len(load) != 3 or not all(_is_number(n, 0, 1e6) for n in load):
        raise BadRow("load is not three numbers")
    return {
        "load": load,
        "cpus": _count(row, "cpus"),
        "spools": [_spool(spool) for spool in _list(row, "spools", 100)],
    }


def parse_message(row: Mapping[str, Any]) -> Message:
    """Return one message of a `queue.list`. Raises BadRow."""
    return Message(
        queue=_matching(row, "queue", _CODE),
        queue_id=_matching(row, "id", _NAME),
        arrival=_needed_count(row, "arrival", MAX_SIZE),
        size_bytes=_needed_count(row, "size_bytes", MAX_SIZE),
        sender=_text(row, "sender", 512),
        recipients=tuple(_recipient(r) for r in _list(row, "recipients", 1_000)),
        recipients_total=_needed_count(row, "recipients_total"),
    )


def _domains(row: Mapping[str, Any]) -> dict[str, Any] | None:
    table = row.get("domains")
    if table is None:
        return None
    table = _mapping(row, "domains")
    other = table.get("other")
    if not isinstance(other, list) or len(other) != 2 or not _is_count(other[0]) or not _is_ages(other[1]):
        raise BadRow("domains.other is not [count, ages]")
    rows = _list(table, "rows", 1_000)
    _check_domain_rows(rows)
    return {
        "total": _needed_count(table, "total"),
        "distinct": _needed_count(table, "distinct"),
        "rows": rows,
        "other": other,
    }


def _check_domain_rows(rows: Sequence[Any]) -> None:
    """Check [domain, count, ages] rows by column: a fleet's poll brings hundreds of thousands of them."""
    if not rows:
        return
    if not _all_are(list, rows) or set(map(len, rows)) != {3}:
        raise BadRow("a row of domains is not [domain, count, ages]")
    names, counts, ages = zip(*rows, strict=True)
    if not _all_are(list, ages) or set(map(len, ages)) != {AGE_BUCKETS}:
        raise BadRow(f"the ages of a domain are not {AGE_BUCKETS} counts")
    numbers = [*counts, *chain.from_iterable(ages)]
    if not _all_are(int, numbers) or min(numbers) < 0 or max(numbers) > MAX_COUNT:
        raise BadRow("a count of domains is not a count")
    if not _all_are(str, names):
        raise BadRow("a domain is not text")
    _make_printable(rows, names, MAX_DOMAIN)


def _replies(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row.get("replies") is None:
        return None
    table = _mapping(row, "replies")
    rows = _list(table, "rows", 100)
    _check_reply_rows(rows)
    return {
        "total": _needed_count(table, "total"),
        "rows": rows,
        "other": _needed_count(table, "other"),
        "sampled": _needed_count(table, "sampled"),
    }


def _check_reply_rows(rows: Sequence[Any]) -> None:
    """Check [text, count] rows by column, as those of domains."""
    if not rows:
        return
    if not _all_are(list, rows) or set(map(len, rows)) != {2}:
        raise BadRow("a row of replies is not [text, count]")
    texts, counts = zip(*rows, strict=True)
    if not _all_are(str, texts) or not all(map(_is_count, counts)):
        raise BadRow("a row of replies is not [text, count]")
    _make_printable(rows, texts, MAX_REPLY)


def _make_printable(rows: Sequence[Any], texts: Sequence[str], limit: int) -> None:
    """Make the texts that rows begin with printable: nearly always all of them are."""
    if not "".join(texts).isprintable() or max(map(len, texts)) > limit:
        for entry in rows:
            entry[0] = printable(entry[0], limit)


def _conditions(row: Mapping[str, Any]) -> list[Condition]:
    return [
        Condition(
            _matching(entry, "code", _CODE), _matching(entry, "what", _CODE), _text(entry, "detail", 300)
        )
        for entry in _list(row, "conditions", 50)
    ]


def _worst(conditions: Iterable[Condition]) -> Condition | None:
    """Return the condition that matters most: not that of `corrupt`, without which all else is known."""
    others = [c for c in conditions if not _is_about_corrupt(c)]
    known = {code: place for place, code in enumerate(_CONDITION_ORDER)}
    return min(others, key=lambda c: known.get(c.code, len(known)), default=None)


def _is_about_corrupt(condition: Condition) -> bool:
    return (condition.code, condition.what) == ("not_readable", "corrupt")


def _spool(value: object) -> dict[str, Any]:
    spool = _as_mapping(value, "a spool")
    numbers = ("size_bytes", "free_bytes", "inodes", "inodes_free")
    return {"path": _text(spool, "path", 255)} | {key: _count(spool, key, MAX_SIZE) for key in numbers}


def _recipient(value: object) -> tuple[str, str]:
    recipient = _as_mapping(value, "a recipient")
    reason = "" if recipient.get("reason") is None else _text(recipient, "reason", 2_000)
    return _text(recipient, "address", 512), reason


def _ips(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses that an instance binds, or listens on where it binds none."""
    bound = [*_list(row, "bind_addresses", 100), *_list(row, "bind_addresses6", 100)]
    found = dict.fromkeys(ip for ip in map(_ip, bound) if ip)
    if not found:
        found = dict.fromkeys(ip for ip in map(_ip, _list(row, "inet_interfaces", 100)) if ip)
    return tuple(found)


def _ip(value: object) -> str | None:
    """Return an address in its one spelling; None for a name such as `all` or a loopback address."""
    try:
        address = ipaddress.ip_address(str(value).strip("[]"))
    except ValueError:
        return None
    return None if address.is_loopback or address.is_unspecified else str(address)


def _printable_tree(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return printable(value, 4_000)
    if isinstance(value, dict) and depth < 4:
        return {printable(k, 100): _printable_tree(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list) and depth < 4:
        return [_printable_tree(v, depth + 1) for v in value]
    return value if value is None or isinstance(value, bool | int | float) else None


def _all_are(kind: type, values: Iterable[object]) -> bool:
    # type and not isinstance: true is no number here.
    return set(map(type, values)) == {kind}


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _is_ages(value: object) -> bool:
    return type(value) is list and len(value) == AGE_BUCKETS and all(map(_is_count, value))


def _is_number(value: object, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high  # type: ignore[operator]


def _count(row: Mapping[str, Any], key: str, most: int = MAX_COUNT) -> int | None:
    value = row.get(key)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= most:
        raise BadRow(f"{key} is not a count")
    return value


def _needed_count(row: Mapping[str, Any], key: str, most: int = MAX_COUNT) -> int:
    value = _count(row, key, most)
    if value is None:
        raise BadRow(f"{key} is missing")
    return value


def _seconds(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    if not _is_number(value, 0, 1e11):
        raise BadRow(f"{key} is not a time")
    return float(value)  # type: ignore[arg-type]


def _flag(row: Mapping[str, Any], key: str) -> bool | None:
    value = row.get(key)
    if value is not None and type(value) is not bool:
        raise BadRow(f"{key} is neither true nor false")
    return value


def _text(row: Mapping[str, Any], key: str, limit: int) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if type(value) is not str:
        raise BadRow(f"{key} is not text")
    return printable(value, limit)


def _matching(row: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = row.get(key)
    if type(value) is not str or not pattern.match(value):
        raise BadRow(f"{key} is missing or malformed")
    return value


def _mapping(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return _as_mapping(row.get(key), key)


def _as_mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRow(f"{what} is not an object")
    return value


def _list(row: Mapping[str, Any], key: str, most: int) -> Sequence[Any]:
    value = row.get(key, [])
    if not isinstance(value, list) or len(value) > most:
        raise BadRow(f"{key} is not a list of at most {most}")
    return value
