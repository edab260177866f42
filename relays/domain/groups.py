"""The messages that a filter takes, counted by what they have in common: domain, reply, sender, queue, age.

A message with recipients in two domains counts once in each. Memory is bounded whatever the queue: of each
table the greatest rows are kept. relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from relays.domain.matching import Matcher
from relays.domain.queue import BUCKET_BOUNDS_S, BUCKETS, QUEUES, Entry, domain_of
from relays.domain.text import printable

TABLES = ("domain", "reply", "sender_domain", "sender", "queue")
_KEPT = 10_000
_REPLIES_KEPT = 2_000
_SENDERS_REMEMBERED = 10_000
_WAITING = 10_000
_MAX_ADDRESS = 320


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

    def add(self, key: str, bucket: int, text: str = "", *, messages: int = 1) -> None:
        """Count one message, or so many."""
        counts = self._counts.get(key)
        if counts is None:
            if len(self._counts) >= self._most:
                self._prune()
            counts = self._counts[key] = [0] * BUCKETS
            if text:
                self._texts[key] = text
        counts[bucket] += messages

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
    """The sum over those messages of a listing that a matcher takes; its tables are true after finish().

    now: seconds since 1970.
    """

    def __init__(self, matcher: Matcher, *, now: float) -> None:
        self.seen = 0
        self.messages = 0
        self.recipients = 0
        self.size_bytes = 0
        self.oldest: int | None = None
        self.ages = [0] * BUCKETS
        self.tables = {name: Tally(_REPLIES_KEPT if name == "reply" else _KEPT) for name in TABLES}
        self._by_domain, self._by_reply = self.tables["domain"], self.tables["reply"]
        self._matcher = matcher
        self._now = int(now)
        # Messages of one queue, sender and age, set aside to be counted together: most senders come again.
        self._waiting: dict[tuple[str, str, int], int] = {}
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
        of_message = (entry.queue, entry.sender, bucket)
        self._waiting[of_message] = self._waiting.get(of_message, 0) + 1
        if len(self._waiting) >= _WAITING:
            self.finish()
        domains = [self._domain_of(recipient.address) for recipient in recipients]
        replies = [self._matcher.replies.of(recipient.reason) for recipient in recipients]
        if len(recipients) > 1:
            domains, replies = list(dict.fromkeys(domains)), list(dict.fromkeys(replies))
        for domain in domains:
            self._by_domain.add(domain, bucket)
        for digest, text in replies:
            self._by_reply.add(digest, bucket, text)

    def finish(self) -> None:
        """Count what was set aside: the tables are true after it."""
        for (queue, sender, bucket), messages in self._waiting.items():
            self.tables["queue"].add(queue, bucket, messages=messages)
            self.tables["sender"].add(printable(sender.lower(), _MAX_ADDRESS), bucket, messages=messages)
            self.tables["sender_domain"].add(self._domain_of(sender), bucket, messages=messages)
        self._waiting.clear()

    def _domain_of(self, address: str) -> str:
        spelling = address.rpartition("@")[2] if "@" in address else ""
        found = self._domains.get(spelling)
        if found is None:
            if len(self._domains) >= _SENDERS_REMEMBERED:
                self._domains.clear()
            found = self._domains[spelling] = domain_of("@" + spelling)
        return found
