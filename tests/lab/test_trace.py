"""A message traced over three real instances on three hosts, one of whose logs is rotated and compressed."""

import io
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from pytest_django import Settings

from fleet.rehearsal import Fleet, register, syslog
from relays.domain.trace_question import question
from relays.models import AuditEvent, Host, Trace
from relays.models.trace import TraceState
from relays.remote import ssh
from relays.services.audit import Actor
from relays.services.collect import poll_host
from relays.services.traces import trace_ask, trace_run
from tests.browser.visits import Visit

from .conftest import Wait

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]
DOMAIN = "choir.example"
# By which instance it goes on to which: msn-a on rustin, yahoo-a on cleveland, leslie.
WAY = ("msn-a", "yahoo-a", "leslie")


@pytest.fixture(scope="module")
def sent(lab: Fleet, until: Wait) -> Iterator[str]:
    """The message id of one that went the whole way; cleveland's log of it is in a .gz since."""
    lab.provider.clear()
    for here, there in itertools.pairwise(WAY):
        address = lab.instance(there).spec.address
        lab.instance(here).set(transport_maps=f"inline:{{ {DOMAIN}=smtp:[{address}] }}")
    message_id = lab.send(1, domain=DOMAIN, via=WAY[0])[0].strip("<>")
    took = f"to=<.*@{DOMAIN}>"
    until(lambda: "status=sent" in _lines_of(lab, WAY[-1], message_id), f"leslie sends it on: {took}")
    cleveland = lab.host("cleveland")
    for _ in range(2):
        syslog.rotate(cleveland.namespace)
    assert list(cleveland.path("/var/log").glob("mail.log*.gz"))
    assert message_id not in lab.instance(WAY[1]).log()
    yield message_id
    for here in WAY[:-1]:
        lab.instance(here).set(transport_maps="")


def _lines_of(fleet: Fleet, instance: str, message_id: str) -> str:
    """Return an instance's lines from the one on that tells the message id."""
    return fleet.instance(instance).log().partition(f"message-id=<{message_id}>")[2]


@pytest.fixture
def console(fleet: Fleet, sent: str, settings: Settings) -> Iterator[str]:
    """The message id, in a console that has polled all hosts."""
    settings.READ_KEY_PATH = fleet.state.read_key
    settings.WRITE_KEY_PATH = fleet.state.write_key
    register.prepare(fleet)
    register.register(fleet)
    for pk in Host.objects.values_list("pk", flat=True):
        poll_host(host_id=pk, force=True)
    yield sent
    ssh.close_all()


def trace(**options: Any) -> dict[str, Any]:
    told = io.StringIO()
    call_command("trace", json=True, stdout=told, **options)
    found: dict[str, Any] = json.loads(told.getvalue())
    return found


def way(journey: dict[str, Any]) -> list[tuple[str, str, int, str | None]]:
    return [(hop["host"], hop["instance"], hop["depth"], hop["link"]) for hop in journey["hops"]]


WHOLE_WAY = [
    ("rustin", "msn-a", 0, None),
    ("cleveland", "yahoo-a", 1, "queued as"),
    ("leslie", "default", 2, "queued as"),
]


def test_a_message_is_traced_over_three_hops_by_whatever_is_known_of_it(console: str) -> None:
    by_id = trace(message_id=console)
    assert by_id["complete"]
    (journey,) = by_id["journeys"]
    assert way(journey) == WHOLE_WAY
    assert journey["outcomes"] == {"sent": 1}
    hops = journey["hops"]
    assert [hop["deliveries"][0]["outcome"] for hop in hops] == ["handed over", "handed over", "sent"]
    assert all(hop["message_id"] == console and hop["removed"] and hop["lines"] for hop in hops)

    recipient = hops[0]["deliveries"][0]["recipient"]
    assert way(trace(recipient=recipient)["journeys"][0]) == WHOLE_WAY
    assert way(trace(sender=hops[0]["sender"])["journeys"][0]) == WHOLE_WAY
    # From the first, the last and the middle, which is in the compressed log: up and down the way.
    for hop in hops:
        assert way(trace(queue_id=hop["queue_id"])["journeys"][0]) == WHOLE_WAY
    assert AuditEvent.objects.filter(action="trace").count() == 6


def test_a_host_that_does_not_answer_is_named_and_the_others_are_read(
    fleet: Fleet, console: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Host.objects.filter(name="cleveland").update(ssh_port=9)
    with pytest.raises(SystemExit):
        call_command("trace", message_id=console, json=True)
    told = json.loads(capsys.readouterr().out)
    assert not told["complete"]
    assert {host["name"]: host["state"] for host in told["hosts"]} == {
        "rustin": "done",
        "leslie": "done",
        "cleveland": "failed",
    }
    # What msn-a handed to cleveland, and what leslie took from there, are two ways with a gap between.
    assert [hop[0] for journey in told["journeys"] for hop in way(journey)] == ["leslie", "rustin"]


def test_a_worker_answers_a_page_s_trace_and_a_lost_host_s_first_lines_come_soon(console: str) -> None:
    anna = User.objects.create_superuser("anna")
    now = int(time.time())
    asked = question("message_id", console, now - 3_600, now + 60)
    trace = trace_ask(question=asked, user=anna, actor=Actor("user", "anna", anna.pk))
    began = time.monotonic()
    assert trace_run(trace_id=trace.pk)
    assert time.monotonic() - began < 30
    trace.refresh_from_db()
    assert trace.state == TraceState.DONE
    assert {host["state"] for host in trace.hosts} == {"done"}
    assert set(trace.lines.values_list("host", flat=True)) == {"rustin", "cleveland", "leslie"}
    assert not trace_run(trace_id=trace.pk)


@pytest.mark.browser
def test_the_way_of_a_message_is_on_its_page(console: str, visit: Visit) -> None:
    page = visit.open(f"/trace/?kind=message_id&text={console}")
    page.get_by_label("Which").press("Enter")
    page.wait_for_url("**/trace/*/")
    assert trace_run(trace_id=Trace.objects.get().pk)
    page.get_by_text("1 message in the logs of 3 hosts.").wait_for()
    assert page.locator(".hop").count() == 3
    assert visit.unexpected == []
