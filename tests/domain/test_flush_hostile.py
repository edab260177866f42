"""What a host that lies sends of a flush: read, or refused by name, never anything else."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relays.domain import flush
from relays.domain.fields import BadRow
from relays.domain.flush import Account, must_end

_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_KINDS = st.sampled_from(["out", "direct", "done", "mid", "in", "expired", "gone"])


# A machine that does much else draws slowly.
_PATIENT = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@_PATIENT
@given(st.lists(st.tuples(_KINDS, _JUNK, _JUNK).map(list) | _JUNK, max_size=3))
def test_rows_of_a_host_that_lies_are_refused_by_name(rows: list[Any]) -> None:
    for parse in (flush.parse_events, flush.parse_messages):
        read_or_refused(parse, {"rows": rows})


@_PATIENT
@given(st.dictionaries(st.sampled_from(["counts", "domains", "problems", "instance", "left_s"]), _JUNK))
def test_totals_and_redirects_of_a_host_that_lies_are_refused_by_name(row: dict[str, Any]) -> None:
    for parse in (flush.parse_scan, flush.parse_redirect, flush.parse_check, flush.parse_peer):
        read_or_refused(parse, row)


def read_or_refused(parse: Any, row: Mapping[str, Any]) -> None:
    with suppress(BadRow):
        parse(row)


def test_a_message_that_was_taken_out_is_an_event_of_its_own() -> None:
    assert [event.kind for event in flush.parse_events({"rows": [["gone", 16, "4XyZ"]]})] == ["gone"]


@given(st.integers(0, 100_000), st.integers(0, 50))
def test_more_soft_bounces_never_let_a_flush_go_on(moved: int, soft: int) -> None:
    def ends(bounces: int) -> str:
        account = Account(moved=moved, soft_bounces=bounces)
        return must_end(account, since_progress_s=0, past_deadline=False)

    assert not ends(soft) or ends(soft + 1)
