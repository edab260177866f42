"""A trace as its page shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from relays.domain.trace import Delivery, Hop, Journey, Message, Place
from relays.domain.trace_question import KINDS
from relays.domain.words import count, plural, size, span
from relays.models import Instance, Trace
from relays.models.trace import TraceState
from relays.selectors.figures import clock
from relays.selectors.readings import instance_urls
from relays.selectors.trace_found import NOTHING, TONES, Found, is_whole, moment_of, outcome_of, outcomes

JOURNEYS_SHOWN, RECIPIENTS_SHOWN, LINES_SHOWN = 50, 20, 100
_LINKS = {"queued as": "queued as", "message id": "same message id and recipient", "notice": "sent back"}
_HOST_TONES = {"waiting": "idle", "reading": "info", "done": "ok", "failed": "bad", "cut": "warn"}


@dataclass(frozen=True, slots=True)
class HostRow:
    """How far a host is."""

    name: str
    state: str
    tone: str
    lines: str
    read: str
    percent: int | None
    error: str
    problems: list[str]


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """The newest of a recipient at a hop."""

    recipient: str
    outcome: str
    tone: str
    relay: str
    reply: str
    at: str


@dataclass(frozen=True, slots=True)
class HopRow:
    """A message at one instance. depth: 0 to 8, how far it is set in."""

    place: str
    url: str
    queue_id: str
    link: str
    depth: int
    facts: list[tuple[str, str]]
    deliveries: list[DeliveryRow]
    more: str
    lines: list[str]


@dataclass(frozen=True, slots=True)
class JourneyRow:
    """A message from where it was first seen on."""

    sender: str
    message_id: str
    at: str
    outcome: str
    tone: str
    hops: list[HopRow]


@dataclass(frozen=True, slots=True)
class TracePage:
    """A trace as its page shows it. tag: changes whenever anything that is shown does."""

    trace: Trace
    tag: str
    looks_for: str
    asked: str
    summary: str
    trouble: bool
    hosts: list[HostRow]
    journeys: list[JourneyRow]
    more: str
    others: list[str]
    notes: list[str]


def trace_page(trace: Trace, result: Found, now: datetime) -> TracePage:
    """Return a trace as its page shows it."""
    urls = _instance_urls(result.journeys)
    rows = [_journey_row(journey, result, urls, now) for journey in result.journeys[:JOURNEYS_SHOWN]]
    hidden = len(result.journeys) - len(rows)
    return TracePage(
        trace=trace,
        tag=f"{trace.pk}-{trace.version}",
        looks_for=f"{KINDS[trace.kind]} {trace.text or '<>'}",
        asked=_span(trace, now),
        summary=_summary(trace, result),
        trouble=any(host["error"] or host["problems"] for host in trace.hosts),
        hosts=[_host_row(host) for host in trace.hosts],
        journeys=rows,
        more=f"{plural(hidden, 'message')} more: JSON and CSV have them all." if hidden > 0 else "",
        others=[f"{line.host}: {result.who(line.text)}" for line in result.others[:LINES_SHOWN]],
        notes=["More was found than is kept: ask for a shorter span."] if trace.cut else [],
    )


def recent(user_id: int, now: datetime) -> list[tuple[Trace, str]]:
    """Return a user's newest traces, each with when it was asked."""
    return [(trace, _at(trace.asked_at, now)) for trace in Trace.objects.filter(asked_by=user_id)[:10]]


def _summary(trace: Trace, result: Found) -> str:
    number = len(result.journeys)
    told = plural(number, "message") if number else "No message"
    unread = [host["name"] for host in trace.hosts if not is_whole(host)]
    if trace.is_live:
        return f"{told} so far." if number else "Nothing so far."
    if trace.state == TraceState.STOPPED:
        return f"{told}, up to where it was stopped."
    if not trace.hosts:
        return "No host was asked."
    if unread:
        return f"{told}; not all was read: {', '.join(unread)}."
    return f"{told} in the logs of {plural(len(trace.hosts), 'host')}."


def _host_row(host: Mapping[str, Any]) -> HostRow:
    read, total = host["read_bytes"], host["total_bytes"]
    reading = host["state"] == "reading" and total
    return HostRow(
        name=host["name"],
        state="done in part" if host["state"] == "done" and host["problems"] else host["state"],
        tone="warn" if host["problems"] else _HOST_TONES.get(host["state"], "idle"),
        lines=count(host["lines"]),
        read=f"{size(read)} read, {size(total)} there" if total else "",
        percent=min(99, 100 * read // total) if reading else None,
        error=host["error"],
        problems=host["problems"],
    )


def _instance_urls(found: list[Journey]) -> dict[Place, str]:
    names = {hop.message.place.instance for journey in found for hop in journey.hops}
    url = instance_urls()
    present = Instance.objects.filter(removed_at=None, name__in=names)
    return {
        Place(host, name): url.format(pk)
        for host, name, pk in present.values_list("host__name", "name", "pk")
    }


def _journey_row(journey: Journey, result: Found, urls: Mapping[Place, str], now: datetime) -> JourneyRow:
    counted = outcomes(journey, result)
    first = journey.hops[0].message
    return JourneyRow(
        sender=_sender(journey, result),
        message_id=result.who(
            next((hop.message.message_id for hop in journey.hops if hop.message.message_id), "")
        ),
        at=_at_seconds(first.first, now),
        outcome=", ".join(f"{number:,} {word}" for word, number in counted.items()),
        tone=TONES[next(iter(counted), NOTHING)],
        hops=[_hop_row(hop, result, urls, now) for hop in journey.hops],
    )


def _sender(journey: Journey, result: Found) -> str:
    senders = [hop.message.sender for hop in journey.hops if hop.message.sender is not None]
    return (result.who(f"<{senders[0]}>")[1:-1] or "<>") if senders else "sender not found"


def _hop_row(hop: Hop, result: Found, urls: Mapping[Place, str], now: datetime) -> HopRow:
    message, place = hop.message, hop.message.place
    newest = message.newest()
    hidden = len(newest) - RECIPIENTS_SHOWN
    return HopRow(
        place=f"{place.instance or 'unknown instance'} on {place.host}",
        url=urls.get(place, ""),
        queue_id=message.queue_id,
        link=_LINKS.get(hop.link, ""),
        depth=min(hop.depth, 8),
        facts=_facts(message, now),
        deliveries=[_delivery_row(delivery, message, result, now) for delivery in newest[:RECIPIENTS_SHOWN]],
        more=f"{plural(hidden, 'recipient')} more" if hidden > 0 else "",
        lines=[result.who(line.text) for line in message.lines[:LINES_SHOWN]],
    )


def _facts(message: Message, now: datetime) -> list[tuple[str, str]]:
    client = f"{message.client}[{message.client_address}]" if message.client_address else ""
    took = span(message.last - message.first)
    facts = [
        ("from", client),
        ("first line", _at_seconds(message.first, now)),
        ("size", "" if message.size is None else size(message.size)),
        ("recipients", "" if message.recipients is None else count(message.recipients)),
        ("left the queue after", took) if message.removed else ("still in the queue,", "by these lines"),
    ]
    return [(name, value) for name, value in facts if value]


def _delivery_row(delivery: Delivery, message: Message, result: Found, now: datetime) -> DeliveryRow:
    outcome = outcome_of(delivery, message, result)
    return DeliveryRow(
        recipient=result.address(delivery.recipient),
        outcome=outcome,
        tone=TONES[outcome],
        relay=delivery.relay,
        reply=result.who(delivery.reply),
        at=_at_seconds(delivery.time, now),
    )


def _span(trace: Trace, now: datetime) -> str:
    return f"from {_at(moment_of(trace.since), now)} to {_at(moment_of(trace.until), now)}"


def _at(at: datetime, now: datetime) -> str:
    told = clock(at, now)
    return told.text if told else ""


def _at_seconds(seconds: int, now: datetime) -> str:
    told = clock(moment_of(seconds), now, seconds=True)
    return told.text if told else ""
