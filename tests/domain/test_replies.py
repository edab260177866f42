"""Replies that say the same become one text; what tells refusals apart stays."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relays.domain.replies import MAX_TEXT, mask


@pytest.mark.parametrize(
    ("reply", "masked"),
    [
        (
            "host mx.hotmail.com[104.47.1.33] said: 421 4.7.0 [TSS04] Messages from 198.51.100.11 deferred",
            "host <mx>[<ip>] said: 421 4.7.0 [TSS04] Messages from <ip> deferred",
        ),
        (
            "421 4.7.1 : (RLY:B1) Too many connections, slow down. OFR004_104",
            "421 4.7.1 : (RLY:B1) Too many connections, slow down. OFR004_104",
        ),
        (
            "host mx.hotmail.com[104.47.1.33] said: 550 5.7.1 on our block list (S3140). See"
            " http://mail.live.com/mail/troubleshooting.aspx#errors. [AM7EUR06FT012.eop 2026-11-20T14:05Z]",
            "host <mx>[<ip>] said: 550 5.7.1 on our block list (S3140). See"
            " http://mail.live.com/mail/troubleshooting.aspx#errors. [<id>.eop <id>:<n>Z]",
        ),
        (
            "host gmail-smtp-in.l.google.com[2a00:1450:400c:c0c::1b] said: 421-4.7.28 unusual rate."
            " https://support.google.com/mail/?p=RateLimit 5b1f17b1804b1-477a9e1d5f4si1234567f8f.12 - gsmtp",
            "host <mx>[<ip>] said: 421-4.7.28 unusual rate."
            " https://support.google.com/mail/?p=RateLimit <id>.<n> - gsmtp",
        ),
        (
            "connect to mx.a.example[203.0.113.9]:25: Timed out",
            "connect to mx.a.example[<ip>]:<n>: Timed out",
        ),
        (
            "said: 450 4.2.0 <jo.doe+1@a.example>: Greylisted for 300 s, queue id 4jWKWh04b5z1T1",
            "said: 450 4.2.0 <address>: Greylisted for <n> s, queue id <id>",
        ),
        ("since Fri, 20 Nov 2026 14:05:01 +0000 (UTC)", "since <date> (UTC)"),
        ("since Nov 20 14:05:01 here", "since <date> here"),
        ("421 you sent 450 messages to us", "421 you sent <n> messages to us"),
        (
            "refused to talk to me: 554 5.7.1 RP-001 AUP#1260",
            "refused to talk to me: 554 5.7.1 RP-001 AUP#1260",
        ),
        ("554 cox 198.51.100.11 blocked AUP#In-1310", "554 cox <ip> blocked AUP#In-1310"),
        ("550 5.2.0 Mail rejected. ofr_506 [506]", "550 5.2.0 Mail rejected. ofr_506 [506]"),
        ("421 Service refused. LPN007_104 [104] [12345]", "421 Service refused. LPN007_104 [104] [<n>]"),
        ("550-SPF-check failed 550 see below", "550-SPF-check failed <n> see below"),
        ("550-Verification failed for <kim@a.example>", "550-Verification failed for <address>"),
        ("451-4jWKWh04b5z1T1 put off", "<id> put off"),
        ("550-Queued as-4jWKWh04b5z1T1", "550-Queued <id>"),
        ("https://spamhaus.example/query/ip/198.51.100.11", "https://spamhaus.example/query/ip/<ip>"),
        ("two  blanks\tand a tab\x07", "two blanks and a tab\\x07"),
        ("", ""),
    ],
)
def test_what_varies_is_masked_and_codes_stay(reply: str, masked: str) -> None:
    assert mask(reply) == masked


def test_replies_to_different_recipients_are_one_text() -> None:
    replies = {
        mask(f"host {server}{n}.example[203.0.113.{n}] said: 450 4.2.0 <u{n}@a.example>: Grey (id Zx{n:08}q)")
        for n in range(100)
        for server in ("hotmail-com.olc", "outlook-com.olc")
    }

    assert len(replies) == 1


def test_different_enhanced_codes_are_different_texts() -> None:
    assert mask("said: 421 4.7.0 later") != mask("said: 421 4.7.28 later")


@settings(deadline=None)
@given(st.text(max_size=600))
def test_any_text_becomes_short_and_printable(text: str) -> None:
    masked = mask(text)

    assert len(masked) <= MAX_TEXT
    assert masked.isprintable()


@settings(deadline=None)
@given(st.text(alphabet="a1.:@[]<>-/ 4", max_size=400))
def test_masking_what_is_masked_changes_no_marker(text: str) -> None:
    assert mask(text).count("<address>") <= text.count("@")
