"""Operations on real Postfix instances, through services, sshd, sudo and relayctl: once, whatever dies."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from fleet.rehearsal import Fleet, register
from fleet.rehearsal.host import Host
from relays.domain.both_sides import Difference
from relays.models import AuditEvent, Instance, Operation, OperationStep
from relays.models.operation import OperationState, StepState
from relays.remote import ssh, write
from relays.remote.errors import Incomplete, Refused
from relays.selectors.rates import rate_of
from relays.services import anchors, audit_check, journals, operations
from relays.services.audit import Actor
from relays.services.collect import poll_host
from relays.services.doors import write_target
from relays.services.kinds import PlanRefused

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]
ACTOR = Actor("user", "anna", 1)


@pytest.fixture
def instance(fleet: Fleet, settings: Settings) -> Iterator[Instance]:
    """msn-a of rustin, on a host that has not seen an operation yet."""
    settings.READ_KEY_PATH = fleet.state.read_key
    settings.WRITE_KEY_PATH = fleet.state.write_key
    register.prepare(fleet)
    register.register(fleet)
    host = fleet.host("rustin")
    host.run(["rm", "-rf", "/var/lib/relay-fleet/instances/msn-a"])
    found = Instance.objects.filter(host__name="rustin", name="msn-a").first()
    if found is None:
        poll_host(host_id=register_of("rustin"), force=True)
        found = Instance.objects.get(host__name="rustin", name="msn-a")
    yield found
    ssh.close_all()


def register_of(name: str) -> int:
    from relays.models import Host as HostRow  # noqa: PLC0415 - the rehearsal's Host has the name here

    return HostRow.objects.get(name=name).pk


@pytest.fixture
def anna(db: None) -> User:
    return User.objects.create_superuser("anna")


def confirmed(instance: Instance, user: User, kind: str = "queue.run", **params: str) -> Operation:
    operation = operations.plan(kind=kind, instance=instance, params=params, user=user, actor=ACTOR)
    return operations.confirm(
        operation=operation,
        plan_hash=operation.plan_hash,
        user=user,
        actor=ACTOR,
        reason="the provider takes mail again",
        typed_name=instance.name,
    )


def journal(host: Host, req_id: object) -> list[str]:
    """Return what the host's own journal says of a request."""
    lines = host.path("/var/log/relay-fleet/journal.jsonl").read_text().splitlines()
    return [entry["event"] for entry in map(json.loads, lines) if entry.get("req_id") == str(req_id)]


def test_a_queue_run_is_done_once_and_both_sides_have_it_written_down(
    fleet: Fleet, instance: Instance, anna: User
) -> None:
    operation = confirmed(instance, anna)
    assert operations.run(operation_id=operation.pk) == OperationState.DONE
    step = OperationStep.objects.get()
    assert step.response["command"][-1] == "-f"
    assert journal(fleet.host("rustin"), step.req_id) == ["begun", "ended"]
    # What entered the hosts into the register is audited as well.
    told = AuditEvent.objects.filter(operation_id=operation.pk)
    assert [event.phase for event in told] == [
        "noted",
        "requested",
        "begun",
        "succeeded",
        "succeeded",
    ]
    assert audit_check.verify().holds


def inventoried(instance: Instance) -> Instance:
    """Return the instance as a poll finds it that reads the inventory anew."""
    type(instance.host).objects.filter(pk=instance.host_id).update(inventory_at=None)
    poll_host(host_id=instance.host_id, force=True)
    return Instance.objects.select_related("host").get(pk=instance.pk)


def test_a_rate_is_held_and_released_and_a_change_by_hand_is_noticed(
    fleet: Fleet, instance: Instance, anna: User
) -> None:
    host, setting = fleet.host("rustin"), "smtp_transport_rate_delay"

    def now() -> str:
        return host.run(["postconf", "-hc", instance.config_dir, "-n", setting]).stdout.strip()

    with pytest.raises(PlanRefused, match="nothing to release"):
        confirmed(instance, anna, "rate.release")
    operation = confirmed(instance, anna, "rate.hold", delay_s="20")
    assert operation.plan["summary"] == "msn-a delivers at most one message in 20 s, 4,320 a day."
    assert operations.run(operation_id=operation.pk) == OperationState.DONE
    assert now() == "20s"
    again = confirmed(instance, anna, "rate.hold", delay_s="30")
    assert operations.run(operation_id=again.pk) == OperationState.DONE
    assert now() == "30s"
    assert rate_of(inventoried(instance), timezone.now()).by == again.pk
    host.run(["postconf", "-c", instance.config_dir, "-e", f"{setting}=7s"])
    shown = rate_of(inventoried(instance), timezone.now())
    assert (shown.value, shown.drift) == (
        "7s",
        f"Operation {again.pk} set 30s: somebody has changed it since.",
    )
    released = confirmed(instance, anna, "rate.release")
    assert operations.run(operation_id=released.pk) == OperationState.DONE
    released.refresh_from_db()
    assert released.outcome == f"left as somebody has set it: {setting} = 7s"
    assert now() == "7s"
    host.run(["postconf", "-c", instance.config_dir, "-X", setting])


def test_a_second_queue_run_within_five_minutes_is_refused_by_the_host(
    fleet: Fleet, instance: Instance, anna: User
) -> None:
    operations.run(operation_id=confirmed(instance, anna).pk)
    with pytest.raises(Refused, match="at most 1 within 300 s"):
        confirmed(instance, anna)


def test_a_reload_is_done(fleet: Fleet, instance: Instance, anna: User) -> None:
    operation = confirmed(instance, anna, "instance.reload")
    assert operations.run(operation_id=operation.pk) == OperationState.DONE
    assert OperationStep.objects.get().response["command"][-1] == "reload"


def test_a_reply_that_was_cut_is_looked_up_and_nothing_is_done_again(
    fleet: Fleet, instance: Instance, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = confirmed(instance, anna)
    really = write.queue_run

    def cut(*args: Any, **kwargs: Any) -> object:
        really(*args, **kwargs)
        raise Incomplete("The reply stopped before its end line.")

    monkeypatch.setattr(write, "queue_run", cut)
    assert operations.run(operation_id=operation.pk) == OperationState.RUNNING
    step = OperationStep.objects.get()
    assert step.state == StepState.BEGUN
    Operation.objects.update(due_at=timezone.now())
    time.sleep(0.01)
    assert operations.run(operation_id=operation.pk) == OperationState.DONE
    assert journal(fleet.host("rustin"), step.req_id) == ["begun", "ended"]


def test_a_change_that_only_one_side_knows_is_found(
    fleet: Fleet, instance: Instance, anna: User, capsys: pytest.CaptureFixture[str]
) -> None:
    operations.run(operation_id=confirmed(instance, anna, "instance.reload").pk)
    assert "rustin" in anchors.anchor_everywhere()
    began = _differences()
    write.queue_run(
        write_target(instance.host), req_id=str(uuid.uuid4()), op_id="1", fence=99, instance=instance.name
    )
    added = [found for found in _differences() if found not in began]
    assert [(found.host, found.what) for found in added] == [
        (
            "rustin",
            f"queue.run on msn-a by relay-write from {_console(fleet)} is not in the audit trail",
        )
    ]
    fleet.host("rustin").run(["sh", "-c", ": >/var/log/relay-fleet/journal.jsonl"])
    assert any("its journal has none" in found.what for found in _differences())


def _differences() -> list[Difference]:
    return [found for found in journals.compare_all().differences if found.host == "rustin"]


def _console(fleet: Fleet) -> str:
    entries = fleet.host("rustin").path("/var/log/relay-fleet/journal.jsonl").read_text().splitlines()
    address: str = json.loads(entries[-1])["from"]
    return address
