"""The state chip of an instance: a rule over its queue and its last hour, published as it stands here."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """An instance's state; RULES says what each means."""

    OK = "ok"
    SLOW = "slow"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    QUIET = "quiet"
    STALE = "stale"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


# Below these a share says nothing: one of five is not "20 %".
MIN_DEFERRED = 20
MIN_TRIED = 20
# Of the last hour: one in so many.
SHARE_OF_HOUR = 5
SLOW_OLDEST_S = 30 * 60

# Reasons (reasons.json) that speak of the address mail is sent from: moving the mail helps.
REFUSALS = {
    "rate-limited": State.THROTTLED,
    "reputation-block": State.BLOCKED,
    "blocklisted": State.BLOCKED,
    "sender-dns": State.BLOCKED,
}

_REFUSED = (
    f"Of at least {MIN_TRIED} recipients sent, deferred or bounced in the last hour a fifth were refused as"
    f" {{0}}; or at least {MIN_DEFERRED} messages are deferred, and half of their recipients for that."
)
RULES = {
    State.BLOCKED: _REFUSED.format("blocklisted, of bad reputation or without proper DNS"),
    State.THROTTLED: _REFUSED.format("rate-limited"),
    State.SLOW: f"Of at least {MIN_TRIED} recipients in the last hour a fifth were deferred; or at least"
    f" {MIN_DEFERRED} messages are deferred, the oldest for half an hour or more.",
    State.QUIET: "By its log nothing was accepted, sent or tried for an hour.",
    State.STOPPED: "Postfix is not running.",
    State.UNKNOWN: "The queue could not be read; the figures are the last known ones.",
    State.STALE: "Its host gives no fresh figures: what they said last may be true no more.",
    State.OK: "None of the others.",
}


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """A queue that was read. deferred: messages; oldest_s: age of the oldest, None for an empty queue.

    sampled: deferred recipients whose replies were looked at; throttled, blocked: those of them that were
    refused so (REFUSALS).
    """

    deferred: int
    oldest_s: int | None
    sampled: int
    throttled: int
    blocked: int


@dataclass(frozen=True, slots=True)
class LastHour:
    """Recipients by outcome in the hour's log, and messages accepted. throttled, blocked: as QueueFigures."""

    sent: int
    deferred: int
    bounced: int
    expired: int
    handed_over: int
    accepted: int
    throttled: int
    blocked: int

    @property
    def tried(self) -> int:
        """What was sent, deferred or bounced: what shares are of."""
        return self.sent + self.deferred + self.bounced

    @property
    def is_empty(self) -> bool:
        """Whether nothing came in or went out."""
        return not (self.tried or self.expired or self.handed_over or self.accepted)


def judge(queue: QueueFigures, hour: LastHour | None) -> State:
    """Return the state of an instance whose queue was read; hour: None where its log is not read to now."""
    if _is_most(queue, queue.blocked) or (hour and _is_much(hour, hour.blocked)):
        return State.BLOCKED
    if _is_most(queue, queue.throttled) or (hour and _is_much(hour, hour.throttled)):
        return State.THROTTLED
    if _waits_long(queue) or (hour and _is_much(hour, hour.deferred)):
        return State.SLOW
    return State.QUIET if hour and hour.is_empty else State.OK


def _is_most(queue: QueueFigures, recipients: int) -> bool:
    return queue.deferred >= MIN_DEFERRED and 2 * recipients >= queue.sampled > 0


def _is_much(hour: LastHour, recipients: int) -> bool:
    return hour.tried >= MIN_TRIED and SHARE_OF_HOUR * recipients >= hour.tried


def _waits_long(queue: QueueFigures) -> bool:
    return queue.deferred >= MIN_DEFERRED and (queue.oldest_s or 0) >= SLOW_OLDEST_S
