"""Hosts that outlast a change: whoever holds any MX records of before still finds an address."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dns.domain.lasting import hosts_to_keep, served_to
from dns.domain.records import RecordSet, difference
from dns.domain.weights import Rendering, render

NAME = "msn.smtp.example.org"
A, B = "192.0.2.11", "192.0.2.12"
addresses = st.sampled_from([A, B, "192.0.2.13", "2001:db8::5"])
versions = st.lists(
    st.tuples(st.sampled_from([Rendering.MX, Rendering.EQUAL]), st.sets(addresses, min_size=1)),
    min_size=2,
    max_size=6,
)


def _records(rendering: Rendering, weights: dict[str, int]) -> tuple[RecordSet, ...]:
    return render(NAME, weights, rendering=rendering, ttl=600).records


def _hosts(records: tuple[RecordSet, ...]) -> set[str]:
    return {
        value.split(" ")[1].removesuffix(".")
        for item in records
        if item.type == "MX"
        for value in item.values
    }


@given(history=versions)
def test_every_version_that_is_held_leads_to_an_address(history: list[tuple[Rendering, set[str]]]) -> None:
    rendered = [_records(rendering, dict.fromkeys(weights, 1)) for rendering, weights in history]
    served, held = rendered[0], [rendered[0]]
    for new in rendered[1:]:
        kept = hosts_to_keep(NAME, new, now=served, held=held)
        served = tuple(sorted({*new, *kept}))
        held.append(new)
        present = {item.name for item in served}
        assert all(_hosts(version) <= present for version in held)
        assert not difference(served, {*new, *kept})


def test_addresses_that_follow_each_other_quickly_lose_no_mail() -> None:
    one, both, other = (
        _records(Rendering.MX, {A: 1}),
        _records(Rendering.MX, {A: 1, B: 1}),
        _records(Rendering.MX, {B: 1}),
    )
    assert hosts_to_keep(NAME, both, now=one, held=[one]) == ()
    kept = hosts_to_keep(NAME, other, now=both, held=[one, both])
    assert kept == (RecordSet.of(f"w1-192-0-2-11.{NAME}", "A", 600, [A]),)
    # Whoever holds `both` would else learn that A's host is gone, and believe it when it is back.
    assert hosts_to_keep(NAME, other, now=both, held=[both]) == kept
    assert served_to(NAME, tuple(sorted({*other, *kept}))) == other


def test_hosts_of_others_need_no_keeping() -> None:
    theirs = (RecordSet.of(NAME, "MX", 600, ["10 relay.example.net."]),)
    assert hosts_to_keep(NAME, _records(Rendering.EQUAL, {A: 1}), now=theirs, held=[theirs]) == ()


@pytest.mark.parametrize("rendering", [Rendering.MX, Rendering.EQUAL])
def test_the_addresses_stand_at_the_name_itself_too(rendering: Rendering) -> None:
    assert RecordSet.of(NAME, "A", 600, [A, B]) in _records(rendering, {A: 5, B: 1})
    for before, after in pairwise([{A: 5}, {A: 1, B: 4}]):
        change = difference(_records(Rendering.EQUAL, before), _records(Rendering.MX, after))
        assert not [item for item in change.remove if item.name == NAME]
