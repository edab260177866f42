"""Whole weights by which some addresses get given shares, and the others split the rest as they did."""

from collections.abc import Mapping
from fractions import Fraction
from math import gcd, lcm

from dns.domain.weights import MAX_NAMES, MAX_WEIGHT, CannotRender, Rendering

# Shares are told to a tenth of a percent; finer ones make weights that nobody can read.
_PARTS = 1_000


def weights_for(shares: Mapping[str, float], others: Mapping[str, int]) -> dict[str, int]:
    """Return weights by address.

    shares: 0 to 1, of the addresses that have one of their own, 0 for out; others: the weights of the rest,
    whose relation to each other stays. Raises CannotRender where nothing is left for the others.
    """
    wished = {address: _rounded(share) for address, share in shares.items() if share}
    whole, rest = sum(others.values()), 1 - sum(wished.values(), Fraction(0))
    if whole and rest <= 0:
        raise CannotRender("The addresses that warm up would get all mail, and the others none.")
    parts = wished | {address: rest * Fraction(weight, whole) for address, weight in others.items() if weight}
    out = dict.fromkeys([*shares, *others], 0)
    return out | _whole(parts)


def smallest_share(rendering: Rendering, addresses: int) -> float:
    """Return the least share that records can give to one of so many addresses."""
    match rendering:
        case Rendering.MX:
            return 1 / MAX_NAMES
        case Rendering.LUA:
            return 1 / _PARTS
        case Rendering.EQUAL:
            return 1 / max(addresses, 1)


def largest_share(rendering: Rendering, addresses: int) -> float:
    """Return the most that one of so many addresses can get while each other keeps its least."""
    if rendering is Rendering.EQUAL:
        return smallest_share(rendering, addresses)
    return 1 - smallest_share(rendering, addresses) * max(addresses - 1, 1)


def _rounded(share: float) -> Fraction:
    return max(Fraction(share).limit_denominator(_PARTS), Fraction(1, _PARTS))


def _whole(parts: Mapping[str, Fraction]) -> dict[str, int]:
    """Return the smallest whole numbers in the relation of fractions, at most MAX_WEIGHT."""
    if not parts:
        return {}
    factor = lcm(*(part.denominator for part in parts.values()))
    weights = {address: int(part * factor) for address, part in parts.items()}
    divisor = gcd(*weights.values())
    weights = {address: weight // divisor for address, weight in weights.items()}
    most = max(weights.values())
    if most <= MAX_WEIGHT:
        return weights
    return {address: max(1, round(weight * MAX_WEIGHT / most)) for address, weight in weights.items()}
