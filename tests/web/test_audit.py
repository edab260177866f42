"""The audit trail's page and its export, and the command."""

import csv
import io
import json

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client

from relays.models import AuditEvent
from relays.services.audit import Actor, Subject, record

pytestmark = pytest.mark.django_db
HOSTILE = "=HYPERLINK(1)<script>alert(1)</script>\u202e"


@pytest.fixture
def events() -> None:
    anna, vera = Actor("user", "anna", 3, {"ip": "192.0.2.7"}), Actor("user", "vera", 4)
    subject = Subject("operation", "81", "queue.run 81", "rustin", "msn-a", 81)
    record(actor=anna, action="operation.queue.run", phase="requested", subject=subject, reason=HOSTILE)
    record(actor=vera, action="operation.queue.run", phase="denied", subject=Subject(host="cleveland"))
    record(actor=anna, action="login", phase="succeeded")


def shown(client: Client, query: str = "") -> str:
    answer = client.get(f"/audit/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_events_inert_with_their_links(operator: Client, events: None) -> None:
    page = shown(operator)
    assert "=HYPERLINK(1)&lt;script&gt;" in page
    assert "\\u202e" in page
    assert 'href="/operations/81/"' in page
    assert "192.0.2.7" in page


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("?who=vera", 1),
        ("?what=operation", 2),
        ("?what=operation.queue.run", 2),
        ("?what=oper", 0),
        ("?instance=msn-a", 1),
        ("?instance=cleveland", 1),
        ("?phase=denied", 1),
        ("?operation=81", 1),
        ("?since=2100-01-01", 0),
        ("?until=2100-01-01", 3),
        ("?until=soon", 3),
    ],
)
def test_it_narrows(operator: Client, events: None, query: str, number: int) -> None:
    page = shown(operator, query)
    assert page.count("<summary") - shown(operator, "?who=nobody").count("<summary") == number
    assert ("Enter a valid date/time" in page) == query.endswith("soon")


def test_an_export_gives_the_filters_events_and_is_one_itself(operator: Client, events: None) -> None:
    answer = operator.post("/audit/export/?instance=msn-a", {"format": "jsonl"})
    rows = [json.loads(line) for line in answer.getvalue().decode().splitlines()]
    assert [(row["seq"], row["operation"], row["phase"]) for row in rows] == [(1, 81, "requested")]
    event = AuditEvent.objects.get(action="audit.export")
    assert json.loads(event.details)["events"] == 1


def test_a_spreadsheet_finds_no_formula(operator: Client, events: None) -> None:
    answer = operator.post("/audit/export/", {"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))
    assert [row["seq"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["reason"].startswith("'=HYPERLINK(1)")


def test_bad_formats_and_gets_are_refused(operator: Client, events: None) -> None:
    assert operator.post("/audit/export/", {"format": "exe"}).status_code == 400
    assert operator.get("/audit/export/").status_code == 405


def test_who_may_look_may_not_take_it_out(client: Client, viewer: Client, events: None) -> None:
    assert viewer.get("/audit/").status_code == 403
    user = get_user_model().objects.create_user("otto")
    user.user_permissions.add(Permission.objects.get(codename="view_auditevent"))
    client.force_login(user)
    assert client.get("/audit/").status_code == 200
    assert client.post("/audit/export/", {"format": "csv"}).status_code == 403


def test_the_command_verifies_and_exports(events: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("audit", "verify")
    assert capsys.readouterr().out.startswith("The trail holds: 3 events")
    call_command("audit", "verify", "--json")
    assert json.loads(capsys.readouterr().out)["last"]["seq"] == 3
    call_command("audit", "export", "--who", "anna", "--since", "2020-01-01")
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [1, 3]
    assert AuditEvent.objects.get(action="audit.export").actor_kind == "shell"
    with pytest.raises(CommandError, match="not a time"):
        call_command("audit", "export", "--since", "soon")


def test_the_command_tells_what_does_not_hold(events: None, capsys: pytest.CaptureFixture[str]) -> None:
    record(actor=Actor("user", "anna"), action="x", phase="noted", params={"n": 1})
    event = AuditEvent.objects.latest("seq")
    event.params.delete()
    type(event.params).objects.create(event=event, text="{}")
    with pytest.raises(SystemExit):
        call_command("audit", "verify")
    assert "event 4: its parameters were changed" in capsys.readouterr().out
