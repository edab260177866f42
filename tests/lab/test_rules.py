"""The providers' rules, as values: no fleet is needed."""

import pytest

from fleet.rehearsal.rules import CONNECT, MAIL, Greylist, Rule, RuleBook


def _book(*rules: Rule) -> RuleBook:
    book = RuleBook()
    for rule in rules:
        book.set(rule)
    return book


def test_without_rules_all_mail_is_taken() -> None:
    assert RuleBook().at_recipient("msn", "198.51.100.11", "a@hotmail.com") is None


def test_a_rule_for_a_source_leaves_the_others_alone() -> None:
    book = _book(Rule("throttle", provider="msn", source="198.51.100.11"))
    throttled = book.at_recipient("msn", "198.51.100.11", "a@hotmail.com")
    assert throttled is not None
    assert throttled.reply(source="198.51.100.11").startswith("421 4.7.0 ")
    assert book.at_recipient("msn", "198.51.100.12", "a@hotmail.com") is None
    assert book.at_recipient("gmail", "198.51.100.11", "a@gmail.com") is None


def test_the_most_specific_rule_decides() -> None:
    book = _book(
        Rule("block", provider="therest"),
        Rule("accept", provider="therest", domain="choir.example"),
        Rule("unknown", source="198.51.100.14"),
    )
    by_domain = book.at_recipient("therest", "198.51.100.14", "a@choir.example")
    by_source = book.at_recipient("therest", "198.51.100.14", "a@ramblers.example")
    by_provider = book.at_recipient("therest", "198.51.100.24", "a@ramblers.example")
    assert [rule and rule.action for rule in (by_domain, by_source, by_provider)] == [
        "accept",
        "unknown",
        "block",
    ]


def test_a_share_takes_always_the_same_recipients() -> None:
    book = _book(Rule("full", share=0.25))
    recipients = [f"{number}@choir.example" for number in range(2000)]
    full = [each for each in recipients if book.at_recipient("therest", "198.51.100.14", each)]
    assert 400 < len(full) < 600
    assert full == [each for each in recipients if book.at_recipient("therest", "198.51.100.14", each)]


@pytest.mark.parametrize(
    ("action", "stage"), [("throttle-connect", CONNECT), ("block-connect", CONNECT), ("block-mail", MAIL)]
)
def test_some_refuse_before_a_recipient_is_named(action: str, stage: str) -> None:
    book = _book(Rule(action, provider="msn"))
    rule = book.before_recipient(stage, "msn", "198.51.100.11")
    assert rule is not None
    assert rule.action == action
    assert book.at_recipient("msn", "198.51.100.11", "a@hotmail.com") is None


def test_an_exception_for_a_source_lets_it_connect() -> None:
    book = _book(
        Rule("block-connect", provider="msn"), Rule("accept", provider="msn", source="198.51.100.12")
    )
    assert book.before_recipient(CONNECT, "msn", "198.51.100.11") is not None
    assert book.before_recipient(CONNECT, "msn", "198.51.100.12") is None


def test_a_port_is_closed_for_one_provider() -> None:
    book = _book(Rule("closed", provider="aol"))
    assert book.closed("aol")
    assert not book.closed("msn")


def test_clearing_takes_the_rules_of_one_provider() -> None:
    book = _book(Rule("block", provider="msn"), Rule("full", provider="aol"))
    book.clear(provider="msn")
    assert [rule["action"] for rule in book.as_json()] == ["full"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "explode"},
        {"action": "full", "share": 0},
        {"action": "full", "share": 1.5},
        {"action": "block-connect", "domain": "hotmail.com"},
        {"action": "closed"},
        {"action": "closed", "provider": "msn", "source": "198.51.100.11"},
        {"action": "block", "text": "go away"},
        {"action": "block", "text": "250 welcome"},
    ],
)
def test_what_makes_no_sense_is_no_rule(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Rule(**wrong)  # type: ignore[arg-type]


def test_the_reply_names_source_recipient_and_wait() -> None:
    rule = Rule("greylist", text="450 4.2.0 {recipient} from {source}: wait {wait}", wait_s=90)
    assert rule.reply(source="198.51.100.11", recipient="a@b.example") == (
        "450 4.2.0 a@b.example from 198.51.100.11: wait 90"
    )


def test_the_greylist_remembers_the_triplet() -> None:
    greylist = Greylist()
    triplet = ("198.51.100.11", "list@lists.test", "a@choir.example")
    assert greylist.must_wait(*triplet, now=0, wait_s=60)
    assert greylist.must_wait(*triplet, now=59, wait_s=60)
    assert not greylist.must_wait(*triplet, now=60, wait_s=60)
    other_source = ("198.51.100.12", *triplet[1:])
    assert greylist.must_wait(*other_source, now=60, wait_s=60)
