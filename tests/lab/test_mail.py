"""Mail through the rehearsal fleet: its way, and how the providers' rules show in Postfix."""

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from fleet.rehearsal import Fleet, spec
from fleet.rehearsal.rules import ACTIONS

from .conftest import Wait

pytestmark = pytest.mark.lab

# action: provider, recipient domain, instance, what Postfix logs of the reply, and the status it gives.
_CASES = {
    "accept": ("therest", "choir.example", "therest-a", "250 2.0.0 Ok: queued as rh", "sent"),
    "throttle": ("therest", "cyclists.example", "therest-a", "said: 421 4.7.0 Too many messages", "deferred"),
    "greylist": ("therest", "ferrymen.example", "therest-a", "said: 451 4.7.1 Greylisted", "deferred"),
    "full": ("therest", "foodbank.example", "therest-a", "said: 452 4.2.2 The mailbox", "deferred"),
    "unknown": ("therest", "potters.example", "therest-a", "said: 550 5.1.1", "bounced"),
    "block": (
        "therest",
        "weavers.example",
        "therest-a",
        "said: 554 5.7.1 Mail from 198.51.100.14",
        "bounced",
    ),
    "slow": ("therest", "orchard.example", "therest-a", "250 2.0.0 Ok: queued as rh", "sent"),
    "throttle-connect": ("aol", "aol.com", "aol-a", "refused to talk to me: 421 4.7.0", "deferred"),
    "block-connect": ("yahoo", "yahoo.com", "yahoo-a", "refused to talk to me: 554 5.7.1", "deferred"),
    "block-mail": ("gmail", "gmail.com", "gmail-a", "(in reply to MAIL FROM command)", "bounced"),
    "closed": ("msn", "hotmail.com", "msn-b", "Connection refused", "deferred"),
}


@pytest.fixture(scope="module")
def answers(lab: Fleet, until: Wait) -> Iterator[dict[str, str]]:
    """For each action the log line of a message that met it: all at once, since each waits."""
    lab.provider.clear()
    for action, (provider, domain, _via, _reply, _status) in _CASES.items():
        # Before a recipient is named, a rule cannot ask for its domain.
        wanted = domain if ACTIONS[action].stage == "rcpt" else "*"
        lab.provider.set_rule(
            action, provider=provider, domain=wanted, wait_s=3600 if action == "greylist" else 1
        )
    # Another test's bulk mail may have gone to these domains before.
    before = {
        via: len(lab.instance(via).log()) for _provider, _domain, via, _reply, _status in _CASES.values()
    }
    for _provider, domain, via, _reply, _status in _CASES.values():
        lab.send(1, domain=domain, via=via)
    found: dict[str, str] = {}

    def all_answered() -> bool:
        for action, (_provider, domain, via, _reply, _status) in _CASES.items():
            lines = [
                line
                for line in lab.instance(via).log()[before[via] :].splitlines()
                if f"@{domain}>" in line and "status=" in line
            ]
            found.update({action: lines[-1]} if lines else {})
        return found.keys() == _CASES.keys()

    until(all_answered, "a log line for each action")
    lab.provider.clear()
    yield found


@pytest.mark.parametrize("action", _CASES)
def test_each_rule_shows_as_postfix_reports_it(answers: dict[str, str], action: str) -> None:
    _provider, _domain, _via, reply, status = _CASES[action]
    assert reply in answers[action]
    assert f"status={status} " in answers[action]


def test_every_action_is_tried() -> None:
    assert _CASES.keys() == ACTIONS.keys()


def test_a_slow_provider_costs_its_sender_time(answers: dict[str, str]) -> None:
    delay = re.search(r"delay=([0-9.]+)", answers["slow"])
    assert delay is not None
    assert float(delay[1]) >= 1


def test_mail_goes_from_the_origins_through_the_relays_under_each_ones_own_address(
    fleet: Fleet, until: Wait
) -> None:
    known = {accepted["message_id"] for accepted in fleet.provider.accepted()}
    fleet.traffic("burst", messages=120)
    new: list[dict[str, str]] = []

    def all_came() -> bool:
        new[:] = [each for each in fleet.provider.accepted() if each["message_id"] not in known]
        return len(new) == 120

    until(all_came, "120 messages at the providers")
    assert {each["message_id"].partition("@")[2] for each in new} == {"lists.test", "news.test"}
    instances = {
        instance.spec.address: instance for host in fleet.hosts.values() for instance in host.instances
    }
    for each in new:
        instance = instances[each["source"]]
        assert each["helo"] == instance.myhostname
        assert each["provider"] == instance.spec.provider
        assert each["provider"] == spec.provider_of(each["recipient"].partition("@")[2]).slug
    assert {each["provider"] for each in new} >= {"msn", "gmail", "therest"}


def test_what_providers_took_is_written_down_by_message_id(fleet: Fleet, until: Wait) -> None:
    sent = fleet.send(60, domain="outlook.com", via="msn-c")
    assert len(set(sent)) == 60

    def times_accepted() -> Counter[str]:
        return Counter(each["message_id"] for each in fleet.provider.accepted())

    until(lambda: times_accepted().keys() >= set(sent), "60 messages at msn")
    accepted = times_accepted()
    assert [accepted[message_id] for message_id in sent] == [1] * 60


def test_a_throttled_address_fills_its_queue_and_the_others_deliver(fleet: Fleet, until: Wait) -> None:
    before = fleet.instance("msn-a").counts()["deferred"]
    fleet.provider.set_rule("throttle", provider="msn", source="msn-a")
    fleet.send(25, domain="hotmail.com", via="msn-a")
    sent = fleet.send(5, domain="hotmail.com", via="msn-b")
    until(lambda: fleet.instance("msn-a").counts()["deferred"] == before + 25, "25 deferred messages")
    reasons = [
        message["recipients"][0]["delay_reason"]
        for message in fleet.instance("msn-a").postqueue()
        if message["queue_name"] == "deferred"
    ]
    assert sum("said: 421 4.7.0 Too many messages from 198.51.100.11" in reason for reason in reasons) >= 25
    until(lambda: {each["message_id"] for each in fleet.provider.accepted()} >= set(sent), "msn-b to deliver")
    counter = next(each for each in fleet.provider.counters() if each["source"] == "msn-a")
    assert counter["replies"]["421"] >= 25


def test_greylisted_mail_is_taken_at_a_later_try(fleet: Fleet, until: Wait) -> None:
    fleet.provider.set_rule("greylist", provider="therest", domain="gleaners.example", wait_s=2)
    [sent] = fleet.send(1, domain="gleaners.example", via="therest-b")
    until(lambda: "Greylisted" in fleet.instance("therest-b").log(), "the first try")

    def taken() -> bool:
        fleet.instance("therest-b").postfix("flush")
        return any(each["message_id"] == sent for each in fleet.provider.accepted())

    until(taken, "the later try")


@pytest.mark.parametrize(
    ("host", "instance", "stamp"),
    [
        ("rustin", "therest-a", r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"),
        ("cleveland", "yahoo-a", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"),
    ],
)
def test_logs_come_in_both_formats(
    answers: dict[str, str], fleet: Fleet, host: str, instance: str, stamp: str
) -> None:
    lines = fleet.instance(instance).log().splitlines()
    assert lines
    form = re.compile(rf"{stamp} {host} postfix-{instance}/[a-z-]+\[\d+\]: ")
    assert [line for line in lines if not form.match(line)] == []


def test_a_queue_is_fabricated_that_postfix_takes_for_its_own(fleet: Fleet, until: Wait) -> None:
    fleet.provider.set_rule("throttle", provider="msn", source="msn-b", domain="live.com")
    before = fleet.instance("msn-b").counts()["deferred"]
    made = fleet.fabricate(1500, domain="live.com", via="msn-b", oldest_s=7200)
    assert len(set(made)) == 1500
    # A reload runs postsuper, which renames every file whose name is not the one it should have.
    fleet.instance("msn-b").postfix("reload")
    queue = [
        each for each in fleet.instance("msn-b").postqueue() if "live.com" in each["recipients"][0]["address"]
    ]
    assert fleet.instance("msn-b").counts()["deferred"] == before + 1500
    ages = [each["arrival_time"] for each in queue]
    assert 7000 < max(ages) - min(ages) <= 7200
    assert {each["recipients"][0]["delay_reason"][:12] for each in queue} == {"host live-co"}
    fleet.provider.clear()
    fleet.instance("msn-b").postfix("flush")

    def accepted() -> Counter[str]:
        return Counter(each["message_id"] for each in fleet.provider.accepted())

    until(lambda: accepted().keys() >= set(made), "every fabricated message at msn", timeout_s=60)
    taken = accepted()
    assert {taken[message_id] for message_id in made} == {1}
    assert "renamed" not in fleet.instance("msn-b").log()
