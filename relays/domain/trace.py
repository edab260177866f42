"""Lines of logs put together: each message of each instance, where it came from and where it went on.

A message that one instance hands to another is two messages with two queue ids. The first one's delivery
tells the second one's id (`queued as`). Where that is not in the lines at hand, the message id and a common
recipient tell that they are one. Lines are hostile; none raises.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from typing import NamedTuple

from relays.domain.maillog.lines import LINE, parse_message

_QUEUED_AS = re.compile(r"\bqueued as ([0-9A-Za-z]{5,31})\b")
_NOTICE = re.compile(r"(?:sender|postmaster) [a-z ,-]{0,60}notification: ([0-9A-Za-z]{5,31})\Z")
_RELAY = re.compile(r"(?:[^\[\]]*\[)?([^\[\]]+?)(?:\](?::\d+)?)?\Z")
# In the same second these come in this order, whatever the order in which they were found.
_RANKS = {"smtpd": 0, "pickup": 0, "cleanup": 1, "qmgr": 2}
_REMOVED_RANK, _OTHER_RANK = 9, 5
_NOT_A_MESSAGE = ("", "NOQUEUE")
# Clocks of two hosts, and the time that a message takes to be handed over.
_SAME_TIME_S = 3_600


class FoundLine(NamedTuple):
    """A line that a host found. time: seconds since 1970 by our clock. instance: "" where none logs so."""

    host: str
    time: int
    instance: str
    queue_id: str
    text: str


class Place(NamedTuple):
    """An instance, by the host it is on."""

    host: str
    instance: str


@dataclass(slots=True)
class Delivery:
    """One attempt to deliver to one recipient, or its end. goes_to: the relay's address."""

    time: int
    recipient: str
    status: str
    relay: str
    dsn: str
    delay: str
    reply: str
    queued_as: str
    goes_to: str


# Compared by identity: it is a place in a graph.
@dataclass(eq=False)
class Message:
    """What an instance's log tells of one message. size, recipients: None until the lines tell."""

    place: Place
    queue_id: str
    client: str = ""
    client_address: str = ""
    came_from: str = ""
    message_id: str = ""
    sender: str | None = None
    size: int | None = None
    recipients: int | None = None
    removed: bool = False
    expired: bool = False
    deliveries: list[Delivery] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    lines: list[FoundLine] = field(default_factory=list)

    @property
    def first(self) -> int:
        """When its first line was written."""
        return self.lines[0].time

    @property
    def last(self) -> int:
        """When its last line was written."""
        return self.lines[-1].time

    @cached_property
    def names(self) -> frozenset[str]:
        """Its recipients as far as they are told, in lower case."""
        return frozenset(delivery.recipient.lower() for delivery in self.deliveries)

    def newest(self) -> list[Delivery]:
        """Return the newest delivery to each recipient, in the order of the first."""
        return list({delivery.recipient.lower(): delivery for delivery in self.deliveries}.values())


@dataclass(frozen=True, slots=True)
class Hop:
    """A message on its way. depth: how many instances it passed before; link: how it is known to be here.

    link: "" for the first, "queued as", "message id" or "notice" (what was sent back for the one before).
    """

    message: Message
    depth: int
    link: str


@dataclass(frozen=True, slots=True)
class Journey:
    """Messages that are one, from where it was first seen on."""

    hops: list[Hop]


@dataclass(frozen=True, slots=True)
class Lead:
    """What else to look for on a host: all lines of a queue id, or a text, not before and not after."""

    host: str
    queue_id: str = ""
    text: str = ""
    since: int = 0
    until: int = 0


def messages(lines: Iterable[FoundLine]) -> list[Message]:
    """Return the messages that lines are of, oldest first."""
    by_id: dict[tuple[str, str, str], list[tuple[int, int, str, FoundLine]]] = defaultdict(list)
    for line in lines:
        if line.queue_id not in _NOT_A_MESSAGE:
            program, text = _program_and_text(line)
            key = (line.host, line.instance, line.queue_id)
            by_id[key].append((line.time, _rank(program, text), text, line))
    found = [message for parts in by_id.values() for message in _built(parts)]
    return sorted(found, key=lambda message: message.first)


def of_no_message(lines: Iterable[FoundLine]) -> list[FoundLine]:
    """Return the lines of no message, as of mail that was refused at the door, oldest first."""
    return sorted(line for line in lines if line.queue_id in _NOT_A_MESSAGE)


def _program_and_text(line: FoundLine) -> tuple[str, str]:
    match = LINE.match(line.text.encode("utf-8", "replace"))
    if match is None:
        return "", ""
    program = match[3].decode("ascii", "replace").rpartition("/")[2]
    return program, match[5].decode("utf-8", "replace")


def _rank(program: str, text: str) -> int:
    return _REMOVED_RANK if text.endswith(": removed") else _RANKS.get(program, _OTHER_RANK)


def _built(parts: list[tuple[int, int, str, FoundLine]]) -> Iterator[Message]:
    """Yield the messages of one queue id: a short one is used again once its message is removed."""
    message: Message | None = None
    for *_, text, line in sorted(parts, key=lambda part: part[:2]):
        if message is None or message.removed:
            if message is not None:
                yield message
            message = Message(Place(line.host, line.instance), line.queue_id)
        message.lines.append(line)
        _take(message, line, text)
    if message is not None:
        yield message


def _take(message: Message, line: FoundLine, text: str) -> None:
    parsed = parse_message(text.encode("utf-8", "replace"))
    if parsed is None:
        return
    told = parsed.fields
    match parsed.kind:
        case "delivery":
            message.deliveries.append(_delivery(line, told))
        case "queued":
            message.sender = told.get("from", "")
            message.size, message.recipients = int(told["size"]), int(told["nrcpt"])
        case "client":
            message.client = told.get("name", "")
            message.client_address = _address(told.get("address", ""))
            message.came_from = told.get("orig_queue_id", "")
        case "story":
            message.message_id = message.message_id or told.get("message-id", "")
        case "expired":
            message.sender, message.expired = told.get("from", ""), True
        case _:
            message.removed = message.removed or parsed.text == "removed"
            notice = _NOTICE.match(parsed.text)
            if notice:
                message.notices.append(notice[1])


def _delivery(line: FoundLine, told: Mapping[str, str]) -> Delivery:
    relay, reply = told.get("relay", ""), told.get("reply", "")
    queued = _QUEUED_AS.search(reply) if told["status"] == "sent" else None
    address = _RELAY.match(relay)
    return Delivery(
        time=line.time,
        recipient=told.get("to", ""),
        status=told["status"],
        relay=relay,
        dsn=told.get("dsn", ""),
        delay=told.get("delay", ""),
        reply=reply,
        queued_as=queued[1] if queued else "",
        goes_to=_address(address[1]) if address else "",
    )


def _address(text: str) -> str:
    """Return an IP address in its shortest form, "" for what is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def place_of(address: str, here: Place, places: Mapping[str, Place]) -> Place | None:
    """Return whose an address is, as seen from a place; None where it is no instance's.

    places: instances by the addresses they send from. Of what is handed over within a host (to a content
    filter that gives it back) the instance is not known.
    """
    if not address:
        return None
    return Place(here.host, "") if ip_address(address).is_loopback else places.get(address)


def leads(found: Iterable[Message], places: Mapping[str, Place], *, upstream: bool) -> Iterator[Lead]:
    """Yield what else to look for: where each message went on and, with `upstream`, where it came from."""
    for message in found:
        here = message.place
        for delivery in message.deliveries:
            there = place_of(delivery.goes_to, here, places) if delivery.queued_as else None
            if there is not None:
                yield Lead(there.host, delivery.queued_as, since=delivery.time - _SAME_TIME_S)
        for notice in message.notices:
            yield Lead(here.host, notice, since=message.first)
        if message.came_from:
            yield Lead(here.host, message.came_from, since=message.first - _SAME_TIME_S)
        before = places.get(message.client_address) if upstream else None
        if before is not None:
            text = f"queued as {message.queue_id}"
            yield Lead(
                before.host, text=text, since=message.first - 60, until=message.first + _SAME_TIME_S // 2
            )


def journeys(found: list[Message], places: Mapping[str, Place]) -> list[Journey]:
    """Return messages put together, each where it went on from the one before; the newest begun first."""
    after = _links(found, places)
    has_before = {id(next_) for links in after.values() for next_, _ in links}
    seen: set[int] = set()
    # Those without one before them first; a ring of redirects has none, and begins with its oldest.
    roots = sorted(found, key=lambda message: (id(message) in has_before, message.first))
    whole = [Journey(list(_walk(root, after, seen))) for root in roots if id(root) not in seen]
    return sorted(whole, key=lambda journey: journey.hops[0].message.first, reverse=True)


_Links = Mapping[int, list[tuple[Message, str]]]


def _walk(root: Message, after: _Links, seen: set[int]) -> Iterator[Hop]:
    waiting = [Hop(root, 0, "")]
    while waiting:
        hop = waiting.pop(0)
        if id(hop.message) in seen:
            continue
        seen.add(id(hop.message))
        yield hop
        # Depth first: what becomes of a message stands under it.
        waiting[:0] = [Hop(next_, hop.depth + 1, link) for next_, link in after.get(id(hop.message), [])]


def _links(found: list[Message], places: Mapping[str, Place]) -> _Links:
    after: dict[int, list[tuple[Message, str]]] = defaultdict(list)
    reached: set[int] = set()
    by_id = defaultdict(list)
    for message in found:
        by_id[message.place.host, message.queue_id].append(message)
    for message in found:
        for next_, link in _told_next(message, by_id, places):
            if next_ is not message and all(next_ is not known for known, _ in after[id(message)]):
                after[id(message)].append((next_, link))
                reached.add(id(next_))
    for before, message in _alike(found, after, reached, places):
        after[id(before)].append((message, "message id"))
    return after


def _told_next(
    message: Message, by_id: Mapping[tuple[str, str], list[Message]], places: Mapping[str, Place]
) -> Iterator[tuple[Message, str]]:
    """Yield the messages that a message's own lines name."""
    for delivery in message.deliveries:
        there = place_of(delivery.goes_to, message.place, places) if delivery.queued_as else None
        if there is not None:
            candidates = by_id.get((there.host, delivery.queued_as), [])
            alike = [m for m in candidates if m.place.instance == there.instance] or candidates
            yield from ((m, "queued as") for m in _nearest(alike, delivery.time))
    for notice in message.notices:
        back = by_id.get((message.place.host, notice), [])
        yield from ((m, "notice") for m in _nearest(back, message.last))


def _nearest(candidates: list[Message], at: int) -> list[Message]:
    """Return of messages with one id the one that came in at a time."""
    return sorted(candidates, key=lambda message: abs(message.first - at))[:1]


def _alike(
    found: list[Message],
    after: _Links,
    reached: set[int],
    places: Mapping[str, Place],
) -> Iterator[tuple[Message, Message]]:
    """Yield pairs that their message id and a recipient tell to be one, where no delivery names the second.

    The client has to be an instance of the fleet: a list server sends one message id to thousands.
    """
    by_message_id = defaultdict(list)
    for message in found:
        if message.message_id:
            by_message_id[message.message_id].append(message)
    for message in found:
        before = places.get(message.client_address)
        if before is None or id(message) in reached or not message.message_id:
            continue
        for other in by_message_id[message.message_id]:
            is_there = other.place.host == before.host and other.place.instance in (before.instance, "")
            if other is not message and is_there and other.names & message.names:
                yield other, message
                break
