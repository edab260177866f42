"""Outcomes counted from Postfix's logs, chunk by chunk.

Of recipients: sent, deferred, suspended (deferred without a try: "delivery temporarily suspended"), bounced,
softbounce, handed_over. Of messages: expired, under the domain that the message was last deferred for, since
qmgr(8) tells none (NO_DOMAIN where that is not in the same reading), and accepted, by client address.

Handed over, and not sent, is what went to another relay of the fleet or to a content filter: to a next hop
that is named as one, or to one on the host itself (loopback or socket) that says "queued as", as only a mail
server does that sends it on. The next hop's own line tells the end. What a filter gives back over loopback is
not accepted a second time.

Memory is bounded whatever the log. relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from hashlib import sha256
from heapq import nlargest
from ipaddress import ip_address
from operator import add
from typing import Generic, NamedTuple, TypeVar

from relays.domain.maillog.lines import (
    CLIENT,
    DELIVERY,
    EXPIRED,
    LITTER,
    MAX_LINE,
    OUTCOMES,
    POSTFIX_LINE,
    PROBE,
    QUEUED,
    is_foreign,
    unclosed,
)
from relays.domain.maillog.stamps import Stamps
from relays.domain.queue import MAX_DOMAIN, NO_DOMAIN, domain_of
from relays.domain.replies import mask
from relays.domain.text import printable

BUCKET_S = 300
# Seconds: the bins of delays end here, each with its end, and one more is open.
DELAY_BOUNDS = (0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 900, 1800, 3600, 14400, 86400)

# What is beyond these is counted under OTHER, a reply under OTHER_DIGEST, a client under "".
OTHER = "(other)"
OTHER_DIGEST = "other"
# Of a bucket and instance: so many are told of, those with the most recipients of so many that are counted.
TOP_DOMAINS = 500
MAX_DOMAINS = 4_000
MAX_ROWS = 100_000
MAX_CLIENTS = 10_000
MAX_REPLIES = 2_000
MAX_MX = 20_000

MAX_SAMPLE = 2048
MAX_UNRECOGNIZED_SAMPLE = 500
UNRECOGNIZED_SAMPLES = 5
# Other programs share the log on many hosts: they shall not hide a line of Postfix's.
FOREIGN_SAMPLES = 2

# So much is looked at in one go, however long a chunk.
_PIECE = 1 << 20
# A memo of so many is begun anew.
_REMEMBERED = 10_000
_REPLIES_REMEMBERED = 2_000
# Messages that are known by their queue id: the last so many, or up to twice as many.
_MESSAGES_REMEMBERED = 32_768

_DELIVERED = ("sent", "handed_over")
_SUSPENDED = b"delivery temporarily suspended"
_QUEUED_AS = b"queued as"
_RELAY = re.compile(rb"([^\[\]]+)\[([^\[\]]+)\](?::\d+)?\Z")
_ON_HOST = re.compile(rb"127\.|::1\Z|/|private/|public/")
# Where no relay is told, most replies begin with the one that was tried.
_TRIED = re.compile(
    rb"(?:delivery temporarily suspended: )?(?:connect to|host|lost connection with|conversation with)"
    rb" ([\w.-]+\[[^\s\[\]]+\])"
)
_CODE = re.compile(r"(?:\A|said: |to me: )([245]\d\d)\b")

# An instance has a name that postmulti(1) takes.
_NOT_A_NAME = re.compile(r"\A[^A-Za-z0-9]|[^A-Za-z0-9_.-]")

_Value = TypeVar("_Value")
# ts, instance, domain, outcome, dsn, digest
RowKey = tuple[int, str, str, str, str, str]


@dataclass
class Reply:
    """Replies that are one masked text.

    sample: the first of them, printable, at most MAX_SAMPLE characters. code: of SMTP. first, last:
    seconds since 1970.
    """

    masked: str
    sample: str
    code: int | None
    dsn: str
    first: int
    last: int


@dataclass
class Counts:
    """What a log told.

    Times are seconds since 1970; ts is the start of a bucket of BUCKET_S. rows: recipients (messages, where
    they expired) and their bytes by (ts, instance, domain, outcome, dsn, digest); digest is "" for what was
    sent or handed over. delays: what was sent or handed over in how long, by (ts, instance, domain), in bins
    that end at DELAY_BOUNDS. accepted: messages by (ts, instance, client's address), "" where it has none.
    Bytes are of messages that came into the active queue in the same reading, and 0 of others.
    """

    rows: dict[RowKey, list[int]] = field(default_factory=dict)
    delays: dict[tuple[int, str, str], list[int]] = field(default_factory=dict)
    accepted: dict[tuple[int, str, str], int] = field(default_factory=dict)
    # The name that a client's address was last seen with, and the host that a domain's mail last went to.
    clients: dict[str, str] = field(default_factory=dict)
    mx: dict[str, str] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    lines: int = 0
    # Lines that are not Postfix's, or cut before they told what is counted, with some of them; foreign: those
    # of them that are whole lines of other programs.
    unrecognized: int = 0
    foreign: int = 0
    unrecognized_samples: list[str] = field(default_factory=list)
    # The times of the first and the last line.
    first: int | None = None
    last: int | None = None


class Counter:
    """Counts what is fed, and counts the same wherever it is cut.

    names: instance by syslog_name. A name that is not there is its own instance, less "postfix-"; "postfix"
    is "default". fleet: addresses of the fleet's other relays. filters: content filters, each as the address,
    or address:port, or path, or transport that follows `relay=`. now, zone: see Stamps.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        fleet: Collection[str] = (),
        *,
        filters: Collection[str] = (),
        now: float,
        zone: tzinfo | None,
    ) -> None:
        self._counts = Counts()
        self._stamps = Stamps(now=now, zone=zone)
        self._names = names
        self._ours = frozenset(name.encode() for name in (*fleet, *filters))
        # The line that is not whole yet, and the newline before it.
        self._pending = b"\n"
        self._domains_of: dict[tuple[int, str], set[str]] = {}
        self._sizes: _Recent[int] = _Recent()
        self._deferred: _Recent[str] = _Recent()
        self._instances: dict[bytes, str] = {}
        self._spellings: dict[bytes, str] = {}
        self._hops: dict[bytes, _Hop] = {}
        self._digests: dict[bytes, str] = {}

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the log."""
        for start in range(0, len(chunk), _PIECE):
            self._take(chunk[start : start + _PIECE].translate(None, LITTER))

    def take(self) -> Counts:
        """Return what was counted since the last time: a long log needs no more memory than a short one."""
        counts, self._counts = self._counts, Counts()
        crowded = {place for place, domains in self._domains_of.items() if len(domains) > TOP_DOMAINS}
        if crowded:
            _keep_top_domains(counts, crowded)
        self._domains_of.clear()
        self._digests.clear()
        return counts

    def finish(self) -> Counts:
        """Take what is left as a whole line. Return what was counted since the last time."""
        if len(self._pending) > 1:
            self._take(b"\n")
        return self.take()

    def _take(self, piece: bytes) -> None:
        data = self._pending + piece
        end = data.rfind(b"\n")
        # What is longer is no line of Postfix's, however it ends.
        self._pending = data[end : end + MAX_LINE]
        if end > 0:
            self._count(data[: end + 1])

    def _count(self, text: bytes) -> None:
        """Count lines, each between two newlines."""
        found = POSTFIX_LINE.findall(text)
        lines = text.count(b"\n") - 1
        self._counts.lines += lines
        self._note_times(found)
        for line in found:
            if line[-1] and not self._add(line):
                self._add_unrecognized(_line_of(text, line), is_foreign=False)
        if len(found) < lines:
            for line in POSTFIX_LINE.sub(b"", text)[1:-1].split(b"\n"):
                self._add_unrecognized(line, is_foreign=is_foreign(line))

    def _note_times(self, found: list[tuple[bytes, ...]]) -> None:
        counts = self._counts
        if counts.first is None:
            counts.first = next(filter(None, map(self._time, found)), None)
        counts.last = next(filter(None, map(self._time, reversed(found))), counts.last)

    def _time(self, line: tuple[bytes, ...]) -> int | None:
        start = self._stamps.minute(line[0], line[2])
        return None if start is None else start + int(line[1])

    def _add(self, line: tuple[bytes, ...]) -> bool:
        """Count what a line tells. False: it was cut before it told that, or there was no such time."""
        minute, second, zone, program, queue_id, message = line
        instance = self._instances.get(program) or self._instance(program)
        start = self._stamps.minute(minute, zone)
        if message.startswith(b"from="):
            return self._add_of_sender(start, (instance, queue_id), message)
        if start is None:
            return False
        if message.startswith(b"to="):
            return self._add_delivery(start + int(second), (instance, queue_id), message)
        return self._add_client(start, instance, message)

    def _add_of_sender(self, time: int | None, key: tuple[str, bytes], message: bytes) -> bool:
        queued = QUEUED.match(message)
        if queued:
            self._sizes.put(key, int(queued[3]))
            return True
        if b", status=" not in message:
            return True
        if time is None or EXPIRED.match(message) is None:
            return False
        domain = self._deferred.get(key, NO_DOMAIN)
        self._add_row((time - time % BUCKET_S, key[0], domain, "expired", "", ""), self._sizes.get(key, 0))
        return True

    def _add_delivery(self, time: int, key: tuple[str, bytes], message: bytes) -> bool:
        match = DELIVERY.match(message)
        outcome = match and OUTCOMES.get(match[12])
        if match is None or outcome is None:
            return False
        if outcome == PROBE:
            return True
        to, bare_to, _, _, relay, _, delay, _, _, dsn, _, _, reply = match.groups(b"")
        domain = self._domain(to or bare_to)
        hop = self._hops.get(relay) or self._hop(relay)
        if outcome == "deferred":
            self._deferred.put(key, domain)
            if reply.startswith(_SUSPENDED):
                outcome = "suspended"
        elif outcome == "sent" and (hop.is_ours or (hop.is_on_host and _QUEUED_AS in reply)):
            outcome = "handed_over"
        self._note_mx(domain, hop, reply)
        delivered = outcome in _DELIVERED
        digest = "" if delivered else self._digest(unclosed(reply)[:MAX_SAMPLE], dsn, time)
        place = time - time % BUCKET_S, key[0]
        domain = self._add_row((*place, domain, outcome, dsn.decode(), digest), self._sizes.get(key, 0))
        if delivered and delay:
            self._add_delay((*place, domain), float(delay))
        return True

    def _add_row(self, key: RowKey, size: int) -> str:
        """Count one, and bytes. Return the domain that it is counted under."""
        row = self._counts.rows.get(key)
        if row is None:
            key = self._bounded(key)
            row = self._counts.rows.setdefault(key, [0, 0])
        row[0] += 1
        row[1] += size
        return key[2]

    def _bounded(self, key: RowKey) -> RowKey:
        """Return the key of a new row, or that of the rest where there are enough of them."""
        ts, instance, domain, outcome, _, digest = key
        if len(self._counts.rows) >= MAX_ROWS:
            return ts, instance, OTHER, outcome, "", digest and OTHER_DIGEST
        domains = self._domains_of.setdefault((ts, instance), set())
        if len(domains) >= MAX_DOMAINS and domain not in domains:
            return (ts, instance, OTHER, *key[3:])
        domains.add(domain)
        return key

    def _add_delay(self, key: tuple[int, str, str], delay: float) -> None:
        bins = self._counts.delays.get(key)
        if bins is None:
            bins = self._counts.delays[key] = [0] * (len(DELAY_BOUNDS) + 1)
        bins[bisect_left(DELAY_BOUNDS, delay)] += 1

    def _add_client(self, time: int | None, instance: str, message: bytes) -> bool:
        match = CLIENT.match(message)
        if match is None or time is None:
            return False
        name, address, _, orig_name, orig_address, _ = match.groups(b"")
        if orig_address and _ON_HOST.match(address):
            return True  # given back by a content filter
        if orig_address:
            name, address = orig_name, orig_address
        ip = self._client_ip(address, name)
        key = (time - time % BUCKET_S, instance, ip)
        self._counts.accepted[key] = self._counts.accepted.get(key, 0) + 1
        return True

    def _client_ip(self, address: bytes, name: bytes) -> str:
        """Return a client's address, "" where it has none or there are too many, and note its name."""
        ip, clients = _text(address), self._counts.clients
        if ip not in clients and (len(clients) >= MAX_CLIENTS or not _is_ip(ip)):
            return ""
        clients[ip] = printable(_text(name), MAX_DOMAIN)
        return ip

    def _digest(self, reply: bytes, dsn: bytes, time: int) -> str:
        """Return the digest of a reply's cluster, and note when it was heard."""
        digest = self._digests.get(reply)
        if digest is None:
            digest = self._new_digest(reply, dsn, time)
            _remember(self._digests, reply, digest, _REPLIES_REMEMBERED)
        cluster = self._counts.replies.get(digest)
        if cluster:
            cluster.first = min(cluster.first, time)
            cluster.last = max(cluster.last, time)
        return digest

    def _new_digest(self, reply: bytes, dsn: bytes, time: int) -> str:
        text = _text(reply)
        masked = mask(text)
        digest = sha256(masked.encode()).hexdigest()[:16]
        replies = self._counts.replies
        if digest not in replies:
            if len(replies) >= MAX_REPLIES:
                return OTHER_DIGEST
            code = _CODE.search(text)
            replies[digest] = Reply(
                masked, printable(text, MAX_SAMPLE), int(code[1]) if code else None, dsn.decode(), time, time
            )
        return digest

    def _note_mx(self, domain: str, hop: _Hop, reply: bytes) -> None:
        mx = self._counts.mx
        host = hop.host
        if not host and domain not in mx:
            tried = _TRIED.match(reply)
            host = self._hop(tried[1]).host if tried else ""
        if host and (domain in mx or len(mx) < MAX_MX):
            mx[domain] = host

    def _add_unrecognized(self, line: bytes, *, is_foreign: bool) -> None:
        counts = self._counts
        counts.unrecognized += 1
        counts.foreign += is_foreign
        samples = counts.unrecognized_samples
        if len(samples) < (FOREIGN_SAMPLES if is_foreign else UNRECOGNIZED_SAMPLES):
            samples.append(printable(_text(line[:MAX_SAMPLE]), MAX_UNRECOGNIZED_SAMPLE))

    def _domain(self, address: bytes) -> str:
        _, at, spelling = address.rpartition(b"@")
        spelling = spelling if at else b""
        domain = self._spellings.get(spelling)
        if domain is None:
            domain = domain_of("@" + _text(spelling))
            _remember(self._spellings, spelling, domain, _REMEMBERED)
        return domain

    def _instance(self, program: bytes) -> str:
        *parts, _ = program.decode().split("/")
        known = (self._names.get("/".join(parts[:end])) for end in range(len(parts), 0, -1))
        instance = next(filter(None, known), None) or name_by_convention(parts[0])
        _remember(self._instances, program, instance, _REMEMBERED)
        return instance

    def _hop(self, relay: bytes) -> _Hop:
        match = _RELAY.match(relay)
        host, address = match.groups() if match else (b"", relay)
        is_ours = not self._ours.isdisjoint((relay, address, relay[len(host) :].translate(None, b"[]")))
        is_on_host = _ON_HOST.match(address) is not None
        is_mx = not (is_ours or is_on_host or host == address)
        hop = _Hop(printable(_text(host), MAX_DOMAIN).lower() if is_mx else "", is_ours, is_on_host)
        _remember(self._hops, relay, hop, _REMEMBERED)
        return hop


class _Hop(NamedTuple):
    """What follows `relay=`. host: its name, "" where it is no mail server of a recipient's domain."""

    host: str
    is_ours: bool
    is_on_host: bool


class _Recent(Generic[_Value]):
    """The last _MESSAGES_REMEMBERED values that were put, or more: of two halves the older one goes."""

    def __init__(self) -> None:
        self._new: dict[tuple[str, bytes], _Value] = {}
        self._old: dict[tuple[str, bytes], _Value] = {}

    def put(self, key: tuple[str, bytes], value: _Value) -> None:
        if len(self._new) >= _MESSAGES_REMEMBERED:
            self._old, self._new = self._new, {}
        self._new[key] = value

    def get(self, key: tuple[str, bytes], default: _Value) -> _Value:
        value = self._new.get(key)
        return self._old.get(key, default) if value is None else value


def _remember(memo: dict[bytes, _Value], key: bytes, value: _Value, limit: int) -> None:
    if len(memo) >= limit:
        memo.clear()
    memo[key] = value


def _keep_top_domains(counts: Counts, crowded: set[tuple[int, str]]) -> None:
    """Sum what these buckets and instances have beyond their greatest domains."""
    volumes: dict[tuple[int, str], dict[str, int]] = {place: {} for place in crowded}
    for (ts, instance, domain, *_), (n, _) in counts.rows.items():
        volume = volumes.get((ts, instance))
        if volume is not None:
            volume[domain] = volume.get(domain, 0) + n
    kept = {
        place: set(nlargest(TOP_DOMAINS, volume, volume.__getitem__)) for place, volume in volumes.items()
    }

    def name(ts: int, instance: str, domain: str) -> str:
        top = kept.get((ts, instance))
        return domain if top is None or domain in top else OTHER

    rows, counts.rows = counts.rows, {}
    for (ts, instance, domain, outcome, dsn, digest), (n, size) in rows.items():
        row = counts.rows.setdefault((ts, instance, name(ts, instance, domain), outcome, dsn, digest), [0, 0])
        row[0] += n
        row[1] += size
    delays, counts.delays = counts.delays, {}
    for (ts, instance, domain), bins in delays.items():
        key = (ts, instance, name(ts, instance, domain))
        counts.delays[key] = list(map(add, counts.delays.get(key, [0] * len(bins)), bins))


def _line_of(text: bytes, line: tuple[bytes, ...]) -> bytes:
    """Return the whole of a line that was found in a text."""
    part = line[-2] + b": " + line[-1] + b"\n"
    end = text.index(part) + len(part) - 1
    return text[text.rindex(b"\n", 0, end) + 1 : end]


def name_by_convention(syslog_name: str) -> str:
    """Return an instance's name where nothing else tells it: syslog_name less "postfix-", or "default"."""
    name = syslog_name.removeprefix("postfix-")
    return "default" if name in ("postfix", "") else _NOT_A_NAME.sub("_", name)[:63]


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
