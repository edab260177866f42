"""Working a queue of a real Postfix through services, sshd, sudo and relayctl: those messages, no others."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from fleet.rehearsal import Fleet, register
from fleet.rehearsal.host import Host
from relays.domain.filters import QueueFilter, from_words
from relays.domain.queue_reading import Groups
from relays.models import Instance, Operation, OperationStep, PendingDeletion, QueueRead
from relays.models.message import ReadState
from relays.models.operation import OperationState
from relays.remote import ssh, write
from relays.remote.errors import Incomplete
from relays.services import deletions, operations, queue_reads
from relays.services.audit import Actor
from relays.services.collect import poll_host
from relays.services.headers import headers_read
from relays.services.kinds import PlanRefused

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]
ACTOR = Actor("user", "anna", 1)
CONFIG = "/etc/postfix-msn-a"
# More than two batches of the others, and some of those that are looked for.
MANY, FEW = 2_400, 41


@pytest.fixture(scope="module")
def filled(lab: Fleet) -> Iterator[Fleet]:
    """The fleet, with MANY throttled messages in msn-a and FEW whose mailbox is full."""
    lab.provider.clear()
    host = lab.host("rustin")
    host.run(["postsuper", "-c", CONFIG, "-d", "ALL"])
    lab.provider.set_rule("full", provider="msn", domain="live.com")
    lab.fabricate(FEW, domain="live.com", via="msn-a", oldest_s=7200)
    lab.provider.clear()
    lab.provider.set_rule("throttle", provider="msn", source="msn-a")
    lab.fabricate(MANY, domain="hotmail.com", via="msn-a", oldest_s=7200)
    yield lab
    host.run(["postsuper", "-c", CONFIG, "-d", "ALL"])
    lab.provider.clear()


@pytest.fixture
def instance(filled: Fleet, settings: Settings) -> Iterator[Instance]:
    """msn-a of rustin, all of its messages deferred."""
    settings.READ_KEY_PATH = filled.state.read_key
    settings.WRITE_KEY_PATH = filled.state.write_key
    register.prepare(filled)
    register.register(filled)
    host = filled.host("rustin")
    host.run(["rm", "-rf", "/var/lib/relay-fleet/instances/msn-a"])
    host.run(["postsuper", "-c", CONFIG, "-H", "ALL"])
    found = Instance.objects.filter(host__name="rustin", name="msn-a").first()
    if found is None:
        from relays.models import Host as HostRow  # noqa: PLC0415 - the rehearsal's Host has the name here

        poll_host(host_id=HostRow.objects.get(name="rustin").pk, force=True)
        found = Instance.objects.get(host__name="rustin", name="msn-a")
    yield found
    ssh.close_all()


@pytest.fixture
def rustin(filled: Fleet) -> Host:
    return filled.host("rustin")


@pytest.fixture
def anna(db: None) -> User:
    return User.objects.create_superuser("anna")


def queue(fleet: Fleet) -> dict[str, tuple[str, str]]:
    """Return (queue, recipient domain) of each message, by Postfix's own listing."""
    return {
        message["queue_id"]: (message["queue_name"], message["recipients"][0]["address"].rpartition("@")[2])
        for message in fleet.instance("msn-a").postqueue()
        if message["queue_name"] != "maildrop"
    }


def read(instance: Instance, **words: str) -> Groups:
    """Return what the page's reading says."""
    asked = queue_reads.ask(instance=instance, what=queue_reads.GROUPS, wanted=from_words(words))
    QueueRead.objects.update(state=ReadState.WAITING)
    assert queue_reads.run(read_id=asked.pk)
    asked.refresh_from_db()
    assert asked.error == ""
    return Groups.from_json(json.loads(asked.body))


def planned(instance: Instance, user: User, kind: str, **words: str) -> Operation:
    return operations.plan(kind=kind, instance=instance, params=words, user=user, actor=ACTOR)


def confirmed(operation: Operation, user: User) -> Operation:
    return operations.confirm(
        operation=operation,
        plan_hash=operation.plan_hash,
        user=user,
        actor=ACTOR,
        reason="their mailboxes are full",
        typed_name=operation.instance_name,
    )


def done(instance: Instance, user: User, kind: str, **words: str) -> Operation:
    operation = confirmed(planned(instance, user, kind, **words), user)
    assert operations.run(operation_id=operation.pk) == OperationState.DONE
    operation.refresh_from_db()
    return operation


def full_reply(instance: Instance) -> str:
    (row,) = [row for row in read(instance).tables["reply"].rows if "mailbox" in row.text]
    return row.key


def test_the_few_of_one_reply_are_found_held_released_and_nothing_else_is_touched(
    filled: Fleet, rustin: Host, instance: Instance, anna: User
) -> None:
    before = queue(filled)
    groups = read(instance)
    assert groups.messages == len(before) == sum(table.messages for table in groups.tables["domain"].rows)
    assert {row.key: row.messages for row in groups.tables["domain"].rows} == dict(
        Counter(domain for _, domain in before.values())
    )
    digest = full_reply(instance)
    few = {queue_id for queue_id, (_, domain) in before.items() if domain == "live.com"}
    assert read(instance, reply=digest).messages == read(instance, reason="mailbox-full").messages == len(few)

    operation = planned(instance, anna, "message.hold", reason="mailbox-full")
    assert operation.plan["counts"] == {"messages": len(few), "deferred": len(few)}
    # One leaves between the plan and the action.
    left = min(few)
    rustin.run(["postsuper", "-c", CONFIG, "-d", left])
    confirmed(operation, anna)
    assert operations.run(operation_id=operation.pk) == OperationState.DONE
    operation.refresh_from_db()
    assert operation.outcome == f"{len(few) - 1} messages put on hold; 1 had left the queue."
    now = queue(filled)
    assert {queue_id for queue_id, (name, _) in now.items() if name == "hold"} == few - {left}
    assert {k: v for k, v in now.items() if k not in few} == {k: v for k, v in before.items() if k not in few}

    released = done(instance, anna, "message.release", queue="hold", reply=digest)
    assert released.outcome.startswith(f"{len(few) - 1} messages released")
    assert queue(filled) == {k: v for k, v in before.items() if k != left}


def test_what_is_deleted_waits_on_hold_and_is_undone_in_one_click(
    filled: Fleet, instance: Instance, anna: User
) -> None:
    before = queue(filled)
    done(instance, anna, "message.delete", domain="live.com", grace="1h")
    few = {queue_id for queue_id, (_, domain) in before.items() if domain == "live.com"}
    assert {queue_id for queue_id, (name, _) in queue(filled).items() if name == "hold"} == few
    pending = PendingDeletion.objects.get()
    assert (pending.messages, deletions.begin_due(now=timezone.now())) == (len(few), 0)

    assert deletions.undo(pending=pending, user=anna, actor=ACTOR)
    pending.refresh_from_db()
    assert operations.run(operation_id=pending.follow_up_id or 0) == OperationState.DONE
    assert queue(filled) == before
    with pytest.raises(PlanRefused, match="too late"):
        deletions.undo(pending=pending, user=anna, actor=ACTOR)
    assert deletions.begin_due(now=timezone.now() + timedelta(hours=2)) == 0


def test_what_is_due_is_deleted_but_not_what_somebody_released_meanwhile(
    filled: Fleet, rustin: Host, instance: Instance, anna: User
) -> None:
    before = queue(filled)
    some = sorted(queue_id for queue_id, (_, domain) in before.items() if domain == "live.com")
    for queue_id in some[:3]:
        done(instance, anna, "message.delete", id=queue_id, grace="1m")
    rustin.run(["postsuper", "-c", CONFIG, "-H", some[0]])
    later = timezone.now() + timedelta(minutes=2)
    outcomes = []
    # An instance has one live operation: each waits for the one before.
    for _ in range(3):
        assert deletions.begin_due(now=later) == 1
        operation = Operation.objects.filter(kind="message.purge", state=OperationState.QUEUED).get()
        state = operations.run(operation_id=operation.pk)
        assert state == OperationState.DONE, [step.error for step in operation.steps.all()]
        operation.refresh_from_db()
        outcomes.append(operation.outcome)
    assert outcomes == [
        "0 messages deleted; 1 lay in another queue, or were being delivered.",
        "1 message deleted.",
        "1 message deleted.",
    ]
    assert queue(filled) == {k: v for k, v in before.items() if k not in some[1:3]}


def test_a_cut_after_any_batch_is_looked_up_and_no_message_is_left_out(
    filled: Fleet, instance: Instance, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = queue(filled)
    operation = confirmed(planned(instance, anna, "message.hold", domain="hotmail.com"), anna)
    really, calls = write.messages, []

    def cut(*args: Any, **kwargs: Any) -> object:
        answer = really(*args, **kwargs)
        calls.append(kwargs["req_id"])
        if len(calls) != 2:
            raise Incomplete("The reply stopped before its end line.")
        return answer

    monkeypatch.setattr(write, "messages", cut)
    state, rounds = OperationState.RUNNING, 0
    while state == OperationState.RUNNING:
        Operation.objects.update(due_at=None)
        state = operations.run(operation_id=operation.pk) or OperationState.RUNNING
        rounds += 1
        assert rounds < 10
    assert (state, len(calls), len(set(calls))) == (OperationState.DONE, 3, 3)
    many = {queue_id for queue_id, (_, domain) in before.items() if domain == "hotmail.com"}
    assert {queue_id for queue_id, (name, _) in queue(filled).items() if name == "hold"} == many
    steps = OperationStep.objects.filter(operation=operation)
    assert sum(step.response["counts"]["acted"] for step in steps) == len(many)


def test_headers_are_read_through_the_write_door(filled: Fleet, instance: Instance) -> None:
    queue_id = next(iter(queue(filled)))
    headers = headers_read(instance=instance, queue_id=queue_id, actor=ACTOR)
    assert any(line.startswith("Subject: ") for line in headers.lines)


def test_a_plan_for_what_is_not_there_is_refused(instance: Instance, anna: User) -> None:
    with pytest.raises(PlanRefused, match=r"There are no messages in .*nobody\.example"):
        planned(instance, anna, "message.hold", domain="nobody.example")
    with pytest.raises(PlanRefused, match="done to messages in hold"):
        planned(instance, anna, "message.release", queue="deferred")
    with pytest.raises(PlanRefused, match="begins by itself"):
        planned(instance, anna, "message.purge")
    assert QueueFilter() == from_words({})
