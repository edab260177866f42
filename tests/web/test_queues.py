"""The queue page, the message page, and what each of them gives whom."""

import csv
import io
import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from relays.domain.written import Body
from relays.models import AuditEvent, Host, Instance, Operation, PendingDeletion, QueueRead
from relays.models.message import DeletionState, ReadState
from relays.remote import write
from relays.remote.errors import Refused
from tests.factories import (
    deletion_make,
    fleet_make,
    host_make,
    instance_make,
    operation_make,
    provider_make,
    queue_read_make,
    queued_message,
)
from tests.people import browser_of

pytestmark = pytest.mark.django_db

FULL = "host <mx>[<ip>] said: 452 4.2.2 The mailbox of <address> is full"
BUSY = "host <mx>[<ip>] said: 421 4.7.0 Too many messages from <ip> in a short time, try again later"
HOSTILE = '<script>alert(1)</script>=HYPERLINK("x")\u202e\x1b[31m\x00' + "x" * 10_000


@pytest.fixture
def msn_a() -> Instance:
    return instance_make(host_make("rustin"), "msn-a", 412)


def page(browser: Client, **query: Any) -> str:
    answer = browser.get("/queues/", query)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def tag_of(text: str) -> str:
    return text.split('"tag": "', 1)[1].split('"', 1)[0].replace("&quot;", "")


def test_a_queue_that_was_not_read_yet_is_asked_for_and_polled(viewer: Client, msn_a: Instance) -> None:
    text = page(viewer, instance=msn_a.pk)
    read = QueueRead.objects.get()
    assert (read.what, read.words, read.state) == ("groups", "", ReadState.WAITING)
    assert "reading msn-a, about 415 messages" in text
    assert 'hx-trigger="load delay:300ms, every 1s, wake"' in text
    again = viewer.get(f"/queues/?instance={msn_a.pk}&tag={tag_of(text)}", headers={"HX-Request": "true"})
    assert again.status_code == 204


def test_a_long_reading_shows_how_far_it_is(viewer: Client, msn_a: Instance) -> None:
    page(viewer, instance=msn_a.pk)
    read = QueueRead.objects.get()
    QueueRead.objects.update(state=ReadState.READING, begun_at=timezone.now(), seen=83)
    text = page(viewer, instance=msn_a.pk)
    assert "reading msn-a, 83 of about 415 messages, for" in text
    assert '<progress class="progress mb-3" max="100" value="20"' in text
    assert text.count(f'"tag": "{tag_of(text)}"') == 1
    QueueRead.objects.update(seen=166)
    moved = viewer.get(
        f"/queues/?instance={msn_a.pk}&tag={tag_of(text)}", headers={"HX-Request": "true"}
    ).content.decode()
    assert 'value="40"' in moved
    page(viewer, instance=msn_a.pk, reason="mailbox-full")
    QueueRead.objects.exclude(pk=read.pk).update(state=ReadState.READING, begun_at=timezone.now(), seen=415)
    text = page(viewer, instance=msn_a.pk, reason="mailbox-full")
    assert "415 of about 830 messages, which are read twice for a reason, for" in text


def test_what_was_read_is_shown_by_domain_with_links_to_the_rest(viewer: Client, msn_a: Instance) -> None:
    queue_read_make(msn_a, domains=[("hotmail.com", 400), ("live.com", 12)])
    text = page(viewer, instance=msn_a.pk)
    assert "every 1s" not in text
    assert f"?instance={msn_a.pk}&amp;domain=hotmail.com&amp;by=reply" in text
    assert "heat-3" in text
    assert "as of" in text


def test_replies_have_their_reasons_and_reasons_their_sums(viewer: Client, msn_a: Instance) -> None:
    queue_read_make(msn_a, domains=[("hotmail.com", 412)], replies=[(BUSY, 400), (FULL, 12)])
    assert "mailbox" in page(viewer, instance=msn_a.pk, by="reply")
    text = page(viewer, instance=msn_a.pk, by="reason")
    assert f"?instance={msn_a.pk}&amp;reason=mailbox-full&amp;by=domain" in text
    assert f"?instance={msn_a.pk}&amp;reason=rate-limited&amp;by=domain" in text


def test_every_grouping_is_a_page(viewer: Client, msn_a: Instance) -> None:
    queue_read_make(msn_a, domains=[("hotmail.com", 9)], replies=[(FULL, 9)], senders=[("a@b.example", 9)])
    for by in ("domain", "reason", "reply", "sender_domain", "sender", "age", "queue", "nonsense"):
        assert "<td" in page(viewer, instance=msn_a.pk, by=by)


def test_a_provider_s_queues_are_summed(viewer: Client) -> None:
    made = fleet_make()
    for name in ("msn-a", "msn-b", "msn-c"):
        queue_read_make(made[name], domains=[("hotmail.com", 100)])
    text = page(viewer, provider="msn")
    assert "<dd>300</dd>" in text
    assert QueueRead.objects.count() == 3
    assert page(viewer).count('<th scope="row"><a href="/queues/?instance=') == len(made)


def test_a_host_that_did_not_answer_is_named(viewer: Client, msn_a: Instance) -> None:
    queue_read_make(
        msn_a, domains=[("hotmail.com", 4)], state="failed", error="rustin: no answer within 10 s"
    )
    text = page(viewer, instance=msn_a.pk)
    assert "rustin: no answer within 10 s" in text
    assert "hotmail.com" in text


def never_read(instance: Instance, **words: Any) -> None:
    """Have a reading fail that had no answer before it."""
    read = queue_read_make(instance, state="failed", error="rustin: no answer within 10 s", **words)
    QueueRead.objects.filter(pk=read.pk).update(body="", read_at=None)


@pytest.mark.parametrize("show", ["", "messages"])
def test_a_reading_that_failed_is_not_an_empty_queue(viewer: Client, msn_a: Instance, show: str) -> None:
    never_read(msn_a)
    never_read(msn_a, messages=[])
    text = page(viewer, instance=msn_a.pk, show=show)
    assert "Not known: the reading failed." in text
    assert "No message is there." not in text and "There are none." not in text
    assert "Could not be read, so not known: msn-a." in text
    assert "as of" not in text


def test_a_program_is_told_that_the_reading_failed(viewer: Client, msn_a: Instance) -> None:
    never_read(msn_a)
    answer = viewer.get(f"/queues/?instance={msn_a.pk}&format=json")
    assert (answer.status_code, answer.json()["error"]) == (503, "rustin: no answer within 10 s")


def test_an_empty_queue_that_was_read_is_one(viewer: Client, msn_a: Instance) -> None:
    queue_read_make(msn_a)
    queue_read_make(msn_a, messages=[])
    assert "No message is there." in page(viewer, instance=msn_a.pk)
    assert "There are none." in page(viewer, instance=msn_a.pk, show="messages")


def test_figures_of_before_a_reading_failed_are_called_so(viewer: Client) -> None:
    made = fleet_make()
    queue_read_make(made["msn-a"], domains=[("hotmail.com", 4)], state="failed", error="no answer")
    queue_read_make(made["msn-b"], domains=[("hotmail.com", 3)])
    never_read(made["msn-c"])
    head = page(viewer, provider="msn").partition("<h1>")[2].partition("<form")[0]
    assert 'as of <time class="asof stale"' in head
    assert "Could not be read, so not known: msn-c." in head
    assert "Could not be read anew, so shown as last known: msn-a." in head
    assert "msn-b" not in head
    QueueRead.objects.update(state="done")
    head = page(viewer, provider="msn").partition("<h1>")[2].partition("<form")[0]
    assert "stale" not in head and "Could not" not in head


def test_without_instances_the_page_leads_to_the_hosts(viewer: Client) -> None:
    provider_make("gmail")
    for query in ({}, {"provider": "gmail"}):
        text = page(viewer, **query)
        assert 'see <a href="/hosts/">hosts</a>' in text
        assert "No message is there." not in text and "queue-filter" not in text


@pytest.mark.parametrize(
    "query", [{"older": "soon"}, {"reply": "x"}, {"id": "ALL;"}, {"queue": "corrupt"}, {"reason": "<b>"}]
)
def test_a_filter_that_cannot_be_meant_is_told(
    viewer: Client, msn_a: Instance, query: dict[str, str]
) -> None:
    answer = viewer.get("/queues/", {"instance": str(msn_a.pk), **query})
    assert answer.status_code == 400
    assert 'role="alert"' in answer.content.decode()
    assert not QueueRead.objects.exists()


@pytest.mark.parametrize(
    "query", [{"instance": "x"}, {"instance": "9" * 30}, {"instance": "7"}, {"provider": "\0"}]
)
def test_whose_queue_is_not_there_is_not_found(viewer: Client, query: dict[str, str]) -> None:
    assert viewer.get("/queues/", query).status_code == 404


def test_a_viewer_sees_domains_only(viewer: Client, operator: Client, msn_a: Instance) -> None:
    message = queued_message()
    queue_read_make(
        msn_a,
        senders=[("bob.private@lists.example", 3), ("eve.private@lists.example", 2)],
        domains=[("hotmail.com", 5)],
    )
    queue_read_make(msn_a, messages=[message])
    queue_read_make(msn_a, messages=[message], id=message["queue_id"])
    pages: list[dict[str, Any]] = [
        {"instance": msn_a.pk, "by": "sender"},
        {"instance": msn_a.pk, "by": "sender", "format": "json"},
        {"instance": msn_a.pk, "show": "messages"},
        {"instance": msn_a.pk, "show": "messages", "format": "csv"},
    ]
    for query in pages:
        asked = viewer.get("/queues/", query)
        body = b"".join(asked) if asked.streaming else asked.content
        assert b"private" not in body
        assert b"x@y.example" not in body
        shown = operator.get("/queues/", query)
        assert b"private" in (b"".join(shown) if shown.streaming else shown.content)
    address = f"/instances/{msn_a.pk}/messages/{message['queue_id']}/"
    assert b"private" not in viewer.get(address).content
    assert b"private" in operator.get(address).content


def test_a_viewer_may_not_look_for_one_person(viewer: Client, msn_a: Instance) -> None:
    for query in ("recipient=a@b.example", "sender=a@b.example", "text=anna"):
        assert viewer.get(f"/queues/?instance={msn_a.pk}&{query}").status_code == 400


def test_hostile_text_is_inert_wherever_it_is_shown(operator: Client, msn_a: Instance) -> None:
    message = queued_message(sender=HOSTILE, recipients=[[HOSTILE, HOSTILE]])
    queue_read_make(msn_a, replies=[(HOSTILE, 3)], senders=[(HOSTILE, 3)], domains=[(HOSTILE, 3)])
    queue_read_make(msn_a, messages=[message])
    queue_read_make(msn_a, messages=[message], id=message["queue_id"])
    addresses = [
        f"/instances/{msn_a.pk}/messages/{message['queue_id']}/",
        f"/queues/?instance={msn_a.pk}&show=messages",
        *(f"/queues/?instance={msn_a.pk}&by={by}" for by in ("domain", "reply", "reason", "sender")),
    ]
    for address in addresses:
        text = operator.get(address).content.decode()
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert "\0" not in text
    sent = operator.get(f"/queues/?instance={msn_a.pk}&show=messages&format=csv")
    (row,) = list(csv.DictReader(io.StringIO(b"".join(sent).decode())))
    assert all(not value.startswith(("=", "+", "-", "@")) for value in row.values())
    assert all(value.isprintable() for value in row.values())


def test_a_program_is_told_to_ask_again_until_it_is_read(viewer: Client, msn_a: Instance) -> None:
    answer = viewer.get(f"/queues/?instance={msn_a.pk}&format=json")
    assert (answer.status_code, answer.json()) == (202, {"state": "reading"})
    QueueRead.objects.all().delete()
    queue_read_make(msn_a, domains=[("hotmail.com", 400)])
    (row,) = viewer.get(f"/queues/?instance={msn_a.pk}&format=json").json()["rows"]
    assert (row["domain"], row["messages"]) == ("hotmail.com", 400)


def test_messages_are_paged_by_the_host_s_cursor(operator: Client, msn_a: Instance) -> None:
    queue_read_make(msn_a, domains=[("hotmail.com", 2)])
    queue_read_make(msn_a, messages=[queued_message()], cursor="1795188249-4jWKWh04b5z1T1")
    text = page(operator, instance=msn_a.pk, show="messages")
    assert "cursor=1795188249-4jWKWh04b5z1T1" in text
    assert f"/instances/{msn_a.pk}/messages/4jWKWh04b5z1T1/" in text
    page(operator, instance=msn_a.pk, show="messages", cursor="1795188249-4jWKWh04b5z1T1")
    assert QueueRead.objects.filter(words__contains="cursor").count() == 1


def test_actions_carry_the_filter_and_are_for_operators(
    viewer: Client, operator: Client, msn_a: Instance
) -> None:
    queue_read_make(msn_a, domains=[("hotmail.com", 2)], domain="hotmail.com")
    text = page(operator, instance=msn_a.pk, domain="hotmail.com")
    for verb in ("hold", "release", "retry", "requeue", "expire", "delete"):
        assert f"/instances/{msn_a.pk}/plan/message.{verb}/" in text
    assert "message.purge" not in text
    assert '<input type="hidden" name="domain" value="hotmail.com">' in text
    assert "/plan/" not in page(viewer, instance=msn_a.pk, domain="hotmail.com")


def test_a_plan_that_is_refused_leads_back_to_the_filter(
    operator: Client, msn_a: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Refused("relayctl refused (refused): message.delete is switched off in this host's limits")

    monkeypatch.setattr("relays.remote.relayctl.queue_pick", refuse)
    answer = operator.post(
        f"/instances/{msn_a.pk}/plan/message.delete/", {"domain": "hotmail.com", "grace": "24h"}, follow=True
    )
    assert answer.redirect_chain[0][0] == f"/queues/?instance={msn_a.pk}&domain=hotmail.com"
    assert escape("switched off in this host's limits") in answer.content.decode()
    assert not Operation.objects.exists()


def test_what_waits_to_be_deleted_is_shown_and_undone(operator: Client, msn_a: Instance) -> None:
    pending = deletion_make(msn_a)
    text = page(operator, instance=msn_a.pk)
    assert "<b>12 messages</b> of msn-a are deleted at" in text
    assert page(operator).count("are deleted at") == 1
    provider_make("gmail")
    assert "are deleted at" not in page(operator, provider="gmail")
    operator.post(f"/deletions/{pending.pk}/undo/")
    pending.refresh_from_db()
    assert pending.state != DeletionState.WAITING
    assert pending.undone_by == "anna"
    assert "too late" in operator.post(f"/deletions/{pending.pk}/undo/", follow=True).content.decode()


@pytest.mark.parametrize(
    ("state", "again"),
    [("failed_safe", "It is begun again at"), ("aborted", "It is not begun again by itself.")],
)
def test_a_deletion_that_did_not_get_to_its_end_is_shown_until_its_mail_is_released(
    operator: Client, msn_a: Instance, state: str, again: str
) -> None:
    pending = deletion_make(msn_a)
    last = operation_make(msn_a)
    Operation.objects.filter(pk=last.pk).update(state=state, ended_at=timezone.now())
    PendingDeletion.objects.update(state=DeletionState.BEGUN, follow_up=last)
    text = page(operator, instance=msn_a.pk)
    assert "were to be deleted, and some may still be on hold" in text
    assert again in text
    operator.post(f"/deletions/{pending.pk}/undo/")
    assert "were to be deleted" not in page(operator, instance=msn_a.pk)


def test_a_viewer_undoes_nothing(viewer: Client, msn_a: Instance) -> None:
    pending = deletion_make(msn_a)
    assert viewer.post(f"/deletions/{pending.pk}/undo/").status_code == 403
    assert PendingDeletion.objects.get().state == DeletionState.WAITING
    assert AuditEvent.objects.filter(phase="denied").count() == 1


def test_a_message_that_left_the_queue_is_told(viewer: Client, msn_a: Instance) -> None:
    queue_read_make(msn_a, messages=[], id="4jWKWh04b5z1T1")
    text = viewer.get(f"/instances/{msn_a.pk}/messages/4jWKWh04b5z1T1/").content.decode()
    assert "is not in the queue any more" in text
    assert viewer.get(f"/instances/{msn_a.pk}/messages/ALL/").status_code == 404


def test_headers_are_decoded_inert_and_audited(
    operator: Client, msn_a: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relays.domain.written import Headers  # noqa: PLC0415

    lines = (
        "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_=1B[31m<script>?=",
        " folded",
        "X-Bad: =?nonsense?q?=ff?=",
        "no header at all",
        "",
    )
    monkeypatch.setattr(write, "message_headers", lambda *_, **__: Headers("4jWKWh04b5z1T1", lines, cut=True))
    queue_read_make(msn_a, messages=[queued_message()], id="4jWKWh04b5z1T1")
    answer = operator.post(f"/instances/{msn_a.pk}/messages/4jWKWh04b5z1T1/headers/")
    text = answer.content.decode()
    assert "Grüße \\x1b[31m&lt;script&gt; folded" in text
    assert "no header at all" in text
    event = AuditEvent.objects.get(action="message.headers")
    assert (event.phase, event.actor_name) == ("noted", "anna")


@pytest.fixture
def asked_for_body(msn_a: Instance, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages whose bodies the host was asked for; it answers with a hostile one."""
    asked: list[str] = []

    def answer(_target: object, *, queue_id: str, **_: object) -> Body:
        asked.append(queue_id)
        return Body(
            queue_id, ("<script>alert(1)</script>\r", "\t\u202e\x1b[31m\x00", "=3Cimg src=3Dx=3E"), cut=True
        )

    monkeypatch.setattr(write, "message_body", answer)
    queue_read_make(msn_a, messages=[queued_message()], id="4jWKWh04b5z1T1")
    return asked


def body_address(instance: Instance) -> str:
    return f"/instances/{instance.pk}/messages/4jWKWh04b5z1T1/body/"


def test_no_body_is_read_that_no_administrator_has_allowed(
    operator: Client, msn_a: Instance, asked_for_body: list[str]
) -> None:
    seen = operator.get(f"/instances/{msn_a.pk}/messages/4jWKWh04b5z1T1/").content.decode()
    assert "no administrator has allowed that for rustin" in seen
    assert operator.post(body_address(msn_a)).status_code == 403
    assert asked_for_body == []
    event = AuditEvent.objects.filter(action="message.body").get()
    assert (event.phase, json.loads(event.details)["queue_id"]) == ("denied", "4jWKWh04b5z1T1")


def test_a_body_that_is_allowed_is_shown_inert_and_written_down(
    operator: Client, msn_a: Instance, asked_for_body: list[str]
) -> None:
    assert browser_of("otto", "operator").post("/hosts/rustin/bodies/", {"on": "1"}).status_code == 403
    administrator = browser_of("ada", "administrator")
    assert administrator.post("/hosts/rustin/bodies/", {"on": "1"}).status_code == 302
    change = AuditEvent.objects.get(action="host.bodies")
    assert json.loads(change.details)["after"]["bodies_allowed"] is True
    assert "Read its body" in operator.get(f"/instances/{msn_a.pk}/messages/4jWKWh04b5z1T1/").content.decode()
    text = operator.post(body_address(msn_a)).content.decode()
    shown = text.split("<pre", 1)[1].split("</pre>", 1)[0].partition(">")[2]
    assert shown == (
        "&lt;script&gt;alert(1)&lt;/script&gt;\n        \\u202e\\x1b[31m\\x00\n=3Cimg src=3Dx=3E\n"
    )
    assert "There is more: the first 256 KiB are shown." in text
    assert asked_for_body == ["4jWKWh04b5z1T1"]
    event = AuditEvent.objects.get(action="message.body")
    assert (event.phase, event.actor_name, event.instance) == ("noted", "anna", "msn-a")

    administrator.post("/hosts/rustin/bodies/", {"on": "0"})
    assert operator.post(body_address(msn_a)).status_code == 403


def test_what_root_has_not_allowed_is_told(
    operator: Client, msn_a: Instance, asked_for_body: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Host.objects.update(bodies_allowed=True)

    def refuse(*_: object, **__: object) -> None:
        raise Refused("relayctl refused (refused): message.body is switched off in this host's limits")

    monkeypatch.setattr(write, "message_body", refuse)
    text = operator.post(body_address(msn_a)).content.decode()
    assert "Its body could not be read: relayctl refused" in text
    assert "<pre" not in text


def test_a_body_is_read_only_by_who_proved_who_it_is_of_late(
    operator: Client, msn_a: Instance, asked_for_body: list[str]
) -> None:
    Host.objects.update(bodies_allowed=True)
    session = operator.session
    session["authenticated_at"] = 0
    session.save()
    answer = operator.post(body_address(msn_a))
    assert answer["Location"].startswith("/reauthenticate/?next=")
    assert asked_for_body == []


def test_a_viewer_reads_no_headers(msn_a: Instance) -> None:
    vera = browser_of("vera", "viewer")
    assert vera.post(f"/instances/{msn_a.pk}/messages/4jWKWh04b5z1T1/headers/").status_code == 403
