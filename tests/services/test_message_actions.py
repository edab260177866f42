"""Operations on single messages, whatever dies in them.

The host here is two dictionaries: tests/messages.py.
"""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from relays.models import AuditEvent, Instance, InstanceLock, MessageBatch, Operation, PendingDeletion
from relays.models.message import DeletionState
from relays.models.operation import OperationState
from relays.remote.errors import Refused
from relays.services import deletions, message_actions, operations
from relays.services.audit import Actor
from relays.services.job import Unknown
from relays.services.kinds import PlanRefused
from relays.services.operations import NotAllowed
from tests.factories import host_make, instance_make
from tests.messages import FarSide

pytestmark = pytest.mark.django_db

ACTOR = Actor("user", "anna")


class Killed(BaseException):
    """The worker dies here: nothing after this line of it runs."""


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> FarSide:
    monkeypatch.setattr(message_actions, "BATCH", 100)
    return FarSide(230).reached_by(monkeypatch)


@pytest.fixture
def anna() -> User:
    return User.objects.create_superuser("anna")


@pytest.fixture
def instance() -> Instance:
    return instance_make(host_make("rustin"), "msn-a", 230)


def confirmed(instance: Instance, user: User, kind: str = "message.hold", **params: str) -> Operation:
    operation = operations.plan(kind=kind, instance=instance, params=params, user=user, actor=ACTOR)
    return operations.confirm(
        operation=operation,
        plan_hash=operation.plan_hash,
        user=user,
        actor=ACTOR,
        reason="stuck",
        typed_name=instance.name,
    )


def run(operation: Operation) -> Operation:
    """Run it to its end, as workers and the sweeper do."""
    for _ in range(20):
        Operation.objects.filter(pk=operation.pk).update(due_at=None, lease_until=None)
        operations.run(operation_id=operation.pk)
        operation.refresh_from_db()
        if not operation.is_live:
            return operation
    raise AssertionError("it did not end")


def test_a_plan_names_every_message_and_keeps_no_address(
    far: FarSide, anna: User, instance: Instance
) -> None:
    operation = confirmed(instance, anna, domain="Hotmail.com", queue="deferred")
    assert operation.params == {"queue": "deferred", "domain": "hotmail.com"}
    assert operation.plan["counts"] == {"messages": 230, "deferred": 230}
    assert "items" not in operation.plan
    assert [batch.messages for batch in MessageBatch.objects.all()] == [100, 100, 30]


def test_every_message_is_acted_on_batch_by_batch(far: FarSide, anna: User, instance: Instance) -> None:
    operation = confirmed(instance, anna)
    far.queues["4jWKWh04b5z0007"] = None
    far.queues["4jWKWh04b5z9999"] = "deferred"  # It came after the plan.
    assert run(operation).state == OperationState.DONE
    assert operation.outcome == "229 messages put on hold; 1 had left the queue."
    assert far.counts() == {"hold": 229, "deferred": 1, None: 1}
    assert operation.progress == {
        "text": "229 messages put on hold; 1 had left the queue, of 230",
        "done": 230,
        "total": 230,
    }


def die() -> None:
    raise Killed


@pytest.mark.parametrize("at", [0, 1, 2])
def test_killed_after_any_batch_nothing_is_done_twice_or_left_out(
    far: FarSide, anna: User, instance: Instance, at: int
) -> None:
    operation = confirmed(instance, anna)
    far.trouble = [*[lambda: None] * at, die]
    with pytest.raises(Killed):
        run(operation)
    assert run(operation).outcome == "230 messages put on hold."
    assert len(far.results) == 3
    assert far.counts() == {"hold": 230}


def test_a_host_killed_within_a_batch_is_looked_at_again(
    far: FarSide, anna: User, instance: Instance
) -> None:
    operation = confirmed(instance, anna)
    far.trouble = [lambda: None, far.forget_result]
    assert run(operation).state == OperationState.DONE
    assert operation.outcome == "130 messages put on hold; 100 were on hold before."
    assert [step.name for step in operation.steps.all()] == [
        "message.hold 1",
        "message.hold 2",
        "message.hold 2 again",
        "message.hold 3",
    ]
    assert len(list(message_actions.acted_on(operation, "message.hold"))) == 230


def test_a_host_killed_twice_within_a_batch_ends_it(far: FarSide, anna: User, instance: Instance) -> None:
    operation = confirmed(instance, anna)
    far.trouble = [far.forget_result, far.forget_result]
    assert run(operation).state == OperationState.FAILED_SAFE
    assert "killed twice" in operation.outcome
    assert not InstanceLock.objects.exists()


def test_a_refusal_in_the_middle_tells_what_was_done_before(
    far: FarSide, anna: User, instance: Instance
) -> None:
    def refuse() -> None:
        raise Refused("relayctl refused (refused): disk full")

    operation = confirmed(instance, anna)
    far.trouble = [lambda: None, refuse]
    assert run(operation).state == OperationState.FAILED_SAFE
    assert operation.outcome.startswith("100 messages put on hold; then it stopped: ")


def test_it_is_stopped_between_two_batches(far: FarSide, anna: User, instance: Instance) -> None:
    operation = confirmed(instance, anna)
    far.trouble = [lambda: operations.abort(operation=operation, user=anna, actor=ACTOR)]
    assert run(operation).state == OperationState.ABORTED
    assert far.counts() == {"hold": 100, "deferred": 130}


@pytest.mark.parametrize(
    ("kind", "params", "words"),
    [
        ("message.hold", {"odd": "1"}, "no parameter 'odd'"),
        ("message.hold", {"older": "soon"}, "is not an age"),
        ("message.hold", {"id": "ALL"}, "queue id"),
        ("message.hold", {"queue": "active"}, "done to messages in incoming or deferred"),
        ("message.release", {}, "nothing is left to do"),
        ("message.delete", {"grace": "1s"}, "from 1 minute to 30 days"),
        ("message.delete", {"grace": "tomorrow"}, "is not an age"),
        ("message.purge", {}, "begins by itself"),
    ],
)
@pytest.mark.usefixtures("far")
def test_what_cannot_be_meant_is_not_planned(
    anna: User, instance: Instance, kind: str, params: dict[str, str], words: str
) -> None:
    with pytest.raises(PlanRefused, match=words):
        operations.plan(kind=kind, instance=instance, params=params, user=anna, actor=ACTOR)
    assert not Operation.objects.exists()


def held_to_be_deleted(instance: Instance, anna: User) -> PendingDeletion:
    run(confirmed(instance, anna, "message.delete", grace="2h"))
    return PendingDeletion.objects.get()


LATER = timedelta(hours=3)


def test_what_is_deleted_waits_and_then_goes(far: FarSide, anna: User, instance: Instance) -> None:
    far.queues["4jWKWh04b5z0003"] = "hold"  # It was on hold before, and was asked for.
    pending = held_to_be_deleted(instance, anna)
    assert far.counts() == {"hold": 230}
    assert pending.messages == 230
    assert deletions.begin_due(now=timezone.now()) == 0
    far.queues["4jWKWh04b5z0001"] = "deferred"  # Somebody released it.
    assert deletions.begin_due(now=timezone.now() + LATER) == 1
    assert deletions.begin_due(now=timezone.now() + LATER) == 0
    pending.refresh_from_db()
    assert pending.follow_up is not None
    assert run(pending.follow_up).outcome == (
        "229 messages deleted; 1 lay in another queue, or were being delivered."
    )
    assert far.counts() == {"deferred": 1, None: 229}
    assert pending.follow_up.requested_by == anna
    assert AuditEvent.objects.filter(operation_id=pending.follow_up.pk, phase="requested").exists()


def test_undone_what_was_put_on_hold_for_it_is_released(far: FarSide, anna: User, instance: Instance) -> None:
    far.queues["4jWKWh04b5z0003"] = "hold"
    pending = held_to_be_deleted(instance, anna)
    assert deletions.undo(pending=pending, user=anna, actor=ACTOR)
    pending.refresh_from_db()
    assert pending.follow_up is not None
    assert run(pending.follow_up).outcome == "229 messages released."
    assert pending.follow_up.undo_of == pending.operation
    assert far.counts() == {"hold": 1, "deferred": 229}
    assert deletions.begin_due(now=timezone.now() + LATER) == 0


def test_undoing_holds_while_another_operation_has_the_instance(
    far: FarSide, anna: User, instance: Instance
) -> None:
    pending = held_to_be_deleted(instance, anna)
    other = confirmed(instance, anna, "message.release")
    assert not deletions.undo(pending=pending, user=anna, actor=ACTOR)
    assert deletions.begin_due(now=timezone.now() + LATER) == 0
    run(other)
    assert deletions.begin_due(now=timezone.now() + LATER) == 1
    pending.refresh_from_db()
    assert pending.follow_up is not None
    assert pending.follow_up.kind == "message.release"


def test_a_deletion_is_undone_or_begun_but_never_both(far: FarSide, anna: User, instance: Instance) -> None:
    pending = held_to_be_deleted(instance, anna)
    deletions.begin_due(now=timezone.now() + LATER)
    with pytest.raises(PlanRefused, match="too late"):
        deletions.undo(pending=pending, user=anna, actor=ACTOR)
    assert PendingDeletion.objects.get().state == DeletionState.BEGUN


def test_an_instance_that_is_gone_keeps_its_mail(far: FarSide, anna: User, instance: Instance) -> None:
    held_to_be_deleted(instance, anna)
    Instance.objects.update(removed_at=timezone.now())
    assert deletions.begin_due(now=timezone.now() + LATER) == 0
    assert PendingDeletion.objects.get().state == DeletionState.WAITING


def test_whoever_may_not_undoes_nothing(far: FarSide, anna: User, instance: Instance) -> None:
    pending = held_to_be_deleted(instance, anna)
    with pytest.raises(NotAllowed):
        deletions.undo(pending=pending, user=User.objects.create_user("otto"), actor=Actor("user", "otto"))


def test_nothing_waits_where_nothing_was_held(far: FarSide, anna: User, instance: Instance) -> None:
    operation = confirmed(instance, anna, "message.delete")
    far.queues = dict.fromkeys(far.queues)
    assert "Nothing is left to delete." in run(operation).outcome
    assert not PendingDeletion.objects.exists()


def command(*words: str) -> str:
    out = StringIO()
    call_command("queue", *words, stdout=out)
    return out.getvalue()


def test_the_command_plans_and_does_the_same(far: FarSide, anna: User, instance: Instance) -> None:
    text = command("act", "hold", "msn-a", "--domain", "hotmail.com", "--plan", "--user", "anna")
    assert text.startswith(
        "230 messages of msn-a, in incoming or deferred, for hotmail.com, are put on hold."
    )
    assert far.counts() == {"deferred": 230}
    done = json.loads(
        command("act", "hold", "rustin/msn-a", "--yes", "--reason", "stuck", "--user", "anna", "--json")
    )
    assert (done["state"], done["outcome"]) == ("done", "230 messages put on hold.")
    assert Operation.objects.get(pk=done["operation"]).reason == "stuck"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["act", "hold", "msn-a", "--yes", "--user", "anna"], "Say why"),
        (["act", "hold", "msn-a", "--yes", "--reason", "x", "--user", "nobody"], "no user nobody"),
        (["act", "eat", "msn-a", "--plan", "--user", "anna"], "ACTION is one of"),
        (["act", "hold", "msn-z", "--plan", "--user", "anna"], "no instance msn-z"),
        (["act", "hold"], "Give INSTANCE"),
        (["msn-a", "--older-than", "soon"], "is not an age"),
    ],
)
def test_the_command_says_what_it_cannot_do(
    far: FarSide, anna: User, instance: Instance, words: list[str], error: str
) -> None:
    with pytest.raises(CommandError, match=error):
        command(*words)
    assert far.counts() == {"deferred": 230}


def stopped_purge(far: FarSide, pending: PendingDeletion) -> Operation:
    """Have the deletion begin when it is due, and fail: the host refuses it."""
    assert deletions.begin_due(now=timezone.now() + LATER) == 1
    pending.refresh_from_db()
    assert pending.follow_up is not None
    far.trouble = [refuse]
    assert run(pending.follow_up).state == OperationState.FAILED_SAFE
    return pending.follow_up


def refuse() -> None:
    raise Refused("The cap of the day is reached.")


def test_a_deletion_that_failed_is_begun_again_an_hour_later(
    far: FarSide, anna: User, instance: Instance
) -> None:
    pending = held_to_be_deleted(instance, anna)
    first = stopped_purge(far, pending)
    assert deletions.begin_due(now=timezone.now() + timedelta(minutes=59)) == 0
    assert deletions.begin_due(now=timezone.now() + timedelta(minutes=61)) == 1
    pending.refresh_from_db()
    assert pending.follow_up is not None
    assert pending.follow_up != first
    assert run(pending.follow_up).state == OperationState.DONE
    assert far.counts() == {None: 230}
    assert deletions.begin_due(now=timezone.now() + LATER) == 0


def test_a_deletion_that_failed_can_be_undone(far: FarSide, anna: User, instance: Instance) -> None:
    pending = held_to_be_deleted(instance, anna)
    stopped_purge(far, pending)
    held = far.counts()["hold"]
    assert deletions.undo(pending=pending, user=anna, actor=ACTOR)
    pending.refresh_from_db()
    assert pending.follow_up is not None
    assert pending.follow_up.kind == "message.release"
    run(pending.follow_up)
    assert far.counts()["deferred"] == held
    assert "hold" not in far.counts()


def test_a_deletion_that_somebody_stopped_is_not_begun_again(
    far: FarSide, anna: User, instance: Instance
) -> None:
    pending = held_to_be_deleted(instance, anna)
    deletions.begin_due(now=timezone.now() + LATER)
    pending.refresh_from_db()
    assert pending.follow_up is not None
    operations.abort(operation=pending.follow_up, user=anna, actor=ACTOR)
    assert deletions.begin_due(now=timezone.now() + LATER) == 0
    assert deletions.undo(pending=pending, user=anna, actor=ACTOR)


def test_a_release_that_failed_is_begun_again_an_hour_later(
    far: FarSide, anna: User, instance: Instance
) -> None:
    pending = held_to_be_deleted(instance, anna)
    deletions.undo(pending=pending, user=anna, actor=ACTOR)
    pending.refresh_from_db()
    assert pending.follow_up is not None
    far.trouble = [refuse]
    assert run(pending.follow_up).state == OperationState.FAILED_SAFE
    assert deletions.begin_due(now=timezone.now() + timedelta(minutes=61)) == 1
    pending.refresh_from_db()
    run(pending.follow_up)
    assert far.counts() == {"deferred": 230}


@pytest.mark.parametrize("how", ["refused", "aborted"])
def test_what_a_deletion_held_before_it_stopped_is_released(
    far: FarSide, anna: User, instance: Instance, how: str
) -> None:
    operation = confirmed(instance, anna, "message.delete")

    def stop() -> None:
        if how == "refused":
            raise Refused("The cap of the day is reached.")
        operations.abort(operation=operation, user=anna, actor=ACTOR)

    far.queues["4jWKWh04b5z0003"] = "hold"  # It was on hold before.
    far.trouble = [lambda: None, stop]
    assert run(operation).state in (OperationState.FAILED_SAFE, OperationState.ABORTED)
    pending = PendingDeletion.objects.get()
    assert pending.state == DeletionState.UNDONE
    assert deletions.begin_due(now=timezone.now()) == 1
    pending.refresh_from_db()
    assert pending.follow_up is not None
    run(pending.follow_up)
    assert far.queues["4jWKWh04b5z0003"] == "hold"
    assert "hold" not in {far.queues[f"4jWKWh04b5z{n:04}"] for n in range(100) if n != 3}


def test_where_nobody_knows_what_a_deletion_held_it_says_what_to_look_at(
    far: FarSide, anna: User, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise Unknown("Whether message.hold 2 was done is not known.")

    monkeypatch.setattr(message_actions.Hold, "act", stop)
    operation = run(confirmed(instance, anna, "message.delete"))
    assert operation.state == OperationState.UNKNOWN
    assert operation.outcome.endswith("Look at what is on hold there, and release what is to go on.")
