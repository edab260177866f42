"""What a trace found, put together: which messages are one, and what became of each recipient."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from relays.domain.people import masked_address, masked_line
from relays.domain.trace import (
    Delivery,
    FoundLine,
    Hop,
    Journey,
    Message,
    Place,
    journeys,
    messages,
    of_no_message,
    place_of,
)
from relays.models import Trace

_HANDED_OVER, _SENT, _DEFERRED, _BOUNCED, _EXPIRED = "handed over", "sent", "deferred", "bounced", "expired"
NOTHING, _PROBE = "no outcome yet", "probe"
_STATUS = {"sent": _SENT, "deferred": _DEFERRED, "SOFTBOUNCE": _DEFERRED, "bounced": _BOUNCED}
# The gravest first: a journey has the tone of the first that it has.
TONES = {
    _BOUNCED: "bad",
    _EXPIRED: "bad",
    _DEFERRED: "warn",
    NOTHING: "info",
    _HANDED_OVER: "info",
    _SENT: "ok",
    _PROBE: "idle",
}


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was found, put together."""

    journeys: list[Journey]
    others: list[FoundLine]
    places: Mapping[str, Place]
    may_see: bool

    def who(self, text: str) -> str:
        """Return a text as it may be shown to who asked."""
        return text if self.may_see else masked_line(text)

    def address(self, text: str) -> str:
        """Return an address as it may be shown to who asked."""
        return text if self.may_see else masked_address(text)


def found(lines: Iterable[FoundLine], places: Mapping[str, Place], *, may_see: bool) -> Found:
    """Return lines put together. may_see: with the addresses of people."""
    known = list(lines)
    return Found(journeys(messages(known), places), of_no_message(known), places, may_see)


def stored(trace: Trace, places: Mapping[str, Place], *, may_see: bool) -> Found:
    """Return what a stored trace has found so far."""
    rows = trace.lines.values_list("host", "time", "instance", "queue_id", "text")
    return found(map(FoundLine._make, rows), places, may_see=may_see)


def is_whole(host: Mapping[str, Any]) -> bool:
    """Tell whether all logs of a host were read to their end; host: as HostSearch.as_json() gives it."""
    return host["state"] == "done" and not host["problems"]


def outcomes(journey: Journey, result: Found) -> Counter[str]:
    """Count a journey's recipients by what became of them where it ends, the gravest first."""
    counted: Counter[str] = Counter()
    reached = {hop.message.place.host for hop in journey.hops if hop.link in ("queued as", "message id")}
    for hop in _onward(journey):
        newest = hop.message.newest()
        for delivery in newest:
            there = _goes_on(delivery, hop.message, result)
            if there is None or there.host not in reached:
                counted[outcome_of(delivery, hop.message, result)] += 1
        if not newest:
            counted[NOTHING] += 1
    return Counter({word: counted[word] for word in TONES if counted[word]})


def _onward(journey: Journey) -> Iterator[Hop]:
    """Yield the hops of the message itself: not what was sent back for it, and where that went."""
    back: int | None = None
    for hop in journey.hops:
        if back is not None and hop.depth > back:
            continue
        back = hop.depth if hop.link == "notice" else None
        if back is None:
            yield hop


def _goes_on(delivery: Delivery, message: Message, result: Found) -> Place | None:
    if delivery.status != "sent":
        return None
    return place_of(delivery.goes_to, message.place, result.places)


def outcome_of(delivery: Delivery, message: Message, result: Found) -> str:
    """Return what became of a recipient at one instance, as a word of TONES."""
    if _goes_on(delivery, message, result) is not None:
        return _HANDED_OVER
    word = _STATUS.get(delivery.status, _PROBE)
    return _EXPIRED if word == _DEFERRED and message.expired else word


def moment_of(seconds: int) -> datetime:
    """Return a line's time in the fleet's time zone."""
    return datetime.fromtimestamp(max(0, seconds), timezone.get_current_timezone())
