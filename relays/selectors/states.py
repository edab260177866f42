"""States as pages show them: the rule of each, its colour, and which is worst."""

from relays.domain.freshness import RULES as FRESHNESS_RULES
from relays.domain.freshness import HostState
from relays.domain.health import RULES as HEALTH_RULES
from relays.domain.health import State

# What no relay reports: a host that is switched off here, an instance that its host has no more, and one that
# is ok or quiet but for a redirect.
OFF = "off"
REMOVED = "removed"
REDIRECTED = "redirected"

INSTANCE_RULES = {
    **{str(state): rule for state, rule in HEALTH_RULES.items()},
    REDIRECTED: "Ok or quiet, but its mail, or some of it, goes to another instance for a while.",
}
HOST_RULES = {
    **{str(state): rule for state, rule in FRESHNESS_RULES.items()},
    OFF: "Not polled: it was switched off here.",
}

TONES = {
    State.BLOCKED: "bad",
    State.STOPPED: "bad",
    State.THROTTLED: "warn",
    State.SLOW: "warn",
    State.QUIET: "idle",
    State.STALE: "idle",
    State.UNKNOWN: "idle",
    State.OK: "ok",
    HostState.KEY_CHANGED: "bad",
    HostState.UNREACHABLE: "bad",
    HostState.REFUSED: "bad",
    HostState.INCOMPATIBLE: "bad",
    HostState.LATE: "idle",
    HostState.NEW: "info",
    HostState.FRESH: "ok",
    OFF: "idle",
    REMOVED: "idle",
    REDIRECTED: "info",
}

# Worst first; a state that is not listed is normal.
_SEVERITY = [
    HostState.KEY_CHANGED,
    State.BLOCKED,
    State.STOPPED,
    HostState.UNREACHABLE,
    HostState.REFUSED,
    HostState.INCOMPATIBLE,
    State.THROTTLED,
    State.SLOW,
    State.UNKNOWN,
    HostState.LATE,
    REMOVED,
]
RANK = {str(state): rank for rank, state in enumerate(_SEVERITY)}


def words(state: str) -> str:
    """Return a state as a person reads it: `key changed`."""
    return state.replace("_", " ")
