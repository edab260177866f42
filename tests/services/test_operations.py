"""The life of an operation, whatever dies in it.

The host here is a dictionary: tests/two_steps.py.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from relays.domain.audit import breaks
from relays.models import AuditEvent, Host, Instance, InstanceLock, Operation, OperationStep
from relays.models.operation import OperationState, StepState
from relays.remote.errors import Incomplete, Refused, Unreachable
from relays.selectors.audit import links
from relays.services import audit, operations
from relays.services.audit import Actor
from relays.services.job import LEASE
from relays.services.kinds import PlanRefused
from tests.factories import host_make, instance_make
from tests.two_steps import FarSide, TwoSteps, registered

pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """The worker dies here: nothing after this line of it runs."""


@pytest.fixture
def far() -> Iterator[FarSide]:
    with registered() as far:
        yield far


@pytest.fixture
def anna() -> User:
    user = User.objects.create_user("anna")
    user.user_permissions.add(Permission.objects.get(codename="run_queue"))
    return user


@pytest.fixture
def instance() -> Instance:
    return instance_make(host_make("rustin"), "msn-a")


ACTOR = Actor("user", "anna")


def planned(instance: Instance, user: User, **more: Any) -> Operation:
    return operations.plan(
        kind=TwoSteps.name, instance=instance, params=more.pop("params", {}), user=user, actor=ACTOR, **more
    )


def confirmed(instance: Instance, user: User) -> Operation:
    operation = planned(instance, user)
    return operations.confirm(
        operation=operation, plan_hash=operation.plan_hash, user=user, actor=ACTOR, reason="stuck"
    )


def phases(operation: Operation) -> list[str]:
    return list(AuditEvent.objects.filter(operation_id=operation.pk).values_list("phase", flat=True))


def lease_runs_out(operation: Operation) -> None:
    Operation.objects.filter(pk=operation.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def is_due(operation: Operation) -> None:
    Operation.objects.filter(pk=operation.pk).update(due_at=None, lease_until=None)


def test_a_plan_is_confirmed_run_and_ended_with_a_full_trail(
    far: FarSide, anna: User, instance: Instance
) -> None:
    operation = confirmed(instance, anna)
    assert InstanceLock.objects.get().operation == operation
    assert operations.run(operation_id=operation.pk) == OperationState.DONE
    operation.refresh_from_db()
    assert operation.outcome == "Both were done."
    assert far.effects == ["one", "two"]
    assert not InstanceLock.objects.exists()
    assert phases(operation) == [
        "noted",
        "requested",
        "begun",
        "succeeded",
        "begun",
        "succeeded",
        "succeeded",
    ]
    assert list(breaks(links(), audit.key())) == []


def test_confirming_sends_it_to_the_workers_once_committed(
    far: FarSide,
    anna: User,
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "relays.services.dispatch.current_app.send_task",
        lambda task, args, **_: sent.append((task, args[0])),
    )
    with django_capture_on_commit_callbacks(execute=True):
        operation = confirmed(instance, anna)
        assert sent == []
    assert sent == [(operations.TASK, operation.pk)]


def test_the_sweeper_sends_what_nobody_runs(
    far: FarSide,
    anna: User,
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    sent: list[int] = []
    monkeypatch.setattr("relays.services.operations._send", sent.append)
    operation = confirmed(instance, anna)
    assert operations.sweep() == 1
    Operation.objects.update(lease_until=timezone.now() + LEASE, state="running")
    assert operations.sweep() == 0
    lease_runs_out(operation)
    assert operations.sweep() == 1
    assert sent == [operation.pk, operation.pk]


@pytest.mark.parametrize("where", range(2))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_killed_around_an_effect_leaves_it_done_once(
    far: FarSide, anna: User, instance: Instance, where: int, when: str
) -> None:
    operation = confirmed(instance, anna)

    def kill() -> None:
        if len(far.effects) == where + (when == "after"):
            raise Killed

    setattr(far, when, kill)
    with pytest.raises(Killed):
        operations.run(operation_id=operation.pk)
    setattr(far, when, lambda: None)
    assert operations.run(operation_id=operation.pk) is None
    lease_runs_out(operation)
    assert operations.run(operation_id=operation.pk) == OperationState.DONE
    assert far.effects == ["one", "two"]
    assert OperationStep.objects.filter(state=StepState.DONE).count() == 2


def test_a_cut_connection_is_looked_up_and_not_done_again(
    far: FarSide, anna: User, instance: Instance
) -> None:
    operation = confirmed(instance, anna)

    def cut() -> None:
        raise Incomplete("The reply stopped before its end line.")

    far.after = cut
    assert operations.run(operation_id=operation.pk) == OperationState.RUNNING
    far.after = lambda: None
    is_due(operation)
    assert operations.run(operation_id=operation.pk) == OperationState.DONE
    assert far.effects == ["one", "two"]


def test_what_a_host_still_runs_is_waited_for_and_then_unknown(
    far: FarSide, anna: User, instance: Instance
) -> None:
    operation = confirmed(instance, anna)
    far.before = _raises(Incomplete("cut"))
    operations.run(operation_id=operation.pk)
    far.running.add(str(OperationStep.objects.get().req_id))
    is_due(operation)
    assert operations.run(operation_id=operation.pk) == OperationState.RUNNING
    OperationStep.objects.update(begun_at=timezone.now() - timedelta(seconds=61))
    is_due(operation)
    assert operations.run(operation_id=operation.pk) == OperationState.UNKNOWN
    operation.refresh_from_db()
    assert operation.outcome.startswith("Whether one was done is not known")
    assert not InstanceLock.objects.exists()


def test_a_host_that_stays_away_ends_as_unknown_at_the_deadline(
    far: FarSide, anna: User, instance: Instance
) -> None:
    operation = confirmed(instance, anna)
    far.before = _raises(Unreachable("No answer within 10 s."))
    assert operations.run(operation_id=operation.pk) == OperationState.RUNNING
    Operation.objects.update(deadline_at=timezone.now())
    far.look_up = _raises(Unreachable("No answer within 10 s."))  # type: ignore[method-assign]
    is_due(operation)
    assert operations.run(operation_id=operation.pk) == OperationState.UNKNOWN


def _raises(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_refusal_of_the_host_fails_with_nothing_done(far: FarSide, anna: User, instance: Instance) -> None:
    operation = confirmed(instance, anna)
    far.before = _raises(Refused("relayctl refused (refused): at most one in 5 minutes"))
    assert operations.run(operation_id=operation.pk) == OperationState.FAILED_SAFE
    operation.refresh_from_db()
    assert "at most one in 5 minutes" in operation.outcome
    assert phases(operation)[-2:] == ["failed", "failed"]


def test_an_abort_stops_between_two_steps(far: FarSide, anna: User, instance: Instance) -> None:
    operation = confirmed(instance, anna)
    far.after = partial(operations.abort, operation=operation, user=anna, actor=ACTOR)
    assert operations.run(operation_id=operation.pk) == OperationState.ABORTED
    assert far.effects == ["one"]
    assert OperationStep.objects.get().state == StepState.DONE


def test_an_abort_never_leaves_a_begun_step_untold(far: FarSide, anna: User, instance: Instance) -> None:
    operation = confirmed(instance, anna)
    far.after = _raises(Incomplete("cut"))
    operations.run(operation_id=operation.pk)
    operations.abort(operation=operation, user=anna, actor=ACTOR)
    far.after = lambda: None
    assert operations.run(operation_id=operation.pk) == OperationState.ABORTED
    assert OperationStep.objects.get().state == StepState.DONE


def test_what_nobody_runs_yet_is_aborted_at_once(far: FarSide, anna: User, instance: Instance) -> None:
    operation = operations.abort(operation=confirmed(instance, anna), user=anna, actor=ACTOR)
    assert operation.state == OperationState.ABORTED
    assert operations.run(operation_id=operation.pk) is None
    assert not InstanceLock.objects.exists()


def test_one_instance_has_one_live_operation(far: FarSide, anna: User, instance: Instance) -> None:
    first, second = confirmed(instance, anna), planned(instance, anna)
    with pytest.raises(operations.Busy, match=f"Operation {first.pk} .* by anna"):
        operations.confirm(
            operation=second, plan_hash=second.plan_hash, user=anna, actor=ACTOR, reason="again"
        )
    second.refresh_from_db()
    assert second.state == OperationState.PLANNED


def test_confirming_twice_is_confirming_once(far: FarSide, anna: User, instance: Instance) -> None:
    operation = confirmed(instance, anna)
    again = operations.confirm(
        operation=operation, plan_hash=operation.plan_hash, user=anna, actor=ACTOR, reason="stuck"
    )
    assert again.pk == operation.pk
    assert phases(operation) == ["noted", "requested"]


def test_an_old_plan_or_another_one_does_not_run(far: FarSide, anna: User, instance: Instance) -> None:
    operation = planned(instance, anna)
    with pytest.raises(operations.PlanStale, match="not the plan"):
        operations.confirm(operation=operation, plan_hash="0" * 64, user=anna, actor=ACTOR, reason="x")
    Operation.objects.update(planned_at=timezone.now() - timedelta(minutes=10, seconds=1))
    with pytest.raises(operations.PlanStale, match="10 minutes"):
        operations.confirm(
            operation=operation, plan_hash=operation.plan_hash, user=anna, actor=ACTOR, reason="x"
        )


def test_facts_that_moved_since_the_plan_stop_it(far: FarSide, anna: User, instance: Instance) -> None:
    operation = confirmed(instance, anna)
    far.queue = 40_000
    assert operations.run(operation_id=operation.pk) == OperationState.FAILED_SAFE
    assert far.effects == []


@pytest.mark.parametrize("change", ["demoted", "disabled", "gone"])
def test_permission_is_asked_for_again_when_it_runs(
    far: FarSide, anna: User, instance: Instance, change: str
) -> None:
    operation = confirmed(instance, anna)
    if change == "demoted":
        anna.user_permissions.clear()
    elif change == "disabled":
        User.objects.update(is_active=False)
    else:
        anna.delete()
    assert operations.run(operation_id=operation.pk) == OperationState.FAILED_SAFE
    assert far.effects == []
    assert "denied" in phases(operation)


def test_who_may_not_is_refused_and_it_is_written_down(far: FarSide, instance: Instance) -> None:
    viewer = User.objects.create_user("vera")
    with pytest.raises(operations.NotAllowed):
        planned(instance, viewer)
    event = AuditEvent.objects.get()
    assert (event.phase, event.action, event.instance) == ("denied", "operation.test.two-steps", "msn-a")
    assert not Operation.objects.exists()


def test_a_reason_is_required(far: FarSide, anna: User, instance: Instance) -> None:
    operation = planned(instance, anna)
    with pytest.raises(PlanRefused, match="reason"):
        operations.confirm(
            operation=operation, plan_hash=operation.plan_hash, user=anna, actor=ACTOR, reason="  "
        )


def test_an_idempotency_key_is_one_operation(far: FarSide, anna: User, instance: Instance) -> None:
    first = planned(instance, anna, idempotency_key="k1")
    assert planned(instance, anna, idempotency_key="k1") == first
    with pytest.raises(operations.KeyReused):
        planned(instance, anna, idempotency_key="k1", params={"domain": "hotmail.com"})


def test_what_no_worker_began_within_an_hour_is_not_done(
    far: FarSide, anna: User, instance: Instance
) -> None:
    operation = confirmed(instance, anna)
    Operation.objects.update(deadline_at=timezone.now() - timedelta(seconds=1))
    assert operations.run(operation_id=operation.pk) is None
    operation.refresh_from_db()
    assert operation.state == OperationState.FAILED_SAFE
    assert far.effects == []


def test_a_worker_that_lost_its_lease_writes_nothing_more(
    far: FarSide, anna: User, instance: Instance
) -> None:
    operation = confirmed(instance, anna)

    def overtaken() -> None:
        far.after = lambda: None
        lease_runs_out(operation)
        assert operations.run(operation_id=operation.pk) == OperationState.DONE

    far.after = overtaken
    assert operations.run(operation_id=operation.pk) is None
    operation.refresh_from_db()
    assert operation.state == OperationState.DONE
    assert far.effects == ["one", "two"]
    assert phases(operation).count("succeeded") == 3


def test_fences_grow_over_all_operations_of_an_instance(far: FarSide, anna: User, instance: Instance) -> None:
    fences = []
    for _ in range(3):
        operation = confirmed(instance, anna)
        operations.run(operation_id=operation.pk)
        operation.refresh_from_db()
        fences.append(operation.fence)
    assert fences == [1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_a_message_delivered_a_hundred_times_runs_it_once(
    far: FarSide, anna: User, instance: Instance
) -> None:
    operation = confirmed(instance, anna)

    def deliver(_: int) -> None:
        try:
            operations.run(operation_id=operation.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(deliver, range(100)))
    operation.refresh_from_db()
    assert operation.state == OperationState.DONE
    assert operation.attempt == 1
    assert far.effects == ["one", "two"]


@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_get_one_operation(far: FarSide, anna: User, instance: Instance) -> None:
    plans = [planned(instance, anna) for _ in range(8)]

    def click(operation: Operation) -> bool:
        try:
            operations.confirm(
                operation=operation, plan_hash=operation.plan_hash, user=anna, actor=ACTOR, reason="x"
            )
        except operations.Busy:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(click, plans)) == 1
    assert InstanceLock.objects.count() == 1


def test_plans_that_nobody_confirmed_are_forgotten_and_their_events_stay(
    far: FarSide, anna: User, instance: Instance
) -> None:
    planned(instance, anna)
    kept = confirmed(instance, anna)
    assert operations.forget_unconfirmed(now=timezone.now() + timedelta(days=2)) == 1
    assert Operation.objects.get() == kept
    assert AuditEvent.objects.count() == 3
    assert Host.objects.exists()
