"""The state chip of an instance: a rule over its queue, published as it stands here."""

import re
from collections.abc import Iterable
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


MIN_DEFERRED = 20
SLOW_OLDEST_S = 30 * 60

RULES = {
    State.BLOCKED: f"At least {MIN_DEFERRED} deferred, and at least half of the replies are 5xx refusals.",
    State.THROTTLED: f"At least {MIN_DEFERRED} deferred, and at least half of the replies are 421 or 4.7.x.",
    State.SLOW: f"At least {MIN_DEFERRED} deferred, the oldest message for half an hour or more.",
    State.QUIET: "Nothing was taken in, sent or tried for an hour, by its log.",
    State.STALE: "Its host gives no fresh figures: the state shown before may hold no more.",
    State.STOPPED: "Postfix is not running.",
    State.UNKNOWN: "The queue could not be read; the figures are the last known ones.",
    State.OK: "None of the others.",
}

# "... said: 421 4.7.0 Try again", "... refused to talk to me: 554 5.7.1 blocked": the remote server's
# words follow the first of these; an earlier number is part of a host name or an address.
_REPLY = re.compile(
    r"(?: said| refused to talk to me): (?P<code>[245]\d\d)[ -]?(?P<dsn>[245]\.\d{1,3}\.\d{1,3})?"
)


def judge(deferred: int, oldest_s: int | None, replies: Iterable[tuple[str, int]], sampled: int) -> State:
    """Return the state of a queue that was read.

    deferred: messages; oldest_s: age of the oldest, None for an empty queue; replies: (text, count) of
    the commonest; sampled: how many recipients these were counted over.
    """
    if deferred < MIN_DEFERRED:
        return State.OK
    throttled = blocked = 0
    for text, count in replies:
        match = _REPLY.search(text)
        if match is None:
            continue
        if match["code"].startswith("5"):
            blocked += count
        elif match["code"] == "421" or (match["dsn"] or "").startswith("4.7."):
            throttled += count
    if 2 * blocked >= sampled > 0:
        return State.BLOCKED
    if 2 * throttled >= sampled > 0:
        return State.THROTTLED
    if oldest_s is not None and oldest_s >= SLOW_OLDEST_S:
        return State.SLOW
    return State.OK
