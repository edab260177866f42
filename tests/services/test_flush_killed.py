"""A flush whose worker dies before and behind each of its commits, against a host kept in memory.

Redirects on real Postfix are tests/lab's; here it is the state machine alone, at every point there is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from relays.domain.flush import Account, Event, Message, RedirectFacts, Scanned
from relays.models import Flush, Operation
from relays.models.flush import FlushState
from relays.models.operation import OperationState
from relays.remote import flush as remote
from relays.remote.flush import LogPiece, Status
from relays.services import audit_check, flush_run, flush_steering, operations
from relays.services.audit import Actor
from relays.services.flushes import FlushKind
from tests.commits import around_each_commit
from tests.factories import fleet_make
from tests.people import user_make

pytestmark = pytest.mark.django_db(transaction=True)
ACTOR = Actor("user", "anna", 1)
MESSAGES = 6


class Killed(BaseException):
    """Not an Exception: nothing on the way may catch it."""


@dataclass
class Relay:
    """A source whose queue goes to its target while a redirect is on, with the results of all requests."""

    queue: list[str] = field(default_factory=lambda: [f"A{n:06}z{n}" for n in range(MESSAGES)])
    to: str = ""
    paused: bool = False
    moved: list[str] = field(default_factory=list)
    # What was tried while the redirect was off or paused: nothing may ever be.
    strayed: list[str] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def once(self, req_id: str, effect: Callable[[], None]) -> dict[str, Any]:
        """Do a request as the host does: once, however often it comes."""
        if req_id not in self.results:
            effect()
            self.results[req_id] = {"ok": True, "output": "", "command": []}
        return self.results[req_id]

    def put_on(self) -> None:
        self.to = "[192.0.2.2]:25"

    def begin_anew(self) -> None:
        """Be as it was made; the doubles hold this very object."""
        vars(self).update(vars(Relay()))

    def clear(self) -> None:
        self.to, self.paused = "", False

    def turn(self, *, paused: bool) -> None:
        assert self.to
        self.paused = paused

    def try_now(self, ids: list[str] | None) -> None:
        wanted = [each for each in self.queue if ids is None or each in ids]
        self.batches.append(wanted)
        if self.paused or not self.to:
            self.strayed += wanted
            return
        self.moved += wanted
        self.queue = [each for each in self.queue if each not in wanted]


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Relay:
    """Put a relay in memory in the place of the hosts."""
    relay = Relay()

    def scan(*_: Any, instance: str, **__: Any) -> tuple[Scanned, list[Message]]:
        held = relay.queue if instance == "msn-a" else []
        messages = [Message("deferred", each, 1, 100, ((f"{each}@hotmail.com", ""),)) for each in held]
        return Scanned(len(held), len(held), 1, 0, 0, 0, 0, None, ()), messages

    def log(*_: Any, role: str, cursor: str, **__: Any) -> LogPiece:
        new = relay.moved[int(cursor or 0) :]
        told = [
            Event("out", 1, each, f"{each}@hotmail.com", "sent", "2.0.0", f"B{each}")
            if role == "source"
            else Event("done", 1, f"B{each}", f"{each}@hotmail.com", "sent", "2.0.0")
            for each in new
        ]
        return LogPiece(tuple(told), str(len(relay.moved)), more=False)

    def status(*_: Any, **__: Any) -> Status:
        return Status((RedirectFacts("msn-a", True, (), True, relay.to, (), "", None, ""),), 1.0)

    def change(effect: Callable[..., None]) -> Callable[..., Any]:
        def send(*_: Any, req_id: str, what: dict[str, list[str]] | None = None, **__: Any) -> Any:
            done = relay.once(req_id, lambda: effect(what) if what is not None else effect())
            return type("Result", (), {"entry": done})

        return send

    monkeypatch.setattr(remote, "scan", scan)
    monkeypatch.setattr(remote, "log", log)
    monkeypatch.setattr(remote, "log_end", lambda *_, **__: "")
    monkeypatch.setattr(remote, "status", status)
    monkeypatch.setattr(remote, "redirect_set", change(relay.put_on))
    monkeypatch.setattr(remote, "redirect_clear", change(relay.clear))
    monkeypatch.setattr(remote, "redirect_renew", change(lambda: None))
    monkeypatch.setattr(remote, "redirect_pause", change(lambda: relay.turn(paused=True)))
    monkeypatch.setattr(remote, "redirect_resume", change(lambda: relay.turn(paused=False)))
    monkeypatch.setattr(remote, "retry", change(lambda what: relay.try_now(what.get("ids"))))
    monkeypatch.setattr(flush_run, "response_of", lambda entry: entry)
    monkeypatch.setattr(flush_run, "looked_up", lambda _job, _instance, req_id: relay.results.get(req_id))
    monkeypatch.setattr(flush_run, "write_target", lambda host: host)
    monkeypatch.setattr(flush_run, "read_target", lambda host: host)
    monkeypatch.setattr(flush_run, "_LOOK_EVERY_S", 0)
    monkeypatch.setattr(FlushKind, "plans_again", False)
    return relay


def begun(**fields: Any) -> Operation:
    """Return a flush that was confirmed and waits for a worker."""
    anna = user_make("anna", "operator")
    fleet = fleet_make()
    operation = Operation.objects.create(
        kind="flush", host=fleet["msn-a"].host, instance=fleet["msn-a"], instance_name="msn-a",
        params={"target": fleet["msn-b"].pk, "domains": ["hotmail.com"]}, planned_at=timezone.now(),
        state=OperationState.QUEUED, requested_by=anna, requested_by_name="anna", reason="a test",
        confirmed_at=timezone.now(), deadline_at=timezone.now() + timedelta(hours=1),
    )  # fmt: skip
    Flush.objects.create(
        operation=operation, source=fleet["msn-a"], target=fleet["msn-b"], source_name="msn-a",
        target_name="msn-b", domains=["hotmail.com"], **fields,
    )  # fmt: skip
    return operation


@contextmanager
def dying(points: int) -> Iterator[list[int]]:
    """Raise Killed at that point; there is one before and one behind each commit. Yields the points left."""
    left = [points]

    def point() -> None:
        if left[0] == 0:
            left[0] = -1
            # As the server does when a worker's connection breaks.
            connection.connection.rollback()
            raise Killed
        if left[0] > 0:
            left[0] -= 1

    with around_each_commit(point):
        yield left


def run(operation: Operation) -> OperationState | None:
    """Run it as the next worker does, when the claim of the one before is over."""
    Operation.objects.filter(pk=operation.pk).update(lease_until=None, due_at=None)
    return operations.run(operation_id=operation.pk)


def to_its_end(operation: Operation) -> Flush:
    for _ in range(50):
        if run(operation) != OperationState.RUNNING:
            break
    operation.refresh_from_db()
    return Flush.objects.get(pk=operation.pk)


@contextmanager
def paused_and_resumed(relay: Relay) -> Iterator[None]:
    """Ask for a pause at the first look and for going on at the third, as people do: meanwhile."""
    looks = count()
    look = flush_run._Machine._look

    def looked(machine: Any) -> Account:
        at = next(looks)
        if at != 1:
            # Also this is a commit that the worker may die at: it is asked for until it is there.
            Flush.objects.filter(pk=machine.flush.pk).update(paused_by="anna" if at == 0 else "")
            machine.flush.refresh_from_db(fields=["paused_by"])
        return look(machine)

    patch = pytest.MonkeyPatch()
    patch.setattr(flush_run._Machine, "_look", looked)
    try:
        yield
    finally:
        patch.undo()


def test_killed_at_any_commit_it_moves_all_once_pauses_truly_and_leaves_no_redirect(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(operations, "_send", lambda _pk: None)
        operation = begun()
    fields = {f.attname: getattr(operation, f.attname) for f in Operation._meta.fields if f.attname != "id"}
    row = {
        f.attname: getattr(operation.flush, f.attname)
        for f in Flush._meta.fields
        if f.attname != "operation_id"
    }
    for points in count():
        relay.begin_anew()
        again = Operation.objects.create(**fields)
        Flush.objects.create(operation=again, **row)
        with paused_and_resumed(relay):
            killed = False
            try:
                with dying(points):
                    run(again)
            except Killed:
                killed = True
            # Whatever a killed worker has left, the redirect's state on the host is one the flush knows of.
            assert relay.to or not relay.paused
            flush = to_its_end(again)
        account = Account.from_json(flush.account)
        assert (points, again.state) == (points, OperationState.DONE), again.outcome
        assert (account.selected, account.moved, account.unknown) == (MESSAGES, MESSAGES, 0), points
        assert sorted(relay.moved) == sorted(set(relay.moved)), points
        assert (relay.to, relay.paused, relay.strayed, relay.queue) == ("", False, [], []), points
        names = [step.name for step in again.steps.order_by("number")]
        assert names[:1] == ["redirect"] and names[-1].startswith("give back "), points
        if not killed:
            break
    assert points > 40
    assert {"pause 1", "resume 1"} <= set(names)
    assert audit_check.verify().holds


def test_while_it_is_paused_nothing_is_tried_and_its_own_guards_wait(relay: Relay) -> None:
    operation = begun(paused_by="anna")
    for _ in range(3):
        with stopped_after_a_round():
            run(operation)
        Flush.objects.update(progressed_at=timezone.now() - timedelta(hours=1))
    flush = Flush.objects.get()
    assert (flush.state, relay.paused, relay.batches) == (FlushState.PAUSED, True, [])
    operation.refresh_from_db()
    assert operation.progress is not None
    assert operation.progress["text"].startswith("Paused by anna: 0 of 6 recipients have left")
    anna = user_make("berta", "operator")
    flush_steering.resume(operation=operation, user=anna, actor=ACTOR)
    assert (to_its_end(operation).why_ended, relay.moved) == ("", [f"A{n:06}z{n}" for n in range(MESSAGES)])


def test_a_paused_flush_is_stopped_as_any_other_and_its_mail_stays(relay: Relay) -> None:
    operation = begun(paused_by="anna")
    with stopped_after_a_round():
        run(operation)
    operations.abort(operation=operation, user=user_make("berta", "operator"), actor=ACTOR)
    to_its_end(operation)
    assert (operation.state, relay.to, relay.paused) == (OperationState.ABORTED, "", False)
    assert (len(relay.queue), relay.batches) == (MESSAGES, [])


def test_a_host_that_cannot_pause_has_it_ended(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"ok": False, "output": "no space left on device", "command": []}
    monkeypatch.setattr(remote, "redirect_pause", lambda *_, **__: type("Result", (), {"entry": said}))
    operation = begun(paused_by="anna")
    flush = to_its_end(operation)
    assert flush.why_ended == "It could not be paused, so it was ended: no space left on device"
    assert (operation.state, relay.to, relay.batches) == (OperationState.FAILED_SAFE, "", [])


@contextmanager
def stopped_after_a_round() -> Iterator[None]:
    """Have the worker put the operation back after one look, as it does after 40 s."""
    patch = pytest.MonkeyPatch()
    patch.setattr(flush_run, "WATCH", timedelta(seconds=-1))
    try:
        yield
    finally:
        patch.undo()


def test_a_rate_hands_out_by_id_and_no_faster(relay: Relay) -> None:
    operation = begun(rate=8)
    with stopped_after_a_round():
        run(operation)
        assert relay.batches == [["A000000z0", "A000001z1"]]
        # Within 15 s nothing more; then what the time since has earned, however often it is looked.
        run(operation)
        run(operation)
        assert len(relay.batches) == 1
        operation.steps.filter(name="retry 1").update(begun_at=timezone.now() - timedelta(seconds=23))
        run(operation)
        assert [len(batch) for batch in relay.batches] == [2, 3]
        # An hour makes up for no more than half a minute.
        operation.steps.filter(name="retry 2").update(begun_at=timezone.now() - timedelta(hours=1))
        run(operation)
    assert [len(batch) for batch in relay.batches] == [2, 3, 1]
    assert Account.from_json(to_its_end(operation).account).moved == MESSAGES


def test_a_rate_that_is_taken_away_lets_all_go(relay: Relay) -> None:
    operation = begun(rate=1)
    with stopped_after_a_round():
        run(operation)
        assert [len(batch) for batch in relay.batches] == [1]
        flush_steering.throttle(
            operation=operation, user=user_make("berta", "operator"), actor=ACTOR, rate="0"
        )
        run(operation)
    assert sorted(relay.moved) == [f"A{n:06}z{n}" for n in range(MESSAGES)]
    assert len(relay.batches) == 2
