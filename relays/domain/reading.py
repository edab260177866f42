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

from relays.domain import fields
from relays.domain.fields import BadRow, Condition
from relays.domain.text import printable

MAX_INSTANCES = 500
MAX_DOMAIN = 255
MAX_REPLY = 2_000
AGE_BUCKETS = 10
QUEUES = ("incoming", "active", "deferred", "hold", "corrupt")

_PATH = re.compile(r"\A/[^\x00-\x1f\x7f]{0,254}\Z")
_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")
_BOOT_ID = re.compile(r"\A[0-9a-fA-F-]{1,36}\Z")
_TOKEN = re.compile(r"\A[!-~]{0,20}\Z")

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


@dataclass(frozen=True, slots=True)
class Header:
    """Who answered: relayctl's version and digest, the host's boot id, clock (s since 1970) and Postfix."""

    relayctl: str
    sha256: str
    boot_id: str
    now: float
    postfix: str


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
class RedirectOn:
    """A redirect as a poll saw it. op_id: whose, "" where that is not known; left_s: of its lease."""

    to: str
    op_id: str
    left_s: float | None
    problem: str


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
    redirect: RedirectOn | None = None

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
        relayctl=fields.matching(row, "relayctl", _TOKEN),
        sha256=fields.matching(row, "sha256", _SHA256),
        boot_id=fields.matching(row, "boot_id", _BOOT_ID),
        now=fields.seconds(row, "now"),
        postfix="" if row.get("postfix") is None else fields.matching(row, "postfix", _TOKEN),
    )


def parse_instance_facts(row: Mapping[str, Any]) -> InstanceFacts:
    """Return one instance of an `inventory`. Raises BadRow."""
    return InstanceFacts(
        name=fields.matching(row, "name", fields.NAME),
        config_dir=fields.matching(row, "config_dir", _PATH),
        running=fields.flag(row, "running"),
        myhostname=fields.text(row, "myhostname", 253),
        helo_name=fields.text(row, "helo_name", 253),
        syslog_name=fields.text(row, "syslog_name", 80),
        queue_directory=fields.text(row, "queue_directory", 255),
        ips=_ips(row),
        row=_printable_tree(row),
    )


def parse_instance_reading(row: Mapping[str, Any]) -> InstanceReading:
    """Return one instance of a `snapshot`. Raises BadRow."""
    queues = fields.mapping(row, "queues")
    conditions = fields.conditions(row)
    return InstanceReading(
        name=fields.matching(row, "name", fields.NAME),
        config_dir=fields.matching(row, "config_dir", _PATH),
        running=fields.flag(row, "running"),
        sampled_at=fields.seconds(row, "sampled_at"),
        incoming=fields.count(queues, "incoming"),
        active=fields.count(queues, "active"),
        deferred=fields.count(queues, "deferred"),
        hold=fields.count(queues, "hold"),
        corrupt=fields.count(queues, "corrupt"),
        oldest_s=fields.count(row, "oldest_s"),
        size_bytes=fields.count(row, "size_bytes", fields.MAX_SIZE),
        domains=_domains(row),
        replies=_replies(row),
        condition=_worst(conditions),
        corrupt_unread=next((c.detail for c in conditions if _is_about_corrupt(c)), ""),
        redirect=None if row.get("redirect") is None else _redirect(fields.mapping(row, "redirect")),
    )


def _redirect(row: Mapping[str, Any]) -> RedirectOn:
    left_s = row.get("left_s")
    return RedirectOn(
        to=fields.text(row, "to", 80),
        op_id=fields.text(row, "op_id", 64),
        left_s=float(left_s) if left_s is not None and fields.is_number(left_s, 0, 1e9) else None,
        problem=fields.text(row, "problem", 300),
    )


def parse_host_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"load": [3 floats], "cpus": n, "spools": [...]} of a `snapshot`'s host row. Raises BadRow."""
    load = row.get("load")
    if not isinstance(load, list) or len(load) != 3 or not all(fields.is_number(n, 0, 1e6) for n in load):
        raise BadRow("load is not three numbers")
    return {
        "load": load,
        "cpus": fields.count(row, "cpus"),
        "spools": [_spool(spool) for spool in fields.sequence(row, "spools", 100)],
    }


def parse_message(row: Mapping[str, Any]) -> Message:
    """Return one message of a `queue.list`. Raises BadRow."""
    return Message(
        queue=fields.matching(row, "queue", fields.CODE),
        queue_id=fields.matching(row, "id", fields.NAME),
        arrival=fields.needed_count(row, "arrival", fields.MAX_SIZE),
        size_bytes=fields.needed_count(row, "size_bytes", fields.MAX_SIZE),
        sender=fields.text(row, "sender", 512),
        recipients=tuple(_recipient(r) for r in fields.sequence(row, "recipients", 1_000)),
        recipients_total=fields.needed_count(row, "recipients_total"),
    )


def _domains(row: Mapping[str, Any]) -> dict[str, Any] | None:
    table = row.get("domains")
    if table is None:
        return None
    table = fields.mapping(row, "domains")
    other = table.get("other")
    if (
        not isinstance(other, list)
        or len(other) != 2
        or not fields.is_count(other[0])
        or not _is_ages(other[1])
    ):
        raise BadRow("domains.other is not [count, ages]")
    rows = fields.sequence(table, "rows", 1_000)
    _check_domain_rows(rows)
    return {
        "total": fields.needed_count(table, "total"),
        "distinct": fields.needed_count(table, "distinct"),
        "rows": rows,
        "other": other,
    }


def _check_domain_rows(rows: Sequence[Any]) -> None:
    """Check [domain, count, ages] rows by column: a fleet's poll brings hundreds of thousands of them."""
    if not rows:
        return
    if not fields.all_are(list, rows) or set(map(len, rows)) != {3}:
        raise BadRow("a row of domains is not [domain, count, ages]")
    names, counts, ages = zip(*rows, strict=True)
    if not fields.all_are(list, ages) or set(map(len, ages)) != {AGE_BUCKETS}:
        raise BadRow(f"the ages of a domain are not {AGE_BUCKETS} counts")
    numbers = [*counts, *chain.from_iterable(ages)]
    if not fields.all_are(int, numbers) or min(numbers) < 0 or max(numbers) > fields.MAX_COUNT:
        raise BadRow("a count of domains is not a count")
    if not fields.all_are(str, names):
        raise BadRow("a domain is not text")
    _make_printable(rows, names, MAX_DOMAIN)


def _replies(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row.get("replies") is None:
        return None
    table = fields.mapping(row, "replies")
    rows = fields.sequence(table, "rows", 100)
    _check_reply_rows(rows)
    return {
        "total": fields.needed_count(table, "total"),
        "rows": rows,
        "other": fields.needed_count(table, "other"),
        "sampled": fields.needed_count(table, "sampled"),
    }


def _check_reply_rows(rows: Sequence[Any]) -> None:
    """Check [text, count] rows by column, as those of domains."""
    if not rows:
        return
    if not fields.all_are(list, rows) or set(map(len, rows)) != {2}:
        raise BadRow("a row of replies is not [text, count]")
    texts, counts = zip(*rows, strict=True)
    if not fields.all_are(str, texts) or not all(map(fields.is_count, counts)):
        raise BadRow("a row of replies is not [text, count]")
    _make_printable(rows, texts, MAX_REPLY)


def _make_printable(rows: Sequence[Any], texts: Sequence[str], limit: int) -> None:
    """Make the texts that rows begin with printable: nearly always all of them are."""
    if not "".join(texts).isprintable() or max(map(len, texts)) > limit:
        for entry in rows:
            entry[0] = printable(entry[0], limit)


def _worst(conditions: Iterable[Condition]) -> Condition | None:
    """Return the condition that matters most: not that of `corrupt`, without which all else is known."""
    others = [c for c in conditions if not _is_about_corrupt(c)]
    known = {code: place for place, code in enumerate(_CONDITION_ORDER)}
    return min(others, key=lambda c: known.get(c.code, len(known)), default=None)


def _is_about_corrupt(condition: Condition) -> bool:
    return (condition.code, condition.what) == ("not_readable", "corrupt")


def _spool(value: object) -> dict[str, Any]:
    spool = fields.as_mapping(value, "a spool")
    numbers = ("size_bytes", "free_bytes", "inodes", "inodes_free")
    return {"path": fields.text(spool, "path", 255)} | {
        key: fields.count(spool, key, fields.MAX_SIZE) for key in numbers
    }


def _recipient(value: object) -> tuple[str, str]:
    recipient = fields.as_mapping(value, "a recipient")
    reason = "" if recipient.get("reason") is None else fields.text(recipient, "reason", 2_000)
    return fields.text(recipient, "address", 512), reason


def _ips(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses that an instance binds, or listens on where it binds none."""
    bound = [*fields.sequence(row, "bind_addresses", 100), *fields.sequence(row, "bind_addresses6", 100)]
    found = dict.fromkeys(ip for ip in map(_ip, bound) if ip)
    if not found:
        found = dict.fromkeys(ip for ip in map(_ip, fields.sequence(row, "inet_interfaces", 100)) if ip)
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


def _is_ages(value: object) -> bool:
    return type(value) is list and len(value) == AGE_BUCKETS and all(map(fields.is_count, value))
