"""How far a host's figures can be trusted, from its last poll and its age."""

from datetime import datetime, timedelta
from enum import StrEnum


class HostState(StrEnum):
    """What a page shows of a host; README.md and the host page publish these rules."""

    NEW = "new"
    FRESH = "fresh"
    LATE = "late"
    UNREACHABLE = "unreachable"
    KEY_CHANGED = "key_changed"
    REFUSED = "refused"
    INCOMPATIBLE = "incompatible"


RULES = {
    HostState.FRESH: "The newest poll was complete, and is at most two poll intervals and 15 s old.",
    HostState.LATE: "The newest complete poll is older than that, or the newest one was incomplete.",
    HostState.UNREACHABLE: "No SSH connection, or none that answered before its deadline.",
    HostState.KEY_CHANGED: "It offered another host key than the accepted one; nothing was sent to it.",
    HostState.REFUSED: "It would not let the console in, or relayctl refused the request.",
    HostState.INCOMPATIBLE: "What answered is no relayctl that this console understands.",
    HostState.NEW: "Not polled yet.",
}

_FAILURES = {
    state.value: state
    for state in (HostState.UNREACHABLE, HostState.KEY_CHANGED, HostState.REFUSED, HostState.INCOMPATIBLE)
}


def fresh_for(interval_s: float) -> timedelta:
    """Return how old a complete poll may be and still be fresh: two intervals, and 15 s for the poll."""
    return timedelta(seconds=2 * interval_s + 15)


def host_state(outcome: str, last_success_at: datetime | None, now: datetime, interval_s: float) -> HostState:
    """Return the state that a host's last outcome (PollOutcome value) and its age give.

    A failure shows at once under its own name. A complete poll turns late by age alone, so that a
    scheduler that died cannot leave a fleet that looks fresh; an incomplete one is late at once.
    """
    if outcome in _FAILURES:
        return _FAILURES[outcome]
    if outcome == "incomplete":
        return HostState.LATE
    if last_success_at is None:
        return HostState.NEW
    return HostState.FRESH if now - last_success_at <= fresh_for(interval_s) else HostState.LATE
