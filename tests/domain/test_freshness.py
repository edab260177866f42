from datetime import UTC, datetime, timedelta

import pytest

from relays.domain.freshness import HostState, host_state

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_a_host_that_was_never_polled_is_new() -> None:
    assert host_state("", None, NOW, 60) is HostState.NEW


@pytest.mark.parametrize(
    ("age_s", "state"), [(0, HostState.FRESH), (135, HostState.FRESH), (136, HostState.LATE)]
)
def test_a_complete_poll_turns_late_by_its_age_alone(age_s: int, state: HostState) -> None:
    assert host_state("complete", ago(age_s), NOW, 60) is state


def test_a_slower_interval_stays_fresh_for_longer() -> None:
    assert host_state("complete", ago(500), NOW, 300) is HostState.FRESH


@pytest.mark.parametrize("failure", ["unreachable", "key_changed", "refused", "incompatible"])
def test_a_failure_shows_at_once_however_young_the_last_figures_are(failure: str) -> None:
    assert host_state(failure, ago(1), NOW, 60) == failure


def test_an_incomplete_poll_is_late_at_once() -> None:
    assert host_state("incomplete", ago(1), NOW, 60) is HostState.LATE


def test_a_failure_of_the_first_poll_shows_too() -> None:
    assert host_state("unreachable", None, NOW, 60) is HostState.UNREACHABLE
