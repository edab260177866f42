"""The pages of a flush: what goes where, how far it is, its receipt; and who may see what of it."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from relays.domain.flush import At, There
from relays.models import (
    AuditEvent,
    Flush,
    FlushRecipient,
    Instance,
    InstanceRedirect,
    Operation,
    QueueSnapshot,
)
from relays.models.flush import FlushState
from relays.services import flush_rows
from tests.factories import fleet_make, operation_make, queue_read_make, snapshot_make
from tests.people import user_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet() -> dict[str, Instance]:
    return fleet_make()


def flush_make(fleet: dict[str, Instance], state: str = FlushState.ENDED, **fields: Any) -> Flush:
    """Return a flush of three recipients, one moved and delivered, one moved and queued, one that waits."""
    operation = operation_make(fleet["msn-a"])
    live = state != FlushState.ENDED
    Operation.objects.filter(pk=operation.pk).update(
        kind="flush", params={"target": fleet["msn-b"].pk, "domains": ["hotmail.com"]},
        state="running" if live else "done",
    )  # fmt: skip
    flush = Flush.objects.create(
        operation=operation, source=fleet["msn-a"], target=fleet["msn-b"], source_name="msn-a",
        target_name="msn-b", domains=["hotmail.com"], state=state, looked_at=timezone.now(), **fields,
    )  # fmt: skip
    for number, (at, there) in enumerate(
        ((At.MOVED, There.SENT), (At.MOVED, There.QUEUED), (At.WAITING, There.NONE)), 1
    ):
        FlushRecipient.objects.create(
            flush=flush, queue_id=f"A{number}", recipient=f"=anna{number}@hotmail.com", selected=True, at=at,
            there=there, next_id="" if at == At.WAITING else f"B{number}", last_reply="421 <b>later</b>",
        )  # fmt: skip
    flush.account = flush_rows.account(flush).as_json()
    flush.save()
    return flush


def text_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def test_the_choice_ticks_all_that_waits_and_the_best_target(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    snapshot_make(fleet["msn-a"], [("hotmail.com", [400] + [0] * 9), ("live.com", [12] + [0] * 9)], [])
    source, best = fleet["msn-a"], fleet["msn-c"]
    page = text_of(operator, f"/instances/{source.pk}/flush/")
    assert f'value="{best.pk}" required checked' in page
    assert 'name="domain" value="hotmail.com" checked' in page
    assert 'name="domain" value="live.com" checked' in page
    assert "it is blocked itself" in page
    assert "its host gives no fresh figures" in page
    assert f'name="target" value="{source.pk}"' not in page


def test_a_link_chooses_domains_and_target_beforehand(operator: Client, fleet: dict[str, Instance]) -> None:
    target = fleet["msn-c"].pk
    page = text_of(operator, f"/instances/{fleet['msn-a'].pk}/flush/?domain=no-mail.example&target={target}")
    assert 'value="no-mail.example" checked' in page
    assert f'value="{target}" required checked' in page
    assert "not known" in page


def test_an_empty_queue_and_a_lonely_instance_are_said(operator: Client) -> None:
    alone = fleet_make()["msn-a"]
    Instance.objects.exclude(pk=alone.pk).update(removed_at=timezone.now())
    page = text_of(operator, f"/instances/{alone.pk}/flush/")
    assert "There is no other instance to send it" in page
    assert "disabled" in page


def test_a_queue_that_was_never_read_is_not_called_empty(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    path = f"/instances/{fleet['msn-a'].pk}/flush/"
    page = text_of(operator, f"{path}?domain=hotmail.com")
    assert "Not known: its queue was never read." in text_of(operator, path)
    assert "not known" in page and "none now" not in page
    snapshot_make(fleet["msn-a"], [], [])
    assert "Its queue was empty when it was last read." in text_of(operator, path)
    assert "none now" in text_of(operator, f"{path}?domain=hotmail.com")


def test_a_domain_beyond_those_that_the_host_names_may_have_mail(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    snapshot = snapshot_make(fleet["msn-a"], [("hotmail.com", [400] + [0] * 9)], [])
    body = json.loads(snapshot.body)
    body["domains"] |= {"total": 407, "distinct": 8, "other": [7, [7] + [0] * 9]}
    QueueSnapshot.objects.update(body=json.dumps(body))
    page = text_of(operator, f"/instances/{fleet['msn-a'].pk}/flush/?domain=small.example")
    assert "not known" in page and "none now" not in page


def test_the_queue_of_a_host_that_is_silent_is_of_its_last_answer(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    source = fleet["default"]
    snapshot_make(source, [("hotmail.com", [400] + [0] * 9)], [])
    page = text_of(operator, f"/instances/{source.pk}/flush/")
    assert 'its queue as of <time class="asof stale"' in page


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "Say which recipient domains"),
        ({"domain": "hotmail.com"}, "instance that the mail shall go to is gone"),
        ({"domain": "hotmail.com", "target": "x"}, "Say which instance the mail shall go to"),
        ({"domains": "not_a_domain", "target": "1"}, "Nothing was planned for msn-a"),
    ],
)
def test_a_choice_that_cannot_be_says_why_and_keeps_what_was_chosen(
    operator: Client, fleet: dict[str, Instance], fields: dict[str, str], why: str
) -> None:
    page = operator.post(f"/instances/{fleet['msn-a'].pk}/flush/", fields).content.decode()
    assert why in page
    assert not Operation.objects.exists()


def test_a_target_of_very_many_digits_is_none(operator: Client, fleet: dict[str, Instance]) -> None:
    path = f"/instances/{fleet['msn-a'].pk}/flush/"
    for answer in (operator.get(path, {"target": "9" * 5_000}), operator.post(path, {"target": "9" * 5_000})):
        assert answer.status_code == 200
    assert not Operation.objects.exists()


def test_a_viewer_may_not_move_mail(viewer: Client, fleet: dict[str, Instance]) -> None:
    path = f"/instances/{fleet['msn-a'].pk}/flush/"
    assert viewer.get(path).status_code == viewer.post(path).status_code == 403
    assert "Move deferred mail" not in text_of(viewer, f"/instances/{fleet['msn-a'].pk}/")


def test_a_running_flush_tells_its_stage_its_ledger_and_its_lease(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    lease_until = timezone.now() + timedelta(minutes=9)
    flush = flush_make(fleet, FlushState.ACTIVE, lease_until=lease_until)
    page = text_of(operator, f"/operations/{flush.pk}/")
    assert "2 of 3 recipients have left msn-a" in page
    assert '<li class="stage-now" aria-current="step"><b>Moving</b>' in page
    assert "gives back by" in page
    assert "<dt>delivered from msn-b</dt><dd>1</dd>" in page
    assert "<dt>unknown</dt><dd>0</dd>" in page
    assert "It adds up" not in page


def test_a_flush_whose_lease_is_over_says_that_nobody_saw_its_end(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    flush = flush_make(fleet, FlushState.ACTIVE, lease_until=timezone.now() + timedelta(minutes=9))
    path = f"/operations/{flush.pk}/"
    page = text_of(operator, path)
    assert "gives back by" in page and 'as of <time class="asof"' in page
    tag = page.split('"tag": "', 1)[1].split('"', 1)[0]
    assert operator.get(path, {"tag": tag}, headers={"HX-Request": "true"}).status_code == 204
    Flush.objects.update(lease_until=timezone.now() - timedelta(seconds=5))
    page = operator.get(path, {"tag": tag}, headers={"HX-Request": "true"}).content.decode()
    assert "should have given back at <time" in page and ", not seen since" in page
    assert "gives back by" not in page
    assert 'as of <time class="asof stale"' in page


def test_a_running_flush_is_paused_goes_on_and_gets_another_rate_each_with_its_event(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    flush = flush_make(fleet, FlushState.ACTIVE)
    path, steer = f"/operations/{flush.pk}/", f"/flushes/{flush.pk}/steer/"
    page = text_of(operator, path)
    assert "New mail for these domains goes to msn-b too." in page and "It goes as fast as it can." in page
    tag = page.split('"tag": "', 1)[1].split('"', 1)[0]
    for _ in range(2):
        assert operator.post(steer, {"what": "pause"}).headers["Location"] == path
    assert operator.get(path, {"tag": tag}, headers={"HX-Request": "true"}).status_code == 200
    assert "asked for a pause: what is under way is handed over first." in text_of(operator, path)
    Flush.objects.update(state=FlushState.PAUSED)
    page = text_of(operator, path)
    assert "<b>Paused</b>" in page and "Mail for these domains waits at msn-a, new mail too" in page
    operator.post(steer, {"what": "rate", "rate": "1200"})
    operator.post(steer, {"what": "resume"})
    page = text_of(operator, path)
    assert "It goes on in a moment." in page and "1,200 messages a minute are handed out at most" in page
    assert (
        "is 1 to 2,000 messages a minute"
        in operator.post(steer, {"what": "rate", "rate": "2001"}, follow=True).content.decode()
    )
    events = AuditEvent.objects.filter(action="operation.flush", phase="requested").order_by("seq")
    told = [json.loads(event.details) for event in events]
    assert [{key: each[key] for key in each if key in ("pause", "rate", "rate_before")} for each in told] == [
        {"pause": True}, {"rate": 1200, "rate_before": 0}, {"pause": False},
    ]  # fmt: skip


def test_a_flush_that_is_over_is_not_steered_and_a_viewer_steers_none(
    operator: Client, viewer: Client, fleet: dict[str, Instance]
) -> None:
    flush = flush_make(fleet)
    steer = f"/flushes/{flush.pk}/steer/"
    page = operator.post(steer, {"what": "pause"}, follow=True).content.decode()
    assert "This flush moves nothing any more." in page and 'value="pause"' not in page
    assert viewer.post(steer, {"what": "pause"}).status_code == 403
    assert Flush.objects.get().paused_by == ""


def test_the_choice_takes_a_rate_and_keeps_one_that_cannot_be(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    fields = {"domain": "hotmail.com", "target": str(fleet["msn-b"].pk), "rate": "9999"}
    page = operator.post(f"/instances/{fleet['msn-a'].pk}/flush/", fields).content.decode()
    assert "A rate is 1 to 2,000 messages a minute" in page
    assert 'name="rate" type="number" min="1" max="2000" value="9999"' in page


def test_a_flush_is_marked_on_the_charts_of_both_ends_and_of_their_provider(
    operator: Client, viewer: Client, fleet: dict[str, Instance]
) -> None:
    now = timezone.now()
    pages = [f"/instances/{fleet[name].pk}/" for name in ("msn-a", "msn-b")] + ["/providers/msn/"]
    charts = [f"{page}outcomes.json?range=24h" for page in pages]
    tags = [operator.get(chart).headers["ETag"] for chart in charts]
    flush = flush_make(fleet, redirected_at=now - timedelta(hours=3), given_back_at=now - timedelta(hours=2))
    for page, chart, tag in zip(pages, charts, tags, strict=True):
        # A browser that has the chart without it is given another.
        figure = json.loads(operator.get(chart, headers={"If-None-Match": tag}).content)
        assert f"flush {flush.pk}" in [note["text"] for note in figure["layout"]["annotations"]]
        assert f'<a href="/operations/{flush.pk}/">Flush {flush.pk}</a>, msn-a to msn-b: 2 of' in text_of(
            operator, f"{page}?range=24h"
        )
        assert f'<a href="/operations/{flush.pk}/">' not in text_of(viewer, f"{page}?range=24h")
    for path in (f"/instances/{fleet['msn-c'].pk}/", "/providers/yahoo/"):
        assert f"Flush {flush.pk}" not in text_of(operator, f"{path}?range=24h")
    assert f"Flush {flush.pk}" not in text_of(operator, f"{pages[0]}?range=1h")


def test_a_receipt_adds_up_or_says_that_it_does_not(operator: Client, fleet: dict[str, Instance]) -> None:
    flush = flush_make(fleet)
    page = text_of(operator, f"/operations/{flush.pk}/")
    assert "It adds up: every recipient is in one known place." in page
    assert "gives back by" not in page
    flush.account["unknown"] = 1
    flush.save()
    assert "It does not add up." in text_of(operator, f"/operations/{flush.pk}/")


def test_recipients_are_exported_whole_and_harmless(operator: Client, fleet: dict[str, Instance]) -> None:
    path = f"/flushes/{flush_make(fleet).pk}/recipients/"
    streamed = b"".join(operator.get(f"{path}?format=csv").streaming_content)  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(streamed.decode())))
    assert [(row["queue_id"], row["at"], row["at_target"]) for row in rows] == [
        ("A1", "moved", "sent"), ("A2", "moved", "queued"), ("A3", "waiting", ""),
    ]  # fmt: skip
    assert rows[0]["recipient"] == "'=anna1@hotmail.com"
    answer = operator.get(f"{path}?format=json")
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]
    assert "=anna3@hotmail.com" in json.dumps(json.loads(content))
    assert "421 &lt;b&gt;later" in text_of(operator, path)


def test_who_may_not_move_mail_sees_domains_only(fleet: dict[str, Instance]) -> None:
    rita = user_make("rita")
    rita.user_permissions.add(Permission.objects.get(codename="view_operation"))
    browser = Client()
    browser.force_login(rita)
    page = text_of(browser, f"/flushes/{flush_make(fleet).pk}/recipients/")
    assert "…@hotmail.com" in page
    assert "anna1@" not in page


def test_a_redirect_stands_on_the_home_page_whoever_put_it_on(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    flush = flush_make(fleet, FlushState.ACTIVE)
    now = timezone.now()
    InstanceRedirect.objects.create(
        instance=fleet["msn-a"], seen_at=now, to="[198.51.100.12]:25", op_id=str(flush.pk),
        ends_at=now + timedelta(minutes=9),
    )  # fmt: skip
    InstanceRedirect.objects.create(
        instance=fleet["yahoo-a"], seen_at=now, to="?", problem="<i>by hand</i>", op_id=""
    )
    page = text_of(operator, "/")
    assert f"to [198.51.100.12]:25 by flush {flush.pk}, gives back by" in page
    assert "by no flush of this console" in page
    assert "&lt;i&gt;by hand" in page
    instance_page = text_of(operator, f"/instances/{fleet['yahoo-a'].pk}/")
    assert "Give the redirect back" in instance_page


def test_a_queue_s_domain_leads_to_its_move(operator: Client, fleet: dict[str, Instance]) -> None:
    source = fleet["msn-a"]
    queue_read_make(source, domains=[("hotmail.com", 14)], domain="hotmail.com")
    page = text_of(operator, f"/queues/?instance={source.pk}&domain=hotmail.com")
    link = f"/instances/{source.pk}/flush/?domain=hotmail.com"
    assert f'href="{link}">Move all for hotmail.com…' in page
    assert 'value="hotmail.com" checked' in text_of(operator, link)


def test_the_messages_of_one_reply_lead_to_the_move_of_their_domains(
    operator: Client, fleet: dict[str, Instance]
) -> None:
    source, domains = fleet["msn-a"], [("hotmail.com", 400), ("live.com", 12)]
    queue_read_make(source, replies=[("421 later", 412)], domains=domains, text="later")
    page = text_of(operator, f"/queues/?instance={source.pk}&text=later&by=reply")
    link = f"/instances/{source.pk}/flush/?domain=hotmail.com&amp;domain=live.com"
    assert f'href="{link}">Move all for these 2 domains…' in page
    queue_read_make(source, domains=[(f"d{n}.example", 1) for n in range(30)], text="others")
    assert "Move all for" not in text_of(operator, f"/queues/?instance={source.pk}&text=others")
