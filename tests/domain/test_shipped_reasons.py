"""The shipped rule table: what servers really answer, and what hostile ones might."""

import json
import re
import time
from pathlib import Path

import pytest

from relays.domain.expressions import MAX_WAYS, needed_words, ways
from relays.domain.reasons import MAX_REPLY, RuleTable, hear
from relays.domain.replies import mask

SAMPLES = Path(__file__).parents[1] / "samples" / "replies.jsonl"
ROWS = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
TABLE = RuleTable.from_json(
    json.loads((Path(__file__).parents[2] / "relays" / "data" / "reasons.json").read_text())
)
# What the fleet's issue names, one for one.
REASONS = """
    rate-limited reputation-block blocklisted spam-content auth-failure sender-dns invalid-sender
    invalid-recipient inactive-mailbox mailbox-full recipient-refused bad-domain dns-failure
    connection-failure tls-failure greylisted too-large policy virus relay-denied protocol-error
    remote-system-error loop-or-expired other
"""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["reply"][:60])
def test_a_reply_has_the_reason_that_an_operator_would_give_it(row: dict[str, str]) -> None:
    assert TABLE.classify(row["reply"]).reason in [row["reason"], *row.get("also", [])]


def test_masking_a_reply_seldom_changes_its_reason() -> None:
    other = [
        row["reply"]
        for row in ROWS
        if TABLE.classify(row["reply"]).reason != TABLE.classify(mask(row["reply"])).reason
    ]
    assert len(other) <= len(ROWS) // 50, other


def test_every_reason_is_there_and_some_sample_has_it() -> None:
    assert set(TABLE.reasons) == set(REASONS.split())
    assert {row["reason"] for row in ROWS} == set(TABLE.reasons) - {"other"}


def test_every_expression_is_lower_case_bounded_and_tells_words_to_look_for() -> None:
    for text in (text for rule in TABLE.rules for text in rule.texts):
        assert ways(text, MAX_REPLY) <= MAX_WAYS, text
        assert needed_words(text), text
        assert re.sub(r"\\.", "", text).islower() or not re.search("[a-z]", text), text


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10_000,
        "mailbox " * 1250,
        "user recipient mailbox account address " * 250,
        "your ip address exceeded the message size limit " * 200,
        "<a@b> " * 1600,
        "@" * 10_000,
        "host " + "x" * 10_000,
        "550-5.1.1 " * 1000,
        "é" * 10_000,
        "\u202e\x00\ud800" * 3000,
        "too many too many too many ip blocked rejected by your isp " * 160,
    ],
    ids=lambda text: text[:20].encode("ascii", "backslashreplace").decode(),
)
def test_a_hostile_reply_takes_no_time(text: str) -> None:
    start = time.process_time()
    for _ in range(10):
        TABLE.classify(text)
    assert (time.process_time() - start) / 10 < 0.1
    assert len(hear(text).text) <= 3 * MAX_REPLY


def test_advice_is_the_rule_s_own_where_it_has_one() -> None:
    blocked = TABLE.classify("550 5.7.1 part of their network is on our block list (S3140)")
    assert "sender.office.com" in TABLE.advice(blocked)
    unknown = TABLE.classify("551 wibble wobble")
    assert TABLE.advice(unknown) == TABLE.reasons[unknown.reason].advice


def test_one_enhanced_code_has_many_reasons() -> None:
    assert len({row["reason"] for row in ROWS if hear(row["reply"]).enhanced == "5.7.1"}) >= 10
