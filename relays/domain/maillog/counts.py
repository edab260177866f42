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
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from hashlib import sha256
from heapq import nlargest
from ipaddress import ip_address
from operator import add
from typing import Any, Generic, NamedTuple, TypeVar

from relays.domain.maillog.lines import (
    CLIENT,
    DELIVERY,
    EXPIRED,
    LINE,
    LITTER,
    MAX_LINE,
    MESSAGE,
    OUTCOMES,
    PROBE,
    PROGRAM,
    QUEUED,
    is_postfix,
    survey,
    unclosed,
)
from relays.domain.maillog.stamps import Memo, Stamps
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

# So much is looked at in one go, and more only where a line is longer: what is as small as this stays in the
# processor's cache. Where a go ends doesn't depend on how the log is fed: nor do the counts.
_PIECE = 1 << 18
# Stands for so much of a line that is longer: Postfix writes none that begins so.
_OVERLONG = b"\x01"
# A memo of so many is begun anew.
_REMEMBERED = 10_000
_REPLIES_REMEMBERED = 2_000
# Messages that are known by their queue id: the last so many, or up to twice as many and a piece's.
_MESSAGES_REMEMBERED = 32_768

# What is counted is found by the one text that such a line always has (": to=", say), which is fast: no other
# line is looked at. What follows that is as these have it in nearly all lines; a line that differs is read by
# the expressions of lines.py. Tests hold the two equal.
#
# A message's size is found again by the last bytes of its queue id, which are looked back at; there are no
# groups where a line differs.
_QUEUED_LINE = re.compile(rb': from=(?:(?<=([^\n]{8}): from=)<[^">\n]{0,400}>, size=(\d{1,15}), nrcpt=\d|)')
_DELIVERY = re.compile(
    rb'<[^">\n@]*@([^">\n@]*)>, (?:orig_to=<[^">\n]*>, )?relay=([^, \t\n\r\f\v]*), (?:conn_use=[0-9]+, )?'
    rb"delay=([0-9]+(?:\.[0-9]+)?), delays=[0-9./]+, dsn=([245]\.[0-9]{1,3}\.[0-9]{1,3}), "
    rb"status=(sent|deferred|bounced|SOFTBOUNCE) \("
)
_CLIENT = re.compile(rb"([^\s\[\],]{0,255})\[([^\s\[\],]{0,99})\](?:, sasl_.*)?")

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
# Instance and queue id.
MessageKey = tuple[str, bytes]
# Domain, relay, delay, dsn, status, reply: as they are spelt.
_Fields = tuple["bytes | None", ...]
# Where in a text the lines stand that are to be read by lines.py, and what they seem to be.
_Odd = dict[tuple[int, int], set[bytes]]
# A row and the bins beside it.
_Tally = tuple[list[int], list[int]]
# Bucket, instance, domain, relay, dsn: the last three as they are spelt.
_TallyKey = tuple[int, str, bytes, bytes, bytes]


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
        self._pending = bytearray()
        # Of messages: size by the end of the queue id, domain of the last deferral by instance and queue id.
        self._sizes = _Recent[bytes]()
        self._deferred = _Recent[str]()
        self._instances = Memo(self._instance, _REMEMBERED)
        self._origins = Memo(self._origin, _REMEMBERED)
        self._domains = Memo(_domain, _REMEMBERED)
        self._hops = Memo(self._hop, _REMEMBERED)
        self._bins = Memo(_bin, _REMEMBERED)
        # What follows belongs to the counts, and begins anew with them.
        self._domains_of: dict[tuple[int, str], set[str]] = {}
        self._tallies: dict[_TallyKey, _Tally] = {}
        self._clients = Memo(self._client, _REMEMBERED)
        self._clusters = Memo(self._cluster, _REPLIES_REMEMBERED)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the log."""
        has_litter = any(byte in chunk for byte in LITTER)
        self._pending += chunk.translate(None, LITTER) if has_litter else chunk
        while len(self._pending) >= _PIECE and self._count_piece():
            pass

    def take(self) -> Counts:
        """Return what was counted since the last time: a long log needs no more memory than a short one."""
        counts, self._counts = self._counts, Counts()
        crowded = {place for place, domains in self._domains_of.items() if len(domains) > TOP_DOMAINS}
        if crowded:
            _keep_top_domains(counts, crowded)
        for memo in (self._domains_of, self._tallies, self._clients, self._clusters):
            memo.clear()
        return counts

    def finish(self) -> Counts:
        """Take what is left as whole lines. Return what was counted since the last time."""
        if self._pending and not self._pending.endswith(b"\n"):
            self._pending += b"\n"
        while self._pending:
            self._count_piece()
        return self.take()

    def _count_piece(self) -> bool:
        """Count the next whole lines. False: more is needed to tell where the next one ends."""
        pending = self._pending
        end = pending.rfind(b"\n", 0, _PIECE) + 1 or pending.find(b"\n", 0, MAX_LINE) + 1
        if end:
            piece = b"\n" + pending[:end]
            del pending[:end]
            self._count(piece)
        elif len(pending) >= MAX_LINE:
            pending[:MAX_LINE] = _OVERLONG
        else:
            return False
        return True

    def _count(self, text: bytes) -> None:
        """Count whole lines, with a line end before each as well."""
        lines, others = survey(text)
        self._counts.lines += lines
        self._note_times(text)
        odd: _Odd = {}
        self._note_sizes(text, odd)
        self._count_deliveries(text, odd)
        self._count_clients(text, odd)
        for (start, end), kinds in sorted(odd.items()):
            self._count_odd(text[start:end], kinds)
        for line, is_foreign in others:
            if self._split(line) is None:
                self._add_unrecognized(line, is_foreign=is_foreign)
        self._sizes.age()
        self._deferred.age()

    def _note_times(self, text: bytes) -> None:
        """Note when the first and the last line were written: nearly always it takes the two to tell."""
        first = next(filter(None, map(self._split, _lines(text))), None)
        last = next(filter(None, map(self._split, _lines_backwards(text))), None)
        if first and last:
            self._counts.first = first[0] if self._counts.first is None else self._counts.first
            self._counts.last = last[0]

    def _note_sizes(self, text: bytes, odd: _Odd) -> None:
        sizes = _QUEUED_LINE.findall(text)
        self._sizes.new.update(sizes)
        if (b"", b"") not in sizes:
            return
        end = 0
        for match in _QUEUED_LINE.finditer(text):
            if match.start() >= end and not match.lastindex:
                end = _note_odd(odd, text, match.start(), b"from=")

    def _count_deliveries(self, text: bytes, odd: _Odd) -> None:
        tallies, bins_of, match = self._tallies, self._bins, _DELIVERY.match
        size = self._size
        for at, time, instance, queue_id in self._found(b"to=", text, odd):
            delivery = match(text, at)
            if delivery is None:
                _note_odd(odd, text, at, b"to=")
                continue
            domain, relay, delay, dsn, status = fields = delivery.groups()
            key = (time - time % BUCKET_S, instance, domain, relay, dsn)
            tally = tallies.get(key) if status == b"sent" else None
            if tally:
                # The same words once more: nearly all that is sent is counted here.
                row, bins = tally
                row[0] += 1
                row[1] += size(queue_id)
                bins[bins_of[delay]] += 1
            else:
                end = delivery.end()
                reply = text[end : text.find(b"\n", end)]
                self._add_delivery(time, instance, queue_id, (*fields, reply), key)

    def _count_clients(self, text: bytes, odd: _Odd) -> None:
        accepted, clients = self._counts.accepted, self._clients
        for at, time, instance, _ in self._found(b"client=", text, odd):
            client = clients[text[at : text.find(b"\n", at)]]
            if client is None:
                _note_odd(odd, text, at, b"client=")
                continue
            key = (time - time % BUCKET_S, instance, client)
            accepted[key] = accepted.get(key, 0) + 1

    def _found(self, kind: bytes, text: bytes, odd: _Odd) -> Iterator[tuple[int, int, str, bytes]]:
        """Yield where a kind of message goes on, and the line's time, instance and queue id.

        Lines whose beginning is odd are noted instead.
        """
        stamps, instances, width = self._stamps, self._origins, self._stamp_width(text)
        mark = b": " + kind
        at, skip = 0, len(mark)
        for before in text.split(mark)[:-1]:
            at += len(before) + skip
            start = before.rfind(b"\n") + 1
            if not start:
                continue  # a remote server's words: a line tells one thing, and that first
            space = before.rfind(b" ")
            time, instance = stamps[before[start : start + width]], instances[before[start + width : space]]
            queue_id = before[space + 1 :]
            if time and instance and 4 < len(queue_id) < 32 and queue_id.isalnum():
                yield at, time, instance, queue_id
            else:
                _note_odd(odd, text, at, kind)

    def _stamp_width(self, text: bytes) -> int:
        """Return how long the stamps of a text are: lines with others are odd in it."""
        first = next(filter(None, map(LINE.match, _lines(text))), None)
        return first.end(1) if first else 0

    def _split(self, line: bytes) -> tuple[int, str, bytes] | None:
        """Return a line's time, instance and message; None: it is not Postfix's."""
        match = LINE.match(line)
        time = match and self._stamps[match[1]]
        return (time, self._instances[match[3]], match[4]) if match and time else None

    def _count_odd(self, line: bytes, kinds: set[bytes]) -> None:
        """Count a line that is written in a rare way, or was cut, or only seems to be one that counts."""
        parts = self._split(line)
        if not (parts and self._add(*parts, kinds)) and is_postfix(line):
            self._add_unrecognized(line, is_foreign=False)

    def _add(self, time: int, instance: str, message: bytes, kinds: set[bytes]) -> bool:
        """Count what a message tells, if it is one of these kinds. False: it was cut before it told that."""
        whole = MESSAGE.match(message)
        queue_id, text = whole.groups(b"") if whole else (b"", b"")
        kind = next((kind for kind in kinds if queue_id and text.startswith(kind)), b"")
        if kind == b"to=":
            delivery = DELIVERY.match(text)
            return delivery is not None and self._add_delivery(time, instance, queue_id, _fields(delivery))
        if kind == b"client=":
            client = CLIENT.match(text)
            return client is not None and self._add_client(time, instance, client)
        if kind == b"from=":
            return self._add_of_sender(time, instance, queue_id, text)
        return True

    def _add_delivery(
        self, time: int, instance: str, queue_id: bytes, fields: _Fields, key: _TallyKey | None = None
    ) -> bool:
        """Count a recipient. False: its status is none that delivery agents write.

        key: what the next one can be counted by that is told in the same words.
        """
        spelling, relay, delay, dsn, status, reply = [value or b"" for value in fields]
        outcome = OUTCOMES.get(status)
        if outcome is None or outcome == PROBE:
            return outcome is not None
        place = time - time % BUCKET_S, instance
        domain, hop, size = self._domains[spelling], self._hops[relay], self._size(queue_id)
        self._note_mx(domain, hop, reply)
        if outcome == "sent":
            handed_over = hop.is_ours or (hop.is_on_host and _QUEUED_AS in reply)
            tally = self._tally(place, domain, "handed_over" if handed_over else "sent", dsn)
            self._add_delivered(tally, size, delay)
            if key and not hop.is_on_host:
                self._remember(key, tally)
            return True
        if outcome == "deferred":
            self._deferred.new[instance, queue_id] = domain
            if reply.startswith(_SUSPENDED):
                outcome = "suspended"
        digest = self._digest(unclosed(reply)[:MAX_SAMPLE], dsn, time)
        _add_one(self._row((*place, domain, outcome, dsn.decode(), digest)), size)
        return True

    def _remember(self, key: _TallyKey, tally: _Tally) -> None:
        if len(self._tallies) >= _REMEMBERED:
            self._tallies.clear()
        self._tallies[key] = tally

    def _add_delivered(self, tally: _Tally, size: int, delay: bytes) -> None:
        row, bins = tally
        _add_one(row, size)
        if delay:
            bins[self._bins[delay]] += 1

    def _add_of_sender(self, time: int, instance: str, queue_id: bytes, text: bytes) -> bool:
        queued = QUEUED.match(text)
        if queued:
            self._sizes.new[_size_key(queue_id)] = queued["size"]
            return True
        if b", status=" not in text:
            return True
        if EXPIRED.match(text) is None:
            return False
        domain = self._deferred.get((instance, queue_id)) or NO_DOMAIN
        _add_one(
            self._row((time - time % BUCKET_S, instance, domain, "expired", "", "")), self._size(queue_id)
        )
        return True

    def _add_client(self, time: int, instance: str, match: re.Match[bytes]) -> bool:
        client = match.group("name", "address")
        if match["orig_address"]:
            if _ON_HOST.match(match["address"]):
                return True  # a content filter gives it back
            client = match.group("orig_name", "orig_address")
        key = (time - time % BUCKET_S, instance, self._address(*client))
        self._counts.accepted[key] = self._counts.accepted.get(key, 0) + 1
        return True

    def _size(self, queue_id: bytes) -> int:
        return int(self._sizes.get(_size_key(queue_id)) or 0)

    def _tally(self, place: tuple[int, str], domain: str, outcome: str, dsn: bytes) -> _Tally:
        """Return the row and the bins of what is delivered."""
        row = self._row((*place, domain, outcome, dsn.decode(), ""))
        bins = self._counts.delays.get((*place, domain))
        if bins is None:
            domain = OTHER if len(self._counts.delays) >= MAX_ROWS else self._kept(*place, domain)
            bins = self._counts.delays.setdefault((*place, domain), [0] * (len(DELAY_BOUNDS) + 1))
        return row, bins

    def _row(self, key: RowKey) -> list[int]:
        """Return the row to count in: that of the rest, where there are enough of them."""
        row = self._counts.rows.get(key)
        if row is None:
            ts, instance, domain, outcome, dsn, digest = key
            if len(self._counts.rows) >= MAX_ROWS:
                key = (ts, instance, OTHER, outcome, "", digest and OTHER_DIGEST)
            else:
                key = (ts, instance, self._kept(ts, instance, domain), outcome, dsn, digest)
            row = self._counts.rows.setdefault(key, [0, 0])
        return row

    def _kept(self, ts: int, instance: str, domain: str) -> str:
        domains = self._domains_of.setdefault((ts, instance), set())
        if len(domains) >= MAX_DOMAINS and domain not in domains:
            return OTHER
        domains.add(domain)
        return domain

    def _digest(self, reply: bytes, dsn: bytes, time: int) -> str:
        """Return the digest of a reply's cluster, and note when it was heard."""
        digest = self._clusters[reply]
        cluster = self._counts.replies.get(digest)
        if cluster:
            if not cluster.first:
                cluster.dsn, cluster.first = dsn.decode(), time
            cluster.first, cluster.last = min(cluster.first, time), max(cluster.last, time)
        return digest

    def _cluster(self, reply: bytes) -> str:
        text = _text(reply)
        masked = mask(text)
        digest = sha256(masked.encode()).hexdigest()[:16]
        replies = self._counts.replies
        if digest not in replies:
            if len(replies) >= MAX_REPLIES:
                return OTHER_DIGEST
            code = _CODE.search(text)
            replies[digest] = Reply(
                masked, printable(text, MAX_SAMPLE), int(code[1]) if code else None, "", 0, 0
            )
        return digest

    def _client(self, told: bytes) -> str | None:
        """Return a client's address by what follows `client=`; None where that is odd."""
        usual = _CLIENT.fullmatch(told)
        return self._address(*usual.groups()) if usual else None

    def _address(self, name: bytes, address: bytes) -> str:
        """Return a client's address, "" where it has none or there are too many, and note its name."""
        clients, ip = self._counts.clients, _text(address)
        if ip not in clients and (len(clients) >= MAX_CLIENTS or not _is_ip(ip)):
            return ""
        clients[ip] = printable(_text(name), MAX_DOMAIN)
        return ip

    def _note_mx(self, domain: str, hop: _Hop, reply: bytes) -> None:
        mx = self._counts.mx
        host = hop.host
        if not host and domain not in mx:
            tried = _TRIED.match(reply)
            host = self._hops[tried[1]].host if tried else ""
        if host and (domain in mx or len(mx) < MAX_MX):
            mx[domain] = host

    def _add_unrecognized(self, line: bytes, *, is_foreign: bool) -> None:
        counts = self._counts
        counts.unrecognized += 1
        counts.foreign += is_foreign
        samples = counts.unrecognized_samples
        if len(samples) < (FOREIGN_SAMPLES if is_foreign else UNRECOGNIZED_SAMPLES):
            samples.append(printable(_text(line[:MAX_SAMPLE]), MAX_UNRECOGNIZED_SAMPLE))

    def _instance(self, program: bytes) -> str:
        """Return the instance that a program's name (with its PID) tells; "" where it isn't Postfix's."""
        if not PROGRAM.match(program):
            return ""
        *parts, _ = program.decode().split("/")
        known = (self._names.get("/".join(parts[:end])) for end in range(len(parts), 0, -1))
        return next(filter(None, known), None) or name_by_convention(parts[0])

    def _origin(self, words: bytes) -> str:
        """Return the instance that host and program tell, with a blank before each as in a line."""
        blank, host, program = words.split(b" ") if words.count(b" ") == 2 else (words, b"", b"")
        return self._instances[program] if host and not blank else ""

    def _hop(self, relay: bytes) -> _Hop:
        match = _RELAY.match(relay)
        host, address = match.groups() if match else (b"", relay)
        is_ours = not self._ours.isdisjoint((relay, address, relay[len(host) :].translate(None, b"[]")))
        is_on_host = _ON_HOST.match(address) is not None
        is_mx = not (is_ours or is_on_host or host == address)
        return _Hop(printable(_text(host), MAX_DOMAIN).lower() if is_mx else "", is_ours, is_on_host)


class _Hop(NamedTuple):
    """What follows `relay=`. host: its name, "" where it is no mail server of a recipient's domain."""

    host: str
    is_ours: bool
    is_on_host: bool


class _Recent(Generic[_Value]):
    """What was last put into `new`: no less than _MESSAGES_REMEMBERED, and no more than memory bears."""

    def __init__(self) -> None:
        self.new: dict[Any, _Value] = {}
        self._old: dict[Any, _Value] = {}

    def get(self, key: object) -> _Value | None:
        return self.new.get(key) or self._old.get(key)

    def age(self) -> None:
        if len(self.new) >= _MESSAGES_REMEMBERED:
            self._old, self.new = self.new, {}


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


def _lines(text: bytes) -> Iterator[bytes]:
    start = 1
    while (end := text.find(b"\n", start)) >= 0:
        yield text[start:end]
        start = end + 1


def _lines_backwards(text: bytes) -> Iterator[bytes]:
    end = len(text) - 1
    while end > 0:
        start = text.rfind(b"\n", 0, end) + 1
        yield text[start:end]
        end = start - 1


def name_by_convention(syslog_name: str) -> str:
    """Return an instance's name where nothing else tells it: syslog_name less "postfix-", or "default"."""
    name = syslog_name.removeprefix("postfix-")
    return "default" if name in ("postfix", "") else _NOT_A_NAME.sub("_", name)[:63]


def _note_odd(odd: _Odd, text: bytes, at: int, kind: bytes) -> int:
    """Note the line that this stands in. Return where it ends."""
    start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
    odd.setdefault((start, end), set()).add(kind)
    return end


def _fields(delivery: re.Match[bytes]) -> _Fields:
    """Return what is counted of a line in the usual form."""
    address = delivery["bare_to"] if delivery["to"] is None else delivery["to"]
    _, at, domain = address.rpartition(b"@")
    return domain if at else b"", *delivery.group("relay", "delay", "dsn", "status", "reply")


def _size_key(queue_id: bytes) -> bytes:
    """Return what _QUEUED_LINE's first group would be."""
    return (b"]: " + queue_id)[-8:]


def _add_one(row: list[int], size: int) -> None:
    row[0] += 1
    row[1] += size


def _bin(delay: bytes) -> int:
    return bisect_left(DELAY_BOUNDS, float(delay))


def _domain(spelling: bytes) -> str:
    return domain_of("@" + _text(spelling))


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
