"""What a ramp decides by what a date showed."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from dns.domain.ramp import (
    RAILS,
    BadGuardrails,
    Before,
    Decision,
    Evidence,
    Guardrails,
    Verdict,
    decide,
    is_bad,
    is_emergency,
)
from dns.domain.schedule import Step

STEPS = [Step(share, None) for share in (1 / 6, 2 / 6, 3 / 6, 1.0)]
GOOD = Evidence(
    date(2026, 6, 1), 1.0, sent=950, deferred=40, bounced=10, throttled=0, blocked=0, meant=1_000, oldest_s=60
)
BAD = replace(GOOD, deferred=400)


def decided(before: Before, seen: Evidence | None) -> Verdict:
    return decide(before, seen, steps=STEPS, rails=Guardrails())


def test_a_good_day_is_followed_by_the_next_step_with_its_figures() -> None:
    verdict = decided(Before(1), GOOD)
    assert (verdict.decision, verdict.step) == (Decision.ADVANCE, 2)
    assert verdict.why == ("950 sent of 1,000 meant, 4.0 % deferred.",)


def test_a_good_last_day_finishes_the_ramp() -> None:
    assert decided(Before(3), GOOD) == Verdict(
        Decision.FINISH, 3, ("950 sent of 1,000 meant, 4.0 % deferred.",)
    )


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (None, "Nothing is known of the date before."),
        (replace(GOOD, coverage=0.94), "Only 94 % of the log of 2026-06-01 was read"),
        (replace(GOOD, sent=0, deferred=0, bounced=0), "Only 0 were sent"),
        (replace(GOOD, sent=690, deferred=0), "690 were sent of 1,000 that the step meant; it takes 70 %."),
        (replace(GOOD, bounced=40), "3.9 % bounced (40 of 1,030), the limit is 3 %."),
        (BAD, "29.4 % deferred (400 of 1,360), the limit is 10 %."),
        (
            replace(GOOD, throttled=20),
            "2.0 % refused as throttled or blocked (20 of 1,000), the limit is 0.5 %.",
        ),
        (replace(GOOD, oldest_s=7_200), "The oldest message waits for 120 min, the limit is 30."),
        (replace(GOOD, listed=("zen.example",)), "Listed on zen.example."),
        (replace(GOOD, clock_skew_s=-400.0), "The console's clock and the hosts' differ by 400 s."),
    ],
)
def test_it_holds_and_says_which_figure(seen: Evidence | None, why: str) -> None:
    verdict = decided(Before(1), seen)
    assert (verdict.decision, verdict.step) == (Decision.HOLD, 1)
    assert verdict.why[0].startswith(why)


def test_what_is_missing_holds_even_a_blocked_address_for_nothing_is_known() -> None:
    assert decided(Before(1), replace(GOOD, coverage=0.2, blocked=500)).decision is Decision.HOLD


def test_the_second_bad_day_in_a_row_steps_back() -> None:
    verdict = decided(Before(2, failed=1), BAD)
    assert (verdict.decision, verdict.step) == (Decision.STEP_BACK, 1)
    assert "second" in verdict.why[-1]


def test_on_the_first_day_there_is_none_to_step_back_to() -> None:
    verdict = decided(Before(0, failed=5), BAD)
    assert (verdict.decision, verdict.step) == (Decision.HOLD, 0)


def test_blocks_take_the_address_out() -> None:
    verdict = decided(Before(2), replace(GOOD, blocked=60))
    assert (verdict.decision, verdict.step) == (Decision.TAKE_OUT, None)
    assert verdict.why == ("6.0 % blocked (60 of 1,000), the limit is 5 %.",)


def test_an_address_that_is_out_comes_back_to_its_first_step_after_a_date_without_bad_signs() -> None:
    quiet = replace(GOOD, sent=0, deferred=0, bounced=0)
    assert decided(Before(None), quiet).step == 0
    assert decided(Before(None), replace(quiet, listed=("zen.example",))) == Verdict(
        Decision.HOLD, None, ("Listed on zen.example.",)
    )


def test_the_date_on_which_a_guard_took_it_out_and_those_before_say_nothing_about_the_rest_since() -> None:
    quiet = replace(GOOD, sent=0, deferred=0, bounced=0)
    for out, step in (
        (quiet.day + timedelta(days=1), None),
        (quiet.day, None),
        (quiet.day - timedelta(days=1), 0),
    ):
        assert decided(Before(None, taken_out=out), quiet).step == step
    assert decided(Before(None, taken_out=quiet.day), quiet).why == (
        "It was taken out on 2026-06-01: no whole date has gone by since.",
    )


def test_a_date_before_a_guard_took_it_out_is_no_reason_for_a_step_on() -> None:
    assert decided(Before(1, taken_out=GOOD.day + timedelta(days=1)), GOOD) == Verdict(
        Decision.HOLD, 1, ("It was taken out on 2026-06-02: what was before says nothing any more.",)
    )
    assert decided(Before(1, taken_out=GOOD.day), GOOD).decision is Decision.ADVANCE


def test_one_missed_date_is_nothing_two_are_held_and_never_made_up_for() -> None:
    assert decided(Before(1, missed=1), GOOD).step == 2
    assert decided(Before(1, missed=2), GOOD).decision is Decision.HOLD


def test_a_week_of_silence_with_the_date_just_seen_costs_two_steps() -> None:
    silent = replace(GOOD, sent=0, deferred=0, bounced=0)
    assert decided(Before(3, idle=6), silent) == Verdict(
        Decision.STEP_BACK, 1, ("Nothing was sent on 7 dates in a row.",)
    )
    assert decided(Before(1, idle=6), silent).step == 0
    assert decided(Before(3, idle=5), silent).decision is Decision.HOLD


def test_a_date_with_mail_ends_a_silence_however_long_it_was() -> None:
    assert decided(Before(1, idle=9), GOOD).step == 2
    assert decided(Before(2, idle=9), replace(GOOD, sent=5, deferred=0, bounced=0)) == Verdict(
        Decision.HOLD, 2, ("Only 5 were sent; fewer than 20 say nothing about an address.",)
    )


def test_only_bad_signs_add_up_not_what_is_missing() -> None:
    rails = Guardrails()
    for seen, adds in (
        (BAD, True),
        (None, False),
        (replace(BAD, coverage=0.1), False),
        (replace(GOOD, sent=0), True),
    ):
        assert is_bad(decided(Before(1), seen), seen, rails) is adds
    few = replace(GOOD, sent=30, deferred=0, bounced=0)
    assert not is_bad(decided(Before(1), few), few, rails)
    assert not is_bad(decided(Before(1), GOOD), GOOD, rails)


def test_an_emergency_takes_enough_tries_and_more_than_the_limit() -> None:
    rails = Guardrails()
    assert is_emergency(tried=100, blocked=6, rails=rails)
    assert not is_emergency(tried=100, blocked=5, rails=rails)
    assert not is_emergency(tried=19, blocked=19, rails=rails)


def test_without_a_least_number_of_tries_none_is_no_emergency() -> None:
    rails = Guardrails(emergency_min=0, emergency_share=0.0)
    assert not is_emergency(tried=0, blocked=0, rails=rails)
    assert is_emergency(tried=1, blocked=1, rails=rails)
    silent = replace(GOOD, sent=0, deferred=0, bounced=0)
    assert decide(Before(1), silent, steps=STEPS, rails=rails).decision is Decision.HOLD


def test_every_guard_rail_says_where_it_comes_from() -> None:
    assert set(RAILS) == set(Guardrails().as_json())


def test_guard_rails_come_back_as_they_were_stored() -> None:
    rails = Guardrails(max_bounce_share=0.02, min_sent=100)
    assert Guardrails.from_json(rails.as_json()) == rails
    assert Guardrails.from_json({}) == Guardrails()


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"max_bounce_share": 3},
        {"min_sent": -1},
        {"min_sent": "5"},
        {"min_sent": True},
        {"no such": 1},
        {"min_sent": 1e12},
    ],
)
def test_guard_rails_that_cannot_be_are_refused(value: object) -> None:
    with pytest.raises(BadGuardrails):
        Guardrails.from_json(value)


def test_evidence_is_stored_as_json() -> None:
    stored = replace(GOOD, listed=("zen.example",)).as_json()
    assert (stored["day"], stored["listed"], stored["sent"]) == ("2026-06-01", ["zen.example"], 950)
