"""Reasons of replies by the rules that hold."""

import pytest

from relays.models import ReasonRule
from relays.services.reasons import classify_cluster, rule_table, shipped_table

pytestmark = pytest.mark.django_db


def test_a_new_cluster_gets_its_reason_from_the_shipped_rules() -> None:
    verdict = classify_cluster(
        "host mx[<ip>] said: 552 5.2.2 Mailbox full (in reply to RCPT TO command)", "gmx"
    )
    assert (verdict.reason, verdict.hard) == ("mailbox-full", False)
    assert rule_table() is shipped_table()


def test_own_rules_go_first_in_order_and_change_the_version() -> None:
    ReasonRule.objects.create(slug="late", reason="policy", pattern="full", position=2)
    ReasonRule.objects.create(
        slug="early", reason="other", pattern="Mailbox", providers="gmx, aol", position=1
    )
    assert classify_cluster("552 Mailbox full", "gmx").rule == "own:early"
    assert classify_cluster("552 Mailbox full", "msn").rule == "own:late"
    assert rule_table().version != shipped_table().version
    ReasonRule.objects.update(enabled=False)
    assert classify_cluster("552 Mailbox full", "gmx").reason == "mailbox-full"


@pytest.mark.parametrize(
    "broken", [{"reason": "gone"}, {"reason": "policy", "pattern": "("}, {"reason": "policy", "codes": "9"}]
)
def test_a_rule_that_no_longer_works_is_passed_over(broken: dict[str, str]) -> None:
    ReasonRule.objects.create(slug="broken", **broken)
    assert classify_cluster("552 Mailbox full").reason == "mailbox-full"
