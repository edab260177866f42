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
from datetime import tzinfo
from hashlib import sha256
from ipaddress import ip_address
from operator import length_hint
from sys import intern
from typing import Generic, NamedTuple, TypeVar

from relays.domain.maillog.lines import (
    CLIENT,
    DELIVERY,
    DENIAL,
    DENIED,
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
from relays.domain.maillog.stamps import FRACTION, Memo, Stamps
from relays.domain.maillog.tables import (
    BUCKET_S,
    DELAY_BOUNDS,
    OTHER,
    OTHER_DIGEST,
    Counts,
    Reply,
    RowKey,
    keep_top_domains,
)
from relays.domain.maillog.usual import expression, lines, lines_backwards, odd_lines
from relays.domain.queue import MAX_DOMAIN, NO_DOMAIN, domain_of
from relays.domain.replies import mask
from relays.domain.text import printable

# What is beyond these is counted under OTHER and its like: see tables.py.
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
_PIECE = 1 << 16
# Stands for so much of a line that is longer: Postfix writes none that begins so.
_OVERLONG = b"\x01"
# A memo of so many is begun anew.
_REMEMBERED = 10_000
_REPLIES_REMEMBERED = 2_000
_CLOCKS_REMEMBERED = 8
# Messages that are known by their queue id: the last so many, or up to twice as many and a piece's. Sizes are
# asked for while qmgr(8) has the message in hand, deferrals by the expiry that is logged right after.
_SIZES_REMEMBERED = 32_768
_DEFERRALS_REMEMBERED = 4_096

_CLIENT = re.compile(rb"([^\s\[\],]{0,255})\[([^\s\[\],]{0,99})\](?:, sasl_.*)?")

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
# Domain, relay, delay, dsn, status, reply: as they are spelt.
_Fields = tuple["bytes | None", ...]
# Host and program, and the first and the last group of a delivery.
_TallyKey = tuple[bytes, bytes, bytes]


class _Clock(NamedTuple):
    """How lines are read whose stamps are alike.

    usual: finds what they tell. moments: by all of the stamp up to the seconds, which end there.
    """

    usual: re.Pattern[bytes]
    moments: Memo[bytes, _Moment]


class _Moment(NamedTuple):
    """When a line was written: seconds since 1970 (0: there was no such time), and its bucket."""

    time: int
    bucket: _Bucket


class _Bucket(NamedTuple):
    """Where is counted what is told once more in the same words.

    tallies: of deliveries. places: in `accepted`, by host and program, and what follows `client=`.
    """

    tallies: dict[_TallyKey, _Tally]
    places: dict[tuple[bytes, bytes], tuple[int, str, str]]


class _Tally(NamedTuple):
    """Where a delivery is counted. bins: of what was delivered; cluster: of the reply, elsewhere.

    deferred: instance and recipient's domain, None where the message is not tried again.
    """

    row: list[int]
    bins: list[int]
    cluster: Reply | None
    deferred: tuple[str, str] | None


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
        self._clocks = Memo(self._clock, _CLOCKS_REMEMBERED)
        self._names = names
        self._ours = frozenset(name.encode() for name in (*fleet, *filters))
        # Of each piece a line end stands before its first line as well.
        self._pending = bytearray(b"\n")
        self._shapes: set[bytes] = set()
        # Of messages, by queue id: size, and instance and domain of the last deferral.
        self._sizes = _Recent[int](_SIZES_REMEMBERED)
        self._deferred = _Recent[tuple[str, str]](_DEFERRALS_REMEMBERED)
        self._instances = Memo(self._instance, _REMEMBERED)
        self._origins = Memo(self._origin, _REMEMBERED)
        self._domains = Memo(_domain, _REMEMBERED)
        self._hops = Memo(self._hop, _REMEMBERED)
        self._bins = Memo(_bin, _REMEMBERED)
        # What follows belongs to the counts, and begins anew with them.
        self._domains_of: dict[tuple[int, str], set[str]] = {}
        self._buckets = Memo[int, _Bucket](lambda _: _Bucket({}, {}), _REMEMBERED)
        self._known = 0
        self._clients = Memo(self._client, _REMEMBERED)
        self._clusters = Memo(self._cluster, _REPLIES_REMEMBERED)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the log."""
        has_litter = any(byte in chunk for byte in LITTER)
        self._pending += chunk.translate(None, LITTER) if has_litter else chunk
        while len(self._pending) > _PIECE and self._count_piece():
            pass

    def take(self) -> Counts:
        """Return what was counted since the last time: a long log needs no more memory than a short one."""
        counts, self._counts = self._counts, Counts()
        keep_top_domains(counts, self._domains_of)
        self._forget()
        for memo in (self._domains_of, self._clients, self._clusters):
            memo.clear()
        return counts

    def finish(self) -> Counts:
        """Take what is left as whole lines. Return what was counted since the last time."""
        if not self._pending.endswith(b"\n"):
            self._pending += b"\n"
        while len(self._pending) > 1:
            self._count_piece()
        return self.take()

    def _count_piece(self) -> bool:
        """Count the next whole lines. False: more is needed to tell where the next one ends."""
        pending = self._pending
        end = pending.rfind(b"\n", 1, _PIECE + 1) + 1 or pending.find(b"\n", 1, MAX_LINE + 1) + 1
        if end:
            with memoryview(pending) as view:
                piece = bytes(view[:end])
            del pending[: end - 1]
            self._count(piece)
        elif len(pending) > MAX_LINE:
            pending[1 : MAX_LINE + 1] = _OVERLONG
        else:
            return False
        return True

    def _count(self, text: bytes) -> None:
        """Count whole lines, with a line end before each as well."""
        told = survey(text, self._shapes)
        self._counts.lines += told.lines
        self._note_times(text)
        for line in self._count_usual(text, told.tells):
            self._count_odd(line)
        if DENIAL in text:
            for line in lines(text):
                self._count_denied(line)
        for line, is_foreign in told.others:
            if self._split(line) is None:
                self._add_unrecognized(line, is_foreign=is_foreign)
        self._sizes.age()
        self._deferred.age()

    def _note_times(self, text: bytes) -> None:
        """Note when the first and the last line were written: nearly always it takes the two to tell."""
        first = next(filter(None, map(self._split, lines(text))), None)
        last = next(filter(None, map(self._split, lines_backwards(text))), None)
        if first and last:
            self._counts.first = first[0] if self._counts.first is None else self._counts.first
            self._counts.last = last[0]

    def _count_usual(self, text: bytes, tells: int) -> list[bytes]:  # noqa: C901 (see below)
        """Count the lines that are as nearly all are. Return the others that may tell what is counted.

        tells: what survey() says of the text. It is one long loop, since a call for each line would cost as
        much as the rest.
        """
        usual, moments = self._clock_of(text)
        instances, accepted, bins_of = self._origins, self._counts.accepted, self._bins
        sizes, old_sizes, deferred = self._sizes.new, self._sizes.old, self._deferred.new
        found = usual.findall(text)
        rest = iter(found)
        odd: set[int] = set()
        for stamp, origin, queue_id, size, route, delay, said, reply, client, other in rest:
            if size:
                sizes[queue_id] = int(size)
            elif route:
                moment, key = moments[stamp], (origin, route, said)
                tally = moment.bucket.tallies.get(key)
                if tally is None:
                    if not self._add_new(moment, key, delay, queue_id, reply):
                        odd.add(len(found) - length_hint(rest) - 1)
                    continue
                # The same words once more: nearly all deliveries are counted here.
                row, bins, cluster, last = tally
                row[0] += 1
                row[1] += sizes.get(queue_id) or old_sizes.get(queue_id) or 0
                if bins:
                    bins[bins_of[delay]] += 1
                    continue
                if last:
                    deferred[queue_id] = last
                if cluster:
                    cluster.hear(moment.time)
            elif client:
                moment = moments[stamp]
                place = moment.bucket.places.get((origin, client))
                if place is not None:
                    accepted[place] += 1
                elif not self._add_arrival(moment, origin, client):
                    odd.add(len(found) - length_hint(rest) - 1)
            elif other and not self._add_other(moments[stamp].time, instances[origin], queue_id, other):
                odd.add(len(found) - length_hint(rest) - 1)
        return [] if tells == len(found) and not odd else odd_lines(text, usual, odd)

    def _add_new(
        self, moment: _Moment, key: _TallyKey, delay: bytes, queue_id: bytes, said_of_sent: bytes
    ) -> bool:
        """Count the first delivery of its kind. False: it is none of an instance, or at no time."""
        origin, route, said = key
        time, instance = moment.time, self._origins[origin]
        if not (time and instance):
            return False
        dsn, _, outcome = said.partition(b", status=")
        status, _, reply = outcome.partition(b" (")
        domain, relay = route.partition(b">")[0], route.rpartition(b", relay=")[2]
        fields = domain, relay, delay, dsn, status, reply or said_of_sent[2:]
        # A reply that was never heard before is most often one that never is again.
        is_known = status == b"sent" or _heard(reply) in self._clusters
        tally = self._add_delivery(time, instance, queue_id, fields)
        if tally and is_known:
            self._know()
            moment.bucket.tallies[key] = tally
        return True

    def _add_arrival(self, moment: _Moment, origin: bytes, client: bytes) -> bool:
        """Count the first message that comes in from a client. False: what follows `client=` is odd."""
        time, instance, address = moment.time, self._origins[origin], self._clients[client]
        if not (time and instance) or address is None:
            return False
        self._know()
        place = moment.bucket.places[origin, client] = (time - time % BUCKET_S, instance, address)
        self._counts.accepted[place] = self._counts.accepted.get(place, 0) + 1
        return True

    def _add_other(self, time: int, instance: str, queue_id: bytes, text: bytes) -> bool:
        """Count what is written otherwise. False: it was cut, or is none of an instance, or at no time."""
        return bool(time and instance) and self._add_told(time, instance, queue_id, text)

    def _know(self) -> None:
        """Make room for one more that is told in the same words."""
        self._known += 1
        if self._known > _REMEMBERED:
            self._forget()

    def _forget(self) -> None:
        self._known = 0
        self._buckets.clear()
        for clock in self._clocks.values():
            clock.moments.clear()

    def _clock_of(self, text: bytes) -> _Clock:
        """Return how the lines of a text are read: one with another kind of stamp is odd in it."""
        first = next(filter(None, map(LINE.match, lines(text))), None)
        stamp = first[1] if first else b""
        fraction = FRACTION.match(stamp)
        seconds, digits, rest = fraction.groups() if fraction else (stamp, b"", b"")
        return self._clocks[len(seconds), len(digits), rest]

    def _clock(self, shape: tuple[int, int, bytes]) -> _Clock:
        """Return a clock for stamps of that length; a fraction of a second is only looked at."""
        seconds, digits, rest = shape
        moments = Memo[bytes, _Moment](lambda start: self._moment(start + rest), _REMEMBERED)
        return _Clock(expression(seconds, digits, rest), moments)

    def _moment(self, stamp: bytes) -> _Moment:
        time = self._stamps[stamp]
        return _Moment(time, self._buckets[time // BUCKET_S]) if time else _Moment(0, _Bucket({}, {}))

    def _split(self, line: bytes) -> tuple[int, str, bytes] | None:
        """Return a line's time, instance and message; None: it is not Postfix's."""
        match = LINE.match(line)
        time = match and self._stamps[match[1]]
        return (time, self._instances[match[3]], match[5]) if match and time else None

    def _count_odd(self, line: bytes) -> None:
        """Count a line that is written in a rare way, or was cut, or only seems to be one that counts."""
        parts = self._split(line)
        if not (parts and self._add(*parts)) and is_postfix(line):
            self._add_unrecognized(line, is_foreign=False)

    def _count_denied(self, line: bytes) -> None:
        """Count a recipient that a client was not allowed to relay to, if the line tells of one."""
        parts = self._split(line) if DENIAL in line else None
        message = MESSAGE.match(parts[2]) if parts else None
        denied = DENIED.match(message[2]) if message else None
        if parts and denied:
            time, instance, _ = parts
            # Strangers try by the thousand: they don't use up the room for the names of clients.
            ip = _text(denied["address"])
            place, counts = (time - time % BUCKET_S, instance), self._counts.denied
            key = (*place, ip if _is_ip(ip) and ((*place, ip) in counts or len(counts) < MAX_CLIENTS) else "")
            counts[key] = counts.get(key, 0) + 1

    def _add(self, time: int, instance: str, message: bytes) -> bool:
        """Count what a message tells. False: it was cut before it told that."""
        whole = MESSAGE.match(message)
        queue_id, text = whole.groups(b"") if whole else (b"", b"")
        return self._add_told(time, instance, queue_id, text) if queue_id else True

    def _add_told(self, time: int, instance: str, queue_id: bytes, text: bytes) -> bool:
        kind = text[: text.find(b"=") + 1]
        if kind == b"to=":
            delivery = DELIVERY.match(text)
            return delivery is not None and self._add_recipient(time, instance, queue_id, _fields(delivery))
        if kind == b"client=":
            client = CLIENT.match(text)
            return client is not None and self._add_client(time, instance, client)
        if kind == b"from=":
            return self._add_of_sender(time, instance, queue_id, text)
        return True

    def _add_recipient(self, time: int, instance: str, queue_id: bytes, fields: _Fields) -> bool:
        """Count a recipient. False: its status is none that delivery agents write."""
        outcome = OUTCOMES.get(fields[4] or b"")
        if outcome not in (None, PROBE):
            self._add_delivery(time, instance, queue_id, fields)
        return outcome is not None

    def _add_delivery(self, time: int, instance: str, queue_id: bytes, fields: _Fields) -> _Tally | None:
        """Count a delivery. Return where the next one is counted that is told in the same words.

        None: these words don't tell that.
        """
        spelling, relay, delay, dsn, status, reply = [value or b"" for value in fields]
        place = time - time % BUCKET_S, instance
        domain, hop = self._domains[spelling], self._hops[relay]
        self._note_mx(domain, hop, reply)
        if status == b"sent":
            handed_over = hop.is_ours or (hop.is_on_host and _QUEUED_AS in reply)
            tally = self._tally(place, domain, "handed_over" if handed_over else "sent", dsn)
            if delay:
                tally.bins[self._bins[delay]] += 1
        else:
            tally = self._tally_of_failure(time, instance, domain, (dsn, status, reply))
            if tally.deferred:
                self._deferred.new[queue_id] = tally.deferred
        _add_one(tally.row, self._size(queue_id))
        return None if status == b"sent" and hop.is_on_host else tally

    def _tally_of_failure(
        self, time: int, instance: str, domain: str, told: tuple[bytes, bytes, bytes]
    ) -> _Tally:
        """Return the row of what was not delivered. told: dsn, status, reply."""
        dsn, status, reply = told
        is_suspended = status == b"deferred" and reply.startswith(_SUSPENDED)
        outcome = "suspended" if is_suspended else OUTCOMES[status]
        digest = self._digest(_heard(reply), dsn, time)
        row = self._row((time - time % BUCKET_S, instance, domain, outcome, _shared(dsn), digest))
        deferred = (instance, domain) if status == b"deferred" else None
        return _Tally(row, [], self._counts.replies.get(digest), deferred)

    def _add_of_sender(self, time: int, instance: str, queue_id: bytes, text: bytes) -> bool:
        queued = QUEUED.match(text)
        if queued:
            self._sizes.new[queue_id] = int(queued["size"])
            return True
        if b", status=" not in text:
            return True
        if EXPIRED.match(text) is None:
            return False
        known_instance, known_domain = self._deferred.get(queue_id) or (instance, NO_DOMAIN)
        domain = known_domain if known_instance == instance else NO_DOMAIN
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
        return self._sizes.get(queue_id) or 0

    def _tally(self, place: tuple[int, str], domain: str, outcome: str, dsn: bytes) -> _Tally:
        """Return the row and the bins of what is delivered."""
        row = self._row((*place, domain, outcome, _shared(dsn), ""))
        bins = self._counts.delays.get((*place, domain))
        if bins is None:
            domain = OTHER if len(self._counts.delays) >= MAX_ROWS else self._kept(*place, domain)
            bins = self._counts.delays.setdefault((*place, domain), [0] * (len(DELAY_BOUNDS) + 1))
        return _Tally(row, bins, None, None)

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
                cluster.dsn, cluster.first = _shared(dsn), time
            cluster.hear(time)
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
        """Return the instance that a program's name tells; "" where it isn't Postfix's."""
        if not PROGRAM.match(program):
            return ""
        *parts, _ = program.decode().split("/")
        known = (self._names.get("/".join(parts[:end])) for end in range(len(parts), 0, -1))
        return next(filter(None, known), None) or name_by_convention(parts[0])

    def _origin(self, words: bytes) -> str:
        """Return the instance that host and program tell, with a blank between as in a line."""
        host, _, program = words.partition(b" ")
        return self._instances[program] if host else ""

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
    """What was last put into `new`: no less than so many, and no more than memory bears."""

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self.new: dict[bytes, _Value] = {}
        self.old: dict[bytes, _Value] = {}

    def get(self, key: bytes) -> _Value | None:
        return self.new.get(key) or self.old.get(key)

    def age(self) -> None:
        if len(self.new) >= self._remembered:
            self.old, self.new = self.new, {}


def name_by_convention(syslog_name: str) -> str:
    """Return an instance's name where nothing else tells it: syslog_name less "postfix-", or "default"."""
    name = syslog_name.removeprefix("postfix-")
    return "default" if name in ("postfix", "") else _NOT_A_NAME.sub("_", name)[:63]


def _fields(delivery: re.Match[bytes]) -> _Fields:
    """Return what is counted of a line in the usual form."""
    address = delivery["bare_to"] if delivery["to"] is None else delivery["to"]
    _, at, domain = address.rpartition(b"@")
    return domain if at else b"", *delivery.group("relay", "delay", "dsn", "status", "reply")


def _heard(reply: bytes) -> bytes:
    """Return what is looked at of a reply."""
    return unclosed(reply)[:MAX_SAMPLE]


def _shared(dsn: bytes) -> str:
    """Return a text that all rows share which have it: there are few, and rows by the ten thousand."""
    return intern(dsn.decode())


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
