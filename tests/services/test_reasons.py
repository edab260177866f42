"""Reasons of replies by the rules that hold."""

import io
import json
import sys

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command

from relays.models import ReasonRule, ReplyCluster
from relays.services import reasons
from relays.services.reasons import (
    Reclassified,
    reclassify,
    rule_remove,
    rule_save,
    rule_table,
    shipped_table,
)
from tests.factories import host_make, instance_make, replies_make, reply_cluster_make

pytestmark = pytest.mark.django_db
FULL = "552 Mailbox full"


def reason_of(text: str, provider: str = "") -> str:
    return rule_table().classify(text, provider=provider).reason


def test_the_shipped_rules_hold_where_there_are_no_others() -> None:
    assert rule_table() is shipped_table()
    assert reason_of(FULL) == "mailbox-full"


def test_own_rules_go_first_in_order_and_change_the_version() -> None:
    ReasonRule.objects.create(slug="late", reason="policy", pattern="full", position=2)
    ReasonRule.objects.create(
        slug="early", reason="other", pattern="Mailbox", providers="gmx, aol", position=1
    )
    assert rule_table().classify(FULL, provider="gmx").rule == "own:early"
    assert rule_table().classify(FULL, provider="msn").rule == "own:late"
    assert rule_table().version != shipped_table().version
    ReasonRule.objects.update(enabled=False)
    assert rule_table() is shipped_table()


@pytest.mark.parametrize(
    "broken",
    [
        {"reason": "gone"},
        {"reason": "policy", "pattern": "("},
        {"reason": "policy", "pattern": "(a+)+b"},
        {"reason": "policy", "codes": "9"},
    ],
)
def test_a_rule_that_no_longer_works_is_passed_over(broken: dict[str, str]) -> None:
    ReasonRule.objects.create(slug="broken", **broken)
    assert reason_of(FULL) == "mailbox-full"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("pattern", "(", "no regular expression"),
        ("pattern", "(a+)+b", "very long"),
        ("pattern", ".*one.*two.*", "very long"),
        ("pattern", "x*", "every reply"),
        ("pattern", "", "every reply"),
        ("codes", "42", "no reply code"),
        ("enhanced", "4.7", "no enhanced code"),
        ("reason", "gone", "no such reason"),
        ("providers", "gmx", "no provider 'gmx'"),
        ("slug", "not a slug", "valid"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_beside_its_field(field: str, value: str, told: str) -> None:
    rule = ReasonRule(**({"slug": "new", "reason": "policy", "pattern": "full"} | {field: value}))
    with pytest.raises(ValidationError) as refused:
        rule_save(rule=rule)
    assert told in " ".join(refused.value.message_dict[field])
    assert not ReasonRule.objects.exists()


def test_saving_and_removing_a_rule_gives_clusters_the_reasons_that_hold_then() -> None:
    cluster = reply_cluster_make(FULL, reason="mailbox-full", rule="mailbox-full")
    other = reply_cluster_make("550 no such user", reason="invalid-recipient", hard=True)
    rule = ReasonRule(slug="mine", reason="policy", pattern="FULL", hard=True)
    assert rule_save(rule=rule) == Reclassified(changed=1, left=0)
    cluster.refresh_from_db()
    other.refresh_from_db()
    assert (cluster.reason, cluster.hard, cluster.rule) == ("policy", True, "own:mine")
    assert cluster.rules_version == other.rules_version == rule_table().version
    assert rule_remove(rule=rule) == Reclassified(changed=1, left=0)
    cluster.refresh_from_db()
    assert (cluster.reason, cluster.hard) == ("mailbox-full", False)


def test_a_provider_s_rule_holds_for_clusters_that_it_said_most() -> None:
    instance = instance_make(host_make(), "msn-a")
    cluster = reply_cluster_make(FULL)
    replies_make(instance, cluster, deferred=3)
    rule_save(rule=ReasonRule(slug="theirs", reason="policy", pattern="full", providers="msn"))
    assert ReplyCluster.objects.get().reason == "policy"


def test_many_clusters_are_judged_in_bounded_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "CLUSTERS_A_BATCH", 2)
    for number in range(7):
        reply_cluster_make(f"552 Mailbox full {number}")
    assert reclassify(at_most=4) == Reclassified(changed=4, left=3)
    assert reclassify(at_most=4) == Reclassified(changed=3, left=0)
    assert reclassify(at_most=4) == Reclassified(changed=0, left=0)


def classify(monkeypatch: pytest.MonkeyPatch, replies: bytes, *words: str) -> list[str]:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(replies)))
    out = io.StringIO()
    call_command("classify", *words, stdout=out)
    return out.getvalue().splitlines()


def test_the_command_answers_each_line_with_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = classify(
        monkeypatch,
        b"550 5.1.1 no such user\n\n"
        b"host mx[192.0.2.1] said: 452 4.2.2 Mailbox \xff full (in reply to RCPT TO command)\r\n"
        b"<address> wibble\x00\x0b\x1c",
        "--json",
    )
    assert [json.loads(line) for line in lines] == [
        {"reason": "invalid-recipient", "hard": True, "rule": "recipient-known"},
        {"reason": "other", "hard": False, "rule": ""},
        {"reason": "mailbox-full", "hard": False, "rule": "mailbox-full"},
        {"reason": "other", "hard": False, "rule": ""},
    ]


def test_the_command_follows_own_rules_and_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    ReasonRule.objects.create(slug="mine", reason="policy", pattern="full", providers="msn")
    assert "own:mine" in classify(monkeypatch, b"552 full\n", "--provider", "msn")[0]
    assert "own:mine" not in classify(monkeypatch, b"552 full\n")[0]


def test_the_command_shows_hostile_text_inert(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\\x1b[2J" in classify(monkeypatch, b"550 \x1b[2J no such user\n")[0]
