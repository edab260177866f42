"""Lines of several hosts put together: which are one message, and where it went on."""

from typing import Any

import pytest

from relays.domain.trace import (
    FoundLine,
    Lead,
    Place,
    journeys,
    leads,
    messages,
    of_no_message,
)

PLACES = {
    "198.51.100.11": Place("rustin", "msn-a"),
    "198.51.100.21": Place("cleveland", "msn-c"),
    "2001:db8::31": Place("leslie", "default"),
}
A, B, C = "4jWKWh04b5z1T1", "4jWKWj0Xs2z3Qq", "4jWKWk1fLmz9rr"
AT = 1_795_188_000


def line(
    host: str, queue_id: str, text: str, *, at: int = 0, program: str = "smtp", instance: str = "msn-a"
) -> FoundLine:
    whole = f"Nov 20 23:20:00 {host} postfix-{instance}/{program}[77]: {queue_id}: {text}"
    return FoundLine(host, AT + at, instance, queue_id, whole)


def accepted(
    host: str, queue_id: str, client: str, *, at: int = 0, instance: str = "msn-a"
) -> list[FoundLine]:
    told: dict[str, Any] = {"at": at, "instance": instance}
    return [
        line(host, queue_id, f"client=peer.example[{client}]", program="smtpd", **told),
        line(host, queue_id, "message-id=<m@lists.example>", program="cleanup", **told),
        line(
            host, queue_id, "from=<b@lists.example>, size=900, nrcpt=1 (queue active)", program="qmgr", **told
        ),
    ]


def sent(to: str, relay: str, reply: str, status: str = "sent") -> str:
    return f"to=<{to}>, relay={relay}, delay=1.2, delays=0/0/1/0, dsn=2.0.0, status={status} ({reply})"


def on_the_way() -> list[FoundLine]:
    """From an origin to msn-a, to msn-c, to leslie over IPv6, and to the provider."""
    return [
        *accepted("rustin", A, "192.0.2.31"),
        line("rustin", A, sent("a@x.example", "c[198.51.100.21]:25", f"250 2.0.0 Ok: queued as {B}"), at=1),
        line("rustin", A, "removed", at=1, program="qmgr"),
        *accepted("cleveland", B, "198.51.100.11", at=1, instance="msn-c"),
        line(
            "cleveland",
            B,
            sent("a@x.example", "l[2001:0DB8::31]:25", f"250 2.0.0 Ok: queued as {C}"),
            at=2,
            instance="msn-c",
        ),
        *accepted("leslie", C, "198.51.100.21", at=2, instance="default"),
        line(
            "leslie",
            C,
            sent("a@x.example", "mx[203.0.113.5]:25", f"250 Ok: queued as {A}"),
            at=3,
            instance="default",
        ),
    ]


def shape(found: list[FoundLine]) -> list[list[tuple[str, int, str]]]:
    return [
        [(hop.message.queue_id, hop.depth, hop.link) for hop in journey.hops]
        for journey in journeys(messages(found), PLACES)
    ]


def test_a_message_is_put_together_over_three_instances() -> None:
    found = on_the_way()
    assert shape(found) == [[(A, 0, ""), (B, 1, "queued as"), (C, 2, "queued as")]]
    assert shape(found[::-1]) == shape(found)
    first = messages(found)[0]
    assert (first.client, first.client_address) == ("peer.example", "192.0.2.31")
    assert (first.message_id, first.sender) == ("m@lists.example", "b@lists.example")
    assert (first.size, first.recipients, first.removed) == (900, 1, True)
    delivery = first.deliveries[0]
    assert (delivery.recipient, delivery.goes_to, delivery.dsn) == ("a@x.example", "198.51.100.21", "2.0.0")
    assert (delivery.delay, delivery.queued_as) == ("1.2", B)


def test_what_a_provider_calls_the_message_leads_nowhere() -> None:
    """The provider's own id may be one of ours by chance, or by malice."""
    found = messages(on_the_way())
    assert {lead.queue_id for lead in leads(found, PLACES, upstream=False)} == {B, C}


def test_upstream_the_host_of_the_client_is_asked_who_handed_it_over() -> None:
    (lead,) = leads(
        messages(accepted("cleveland", B, "198.51.100.11", instance="msn-c")), PLACES, upstream=True
    )
    assert lead == Lead("rustin", text=f"queued as {B}", since=AT - 60, until=AT + 1_800)


def test_where_no_reply_tells_the_next_id_message_id_and_recipient_do() -> None:
    found = [each._replace(text=each.text.replace("queued as", "taken as")) for each in on_the_way()]
    assert shape(found) == [[(A, 0, ""), (B, 1, "message id"), (C, 2, "message id")]]
    # A list server sends one message id to thousands: another recipient is another message.
    other = [each._replace(text=each.text.replace("a@x.example", f"{each.host}@x.example")) for each in found]
    assert sorted(shape(other)) == [[(A, 0, "")], [(B, 0, "")], [(C, 0, "")]]


def test_a_short_id_is_of_a_new_message_once_the_old_one_is_removed() -> None:
    found = [
        *accepted("rustin", "8BE8F5E79", "192.0.2.31"),
        line("rustin", "8BE8F5E79", "removed", program="qmgr"),
        *accepted("rustin", "8BE8F5E79", "192.0.2.32", at=900),
    ]
    assert [message.client_address for message in messages(found)] == ["192.0.2.31", "192.0.2.32"]


def test_what_was_sent_back_stands_under_what_it_was_sent_back_for() -> None:
    found = [
        *accepted("rustin", A, "192.0.2.31"),
        line("rustin", A, sent("a@x.example", "mx[203.0.113.5]:25", "550 no", "bounced"), at=1),
        line("rustin", A, f"sender non-delivery notification: {B}", at=1, program="bounce"),
        line("rustin", B, "from=<>, size=900, nrcpt=1 (queue active)", at=1, program="qmgr"),
    ]
    assert shape(found) == [[(A, 0, ""), (B, 1, "notice")]]
    assert [lead.queue_id for lead in leads(messages(found), PLACES, upstream=False)] == [B]


def test_a_ring_of_redirects_ends() -> None:
    found = [
        *accepted("rustin", A, "198.51.100.21"),
        line("rustin", A, sent("a@x.example", "c[198.51.100.21]:25", f"250 Ok: queued as {B}"), at=1),
        *accepted("cleveland", B, "198.51.100.11", at=1, instance="msn-c"),
        line(
            "cleveland",
            B,
            sent("a@x.example", "r[198.51.100.11]:25", f"250 Ok: queued as {A}"),
            at=2,
            instance="msn-c",
        ),
    ]
    assert shape(found) == [[(A, 0, ""), (B, 1, "queued as")]]


def test_a_filter_on_the_host_gives_a_message_back_under_another_id() -> None:
    found = [
        line("rustin", A, sent("a@x.example", "127.0.0.1[127.0.0.1]:10024", f"250 Ok: queued as {B}")),
        line("rustin", B, "client=localhost[127.0.0.1], orig_queue_id=" + A, at=1, program="smtpd"),
    ]
    assert shape(found) == [[(A, 0, ""), (B, 1, "queued as")]]
    assert {lead.queue_id for lead in leads(messages(found), PLACES, upstream=True)} == {A, B}


def test_an_expired_message_is_known_as_one() -> None:
    found = [line("rustin", A, "from=<b@lists.example>, status=expired, returned to sender", program="qmgr")]
    assert [message.expired for message in messages(found)] == [True]


def test_lines_of_no_message_are_kept_apart() -> None:
    refused = line("rustin", "NOQUEUE", "reject: RCPT from x[192.0.2.9]: 554 5.7.1 no; to=<a@x.example>")
    found = [refused, *on_the_way()]
    assert of_no_message(found) == [refused]
    assert len(messages(found)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no line of anybody's",
        "Nov 20 23:20:00 rustin postfix-msn-a/smtp[77]: ",
        "Nov 20 23:20:00 rustin postfix-msn-a/smtp[77]: 4jWKWh04b5z1T1: to=<a@x.example>, relay=",
        "Nov 20 23:20:00 rustin postfix-msn-a/qmgr[77]: 4jWKWh04b5z1T1: from=<>, size=" + "9" * 3_000,
        "Nov 20 23:20:00 rustin postfix-msn-a/smtp[77]: 4jWKWh04b5z1T1: "
        + sent('"<script>\\u202e=HYPERLINK("@x', "[::ffff:198.51.100.21]:x", "queued as " + "a" * 3_000),
    ],
)
def test_a_hostile_line_is_a_line_of_its_message(text: str) -> None:
    found = [FoundLine("rustin", AT, "msn-a", A, text)]
    assert [message.lines for message in messages(found)] == [found]
    assert len(journeys(messages(found), PLACES)) == 1
