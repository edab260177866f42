"""Observed shares: what the relays' logs count, how sure that is, and when it is no chance any more."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt

from dns.domain.weights import Rendering

# 95 of 100 intervals hold the true share.
_Z = 1.959964
# Chance leaves by more than four standard errors once in 16,000 times.
CHANCE = 4
MIN_MESSAGES = 50


@dataclass(frozen=True, slots=True)
class Observed:
    """Messages of an address among all of its relay name, and between what its true share lies (95 %).

    draws: how often an address was drawn for them, at most. The share is no surer than these make it.
    """

    messages: int
    total: int
    draws: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Return the share that was counted."""
        return self.messages / self.total if self.total else 0.0


def most_draws(total: int, *, seconds: float, ttl: int | None) -> int:
    """Return how often an address was drawn for so many messages within so many seconds, at most.

    ttl: for how many seconds one answer that holds a single address serves all mail, None where each message
    draws its own. One resolver is reckoned with: more of them only make a share surer than it is told to be.
    """
    return total if ttl is None else min(total, ceil(seconds / max(ttl, 1)))


def observe(messages: int, total: int, draws: int | None = None) -> Observed:
    """Return a counted share with Wilson's interval; of nothing, the share lies anywhere.

    draws: as most_draws() tells them, one for each message if left out.
    """
    tries = total if draws is None else draws
    if not total or not tries:
        return Observed(0, 0, 0, 0.0, 1.0)
    share, square = messages / total, _Z**2
    middle = share + square / (2 * tries)
    half = _Z * sqrt(share * (1 - share) / tries + square / (4 * tries**2))
    whole = 1 + square / tries
    low, high = max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)
    return Observed(messages, total, tries, low, high)


def standard_error(share: float, draws: int) -> float:
    """Return how far a counted share is from the true one by chance alone, 0 to 1."""
    return sqrt(share * (1 - share) / draws) if draws else 1.0


def is_beyond_chance(seen: Observed, published: float) -> bool:
    """Tell whether a count is further from the published share than chance explains."""
    if seen.total < MIN_MESSAGES:
        return False
    # Half a draw of continuity: a share of 0 or 1 has no error, and one message is no proof.
    off = max(0.0, abs(seen.share - published) * seen.draws - 0.5)
    return off > CHANCE * max(sqrt(seen.draws * published * (1 - published)), 0.5)


def likely_causes(rendering: Rendering, published: Mapping[str, float]) -> list[str]:
    """Return what makes mail leave the published shares, the likeliest first."""
    causes = [
        "An origin reuses connections: the address is drawn for a connection, not for a message. "
        "smtp_connection_cache_on_demand = no at the origin gives exact shares."
    ]
    if rendering is Rendering.LUA:
        causes.append("A resolver holds one answer for all mail until its TTL is over.")
    if rendering is Rendering.MX and len(published) > 1:
        causes.append("An origin's nexthop stands in brackets ([name]): Postfix then asks for no MX record.")
    causes.append("An origin sends to an address or an instance's name, past the relay name.")
    return causes
