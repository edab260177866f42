"""The verb `flush.scan`: the messages of some recipient domains in a queue, small enough to keep all of them.

One pass over `postqueue -j`, whatever the queue's size; queue.list would read it anew for every page.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from relays.agent import postfix, redirect
from relays.agent.deadline import Deadline
from relays.agent.protocol import Answer, Refused, integer, refuse_unknown
from relays.agent.snapshot import RESERVED_S, chosen, names
from relays.domain.queue import MAX_LINE, QUEUES, Entry, domain_of, parse_entry
from relays.domain.text import printable

_ROWS_A_LINE = 100
_MAX_ADDRESS = 320
_MAX_REASON = 160
_KEYS = {"instance", "domains", "counts_only", "lifetime_s", "size_limit"}
_YEAR_S = 366 * 86_400
# A failed try of what is so near to its end would send it back to its sender.
NEAR_END_S = 3_600


def answer(args: dict[str, Any], deadline: Deadline) -> Answer:
    """Return the messages, and in the end line what they come to; raise BadRequest or Refused."""
    refuse_unknown(args, _KEYS)
    (place,) = chosen(postfix.places(), names([args.get("instance")]))
    scan = _Scan(
        set(redirect.domains_of(args.get("domains"))),
        lifetime_s=integer(args, "lifetime_s", 0, _YEAR_S, 0),
        size_limit=integer(args, "size_limit", 0, 2**40, 0),
        keep=not args.get("counts_only", False),
    )
    try:
        budget_s = max(1.0, deadline.remaining_s() - RESERVED_S)
        postfix.list_queue(place.config_dir, timeout_s=budget_s, take=scan.feed)
    except postfix.QueueFailure as failure:
        raise Refused(f"{failure.code}: {failure.detail}") from None
    scan.finish()
    return Answer(scan.rows(), scan.totals())


class _Scan:
    """Takes a queue's listing chunk by chunk, and keeps the messages that are asked for."""

    def __init__(self, domains: set[str], *, lifetime_s: int, size_limit: int, keep: bool) -> None:
        self._everything = redirect.EVERYTHING in domains
        self._domains = domains
        self._too_old = time.time() - lifetime_s + NEAR_END_S if lifetime_s else 0.0
        self._size_limit = size_limit
        self._keep = keep
        self._tail = b""
        self._found: list[list[Any]] = []
        self._counts = {"messages": 0, "recipients": 0, "bytes": 0, "elsewhere": 0, "near_end": 0}
        self._counts.update(too_large=0, smtputf8=0, unparsable=0)
        self._by_domain: dict[str, int] = {}
        self._oldest: int | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of `postqueue -j`."""
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        for line in lines:
            self._add(line)
        self._tail = self._tail[: MAX_LINE + 1]

    def finish(self) -> None:
        """Take a last line that has no newline."""
        if self._tail:
            self._add(self._tail)

    def _add(self, line: bytes) -> None:
        entry = parse_entry(line)
        if entry is None:
            self._counts["unparsable"] += 1
            return
        wanted = [item for item in entry.recipients if self._is_wanted(domain_of(item.address))]
        if not wanted or entry.queue not in QUEUES or entry.queue == "hold":
            return
        self._count(entry, [domain_of(item.address) for item in wanted])
        if self._keep:
            recipients = [
                [printable(item.address, _MAX_ADDRESS), printable(item.reason, _MAX_REASON)]
                for item in wanted
            ]
            self._found.append([entry.queue, entry.queue_id, entry.arrival, entry.size, recipients])

    def _is_wanted(self, domain: str) -> bool:
        return self._everything or domain in self._domains

    def _count(self, entry: Entry, domains: list[str]) -> None:
        counts = self._counts
        counts["messages"] += 1
        counts["recipients"] += len(domains)
        counts["bytes"] += entry.size
        counts["elsewhere"] += len(domains) < len(entry.recipients)
        counts["near_end"] += entry.arrival < self._too_old
        counts["too_large"] += bool(self._size_limit) and entry.size > self._size_limit
        counts["smtputf8"] += any(not item.address.isascii() for item in entry.recipients)
        self._oldest = entry.arrival if self._oldest is None else min(self._oldest, entry.arrival)
        for domain in domains:
            self._by_domain[domain] = self._by_domain.get(domain, 0) + 1

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the messages: [queue, id, arrival, size, [[recipient, reason], …]] each."""
        for begin in range(0, len(self._found), _ROWS_A_LINE):
            yield {"kind": "messages", "rows": self._found[begin : begin + _ROWS_A_LINE]}

    def totals(self) -> dict[str, Any]:
        """Return what they come to, for the end line."""
        most = sorted(self._by_domain.items(), key=lambda item: -item[1])[:50]
        return {"counts": self._counts, "oldest": self._oldest, "domains": most}
