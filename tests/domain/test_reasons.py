"""The rule table: what a reply means."""

import pytest

from relays.domain.reasons import BadRule, Rule, RuleTable, Verdict, hear

REASONS = {
    slug: {"title": slug, "hard": hard, "fault": "remote", "advice": "Wait.", "action": "none"}
    for slug, hard in (("gone", True), ("slow", False), ("other", False))
}


def table(*rules: dict[str, object]) -> RuleTable:
    return RuleTable.from_json(
        {"version": "1", "actions": {"none": "Nothing"}, "reasons": REASONS, "rules": list(rules)}
    )


def test_the_first_rule_that_fits_decides() -> None:
    rules = table(
        {"id": "a", "reason": "slow", "any": ["wait"]}, {"id": "b", "reason": "gone", "any": ["no"]}
    )
    assert rules.classify("550 no, wait") == Verdict("slow", False, "a")
    assert rules.classify("550 No") == Verdict("gone", True, "b")
    assert rules.classify("550 yes") == Verdict("other", False, "")


def test_a_temporary_refusal_is_never_hard_unless_the_rule_says_so() -> None:
    assert not table({"id": "a", "reason": "gone", "any": ["unknown"]}).classify("450 4.1.1 unknown").hard
    assert table({"id": "a", "reason": "gone", "any": ["unknown"], "hard": True}).classify("450 unknown").hard


@pytest.mark.parametrize(
    ("reply", "fits"),
    [
        ("421 4.7.0 x", True),
        ("422 4.7.99 x", True),
        ("431 4.7.0 x", False),
        ("421 5.7.0 x", False),
        ("421 4.17.0 x", False),
        ("x", False),
    ],
)
def test_codes_may_stand_for_many(reply: str, fits: bool) -> None:
    rules = table({"id": "a", "reason": "slow", "codes": ["42x"], "enhanced": ["4.7.x"]})
    assert (rules.classify(reply).rule == "a") is fits


def test_a_rule_may_hold_for_some_providers() -> None:
    rules = table({"id": "a", "reason": "slow", "any": ["no"], "providers": ["msn"]})
    assert rules.classify("421 no", provider="msn").rule == "a"
    assert rules.classify("421 no", provider="aol").rule == ""
    assert rules.classify("421 no").rule == ""


def test_an_own_rule_goes_first_and_may_have_capitals() -> None:
    own = table({"id": "a", "reason": "slow", "any": ["s3150"]}).with_own(
        [Rule("own:x", "gone", (r"S31\d\d\D",))], "2"
    )
    assert own.classify("550 (S3150)").rule == "own:x"
    assert own.version == "2"


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 No such\tuser",
        "host full.example[192.0.2.1] said: 550 5.1.1 no such user (in reply to RCPT TO command)",
        "delivery temporarily suspended: host full[<ip>] refused to talk to me: 550 5.1.1 no such user",
        "550-5.1.1 no such 550 5.1.1 user",
        "550 5.1.1  No  Sùch user ",
    ],
)
def test_wrapping_repeated_codes_accents_and_case_do_not_matter(reply: str) -> None:
    heard = hear(reply)
    assert (heard.code, heard.enhanced) == ("550", "5.1.1")
    assert heard.text.removeprefix("550-").removeprefix("550 ").removeprefix("5.1.1 ") == "no such user"


def test_an_address_says_nothing() -> None:
    assert hear("550 <quota.full@spam.example>: no").text == "550 <@>: no"


@pytest.mark.parametrize(
    "text",
    ["connect to mx[192.0.2.25]:25: Connection refused", "192.0.2.1 is bad", "version 5.1.1.2 of 550x", ""],
)
def test_what_looks_like_a_code_is_none(text: str) -> None:
    heard = hear(text)
    assert (heard.code, heard.enhanced) == ("", "")


@pytest.mark.parametrize(
    "rule",
    [
        {"id": "a", "reason": "unheard-of"},
        {"id": "a", "reason": "slow", "any": ["("]},
        {"id": "a", "reason": "slow", "codes": ["600"]},
        {"id": "a", "reason": "slow", "enhanced": ["4.7"]},
        {"id": "a", "reason": "slow", "pattren": "x"},
        {"reason": "slow"},
        "slow",
    ],
)
def test_a_table_with_a_bad_rule_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(BadRule):
        table(rule)


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(BadRule, match="twice"):
        table({"id": "a", "reason": "slow"}, {"id": "a", "reason": "gone"})
