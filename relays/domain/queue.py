"""`postqueue -j` read and summed: counts, ages, recipient domains, replies.

The format is postqueue(1)'s "-j": one JSON object a line, one line a message; forced_expire came with Postfix
3.5. Addresses and reasons in it are hostile text, and a line may be cut or be no message at all: such a line
is counted, and never raises. Memory is bounded whatever the queue. relayctl carries this module: standard
library only, Python 3.9.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from typing import Any, NamedTuple

from relays.domain.replies import mask
from relays.domain.text import printable

QUEUES = ("incoming", "active", "deferred", "hold")
# postqueue(1) also lists what local programs have submitted and pickup(8) has not taken in yet.
MAILDROP = "maildrop"
# Nobody tries to deliver what lies there: its age and its recipients tell nothing about delivery.
_AT_REST = ("hold", MAILDROP)

# Ages in qshape(1)'s buckets: up to 5, 10, 20 ... 1280 minutes, and older.
BUCKET_BOUNDS_S = tuple(300 * 2**step for step in range(9))
BUCKETS = len(BUCKET_BOUNDS_S) + 1

MAX_DOMAIN = 253
NO_DOMAIN = "(none)"
NO_REASON = "(no reason recorded)"

# A longer line is a message with thousands of recipients: it counts as a message, they are not looked at.
MAX_LINE = 1 << 20
_DOMAINS_KEPT = 20_000
_REPLIES_KEPT = 4_000
_REASONS_WAITING = 4_096
# Reasons are masked for all deferred recipients up to here, and then for those of one message in so many:
# postqueue lists by queue id, which has nothing to do with why a message is deferred.
SAMPLED_WHOLLY = 20_000
SAMPLE_STRIDE = 4

_QUEUE_ID = re.compile(r"[0-9A-Za-z]{6,31}")
_MAX_NUMBER = 10**15

# A whole line as Postfix writes it when no string in it needs an escape. What differs in the least goes
# through json; tests hold the two equal.
_PLAIN = rb'[^"\\\x00-\x1f\x7f-\xff]*'
_NUMBER = rb"0|[1-9][0-9]{0,14}"
_RECIPIENT = rb'\{"address": "(' + _PLAIN + rb')"(?:, "delay_reason": "(' + _PLAIN + rb')")?\}'
_HEAD = (
    rb'\{"queue_name": "(incoming|active|deferred|hold|maildrop)", "queue_id": "[0-9A-Za-z]{6,31}", '
    rb'"arrival_time": (' + _NUMBER + rb'), "message_size": (' + _NUMBER + rb"), "
    rb'(?:"forced_expire": (?:true|false), )?"sender": "'
)
_MORE = rb'((?:, \{"address": "' + _PLAIN + rb'"(?:, "delay_reason": "' + _PLAIN + rb'")?\})*)'
_LINE_RE = re.compile(
    rb"^" + _HEAD + _PLAIN + rb'", "recipients": \[' + _RECIPIENT + _MORE + rb"\]\}\n", re.MULTILINE
)
# The same for text that holds none of the bytes that a plain string may not, which is told of a whole chunk
# at once: `[^"]*` is matched in half the time. It runs over a line's end only where a line was cut, and then
# there are fewer matches than lines.
_ODD = bytes([*range(0x0A), *range(0x0B, 0x20), ord("\\"), *range(0x7F, 0x100)])
_PLAIN_CHUNK_RE = re.compile(_LINE_RE.pattern.replace(_PLAIN, rb'[^"]*'), re.MULTILINE)
_ENTRY_RE = re.compile(
    rb'\{"queue_name": "(incoming|active|deferred|hold|maildrop)", "queue_id": "([0-9A-Za-z]{6,31})", '
    rb'"arrival_time": (' + _NUMBER + rb'), "message_size": (' + _NUMBER + rb"), "
    rb'(?:"forced_expire": (?:true|false), )?"sender": "(' + _PLAIN + rb')", "recipients": \['
    rb"("
    + _RECIPIENT.replace(rb"(" + _PLAIN, rb"(?:" + _PLAIN)
    + _MORE.replace(rb"((?:, ", rb"(?:(?:, ")
    + rb")\]\}"
)
# The same of a whole chunk without anything odd in it, which is text as it stands.
_PLAIN_ENTRY_RE = re.compile(
    (
        rb'^\{"queue_name": "(incoming|active|deferred|hold|maildrop)", "queue_id": "([0-9A-Za-z]{6,31})", '
        rb'"arrival_time": (' + _NUMBER + rb'), "message_size": (' + _NUMBER + rb"), "
        rb'(?:"forced_expire": (?:true|false), )?"sender": "('
        + _PLAIN
        + rb')", "recipients": \['
        + _RECIPIENT
        + _MORE
        + rb"\]\}\n"
    )
    .replace(_PLAIN, rb'[^"]*')
    .decode("ascii"),
    re.MULTILINE,
)
_PLAIN_RECIPIENT_RE = re.compile(_RECIPIENT.replace(_PLAIN, rb'[^"]*').decode("ascii"))
_HEAD_RE = re.compile(_HEAD)
_RECIPIENT_RE = re.compile(_RECIPIENT)


class Recipient(NamedTuple):
    """One recipient; reason is "" where Postfix has recorded none."""

    address: str
    reason: str


class Entry(NamedTuple):
    """One message of a queue. arrival: seconds since 1970; size: bytes."""

    queue: str
    queue_id: str
    arrival: int
    size: int
    sender: str
    recipients: list[Recipient]


def parse_entry(line: bytes) -> Entry | None:
    """Return the message that a line of `postqueue -j` tells of, or None where it is no such line."""
    try:
        fields = json.loads(line.decode("utf-8", "replace"), object_pairs_hook=_object)
        return _entry(fields)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def read_entry(line: bytes) -> Entry | None:
    """Return what parse_entry() does, several times faster for a line without anything odd in it."""
    match = _ENTRY_RE.fullmatch(line)
    if match is None:
        return parse_entry(line)
    queue, ident, arrival, size, sender, recipients = match.groups()
    return Entry(
        queue.decode(),
        ident.decode(),
        int(arrival),
        int(size),
        sender.decode(),
        [Recipient(a.decode(), r.decode()) for a, r in _RECIPIENT_RE.findall(recipients)],
    )


def read_entries(lines: bytes) -> list[Entry] | None:
    """Return the messages of whole lines, faster still; None where they have to be looked at one by one."""
    if len(lines.translate(None, _ODD)) != len(lines):
        return None
    found = _PLAIN_ENTRY_RE.findall(lines.decode("ascii"))
    if len(found) != lines.count(b"\n"):
        return None
    return [
        Entry(queue, ident, int(arrival), int(size), sender, _recipients(address, reason, more))
        for queue, ident, arrival, size, sender, address, reason, more in found
    ]


def _recipients(address: str, reason: str, more: str) -> list[Recipient]:
    first = [Recipient(address, reason)]
    return first + [Recipient(*each) for each in _PLAIN_RECIPIENT_RE.findall(more)] if more else first


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key twice: which of the two holds is anybody's guess")
    return fields


def _entry(fields: dict[str, Any]) -> Entry:
    entry = Entry(
        fields["queue_name"],
        fields["queue_id"],
        fields["arrival_time"],
        fields["message_size"],
        fields["sender"],
        [Recipient(item["address"], item.get("delay_reason", "")) for item in fields["recipients"]],
    )
    texts = [entry.sender, *(text for recipient in entry.recipients for text in recipient)]
    well_formed = (
        isinstance(fields["recipients"], list)
        and entry.queue in (*QUEUES, MAILDROP)
        and _QUEUE_ID.fullmatch(entry.queue_id)
        and all(type(number) is int and 0 <= number < _MAX_NUMBER for number in (entry.arrival, entry.size))
        and all(isinstance(text, str) for text in texts)
    )
    if not well_formed:
        raise ValueError("not a queue entry")
    return entry


def domain_of(address: str) -> str:
    """Return a recipient's domain: lower case, A-labels, at most MAX_DOMAIN characters, printable ASCII."""
    _, at, domain = address.rpartition("@")
    domain = domain.lower().rstrip(".")
    if not at or not domain:
        return NO_DOMAIN
    if not domain.isascii():
        domain = _a_labels(domain)
    return printable(domain, MAX_DOMAIN)


def _a_labels(domain: str) -> str:
    try:
        return domain[: MAX_DOMAIN + 1].encode("idna").decode("ascii")
    except UnicodeError:
        return domain.encode("ascii", "backslashreplace").decode("ascii")


class Table(NamedTuple):
    """The greatest rows of a table, and what the rest sums to."""

    rows: list[tuple[str, int, list[int]]]
    other: int
    other_buckets: list[int]
    distinct: int


class QueueSummary:
    """The sum over one queue listing, fed chunk by chunk as it is read.

    now: when the reading began, seconds since 1970. Public counts are true after finish().
    replies: whether reasons are looked at.
    """

    def __init__(self, *, now: float, replies: bool = True) -> None:
        self.counts = dict.fromkeys((*QUEUES, MAILDROP), 0)
        self.size_bytes = 0
        self.unparsable = 0
        # Lines over MAX_LINE: counted as messages, their recipients not looked at.
        self.oversized = 0
        # Messages that arrived after the reading began: the queue grew meanwhile.
        self.newcomers = 0
        self.deferred_recipients = 0
        self.sampled = 0
        # Rows were dropped to keep memory bounded: `distinct` and the tables are lower bounds.
        self.domains_pruned = False
        self._now = int(now)
        self._oldest: int | None = None
        self._replies = replies
        self._tail = b""
        self._skipping = False
        self._domains: dict[str, list[int]] = {}
        # The same lists by the domain as it was written, which spares most lines its normalisation.
        self._by_spelling: dict[bytes, list[int]] = {}
        self._domains_other = [0] * BUCKETS
        self._reasons: dict[bytes, int] = {}
        self._clusters: Counter[str] = Counter()
        self._clusters_other = 0

    @property
    def oldest_s(self) -> int | None:
        """The age of the oldest message in incoming, active or deferred; None: there is none."""
        return None if self._oldest is None else max(0, self._now - self._oldest)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the listing, cut anywhere."""
        data = self._tail + chunk
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            self._skipping = not newline
        end = data.rfind(b"\n") + 1
        self._tail = data[end:]
        if end:
            self._add_lines(data[:end])
        if len(self._tail) > MAX_LINE:
            self._add_oversized(self._tail)
            self._tail = b""
            self._skipping = True

    def finish(self) -> None:
        """Take what is left: a last line without its newline was cut, unless it can be read whole."""
        if self._tail:
            self._add_line(self._tail)
            self._tail = b""
        self._mask_waiting()

    def _add_lines(self, data: bytes) -> None:
        is_plain = len(data.translate(None, _ODD)) == len(data)
        matches = (_PLAIN_CHUNK_RE if is_plain else _LINE_RE).findall(data)
        if len(matches) == data.count(b"\n"):
            for match in matches:
                self._add_match(match)
            return
        for line in data[:-1].split(b"\n"):
            match = _LINE_RE.match(line + b"\n")
            if match:
                self._add_match(match.groups(b""))
            else:
                self._add_line(line)

    def _add_match(self, groups: tuple[bytes, ...]) -> None:
        queue, arrival, size, address, reason, more = groups
        recipients = [(address, reason)]
        if more:
            recipients += _RECIPIENT_RE.findall(more)
        self._add_message(queue.decode(), int(arrival), int(size), recipients)

    def _add_line(self, line: bytes) -> None:
        if len(line) > MAX_LINE:
            self._add_oversized(line)
            return
        entry = parse_entry(line)
        if entry is None:
            self.unparsable += 1
            return
        recipients = [(_encoded(address), _encoded(reason)) for address, reason in entry.recipients]
        self._add_message(entry.queue, entry.arrival, entry.size, recipients)

    def _add_oversized(self, line: bytes) -> None:
        head = _HEAD_RE.match(line)
        if head is None:
            self.unparsable += 1
            return
        self.oversized += 1
        self._add_message(head[1].decode(), int(head[2]), int(head[3]), [])

    def _add_message(
        self, queue: str, arrival: int, size: int, recipients: list[tuple[bytes, bytes]]
    ) -> None:
        """Count a message and its recipients, (address, reason) each. All of a queue passes through here."""
        self.counts[queue] += 1
        self.size_bytes += size
        age = self._now - arrival
        if age < 0:
            self.newcomers += 1
        if queue in _AT_REST:
            return
        if self._oldest is None or arrival < self._oldest:
            self._oldest = arrival
        bucket = bisect_right(BUCKET_BOUNDS_S, age)
        by_spelling = self._by_spelling
        for address, _ in recipients:
            _, at, spelling = address.rpartition(b"@")
            counts = by_spelling.get(spelling if at else b"")
            if counts is None:
                counts = self._counts_of(spelling if at else b"")
            counts[bucket] += 1
        if queue == "deferred":
            self._add_reasons(recipients)

    def _add_reasons(self, recipients: list[tuple[bytes, bytes]]) -> None:
        """Set reasons aside to be masked: of every message at first, of one in SAMPLE_STRIDE later."""
        self.deferred_recipients += len(recipients)
        if not self._replies:
            return
        if self.sampled >= SAMPLED_WHOLLY and self.counts["deferred"] % SAMPLE_STRIDE:
            return
        self.sampled += len(recipients)
        reasons = self._reasons
        for _, reason in recipients:
            reasons[reason] = reasons.get(reason, 0) + 1
        if len(reasons) >= _REASONS_WAITING:
            self._mask_waiting()

    def _counts_of(self, spelling: bytes) -> list[int]:
        if len(self._by_spelling) >= 2 * _DOMAINS_KEPT:
            self._by_spelling.clear()
        domain = domain_of("@" + spelling.decode("utf-8", "surrogatepass"))
        if domain not in self._domains and len(self._domains) >= _DOMAINS_KEPT:
            self._prune_domains()
        counts = self._domains.setdefault(domain, [0] * BUCKETS)
        self._by_spelling[spelling] = counts
        return counts

    def _prune_domains(self) -> None:
        """Drop the smaller half of the domains into `other`."""
        self.domains_pruned = True
        self._by_spelling.clear()
        ranked = sorted(self._domains, key=lambda domain: sum(self._domains[domain]))
        for domain in ranked[: len(ranked) // 2]:
            _add_to(self._domains_other, self._domains.pop(domain))

    def _mask_waiting(self) -> None:
        """Cluster the reasons that were set aside."""
        for reason, count in self._reasons.items():
            text = mask(reason.decode("utf-8", "surrogatepass")) if reason else NO_REASON
            self._clusters[text] += count
        self._reasons.clear()
        if len(self._clusters) > _REPLIES_KEPT:
            self._prune_clusters()

    def _prune_clusters(self) -> None:
        kept = dict(self._clusters.most_common(_REPLIES_KEPT // 2))
        self._clusters_other += sum(self._clusters.values()) - sum(kept.values())
        self._clusters = Counter(kept)

    def domains(self, *, limit: int, max_bytes: int) -> Table:
        """Return the domains with most recipients, at most `limit` rows and about `max_bytes` as JSON."""
        ranked = sorted(
            ((domain, sum(counts), counts) for domain, counts in self._domains.items()),
            key=lambda row: (-row[1], row[0]),
        )
        rows = _fitting(ranked, limit, max_bytes)
        other = list(self._domains_other)
        for _, _, counts in ranked[len(rows) :]:
            _add_to(other, counts)
        return Table(rows, sum(other), other, len(ranked))

    def replies(self, *, limit: int, max_bytes: int) -> Table:
        """Return the commonest replies to deferred recipients, likewise; Table's buckets are empty."""
        ranked: list[tuple[str, int, list[int]]] = [
            (text, count, [])
            for text, count in sorted(self._clusters.items(), key=lambda row: (-row[1], row[0]))
        ]
        rows = _fitting(ranked, limit, max_bytes)
        other = self._clusters_other + sum(count for _, count, _ in ranked[len(rows) :])
        return Table(rows, other, [], len(ranked))


def _encoded(text: str) -> bytes:
    # JSON can spell a lone surrogate; it must not end the reading.
    return text.encode("utf-8", "surrogatepass")


def _add_to(sums: list[int], counts: list[int]) -> None:
    for bucket, count in enumerate(counts):
        sums[bucket] += count


def _fitting(
    ranked: list[tuple[str, int, list[int]]], limit: int, max_bytes: int
) -> list[tuple[str, int, list[int]]]:
    rows = []
    for row in ranked[:limit]:
        max_bytes -= len(json.dumps(row)) + 2
        if max_bytes < 0:
            break
        rows.append(row)
    return rows
