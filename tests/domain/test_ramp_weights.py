"""Shares of addresses that warm up, as whole weights."""

from fractions import Fraction

import pytest

from dns.domain.ramp_weights import largest_share, smallest_share, weights_for
from dns.domain.weights import MAX_WEIGHT, CannotRender, Rendering, render, to_shares

NEW, OLD, OTHER = "192.0.2.12", "192.0.2.11", "192.0.2.13"


def test_a_sixth_beside_one_address_is_one_to_five() -> None:
    assert weights_for({NEW: 1 / 6}, {OLD: 7}) == {NEW: 1, OLD: 5}


def test_the_others_keep_their_relation() -> None:
    weights = weights_for({NEW: 0.25}, {OLD: 2, OTHER: 1})
    assert to_shares(weights) == {NEW: Fraction(1, 4), OLD: Fraction(1, 2), OTHER: Fraction(1, 4)}


def test_two_that_warm_up_have_each_its_own_share() -> None:
    assert weights_for({NEW: 0.1, OTHER: 0.2}, {OLD: 1}) == {NEW: 1, OTHER: 2, OLD: 7}


def test_a_share_of_nothing_is_out_and_others_that_are_out_stay_so() -> None:
    assert weights_for({NEW: 0.0}, {OLD: 4, OTHER: 0}) == {NEW: 0, OLD: 1, OTHER: 0}


def test_a_share_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(CannotRender, match="the others none"):
        weights_for({NEW: 1.0}, {OLD: 1})


def test_where_nobody_carries_there_are_no_weights() -> None:
    assert weights_for({NEW: 0.0}, {OLD: 0}) == {NEW: 0, OLD: 0}


def test_weights_stay_in_range_and_render() -> None:
    weights = weights_for({NEW: 0.001}, {OLD: 99_991, OTHER: 3})
    assert max(weights.values()) <= MAX_WEIGHT and min(weights.values()) >= 1
    assert render("msn.example.org", weights, rendering=Rendering.LUA, ttl=60).records


@pytest.mark.parametrize(
    ("rendering", "least", "most"),
    [
        (Rendering.MX, 1 / 32, 30 / 32),
        (Rendering.LUA, 1 / 1000, 998 / 1000),
        (Rendering.EQUAL, 1 / 3, 1 / 3),
    ],
)
def test_a_rendering_has_a_least_and_a_greatest_share(
    rendering: Rendering, least: float, most: float
) -> None:
    assert smallest_share(rendering, 3) == pytest.approx(least)
    assert largest_share(rendering, 3) == pytest.approx(most)
