"""Delays told from a histogram."""

from collections.abc import Sequence


def quantile(bins: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Return the delay that `share` of all that was counted stayed within; None where nothing was counted.

    bins: how many fell up to each of `bounds` (seconds, growing), and last how many beyond them; share: above
    0, at most 1. Inside a bin delays are taken to be spread evenly over their logarithm, because the bounds
    grow by factors; evenly over time in the first, which begins at 0. The last has no end: what falls into it
    is told as its beginning, "at least".
    """
    rank = share * sum(bins)
    if not rank:
        return None
    lower, below = 0.0, 0
    for upper, number in zip(bounds, bins, strict=False):
        if below + number >= rank:
            part = (rank - below) / number
            return lower * (upper / lower) ** part if lower else upper * part
        lower, below = upper, below + number
    return lower
