"""Weights, records and back: the smallest error, safe refusals, and how sure an observed share is."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dns.domain.observed import is_beyond_chance, likely_causes, most_draws, observe, standard_error
from dns.domain.records import RecordSet, difference, is_newer, same
from dns.domain.safety import (
    BadTtl,
    NameNotAllowed,
    NoWarmAddress,
    Pool,
    TooManyRemoved,
    UnknownAddress,
    WouldBeEmpty,
    find_unsafe,
)
from dns.domain.weights import (
    MAX_NAMES,
    CannotRender,
    NotOurs,
    Rendering,
    best_parts,
    is_slot,
    read_back,
    render,
    slot_name,
)

NAME = "msn.smtp.example.org"
OLD, NEW, THIRD = "192.0.2.11", "192.0.2.12", "2001:db8::5"

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
weighted = st.dictionaries(addresses, st.integers(1, 100_000), min_size=1, max_size=8)
ipv4_weighted = st.dictionaries(
    st.ip_addresses(v=4).map(str), st.integers(1, 100_000), min_size=1, max_size=8
)


@given(weights=weighted)
def test_mx_reads_back_as_it_was_rendered(weights: dict[str, int]) -> None:
    rendered = render(NAME, weights, rendering=Rendering.MX, ttl=600)
    served = read_back(NAME, rendered.records)
    assert served.rendering is Rendering.MX
    assert served.shares == rendered.published
    assert sum(served.parts.values()) <= MAX_NAMES


@given(weights=ipv4_weighted)
def test_lua_reads_back_with_no_error_at_all(weights: dict[str, int]) -> None:
    rendered = render(NAME, weights, rendering=Rendering.LUA, ttl=600)
    served = read_back(NAME, rendered.records)
    assert served.rendering is Rendering.LUA
    assert served.shares == rendered.published == rendered.wanted
    assert rendered.records[0].ttl == 60


@given(weights=weighted)
def test_equal_reads_back_as_one_part_each(weights: dict[str, int]) -> None:
    rendered = render(NAME, weights, rendering=Rendering.EQUAL, ttl=600)
    assert read_back(NAME, rendered.records).shares == rendered.published
    assert set(rendered.published.values()) == {Fraction(1, len(weights))}


@given(weights=st.dictionaries(addresses, st.integers(1, 1000), min_size=2, max_size=3))
@settings(max_examples=8, deadline=None)
def test_no_other_choice_of_names_has_a_smaller_error(weights: dict[str, int]) -> None:
    assert render(NAME, weights, rendering=Rendering.MX, ttl=600).error == min(_all_errors(weights))


def _all_errors(weights: Mapping[str, int]) -> list[Fraction]:
    whole = sum(weights.values())
    return [
        max(
            abs(Fraction(part, names) - Fraction(weight, whole))
            for part, weight in zip(_parts(cuts, names), weights.values(), strict=True)
        )
        for names in range(len(weights), MAX_NAMES + 1)
        for cuts in combinations(range(1, names), len(weights) - 1)
    ]


def _parts(cuts: tuple[int, ...], names: int) -> list[int]:
    ends = (0, *cuts, names)
    return [after - before for before, after in pairwise(ends)]


def test_five_to_one_is_six_names() -> None:
    rendered = render(NAME, {OLD: 5, NEW: 1}, rendering=Rendering.MX, ttl=600)
    exchangers = next(item for item in rendered.records if item.type == "MX")
    assert len(exchangers.values) == 6
    assert rendered.published == {OLD: Fraction(5, 6), NEW: Fraction(1, 6)}
    assert rendered.error == 0 and rendered.notes == ()
    assert RecordSet(f"w1-192-0-2-12.{NAME}", "A", 600, (NEW,)) in rendered.records


def test_fewest_names_are_taken_where_the_error_is_the_same() -> None:
    assert best_parts({OLD: 500, NEW: 500}) == {OLD: 1, NEW: 1}


def test_a_smaller_share_than_one_name_is_told_with_what_helps() -> None:
    rendered = render(NAME, {OLD: 9975, NEW: 25}, rendering=Rendering.MX, ttl=600)
    assert rendered.published[NEW] == Fraction(1, 32)
    assert rendered.notes == (
        "192.0.2.12 is to get 0.2 % and gets 3.1 %: the smallest share of mx is 1/32 = 3.1 %. "
        "Limit it by a daily cap, or use lua.",
    )


def test_equal_says_what_it_cannot_do() -> None:
    notes = render(NAME, {OLD: 5, NEW: 1}, rendering=Rendering.EQUAL, ttl=600).notes
    assert notes[0].startswith("equal knows one share, 1/2: each address gets 50.0 %")
    assert render(NAME, {OLD: 5, NEW: 5}, rendering=Rendering.EQUAL, ttl=600).notes == ()


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ({}, "No address"),
        ({OLD: 0}, "No address"),
        ({OLD: -1}, "between 0 and"),
        ({OLD: 100_001}, "between 0 and"),
        ({"mail.example.org": 1}, "is not an address"),
        ({"fe80::1%eth0": 1}, "has a scope"),
        ({f"192.0.2.{n}": 1 for n in range(33)}, "33 addresses are more than the 32"),
    ],
)
def test_what_cannot_be_rendered_is_told(weights: dict[str, int], why: str) -> None:
    with pytest.raises(CannotRender, match=why):
        render(NAME, weights, rendering=Rendering.MX, ttl=600)


def test_lua_draws_from_one_family() -> None:
    with pytest.raises(CannotRender, match="one family"):
        render(NAME, {OLD: 1, THIRD: 1}, rendering=Rendering.LUA, ttl=60)


def test_what_others_wrote_is_read_as_postfix_takes_it() -> None:
    """Only the best preference counts, and each address of each host."""
    records = [
        RecordSet.of(NAME, "MX", 60, ["10 a.example.", "10 B.example.", "20 c.example."]),
        RecordSet.of("a.example", "A", 60, [OLD, NEW]),
        RecordSet.of("b.example", "A", 60, [OLD]),
        RecordSet.of("c.example", "A", 60, ["192.0.2.99"]),
    ]
    assert read_back(NAME, records).parts == {OLD: 2, NEW: 1}
    spaced = RecordSet.of(NAME, "LUA", 60, ["""A "pickwrandom({ {5,'192.0.2.11'}, {1, '192.0.2.12'} })" """])
    assert read_back(NAME, [spaced]).parts == {OLD: 5, NEW: 1}


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "has no address"),
        ([RecordSet.of(NAME, "CNAME", 60, ["other.example."])], "is an alias of other.example."),
        ([RecordSet.of(NAME, "MX", 60, ["10 nowhere.example."])], "has an address"),
        ([RecordSet.of(NAME, "LUA", 60, ["A \"ifportup(25, {'192.0.2.1'})\""])], "is no pickwrandom"),
        ([RecordSet.of(NAME, "LUA", 60, ["A \"pickwrandom({{1, '1.2.3.4.5'}})\""])], "is not an address"),
        ([RecordSet.of(NAME, "LUA", 60, ["A \"pickwrandom({{0, '1.2.3.4'}})\""])], "is no pickwrandom"),
    ],
)
def test_what_is_not_weights_is_told(records: list[RecordSet], why: str) -> None:
    with pytest.raises(NotOurs, match=why):
        read_back(NAME, records)


def test_a_slot_tells_its_address() -> None:
    assert is_slot(slot_name(NAME, THIRD, 3), NAME)
    assert not is_slot(f"www.{NAME}", NAME) and not is_slot("w1-192-0-2-1.other.example", NAME)


@given(before=weighted, after=weighted)
@settings(max_examples=30)
def test_a_difference_applied_is_what_was_wanted(before: dict[str, int], after: dict[str, int]) -> None:
    now = render(NAME, before, rendering=Rendering.MX, ttl=600).records
    wanted = render(NAME, after, rendering=Rendering.EQUAL, ttl=300).records
    change = difference(now, wanted)
    put = {item.key for item in change.put}
    left = [item for item in now if item not in change.remove and item.key not in put]
    assert sorted([*left, *change.put]) == list(wanted)
    assert not difference(wanted, wanted)
    assert not set(change.absent) & {item.key for item in now}


def test_a_difference_is_shown_record_by_record() -> None:
    now = [RecordSet.of(NAME, "A", 60, [OLD, NEW])]
    assert difference(now, [RecordSet.of(NAME, "A", 60, [OLD])]).lines == [f"- {NAME}. 60 IN A {NEW}"]
    assert difference(now, [RecordSet.of(NAME, "MX", 60, [f"10 {NAME}."])]).lines == [
        f"- {NAME}. 60 IN A {OLD}",
        f"- {NAME}. 60 IN A {NEW}",
        f"+ {NAME}. 60 IN MX 10 {NAME}.",
    ]
    assert same(now, [RecordSet.of(NAME, "A", 5, [NEW, OLD])])
    assert RecordSet.from_json(now[0].as_json()) == now[0]


@pytest.mark.parametrize(
    ("serial", "than", "newer"),
    [(2, 1, True), (1, 2, False), (1, 1, False), (0, 2**32 - 1, True), (2**32 - 1, 0, False)],
)
def test_serials_wrap(serial: int, than: int, newer: bool) -> None:
    assert is_newer(serial, than) is newer


def _unsafe(weights: dict[str, int], **changes: object) -> list[type]:
    pool = Pool(weights, warm=changes.pop("warm", {OLD, NEW}), known=changes.pop("known", {OLD, NEW}))  # type: ignore[arg-type]
    records = [RecordSet.of(str(changes.pop("name", NAME)), "A", 60, [OLD])]
    given_: dict[str, object] = {"served": {OLD, NEW}, "ttl": 600, "allowed": [NAME], **changes}
    return [type(one) for one in find_unsafe(pool, records=records, **given_)]  # type: ignore[arg-type]


def test_what_is_unsafe_has_a_name() -> None:
    assert _unsafe({OLD: 1, NEW: 1}) == []
    assert _unsafe({OLD: 1, NEW: 0}) == []
    assert _unsafe({OLD: 0, NEW: 0}) == [WouldBeEmpty, TooManyRemoved]
    assert _unsafe({OLD: 0, NEW: 1}, warm={OLD}) == [NoWarmAddress]
    assert _unsafe({THIRD: 1}, warm={THIRD}) == [TooManyRemoved, UnknownAddress]
    assert _unsafe({OLD: 1}, ttl=59) == [BadTtl]
    assert _unsafe({OLD: 1}, ttl=3601) == [BadTtl]
    assert _unsafe({OLD: 1}, name="www.example.org") == [NameNotAllowed]
    assert _unsafe({OLD: 1}, name=f"x{NAME}") == [NameNotAllowed]
    assert _unsafe({OLD: 1}, name=f"W1.{NAME}.") == []


def test_lua_may_be_asked_for_each_message() -> None:
    records = render(NAME, {OLD: 5, NEW: 1}, rendering=Rendering.LUA, ttl=1).records
    pool = Pool({OLD: 5, NEW: 1}, warm=[OLD], known=[OLD, NEW])

    def found(ttl: int) -> list[type]:
        return [
            type(one) for one in find_unsafe(pool, served=[OLD], records=records, ttl=ttl, allowed=[NAME])
        ]

    assert found(1) == []
    assert found(0) == [BadTtl]


def test_a_refusal_has_the_figures() -> None:
    pool = Pool({}, warm=[], known=[])
    texts = [str(one) for one in find_unsafe(pool, served=[OLD, NEW], records=[], ttl=10, allowed=[])]
    assert texts == [
        "No address would be left: all mail would stop.",
        "A TTL of 10 s is not between 60 and 3600 s.",
        "2 of 2 addresses would go at once (192.0.2.11, 192.0.2.12), one is allowed: "
        "an override with a reason is required.",
    ]


@given(messages=st.integers(0, 5000), more=st.integers(0, 5000))
def test_an_interval_holds_what_was_counted(messages: int, more: int) -> None:
    seen = observe(messages, messages + more)
    assert 0 <= seen.low <= seen.share + 1e-9 and seen.share - 1e-9 <= seen.high <= 1


def test_more_messages_tell_more() -> None:
    few, many = observe(17, 100), observe(2000, 12_000)
    assert (round(few.low, 3), round(few.high, 3)) == (0.109, 0.255)
    assert (round(many.low, 3), round(many.high, 3)) == (0.160, 0.173)
    assert round(standard_error(1 / 6, 12_000), 4) == 0.0034
    assert standard_error(0.5, 0) == 1.0


@pytest.mark.parametrize(
    ("messages", "total", "published", "beyond"),
    [
        (1939, 12_000, 1 / 6, False),  # measured with the cache off
        (154, 1200, 1 / 6, False),  # measured with it on: chance explains it
        (0, 1200, 1 / 6, True),  # the next run
        (311, 1200, 1 / 6, True),
        (0, 49, 0.5, False),  # too few to tell
        (1, 5000, 0.0, False),
        (40, 5000, 0.0, True),
        (5000, 5000, 1.0, False),
    ],
)
def test_chance_is_told_from_a_cause(messages: int, total: int, published: float, beyond: bool) -> None:
    assert is_beyond_chance(observe(messages, total), published) is beyond


def test_a_share_is_no_surer_than_the_draws_behind_it() -> None:
    assert most_draws(12_000, seconds=300, ttl=None) == 12_000
    assert most_draws(12_000, seconds=300, ttl=60) == 5
    assert most_draws(3, seconds=300, ttl=1) == 3
    sure, unsure = observe(3_000, 12_000), observe(3_000, 12_000, draws=300)
    assert unsure.share == sure.share and unsure.draws == 300
    assert unsure.low < sure.low and unsure.high > sure.high
    assert is_beyond_chance(sure, 1 / 6)
    assert not is_beyond_chance(unsure, 1 / 6)


def test_causes_are_those_of_the_rendering() -> None:
    both = {OLD: 0.5, NEW: 0.5}
    assert "reuses connections" in likely_causes(Rendering.EQUAL, both)[0]
    assert "brackets" in likely_causes(Rendering.MX, both)[1]
    assert "holds one answer" in likely_causes(Rendering.LUA, both)[1]
