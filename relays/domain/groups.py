"""The messages that a filter takes, counted by what they have in common: domain, reply, sender, queue, age.

A message with recipients in two domains counts once in each. Memory is bounded whatever the queue: of each
table the greatest rows are kept. relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from relays.domain.matching import Matcher
from relays.domain.queue import BUCKET_BOUNDS_S, BUCKETS, QUEUES, Entry, domain_of
from relays.domain.text import printable

TABLES = ("domain", "reply", "sender_domain", "sender", "queue")
_KEPT = 10_000
_REPLIES_KEPT = 2_000
_SENDERS_REMEMBERED = 10_000
_MAX_ADDRESS = 320

_Key = TypeVar("_Key")


class Group(NamedTuple):
    """One row of a table. ages: messages by age, in the buckets of domain/queue.py; text: of a reply."""

    key: str
    messages: int
    ages: list[int]
    text: str = ""


class Tally:
    """Messages by key and age; the smaller half goes where there are too many keys."""

    def __init__(self, most: int) -> None:
        self.dropped = 0
        self._most = most
        self._counts: dict[str, list[int]] = {}
        self._texts: dict[str, str] = {}

    def add(self, key: str, bucket: int, text: str = "") -> None:
        """Count one message."""
        counts = self._counts.get(key)
        if counts is None:
            if len(self._counts) >= self._most:
                self._prune()
            counts = self._counts[key] = [0] * BUCKETS
            if text:
                self._texts[key] = text
        counts[bucket] += 1

    def _prune(self) -> None:
        ranked = sorted(self._counts, key=lambda key: sum(self._counts[key]))
        for key in ranked[: len(ranked) // 2]:
            self.dropped += sum(self._counts.pop(key))
            self._texts.pop(key, None)

    def __len__(self) -> int:
        return len(self._counts)

    def greatest(self, limit: int) -> list[Group]:
        """Return the rows with most messages, the greatest first."""
        rows = [
            Group(key, sum(counts), counts, self._texts.get(key, "")) for key, counts in self._counts.items()
        ]
        return sorted(rows, key=lambda row: (-row.messages, row.key))[:limit]


class QueueGroups:
    """The sum over those messages of a listing that a matcher takes. now: seconds since 1970."""

    def __init__(self, matcher: Matcher, *, now: float) -> None:
        self.seen = 0
        self.messages = 0
        self.recipients = 0
        self.size_bytes = 0
        self.oldest: int | None = None
        self.ages = [0] * BUCKETS
        self.tables = {name: Tally(_REPLIES_KEPT if name == "reply" else _KEPT) for name in TABLES}
        self._matcher = matcher
        self._now = int(now)
        # Normalising an address costs more than all else; most come again.
        self._domains: dict[str, str] = {}

    def add(self, entry: Entry) -> None:
        """Take the next message of the listing."""
        if entry.queue not in QUEUES:
            return
        self.seen += 1
        recipients = self._matcher.matching(entry)
        if recipients is None:
            return
        self.messages += 1
        self.recipients += len(recipients)
        self.size_bytes += entry.size
        if self.oldest is None or entry.arrival < self.oldest:
            self.oldest = entry.arrival
        bucket = bisect_right(BUCKET_BOUNDS_S, self._now - entry.arrival)
        self.ages[bucket] += 1
        tables = self.tables
        tables["queue"].add(entry.queue, bucket)
        tables["sender"].add(printable(entry.sender.lower(), _MAX_ADDRESS), bucket)
        tables["sender_domain"].add(self._domain_of(entry.sender), bucket)
        for domain in _once(self._domain_of(recipient.address) for recipient in recipients):
            tables["domain"].add(domain, bucket)
        for digest, text in _once(self._matcher.replies.of(recipient.reason) for recipient in recipients):
            tables["reply"].add(digest, bucket, text)

    def _domain_of(self, address: str) -> str:
        spelling = address.rpartition("@")[2] if "@" in address else ""
        found = self._domains.get(spelling)
        if found is None:
            if len(self._domains) >= _SENDERS_REMEMBERED:
                self._domains.clear()
            found = self._domains[spelling] = domain_of("@" + spelling)
        return found


def _once(keys: Iterable[_Key]) -> Iterable[_Key]:
    """Return each key once, in order: a message counts once however many of its recipients have it."""
    return dict.fromkeys(keys)
