"""A trace over several hosts: what leads on, what is bounded, and what becomes of it when things go wrong.

The hosts' answers are doubles here, since no real log can be made to answer so; tests/lab/test_trace.py
has the real ones.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from relays.domain.found_lines import HostLine
from relays.domain.reading import Header
from relays.domain.trace import FoundLine
from relays.domain.trace_question import Question
from relays.models import AuditEvent, Host, Trace, TraceLine
from relays.models.trace import TraceState
from relays.remote.errors import Locked, Unreachable
from relays.remote.log_search import Piece
from relays.remote.ssh import Target
from relays.services import traces, tracing
from relays.services.audit import Actor
from relays.services.traces import NotAllowed, forget_old, trace_ask, trace_run, trace_stop
from relays.services.tracing import Tracing
from tests.factories import host_make, instance_make
from tests.people import browser_of

pytestmark = pytest.mark.django_db(transaction=True)
ACTOR = Actor("user", "anna", 1)
AT = 1_795_188_000
ASKED = Question("recipient", "a@x.example", AT - 60, AT + 60)
Say = Callable[..., Piece]


def piece(
    *lines: tuple[str, str], at: Mapping[str, Any] | None = None, problems: tuple[str, ...] = ()
) -> Piece:
    """Return a piece of lines, each a queue id and its text."""
    found = tuple(
        HostLine(AT, "msn-a", queue_id, f"Nov 20 23:20:00 h postfix-msn-a/smtp[7]: {queue_id}: {text}")
        for queue_id, text in lines
    )
    header = Header(relayctl="0.1.0", sha256="", boot_id="", postfix="3.7.11", now=AT)
    return Piece(header, 0.0, found, problems, at, 100, 1_000)


class Hosts:
    """What each host says to each request; requests in the order of their coming."""

    def __init__(self) -> None:
        self.says: dict[str, Say] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.Lock()

    def search(self, target: Target, limits: object, **wanted: Any) -> Piece:
        name = target.address.partition(".")[0]
        with self._lock:
            self.asked.append((name, wanted))
        return self.says[name](**wanted)


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    for name, ip in (("rustin", "198.51.100.11"), ("cleveland", "198.51.100.21")):
        instance_make(host_make(name, clock_skew_s=0), "msn-a", ip=ip)
    said = Hosts()
    said.says = {"rustin": lambda **_: piece(), "cleveland": lambda **_: piece()}
    monkeypatch.setattr(tracing, "log_search", said.search)
    monkeypatch.setattr(tracing, "_LOCKED_PAUSE_S", 0.01)
    yield said


def traced(asked: Question = ASKED) -> tuple[Tracing, list[FoundLine]]:
    under_way = Tracing(asked, list(Host.objects.order_by("name")), tracing.places())
    return under_way, [line for lines in under_way.run() for line in lines]


def states(under_way: Tracing) -> dict[str, str]:
    return {host.name: host.state for host in under_way.hosts}


def test_what_is_found_leads_on_to_all_its_lines_and_to_the_next_host(hosts: Hosts) -> None:
    handed = (
        "to=<a@x.example>, relay=c[198.51.100.21]:25, dsn=2.0.0, status=sent (250 Ok: queued as 9BE8F5E79)"
    )

    def rustin(**wanted: Any) -> Piece:
        return piece(("8BE8F5E79", handed)) if wanted["texts"] else piece(("8BE8F5E79", "removed"))

    hosts.says["rustin"] = rustin
    hosts.says["cleveland"] = lambda **wanted: piece(("9BE8F5E79", "removed")) if wanted["ids"] else piece()
    under_way, lines = traced()
    assert sorted(line.queue_id for line in lines) == ["8BE8F5E79", "8BE8F5E79", "9BE8F5E79"]
    assert [wanted["ids"] for name, wanted in hosts.asked if name == "cleveland"] == [(), ("9BE8F5E79",)]
    assert states(under_way) == {"cleveland": "done", "rustin": "done"}


def test_a_search_goes_on_piece_by_piece_and_a_line_that_comes_twice_counts_once(hosts: Hosts) -> None:
    def rustin(**wanted: Any) -> Piece:
        at = {"at": 5} if wanted["texts"] and wanted["at"] is None else None
        return piece(("8BE8F5E79", "removed"), at=at)

    hosts.says["rustin"] = rustin
    under_way, lines = traced()
    assert len(lines) == 1
    assert [wanted["at"] for name, wanted in hosts.asked if name == "rustin"] == [None, {"at": 5}, None]
    assert under_way.hosts[1].read_bytes == 300


def test_a_host_that_fails_is_named_and_one_that_is_searched_already_is_waited_for(hosts: Hosts) -> None:
    refusals = [Locked("another search"), Locked("another search")]

    def rustin(**_: Any) -> Piece:
        if refusals:
            raise refusals.pop()
        return piece(problems=("not readable: /var/log/mail.log.2.gz",))

    def cleveland(**_: Any) -> Piece:
        raise Unreachable("cleveland port 22: no answer within 10 s.")

    hosts.says = {"rustin": rustin, "cleveland": cleveland}
    under_way, _ = traced()
    assert states(under_way) == {"cleveland": "failed", "rustin": "done"}
    assert "no answer" in under_way.hosts[0].error
    assert under_way.hosts[1].error == ""
    assert under_way.hosts[1].problems == ["not readable: /var/log/mail.log.2.gz"]


def test_a_question_that_is_too_wide_ends_and_says_so(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST_MESSAGES", 3)
    ids = [f"8BE8F5E7{n}" for n in range(5)]
    hosts.says["rustin"] = lambda **wanted: piece(
        *((queue_id, "removed") for queue_id in ids), at={"at": 1} if wanted["texts"] else None
    )
    under_way, _ = traced()
    assert under_way.cut
    assert [len(wanted["ids"]) for name, wanted in hosts.asked if name == "rustin"] == [0, 3]

    monkeypatch.setattr(tracing, "MOST_LINES", 2)
    under_way, lines = traced()
    assert (under_way.cut, len(lines)) == (True, 2)
    assert "cut" in states(under_way).values()


def test_a_search_without_end_is_cut_off(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "DEADLINE_S", 0)
    hosts.says["rustin"] = lambda **_: piece(at={"at": 1})
    under_way, _ = traced()
    assert states(under_way)["rustin"] == "cut"


def test_a_clock_that_is_years_off_asks_for_no_time_that_cannot_be(hosts: Hosts, anna: User) -> None:
    hosts.says["rustin"] = lambda **_: piece(("8BE8F5E79", "removed"))
    for skew_s in (3e9, -3e9):
        Host.objects.update(clock_skew_s=skew_s)
        assert trace_run(trace_id=asked_by(anna).pk)
    assert all(0 <= wanted["since"] <= wanted["until"] < 2**31 for _, wanted in hosts.asked)


def test_a_host_s_own_clock_is_minded(hosts: Hosts) -> None:
    Host.objects.update(clock_skew_s=100.2)
    hosts.says["rustin"] = lambda **_: piece(("8BE8F5E79", "removed"))
    _, lines = traced()
    assert lines[0].time == AT - 100
    assert hosts.asked[0][1]["since"] == ASKED.since + 100


@pytest.fixture
def anna() -> User:
    return User.objects.create_superuser("anna")


def asked_by(user: User) -> Trace:
    return trace_ask(question=ASKED, user=user, actor=ACTOR)


def test_a_trace_is_kept_with_its_lines_and_stands_in_the_trail(hosts: Hosts, anna: User) -> None:
    hosts.says["rustin"] = lambda **_: piece(("8BE8F5E79", "removed"))
    trace = asked_by(anna)
    assert trace_run(trace_id=trace.pk)
    trace.refresh_from_db()
    assert (trace.state, trace.lines.count(), trace.lease_until) == (TraceState.DONE, 1, None)
    event = AuditEvent.objects.get(action="trace")
    assert "a@x.example" not in event.details
    assert "a@x.example" in event.params.text


def test_who_may_see_no_addresses_traces_nobody_s_mail(hosts: Hosts) -> None:
    browser_of("vera", "viewer")
    vera = User.objects.get(username="vera")
    with pytest.raises(NotAllowed):
        asked_by(vera)
    assert not Trace.objects.exists()
    trace_ask(question=Question("message_id", "m@x", AT, AT + 1), user=vera, actor=ACTOR)


def test_a_stopped_trace_ends_at_the_next_piece(hosts: Hosts, anna: User) -> None:
    trace = asked_by(anna)

    def stopping(**_: Any) -> Piece:
        # Called in a thread of the search: its connection of Django's is nobody's to close but ours.
        with closing(connection):
            Trace.objects.filter(pk=trace.pk).update(state=TraceState.STOPPED)
        return piece(("8BE8F5E79", "removed"), at={"at": 1})

    hosts.says["rustin"] = stopping
    assert not trace_run(trace_id=trace.pk)
    assert len([name for name, _ in hosts.asked if name == "rustin"]) < 5
    trace_stop(trace=trace)
    trace.refresh_from_db()
    assert trace.state == TraceState.STOPPED


def test_a_trace_whose_worker_died_is_sent_again_and_begins_anew(
    hosts: Hosts, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(traces, "_send", lambda trace: sent.append(trace.pk))
    trace = asked_by(anna)
    now = timezone.now()
    TraceLine.objects.create(trace=trace, host="rustin", time=AT, text="of the dead worker")
    Trace.objects.update(
        state="reading", lease_until=now + timedelta(seconds=9), sent_at=now - timedelta(hours=1)
    )
    trace.refresh_from_db()
    traces.trace_send_again(trace=trace)
    assert not trace_run(trace_id=trace.pk)
    Trace.objects.update(lease_until=now - timedelta(seconds=1))
    for _ in range(2):
        traces.trace_send_again(trace=trace)
    assert sent == [trace.pk, trace.pk]
    assert trace_run(trace_id=trace.pk)
    assert not TraceLine.objects.exists()


def test_traces_are_forgotten_after_a_day(hosts: Hosts, anna: User) -> None:
    trace = asked_by(anna)
    assert forget_old(now=trace.asked_at + timedelta(hours=23)) == 0
    assert forget_old(now=trace.asked_at + timedelta(hours=25)) == 1
