"""The chain of audit events: what is hashed, and how a broken chain is found.

HMAC-SHA256 over the former hash and the event as canonical JSON (RFC 8785 for the values used here: text,
whole numbers, null). Who has the database but not the key cannot make a chain that verifies.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

FIRST_HASH = "0" * 64
# Made once: json.dumps makes an encoder for each call, which is half of its time.
_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode


class Event(NamedTuple):
    """An event as it is stored and hashed. at_us: UTC, microseconds since 1970."""

    seq: int
    at_us: int
    actor_kind: str
    actor_id: int | None
    actor_name: str
    action: str
    phase: str
    object_type: str
    object_id: str
    object_name: str
    host: str
    instance: str
    operation_id: int | None
    reason: str
    details: str
    params_sha256: str
    key_id: str


class Link(NamedTuple):
    """An event with its place in the chain, as read back."""

    event: Event
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the chain does not hold; seq: the first event that is wrong or missing."""

    seq: int
    what: str


def canonical(value: object) -> str:
    """Return a value as JSON that is the same text for the same value, whatever made it."""
    return _encode(value)


def digest(text: str) -> str:
    """Return the sha256 of a text in hexadecimal; of no text, no digest."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def chain_hash(key: bytes, prev_hash: str, event: Event) -> str:
    """Return the hash of an event that follows prev_hash."""
    return hmac.digest(key, prev_hash.encode() + canonical(event).encode(), "sha256").hex()


def key_id(key: bytes) -> str:
    """Return the name of a key, by which an event says which one made its hash."""
    return hashlib.sha256(b"relay-fleet audit key\x00" + key).hexdigest()[:16]


def breaks(links: Iterable[Link], key: bytes, *, after: tuple[int, str] = (0, FIRST_HASH)) -> Iterator[Break]:
    """Yield where a chain in order of seq does not hold, going on from each such place.

    after: seq and hash of the event before the first, where the chain is not read from its beginning.
    """
    own_key = key_id(key)
    last_seq, last_hash = after
    for event, prev_hash, own_hash in links:
        if event.seq != last_seq + 1:
            yield Break(last_seq + 1, f"{event.seq - last_seq - 1:,} events are missing before {event.seq:,}")
        elif prev_hash != last_hash:
            yield Break(event.seq, "it does not follow the event before it")
        if event.key_id != own_key:
            yield Break(event.seq, f"it was made with another key ({event.key_id})")
        elif chain_hash(key, prev_hash, event) != own_hash:
            yield Break(event.seq, "it was changed")
        last_seq, last_hash = event.seq, own_hash
