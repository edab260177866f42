"""A queue run whose worker is killed before and behind each of its commits: done once, as both sides know."""

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from fleet.rehearsal import Fleet
from relays.models import Instance, InstanceLock, Operation
from relays.models.operation import OperationState
from relays.services import audit_check, operations
from tests.lab.test_operations import ACTOR, _differences, anna, instance, journal  # noqa: F401 - fixtures
from tests.mortal_worker import MortalWorker

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def worker(fleet: Fleet, instance: Instance) -> Iterator[MortalWorker]:  # noqa: F811
    environment = {
        "FLEET_DATA": str(settings.DATA_DIR),
        "FLEET_READ_KEY": str(settings.READ_KEY_PATH),
        "FLEET_WRITE_KEY": str(settings.WRITE_KEY_PATH),
        "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
        "FLEET_LOG_LEVEL": "ERROR",
    }
    limits = fleet.host("rustin").path("/etc/relay-fleet/limits.json")
    before = limits.read_text()
    limits.write_text(json.dumps(json.loads(before) | {"domain_runs_in_5_min": 300}))
    with MortalWorker(environment) as worker:
        yield worker
    limits.write_text(before)


def confirmed(instance: Instance, user: User) -> Operation:  # noqa: F811
    operation = operations.plan(
        kind="queue.run", instance=instance, params={"domain": "hotmail.com"}, user=user, actor=ACTOR
    )
    return operations.confirm(
        operation=operation, plan_hash=operation.plan_hash, user=user, actor=ACTOR, reason="a test"
    )


def test_a_worker_killed_around_any_commit_leaves_one_effect_and_the_truth(
    fleet: Fleet,
    instance: Instance,  # noqa: F811
    anna: User,  # noqa: F811
    worker: MortalWorker,
) -> None:
    before = _differences()
    for points in count():
        operation = confirmed(instance, anna)
        status = worker.run(operation.pk, points=points)
        lease_runs_out(operation)
        assert worker.run(operation.pk) == 0
        operation.refresh_from_db()
        assert (points, operation.state) == (points, OperationState.DONE)
        assert not InstanceLock.objects.exists()
        [step] = operation.steps.all()
        assert (points, journal(fleet.host("rustin"), step.req_id)) == (points, ["begun", "ended"])
        if status == 0:
            break
        assert status == -9
    # Claim, begin, result and end are four transactions at least, each with a point before and behind it.
    assert points >= 8
    assert audit_check.verify().holds
    assert _differences() == before


def lease_runs_out(operation: Operation) -> None:
    """Let the 80 s be over that a worker's claim lasts."""
    past = timezone.now() - timedelta(seconds=1)
    Operation.objects.filter(pk=operation.pk, lease_until__gt=past).update(lease_until=past)
