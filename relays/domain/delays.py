"""Delays told from a histogram."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


def quantile(bins: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Return the delay that `share` of all that was counted stayed within; None where nothing was counted.

    bins: how many fell up to each of `bounds` (seconds, growing), and last how many beyond them; share: above
    0, at most 1. Inside a bin delays are taken to be spread evenly over their logarithm, because the bounds
    grow by factors; evenly over time in the first, which begins at 0. The last has no end: what falls into it
    is told as its beginning, "at least".
    """
    counted = list(accumulate(bins))
    rank = share * counted[-1]
    if not rank:
        return None
    place = bisect_left(counted, rank)
    if place == len(bounds):
        return float(bounds[-1])
    part = 1 - (counted[place] - rank) / bins[place]
    if place == 0:
        return bounds[0] * part
    lower, upper = bounds[place - 1], bounds[place]
    return float(lower * (upper / lower) ** part)
