"""The pages of traces: ask, watch, read; whose it is, and what is not shown to whom."""

import json
from collections.abc import Sequence

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from relays.models import Trace, TraceLine
from relays.models.trace import TraceState
from tests.factories import host_make, instance_make
from tests.people import browser_of

pytestmark = pytest.mark.django_db
AT = 1_795_188_000
ID, NEXT = "4jWKWh04b5z1T1", "4jWKWj0Xs2z3Qq"
STAMP = "Nov 20 23:20:00 rustin postfix-msn-a"
HOST = {
    "name": "rustin",
    "state": "done",
    "lines": 4,
    "read_bytes": 2_048,
    "total_bytes": 4_096,
    "error": "",
    "problems": [],
}
LINES = (
    ("smtpd", "client=list1.example[192.0.2.31]"),
    ("cleanup", "message-id=<m-<script>alert(1)</script>@lists.example>"),
    ("qmgr", "from=<bounce+anna=hotmail.com@lists.example>, size=1350, nrcpt=1 (queue active)"),
    (
        "smtp",
        "to=<anna@hotmail.com>, relay=mx[203.0.113.9]:25, dsn=5.1.1, status=bounced "
        '(host mx said: 550 =HYPERLINK("x") anna@hotmail.com <script>alert(1)</script> unknown)',
    ),
)


def trace_make(user: str, lines: Sequence[tuple[str, str]] = LINES, **fields: object) -> Trace:
    asked = User.objects.get(username=user)
    now = timezone.now()
    given = {"kind": "message_id", "text": "m@lists.example", "since": AT - 60, "until": AT + 60}
    given |= {"state": TraceState.DONE, "hosts": [HOST], "asked_at": now, "sent_at": now}
    trace = Trace.objects.create(asked_by=asked, **(given | fields))
    for program, text in lines:
        row = {"host": "rustin", "time": AT, "instance": "msn-a", "queue_id": ID}
        TraceLine.objects.create(trace=trace, text=f"{STAMP}/{program}[7]: {ID}: {text}", **row)
    return trace


def test_a_trace_is_asked_for_and_its_page_polls(operator: Client) -> None:
    answer = operator.post(
        "/trace/begin/", {"kind": "recipient", "text": "<anna@hotmail.com>", "since": "3d"}
    )
    trace = Trace.objects.get()
    assert answer.headers["Location"] == f"/trace/{trace.pk}/"
    assert (trace.kind, trace.text, trace.state) == ("recipient", "anna@hotmail.com", "waiting")
    assert trace.until - trace.since == 3 * 86_400 + 60
    page = operator.get(f"/trace/{trace.pk}/").content.decode()
    assert "data-poll" in page
    assert "Nothing so far." in page
    tag = f"{trace.pk}-{trace.version}"
    assert operator.get(f"/trace/{trace.pk}/?tag={tag}", headers={"HX-Request": "true"}).status_code == 204
    operator.post(f"/trace/{trace.pk}/end/")
    assert "up to where it was stopped" in operator.get(f"/trace/{trace.pk}/").content.decode()
    assert "anna@hotmail.com" in operator.get("/trace/").content.decode()


def test_a_trace_that_no_host_was_asked_for_says_so(operator: Client) -> None:
    trace = trace_make("anna", (), hosts=[])
    page = operator.get(f"/trace/{trace.pk}/").content.decode()
    assert "No host was asked." in page
    assert "0 hosts" not in page and "No message" not in page
    assert '<details class="card mb-3" open>' in page
    assert 'href="/hosts/"' in page.partition('<ul class="trace-hosts">')[2].partition("</ul>")[0]


def test_a_trace_that_found_nothing_keeps_its_hosts_folded(operator: Client) -> None:
    trace = trace_make("anna", ())
    page = operator.get(f"/trace/{trace.pk}/").content.decode()
    assert "No message in the logs of 1 host." in page and "No message was found." in page
    assert '<details class="card mb-3">' in page


def test_the_form_proposes_what_its_reader_may_look_for(operator: Client, viewer: Client) -> None:
    assert 'placeholder="anna@hotmail.com"' in operator.get("/trace/").content.decode()
    page = viewer.get("/trace/").content.decode()
    assert 'placeholder="20261128.4711@lists.example"' in page and "anna@hotmail.com" not in page


def test_the_form_is_filled_in_by_an_address_and_says_what_is_wrong(operator: Client) -> None:
    page = operator.get(f"/trace/?kind=queue_id&text={ID}").content.decode()
    assert f'value="{ID}"' in page
    assert '<option value="queue_id" selected>' in page
    for wrong, said in (
        ({"kind": "queue_id", "text": "ALL"}, "A queue id has 5 to 31 letters and digits"),
        ({"kind": "recipient", "text": ""}, "Give the recipient to look for."),
        ({"kind": "recipient", "text": "a@b", "since": "soon"}, "is no time"),
        ({"kind": "recipient", "text": "a@b\nc"}, "too long, or has signs that none has"),
        ({"kind": "nonsense", "text": "a@b"}, "not one of the available choices"),
        ({"kind": "recipient", "text": "a@b\0"}, "Null characters are not allowed"),
    ):
        answer = operator.post("/trace/begin/", wrong)
        assert answer.status_code == 400
        assert said in answer.content.decode()
    assert not Trace.objects.exists()


def test_the_way_of_a_message_is_shown_with_hostile_text_inert(operator: Client) -> None:
    instance = instance_make(host_make(), "msn-a")
    trace = trace_make("anna")
    page = operator.get(f"/trace/{trace.pk}/").content.decode()
    assert "1 message in the logs of 1 host." in page
    assert f'href="/instances/{instance.pk}/"' in page
    assert "1 bounced" in page
    assert "anna@hotmail.com" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_files_have_all_of_it_and_nothing_that_a_spreadsheet_runs(operator: Client) -> None:
    trace = trace_make("anna")
    told = json.loads(operator.get(f"/trace/{trace.pk}/?format=json").content)
    (journey,) = told["journeys"]
    assert told["complete"] is True
    assert journey["outcomes"] == {"bounced": 1}
    hop = journey["hops"][0]
    assert (hop["queue_id"], hop["size"], hop["client_address"]) == (ID, 1_350, "192.0.2.31")
    assert len(hop["lines"]) == 4
    table = text_of(operator, f"/trace/{trace.pk}/?format=csv")
    header, row = table.splitlines()
    assert header.startswith("journey,depth,link,host,instance,queue_id")
    assert "anna@hotmail.com" in row


def test_a_viewer_sees_no_addresses_anywhere(viewer: Client) -> None:
    trace = trace_make("vera")
    for path in (f"/trace/{trace.pk}/", f"/trace/{trace.pk}/?format=json", f"/trace/{trace.pk}/?format=csv"):
        answer = text_of(viewer, path)
        assert "hotmail.com" in answer
        assert "anna@" not in answer
        assert "anna=" not in answer
    form = viewer.get("/trace/").content.decode()
    assert 'value="recipient"' not in form
    assert viewer.post("/trace/begin/", {"kind": "recipient", "text": "anna@hotmail.com"}).status_code == 400
    assert viewer.post("/trace/begin/", {"kind": "queue_id", "text": ID}).status_code == 302


def text_of(browser: Client, path: str) -> str:
    return b"".join(browser.get(path)).decode()


def test_a_trace_is_its_asker_s_alone(operator: Client) -> None:
    browser_of("otto", "administrator")
    trace = trace_make("otto")
    assert operator.get(f"/trace/{trace.pk}/").status_code == 404
    assert operator.post(f"/trace/{trace.pk}/end/").status_code == 404


def test_a_host_that_was_not_read_is_named(operator: Client) -> None:
    failed = HOST | {
        "name": "cleveland",
        "state": "failed",
        "error": "cleveland port 22: no answer within 10 s.",
    }
    trace = trace_make("anna", hosts=[HOST, failed], cut=True)
    page = operator.get(f"/trace/{trace.pk}/").content.decode()
    assert "not all was read: cleveland" in page
    assert "no answer within 10 s." in page
    assert "ask for a shorter span" in page


def test_nothing_found_is_said_so(operator: Client) -> None:
    trace = trace_make("anna", lines=())
    page = operator.get(f"/trace/{trace.pk}/").content.decode()
    assert "No message was found." in page


def test_what_was_refused_at_the_door_is_shown_apart(operator: Client) -> None:
    trace = trace_make("anna", lines=())
    text = f"{STAMP}/smtpd[7]: NOQUEUE: reject: RCPT from x[192.0.2.9]: 554 5.7.1 no"
    TraceLine.objects.create(trace=trace, host="rustin", time=AT, queue_id="NOQUEUE", text=text)
    assert "NOQUEUE: reject" in operator.get(f"/trace/{trace.pk}/").content.decode()
