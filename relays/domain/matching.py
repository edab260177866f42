"""Messages of a queue listing, line by line, and which of them a filter takes.

relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256

from relays.domain.filters import NO_SENDER, QueueFilter
from relays.domain.queue import MAX_LINE, NO_REASON, Entry, Recipient, domain_of, read_entries, read_entry
from relays.domain.replies import mask

# Enough for the replies that come again and again; most others differ in every message.
_REASONS_REMEMBERED = 4_096
_BOUNCE = "mailer-daemon"
# time (6 or more digits) and microseconds (4) in base 52, "z", inode in base 51: mail_queue.h.
_LONG_ID = re.compile(r"\A[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]+\Z")
_ID = re.compile(rb'\{"queue_name": "[a-z]+", "queue_id": "([0-9A-Za-z]+)"')


def is_long(queue_id: str) -> bool:
    """Tell whether a queue id is a long one, which no later message of the instance is given again."""
    return len(queue_id) <= 31 and _LONG_ID.match(queue_id) is not None


def sender_check(sender: str) -> str:
    """Return what tells one sender from another without naming it: 16 hexadecimal digits."""
    return sha256(sender.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def reply_digest(text: str) -> str:
    """Return the name of a masked reply: 16 hexadecimal digits."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Lines:
    """A listing fed chunk by chunk: each message in it, or each of `only` these ids, is handed to `take`.

    seen: lines so far.
    """

    def __init__(self, take: Callable[[Entry], None], *, only: frozenset[bytes] | None = None) -> None:
        # Lines that were no queue entry, or too long to be looked at.
        self.unparsable = 0
        self.seen = 0
        self._take = take
        self._only = only
        self._tail = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of `postqueue -j`, cut anywhere."""
        data = self._tail + chunk
        end = data.rfind(b"\n") + 1
        entries = None if self._skipping or self._only is not None else read_entries(data[:end])
        if entries is not None:
            self._tail = data[end:]
            self.seen += len(entries)
            for entry in entries:
                self._take(entry)
        else:
            self._take_lines(data)
        if len(self._tail) > MAX_LINE:
            self.unparsable += not self._skipping
            self._skipping = True
            self._tail = b""

    def _take_lines(self, data: bytes) -> None:
        *lines, self._tail = data.split(b"\n")
        for line in lines:
            if not self._skipping:
                self._add(line)
            self._skipping = False

    def finish(self) -> None:
        """Take a last line that has no newline."""
        if self._tail and not self._skipping:
            self._add(self._tail)
        self._tail = b""

    def _add(self, line: bytes) -> None:
        self.seen += 1
        if self._only is not None:
            told = _ID.match(line)
            if told is not None and told[1] not in self._only:
                return
        entry = read_entry(line)
        if entry is None:
            self.unparsable += 1
        else:
            self._take(entry)


class Replies:
    """Digests of the replies of one listing; their masked texts are kept for those that are asked for."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, reason: str) -> tuple[str, str]:
        """Return the digest and the masked text of a recipient's reason."""
        found = self._known.get(reason)
        if found is None:
            text = mask(reason) if reason else NO_REASON
            found = (reply_digest(text), text)
            if len(self._known) >= _REASONS_REMEMBERED:
                self._known.clear()
            self._known[reason] = found
        return found


class Matcher:
    """A filter at one moment. now: seconds since 1970 by the host's clock."""

    def __init__(self, wanted: QueueFilter, *, now: float) -> None:
        self.replies = Replies()
        self._wanted = wanted
        self._queues = frozenset(wanted.queues)
        self._digests = frozenset(wanted.replies)
        self._sender = _BOUNCE if wanted.sender == NO_SENDER else wanted.sender
        self._arrived_by = int(now) - wanted.older_than_s if wanted.older_than_s else None
        self._arrived_after = int(now) - wanted.younger_than_s if wanted.younger_than_s else None

    def takes(self, entry: Entry) -> bool:
        """Tell whether a message is one that the filter asks for."""
        return self._takes_message(entry) and (
            not self._wanted.asks_of_recipients or any(map(self._takes_recipient, entry.recipients))
        )

    def matching(self, entry: Entry) -> list[Recipient] | None:
        """Return those recipients that the filter asks for, None where it does not take the message."""
        if not self._takes_message(entry):
            return None
        if not self._wanted.asks_of_recipients:
            return entry.recipients
        return list(filter(self._takes_recipient, entry.recipients)) or None

    def _takes_message(self, entry: Entry) -> bool:
        wanted = self._wanted
        return (
            entry.queue in self._queues
            and (self._arrived_by is None or entry.arrival <= self._arrived_by)
            and (self._arrived_after is None or entry.arrival > self._arrived_after)
            and (not wanted.larger_than or entry.size > wanted.larger_than)
            and (not wanted.smaller_than or entry.size < wanted.smaller_than)
            and (not wanted.queue_id or entry.queue_id == wanted.queue_id)
            and (not self._sender or entry.sender.lower() == self._sender)
            and (not wanted.sender_domain or domain_of(entry.sender) == wanted.sender_domain)
        )

    def _takes_recipient(self, recipient: Recipient) -> bool:
        wanted = self._wanted
        return (
            (not wanted.recipient or recipient.address.lower() == wanted.recipient)
            and (not wanted.domain or domain_of(recipient.address) == wanted.domain)
            and (not wanted.text or wanted.text in recipient.reason.lower())
            and (not self._digests or self.replies.of(recipient.reason)[0] in self._digests)
        )
