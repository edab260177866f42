"""An apply whose worker is killed around each of its commits: old or new is served, and written once."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from dns.domain.records import RecordSet, difference
from dns.domain.weights import Rendering, render
from dns.lookup import Server
from dns.models import PublishedState, RelayName
from dns.publishing.rfc2136 import Key, Rfc2136
from dns.services import zones
from relays.models import Operation, RelayNameLock
from relays.models.operation import OperationState
from relays.services import audit_check, operations
from relays.services.audit import SYSTEM
from tests.dns_servers import ALGORITHM, KEY, SECRET, ZONE, Bind
from tests.mortal_worker import MortalWorker
from tests.people import user_make

pytestmark = pytest.mark.django_db(transaction=True)

MSN = f"msn.{ZONE}"
OLD, NEW = "192.0.2.11", "192.0.2.12"


@pytest.fixture(scope="module")
def primary() -> Iterator[Rfc2136]:
    with Bind() as bind:
        at = Rfc2136(Server("127.0.0.1", bind.port), ZONE, Key(KEY, ALGORITHM, SECRET), within_s=20)
        at.write(difference([], [RecordSet.of(MSN, "A", 600, [OLD, NEW])]))
        yield at


@pytest.fixture
def msn(primary: Rfc2136) -> RelayName:
    zone = zones.zone_save(
        name=ZONE,
        method="rfc2136",
        servers=[str(primary.primary)],
        allowed_names=[MSN],
        tsig_name=KEY,
        secret=SECRET,
        actor=SYSTEM,
    )
    return zones.relay_name_import(zone=zone, name=MSN, rendering="mx", actor=SYSTEM)


@pytest.fixture
def worker(msn: RelayName) -> Iterator[MortalWorker]:
    environment = {
        "FLEET_DATA": str(settings.DATA_DIR),
        "DATABASE_URL": _database_url(),
        "FLEET_LOG_LEVEL": "ERROR",
    }
    with MortalWorker(environment) as worker:
        yield worker


def _database_url() -> str:
    told = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{told['NAME']}"
    return f"postgres://{told['USER']}:{told['PASSWORD']}@{told['HOST']}:{told['PORT']}/{told['NAME']}"


def _confirmed(user: User, old: int) -> Operation:
    operation = operations.plan_relay_name(
        kind="weights.apply", relay_name=MSN, params={"weights": {OLD: old, NEW: 1}}, user=user, actor=SYSTEM
    )
    return operations.confirm(
        operation=operation, plan_hash=operation.plan_hash, user=user, actor=SYSTEM, reason="a test"
    )


def _records(old: int) -> tuple[RecordSet, ...]:
    return render(MSN, {OLD: old, NEW: 1}, rendering=Rendering.MX, ttl=600).records


def test_a_worker_killed_around_any_commit_leaves_old_or_new_and_one_write(
    msn: RelayName, worker: MortalWorker, primary: Rfc2136
) -> None:
    anna = user_make("anna", "operator")
    before = primary.read(MSN)
    for points in count():
        wanted = 2 + points % 2
        operation = _confirmed(anna, wanted)
        status = worker.run(operation.pk, points=points)
        between = primary.read(MSN)
        assert between.ours(MSN) in (before.ours(MSN), _records(wanted)), points
        _lease_runs_out(operation)
        assert worker.run(operation.pk) == 0
        operation.refresh_from_db()
        assert (points, operation.state) == (points, OperationState.DONE), operation.outcome
        after = primary.read(MSN)
        assert after.ours(MSN) == _records(wanted)
        assert (points, after.serial) == (points, before.serial + 1)
        state = PublishedState.objects.get(operation=operation)
        assert state.parts == {OLD: wanted, NEW: 1}
        assert not RelayNameLock.objects.exists()
        if status == 0:
            break
        assert status == -9
        before = after
    # Claim, begin, result, weights with their state, and end: each with a point before and one behind it.
    assert points >= 10
    assert audit_check.verify().holds


def _lease_runs_out(operation: Operation) -> None:
    """Let the 80 s be over that a worker's claim lasts."""
    past = timezone.now() - timedelta(seconds=1)
    Operation.objects.filter(pk=operation.pk, lease_until__gt=past).update(lease_until=past)
