"""A trace as files: JSON for programs, a table for spreadsheets."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from relays.domain.trace import Hop
from relays.domain.trace_question import Question
from relays.models import Trace
from relays.models.trace import TraceState
from relays.selectors.tables import Table
from relays.selectors.trace_found import NOTHING, Found, is_whole, moment_of, outcome_of, outcomes


def document(
    question: Question, state: str, hosts: Sequence[Mapping[str, Any]], result: Found, *, cut: bool
) -> dict[str, Any]:
    """Return a trace as JSON values: docs/commands.md has the keys."""
    return {
        "looks_for": question.kind,
        "text": question.text,
        "since": _iso(question.since),
        "until": _iso(question.until),
        "state": state,
        "complete": state == TraceState.DONE and not cut and all(map(is_whole, hosts)),
        "cut": cut,
        "hosts": list(hosts),
        "journeys": [
            {
                "outcomes": dict(outcomes(journey, result)),
                "hops": [_hop_document(hop, result) for hop in journey.hops],
            }
            for journey in result.journeys
        ],
        "lines": [
            {"host": line.host, "at": _iso(line.time), "text": result.who(line.text)}
            for line in result.others
        ],
    }


def trace_table(trace: Trace, result: Found) -> Table:
    """Return a trace as a table: a row a delivery, or a hop that has none."""
    return Table(
        "trace",
        str(trace.pk),
        f"Trace {trace.pk}",
        (
            "journey",
            "depth",
            "link",
            "host",
            "instance",
            "queue_id",
            "first",
            "client",
            "message_id",
            "sender",
            "recipient",
            "at",
            "outcome",
            "relay",
            "dsn",
            "reply",
        ),
        (
            row
            for number, journey in enumerate(result.journeys, 1)
            for hop in journey.hops
            for row in _table_rows(number, hop, result)
        ),
    )


def _hop_document(hop: Hop, result: Found) -> dict[str, Any]:
    message = hop.message
    return {
        "host": message.place.host,
        "instance": message.place.instance or None,
        "queue_id": message.queue_id,
        "depth": hop.depth,
        "link": hop.link or None,
        "client": message.client or None,
        "client_address": message.client_address or None,
        "message_id": result.who(message.message_id) or None,
        "sender": None if message.sender is None else result.address(message.sender),
        "size": message.size,
        "recipients": message.recipients,
        "first": _iso(message.first),
        "last": _iso(message.last),
        "removed": message.removed,
        "deliveries": [
            {
                "at": _iso(delivery.time),
                "recipient": result.address(delivery.recipient),
                "outcome": outcome_of(delivery, message, result),
                "relay": delivery.relay or None,
                "dsn": delivery.dsn or None,
                "delay_s": float(delivery.delay) if delivery.delay else None,
                "reply": result.who(delivery.reply),
                "queued_as": delivery.queued_as or None,
            }
            for delivery in message.deliveries
        ],
        "lines": [result.who(line.text) for line in message.lines],
    }


def _table_rows(number: int, hop: Hop, result: Found) -> Iterable[Sequence[Any]]:
    message = hop.message
    about = (
        number,
        hop.depth,
        hop.link,
        message.place.host,
        message.place.instance,
        message.queue_id,
        moment_of(message.first),
        message.client_address,
        result.who(message.message_id),
        None if message.sender is None else result.address(message.sender),
    )
    if not message.deliveries:
        yield (*about, None, None, NOTHING, None, None, None)
    for delivery in message.deliveries:
        yield (
            *about,
            result.address(delivery.recipient),
            moment_of(delivery.time),
            outcome_of(delivery, message, result),
            delivery.relay,
            delivery.dsn,
            result.who(delivery.reply),
        )


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(max(0, seconds), UTC).isoformat()
