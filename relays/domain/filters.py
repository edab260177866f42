"""Which messages of a queue are meant: one filter for pages, commands, operations and the host.

As it stands in an address and in an operation it is a mapping of words; "" and 0 ask for anything.
relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from relays.domain.queue import QUEUES, domain_of
from relays.domain.text import printable

# The sender of a bounce, as SMTP writes it; postqueue(1) shows MAILER-DAEMON.
NO_SENDER = "<>"
# A digest that no reply has: of a reason for which no reply is known.
NO_REPLY = "0" * 16
MAX_TEXT = 320
MAX_REPLIES = 500
_TEN_YEARS_S = 315_360_000
_MAX_SIZE = 1 << 40

_DIGEST = re.compile(r"\A[0-9a-f]{16}\Z")
_QUEUE_ID = re.compile(r"\A[0-9A-Za-z]{6,31}\Z")
_SLUG = re.compile(r"\A[a-z0-9-]{1,50}\Z")
_SPAN = re.compile(r"\A([0-9]{1,9}) ?(s|m|min|h|d)?\Z")
_SIZE = re.compile(r"\A([0-9]{1,12}) ?(B|K|KiB|M|MiB|G|GiB)?\Z")
_SECONDS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_OCTETS = {None: 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class BadFilter(ValueError):
    """A filter that cannot be meant; the message says which part of it."""


@dataclass(frozen=True)
class QueueFilter:
    """Messages of one queue. What is said of recipients has to hold for one and the same recipient.

    domain: of a recipient, as domain_of() gives it. replies: digests of masked replies. text: found in the
    reply, whatever its case. reason: a slug of the console's, which resolved() turns into replies.
    """

    queues: tuple[str, ...] = QUEUES
    domain: str = ""
    recipient: str = ""
    sender_domain: str = ""
    sender: str = ""
    older_than_s: int = 0
    younger_than_s: int = 0
    larger_than: int = 0
    smaller_than: int = 0
    reason: str = ""
    replies: tuple[str, ...] = ()
    text: str = ""
    queue_id: str = ""

    @property
    def asks_of_recipients(self) -> bool:
        """Whether a message can be left out for its recipients or replies."""
        return bool(self.domain or self.recipient or self.replies or self.text)

    @property
    def asks_of_people(self) -> bool:
        """Whether it names somebody's address."""
        return bool(self.recipient or self.sender not in ("", NO_SENDER))

    def resolved(self, digests: Iterable[str]) -> QueueFilter:
        """Return the filter with its reason given as the replies that have it."""
        wanted = set(digests)
        found = wanted & set(self.replies) if self.replies else wanted
        return replace(self, reason="", replies=tuple(sorted(found)[:MAX_REPLIES]) or (NO_REPLY,))


# Key in an address and on the command line: field of the filter.
_WORDS = {
    "queue": "queues",
    "domain": "domain",
    "recipient": "recipient",
    "sender_domain": "sender_domain",
    "sender": "sender",
    "older": "older_than_s",
    "newer": "younger_than_s",
    "larger": "larger_than",
    "smaller": "smaller_than",
    "reason": "reason",
    "reply": "replies",
    "text": "text",
    "id": "queue_id",
}
KEYS = tuple(_WORDS)
_ANY = QueueFilter()


def from_words(words: Mapping[str, str]) -> QueueFilter:
    """Return the filter of an address or a form; other keys are somebody else's. Raises BadFilter."""
    given = {field: words[key].strip() for key, field in _WORDS.items() if words.get(key, "").strip()}
    queues, replies = given.pop("queues", ""), given.pop("replies", "")
    return _checked(
        queues=_parts(queues) or QUEUES,
        replies=_parts(replies),
        older_than_s=span_of(given.pop("older_than_s", "")),
        younger_than_s=span_of(given.pop("younger_than_s", "")),
        larger_than=_number(given.pop("larger_than", ""), _SIZE, _OCTETS, "a size: write 500K or 2M"),
        smaller_than=_number(given.pop("smaller_than", ""), _SIZE, _OCTETS, "a size: write 500K or 2M"),
        **given,
    )


def span_of(text: str) -> int:
    """Return the seconds of a span as people write it: 90m, 2h, 3d; 0 for none. Raises BadFilter."""
    return _number(text.strip(), _SPAN, _SECONDS, "an age: write 90m, 2h or 3d")


def to_words(wanted: QueueFilter) -> dict[str, str]:
    """Return what from_words() takes, without what asks for anything."""
    words = {}
    for key, field in _WORDS.items():
        value = getattr(wanted, field)
        if value != getattr(_ANY, field):
            words[key] = ",".join(value) if isinstance(value, tuple) else _written(field, value)
    return words


def from_args(args: Mapping[str, Any]) -> QueueFilter:
    """Return the filter that a request to relayctl asks for; other keys are the verb's. Raises BadFilter."""
    given = {field: args[field] for field in ARGS if args.get(field) is not None}
    if given.get("sender") == "":
        given["sender"] = NO_SENDER
    for field in ("queues", "replies"):
        if field in given:
            given[field] = _texts(given[field], field)
    return _checked(**given)


def to_args(wanted: QueueFilter) -> dict[str, Any]:
    """Return the filter as relayctl takes it. Raises BadFilter where its reason is not resolved."""
    if wanted.reason:
        raise BadFilter("A reason is the console's word: the host is given its replies.")
    found = {}
    for field in ARGS:
        value = getattr(wanted, field)
        if value != getattr(_ANY, field):
            found[field] = list(value) if isinstance(value, tuple) else value
    return found


# What relayctl takes: docs/relayctl.md, "Filters".
ARGS = tuple(field for field in _WORDS.values() if field != "reason")


def _checked(**fields: Any) -> QueueFilter:
    """Return a filter of fields that are each what it must be, in the one spelling of each."""
    for field, value in fields.items():
        _check_type(field, value)
    wanted = QueueFilter(**fields)
    if not wanted.queues or not set(wanted.queues) <= set(QUEUES):
        raise BadFilter(f"queues must be of {', '.join(QUEUES)}")
    if len(wanted.replies) > MAX_REPLIES or not all(map(_DIGEST.match, wanted.replies)):
        raise BadFilter(f"a reply is named by 16 hexadecimal digits, at most {MAX_REPLIES} of them")
    if wanted.queue_id and not _QUEUE_ID.match(wanted.queue_id):
        raise BadFilter("a queue id is 6 to 31 letters and digits")
    if wanted.reason and not _SLUG.match(wanted.reason):
        raise BadFilter("there is no such reason")
    return replace(
        wanted,
        queues=tuple(queue for queue in QUEUES if queue in wanted.queues),
        replies=tuple(sorted(set(wanted.replies))),
        domain=_domain(wanted.domain),
        sender_domain=_domain(wanted.sender_domain),
        sender=_sender(wanted.sender),
        recipient=wanted.recipient.lower(),
        text=wanted.text.lower(),
    )


def _check_type(field: str, value: Any) -> None:
    if field in ("queues", "replies"):
        return
    default = getattr(_ANY, field)
    most = _TEN_YEARS_S if field.endswith("_s") else _MAX_SIZE
    if isinstance(default, int):
        if type(value) is not int or not 0 <= value <= most:
            raise BadFilter(f"{field} must be a whole number from 0 to {most}")
    elif not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
        raise BadFilter(f"{field} must be text of at most {MAX_TEXT} characters, without NUL")


def _domain(domain: str) -> str:
    return domain_of(f"@{domain.rpartition('@')[2]}") if domain else ""


def _sender(sender: str) -> str:
    sender = sender.lower()
    return NO_SENDER if sender == "mailer-daemon" else sender


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _texts(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise BadFilter(f"{field} must be a list of texts")
    return tuple(value)


def _number(text: str, pattern: re.Pattern[str], units: Mapping[Any, int], what: str) -> int:
    if not text:
        return 0
    match = pattern.match(text)
    if match is None:
        raise BadFilter(f"{printable(text, 40)} is not {what}")
    unit = match[2]
    return int(match[1]) * units[unit[0] if unit and pattern is _SIZE else unit]


def _written(field: str, value: Any) -> str:
    if field.endswith("_s"):
        return _in_units(value, (("d", 86_400), ("h", 3600), ("m", 60)), "s")
    if field in ("larger_than", "smaller_than"):
        return _in_units(value, (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)), "B")
    return str(value)


def _in_units(number: int, units: tuple[tuple[str, int], ...], least: str) -> str:
    """Return a number in the greatest unit that says it exactly."""
    for unit, factor in units:
        if number % factor == 0:
            return f"{number // factor}{unit}"
    return f"{number}{least}"


def described(wanted: QueueFilter, reason: str = "") -> str:
    """Return the filter for people, as what follows "messages"; reason: its reason's title."""
    parts = [
        "" if wanted.queues == QUEUES else f"in {' or '.join(wanted.queues)}",
        wanted.queue_id and f"of the id {wanted.queue_id}",
        wanted.domain and f"for {wanted.domain}",
        wanted.recipient and f"to {printable(wanted.recipient, 100)}",
        wanted.sender_domain and f"from senders at {wanted.sender_domain}",
        wanted.sender and f"from {printable(wanted.sender, 100)}",
        wanted.older_than_s and f"older than {_written('_s', wanted.older_than_s)}",
        wanted.younger_than_s and f"younger than {_written('_s', wanted.younger_than_s)}",
        wanted.larger_than and f"larger than {_written('larger_than', wanted.larger_than)}",
        wanted.smaller_than and f"smaller than {_written('smaller_than', wanted.smaller_than)}",
        wanted.reason and f"with the reason {reason or wanted.reason}",
        wanted.replies and f"with {_replies(wanted.replies)}",
        wanted.text and f"whose reply has “{printable(wanted.text, 100)}”",
    ]
    return ", ".join(part for part in parts if part) or "of the whole queue"


def _replies(digests: tuple[str, ...]) -> str:
    return f"reply {digests[0][:8]}" if len(digests) == 1 else f"one of {len(digests)} replies"
