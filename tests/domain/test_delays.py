"""Quantiles of a histogram of delays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relays.domain.delays import quantile
from relays.domain.maillog.tables import DELAY_BOUNDS

BOUNDS = (1, 10, 100)


def test_nothing_counted_has_no_delay() -> None:
    assert quantile([0, 0, 0, 0], BOUNDS, 0.5) is None


def test_inside_a_bin_it_is_the_middle_of_the_logarithms() -> None:
    assert quantile([0, 8, 0, 0], BOUNDS, 0.5) == pytest.approx(10**0.5)
    assert quantile([0, 8, 0, 0], BOUNDS, 1) == pytest.approx(10)


def test_the_first_bin_begins_at_nothing_and_is_even() -> None:
    assert quantile([4, 0, 0, 0], BOUNDS, 0.25) == pytest.approx(0.25)


def test_what_falls_into_the_open_bin_is_at_least_its_beginning() -> None:
    assert quantile([1, 0, 0, 99], BOUNDS, 0.95) == 100


def test_empty_bins_between_are_stepped_over() -> None:
    assert quantile([5, 0, 5, 0], BOUNDS, 0.5) == pytest.approx(1)
    assert quantile([5, 0, 5, 0], BOUNDS, 0.95) == pytest.approx(10 * 10**0.9)


@given(
    st.lists(st.integers(0, 10**9), min_size=len(DELAY_BOUNDS) + 1, max_size=len(DELAY_BOUNDS) + 1),
    st.floats(0.01, 1),
)
def test_it_lies_in_the_bin_that_holds_its_rank(bins: list[int], share: float) -> None:
    delay = quantile(bins, DELAY_BOUNDS, share)
    if not sum(bins):
        assert delay is None
        return
    assert delay is not None
    # Up to the bin's end there are at least as many as asked for; up to its beginning there are fewer.
    ends = (0.0, *DELAY_BOUNDS)
    holds = max(i for i in range(len(bins)) if ends[i] <= delay * 1.000001 and (bins[i] or i == 0))
    assert sum(bins[: holds + 1]) >= share * sum(bins) * 0.999999
