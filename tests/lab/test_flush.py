"""Deferred mail moved between real instances: each message once, nothing bounced, no redirect left."""

import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from pytest_django import Settings

from fleet.rehearsal import Fleet, register
from relays.domain.flush import Account
from relays.models import Flush, Host, Instance, InstanceLock, InstanceRedirect, Operation
from relays.models.flush import FlushState
from relays.models.operation import OperationState
from relays.remote import ssh
from relays.services import audit_check, flush_run, flush_steering, journals, operations
from relays.services.audit import Actor
from relays.services.collect import poll_host
from relays.services.kinds import PlanRefused
from relays.services.operations import Busy

from .conftest import Wait

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]
ACTOR = Actor("user", "anna", 1)
_ENDED = (OperationState.DONE, OperationState.FAILED_SAFE, OperationState.ABORTED, OperationState.UNKNOWN)


@pytest.fixture
def console(fleet: Fleet, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A console that knows the fleet, and a fleet without mail of other tests."""
    settings.READ_KEY_PATH, settings.WRITE_KEY_PATH = fleet.state.read_key, fleet.state.write_key
    monkeypatch.setattr(flush_run, "_LOOK_EVERY_S", 0.2)
    for host in fleet.hosts.values():
        host.run(["sh", "-c", "rm -rf /var/lib/relay-fleet/instances/*"])
        for instance in host.instances:
            host.run(["postsuper", "-c", instance.config_dir, "-d", "ALL"])
    register.prepare(fleet)
    register.register(fleet)
    for row in Host.objects.all():
        poll_host(host_id=row.pk, force=True)
    yield fleet
    for host in fleet.hosts.values():
        for instance in host.instances:
            host.run(["postsuper", "-c", instance.config_dir, "-d", "ALL"])
    ssh.close_all()


@pytest.fixture
def anna(db: None) -> User:
    return User.objects.create_superuser("anna")


def instance(name: str) -> Instance:
    return Instance.objects.select_related("host").get(name=name)


def planned(anna: User, source: str, target: str, *domains: str, rate: int = 0) -> Operation:
    params = {"target": instance(target).pk, "domains": list(domains), "rate": rate}
    return operations.plan(kind="flush", instance=instance(source), params=params, user=anna, actor=ACTOR)


def confirmed(operation: Operation, anna: User) -> Operation:
    return operations.confirm(
        operation=operation,
        plan_hash=operation.plan_hash,
        user=anna,
        actor=ACTOR,
        reason="its address is throttled",
        typed_name=operation.instance_name,
    )


def run_to_its_end(operation: Operation, within_s: float = 240) -> Operation:
    """Run as workers do, each time it is due."""
    give_up_at = time.monotonic() + within_s
    while operations.run(operation_id=operation.pk) not in _ENDED:
        assert time.monotonic() < give_up_at, Flush.objects.get().why_ended
        Operation.objects.filter(pk=operation.pk).update(due_at=None, lease_until=None)
    operation.refresh_from_db()
    return operation


def throttle(fleet: Fleet, name: str) -> None:
    fleet.provider.set_rule("throttle", source=name)


def defer(fleet: Fleet, until: Wait, messages: dict[str, int], via: str = "msn-a") -> dict[str, list[str]]:
    """Have an instance defer so many messages a domain; return their Message-IDs by domain."""
    sent = {domain: fleet.send(n, domain=domain, via=via) for domain, n in messages.items()}
    total = sum(messages.values())
    until(lambda: fleet.instance(via).counts()["deferred"] >= total, f"{total} messages deferred")
    return sent


def accepted(fleet: Fleet, wanted: Iterable[str]) -> Counter[str]:
    """Return how often the providers took each of these messages."""
    asked = set(wanted)
    return Counter(
        record["message_id"] for record in fleet.provider.accepted() if record["message_id"] in asked
    )


def polled(name: str) -> InstanceRedirect:
    """Return the redirect that a poll made just now saw."""
    poll_host(host_id=instance(name).host_id, force=True)
    return InstanceRedirect.objects.get(instance__name=name)


def redirect_of(fleet: Fleet, name: str) -> str:
    """Return what a redirect map says, without its comment."""
    text = fleet.host("rustin").path(f"/var/lib/relay-fleet/redirects/{name}").read_text()
    return "".join(line for line in text.splitlines() if not line.startswith("#"))


def test_deferred_mail_of_two_domains_is_moved_once_and_the_rest_is_not_touched(
    console: Fleet, anna: User, until: Wait
) -> None:
    throttle(console, "msn-a")
    sent = defer(console, until, {"hotmail.com": 60, "outlook.com": 40, "live.com": 30})
    attempts = console.instance("msn-a").log().count("@live.com>")
    operation = planned(anna, "msn-a", "msn-b", "hotmail.com", "outlook.com")
    assert operation.plan["counts"] == {"messages": 100, "recipients": 100}
    confirmed(operation, anna)
    assert InstanceLock.objects.count() == 2
    run_to_its_end(operation)
    account = Account.from_json(Flush.objects.get().account)
    assert operation.state == OperationState.DONE, operation.outcome
    assert (account.selected, account.moved, account.waiting, account.duplicates) == (100, 100, 0, 0)
    until(lambda: not any(console.instance("msn-b").counts().values()), "msn-b to deliver")
    wanted = Counter(sent["hotmail.com"] + sent["outlook.com"])
    assert accepted(console, wanted) == wanted
    assert not accepted(console, sent["live.com"])
    assert console.instance("msn-a").counts()["deferred"] == 30
    assert console.instance("msn-a").log().count("@live.com>") == attempts
    assert redirect_of(console, "msn-a") == ""
    assert not InstanceLock.objects.exists()
    assert audit_check.verify().holds
    assert not [found for found in journals.compare_all().differences if found.host == "rustin"]


def test_a_target_that_refuses_ends_it_and_nothing_bounces(
    console: Fleet, anna: User, until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle(console, "msn-a")
    defer(console, until, {"hotmail.com": 30})
    operation = confirmed(planned(anna, "msn-a", "msn-b", "hotmail.com"), anna)
    msn_b = console.instance("msn-b")
    watch = flush_run._Machine.watch

    def refuse_first(machine: Any) -> None:
        # As an operator might, between the pre-flight and the first message.
        msn_b.set(mynetworks="127.0.0.0/8")
        watch(machine)

    monkeypatch.setattr(flush_run._Machine, "watch", refuse_first)
    try:
        run_to_its_end(operation)
    finally:
        msn_b.set(mynetworks="127.0.0.0/8 198.51.100.0/24")
    account = Account.from_json(Flush.objects.get().account)
    assert operation.state == OperationState.FAILED_SAFE, operation.outcome
    assert "refused" in operation.outcome
    assert (account.waiting, account.bounced, account.bounced_by_drain) == (30, 0, 0)
    assert "status=bounced" not in console.instance("msn-a").log()
    assert redirect_of(console, "msn-a") == ""
    # A message given back may still be on its way to its own relay.
    until(lambda: console.instance("msn-a").counts()["deferred"] == 30, "all 30 to wait", timeout_s=120)


def test_a_flush_that_is_stopped_gives_back_and_keeps_the_rest(
    console: Fleet, anna: User, until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle(console, "msn-a")
    defer(console, until, {"hotmail.com": 20})
    console.instance("msn-b").stop()
    try:
        with pytest.raises(PlanRefused, match="runs, listens there"):
            planned(anna, "msn-a", "msn-b", "hotmail.com")
    finally:
        console.instance("msn-b").start()
    operation = confirmed(planned(anna, "msn-a", "msn-b", "hotmail.com"), anna)
    _stop_target_and_then_the_flush(console, operation, monkeypatch)
    try:
        run_to_its_end(operation)
    finally:
        console.instance("msn-b").start()
    assert operation.state == OperationState.ABORTED, operation.outcome
    assert Account.from_json(Flush.objects.get().account).waiting == 20
    assert redirect_of(console, "msn-a") == ""


def _stop_target_and_then_the_flush(
    fleet: Fleet, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop the target once the redirect is on, and have somebody stop the flush at its third look."""
    look, watch = flush_run._Machine._look, flush_run._Machine.watch
    looks, watches = count(), count()

    def looked(machine: Any) -> Account:
        if next(looks) == 2:
            Operation.objects.filter(pk=operation.pk).update(abort_requested_by="anna")
        return look(machine)

    def watched(machine: Any) -> None:
        if next(watches) == 0:
            fleet.instance("msn-b").stop()
        watch(machine)

    monkeypatch.setattr(flush_run._Machine, "_look", looked)
    monkeypatch.setattr(flush_run._Machine, "watch", watched)


def test_a_flush_at_a_rate_is_paused_and_goes_on_and_each_message_goes_once(
    console: Fleet, anna: User, until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle(console, "msn-a")
    # So that no ordinary retry comes on top of the rate.
    console.instance("msn-a").set(minimal_backoff_time="4h", maximal_backoff_time="4h", queue_run_delay="4h")
    sent = defer(console, until, {"hotmail.com": 30})
    operation = confirmed(planned(anna, "msn-a", "msn-b", "hotmail.com", rate=40), anna)
    seen: dict[str, Any] = {}

    def tries() -> int:
        """Tell how often msn-a asked anybody: the provider, which throttles it, or the target."""
        log = console.instance("msn-a").log().splitlines()
        return sum("/smtp[" in line and " to=<" in line for line in log)

    pause_or_resume = flush_run._Machine._pause_or_resume

    def steered(machine: Any) -> None:
        now, account = time.monotonic(), Account.from_json(machine.flush.account)
        if "paused_at" not in seen and account.moved == 10:
            seen.update(paused_at=now, tries=tries())
            flush_steering.pause(operation=operation, user=anna, actor=ACTOR)
        elif "new" not in seen and machine.flush.state == FlushState.PAUSED:
            seen["new"] = console.send(2, domain="hotmail.com", via="msn-a")
            seen["waits_from"] = now
        elif "resumed" not in seen and now - seen.get("waits_from", now) > 10:
            # Nobody was asked for anything meanwhile: not the target, and not the provider that throttles.
            assert (account.moved, tries()) == (10, seen["tries"])
            assert seen["tries"] >= 40
            assert redirect_of(console, "msn-a").startswith("hotmail.com drain-paused:[")
            until(lambda: console.instance("msn-a").counts()["deferred"] == 22, "all 22 to wait")
            flush_steering.throttle(operation=operation, user=anna, actor=ACTOR, rate=0)
            flush_steering.resume(operation=operation, user=anna, actor=ACTOR)
            seen["resumed"] = True
        machine.flush.refresh_from_db(fields=["rate", "paused_by"])
        pause_or_resume(machine)

    monkeypatch.setattr(flush_run._Machine, "_pause_or_resume", steered)
    try:
        run_to_its_end(operation)
    finally:
        console.instance("msn-a").set(
            minimal_backoff_time="300s", maximal_backoff_time="4000s", queue_run_delay="300s"
        )
    account = Account.from_json(Flush.objects.get().account)
    assert (operation.state, seen.get("resumed")) == (OperationState.DONE, True), operation.outcome
    assert (account.selected, account.moved, account.new_moved, account.duplicates) == (30, 30, 2, 0)
    handed_out = [step.request["ids"] for step in operation.steps.all() if "ids" in step.request]
    assert handed_out == [10]
    until(lambda: not any(console.instance("msn-b").counts().values()), "msn-b to deliver")
    wanted = Counter(sent["hotmail.com"] + seen["new"])
    assert accepted(console, wanted) == wanted
    assert redirect_of(console, "msn-a") == ""
    # The host's journal has other tests' requests too, which this database knows nothing of.
    own = {str(step.req_id) for step in operation.steps.all()}
    assert not [found for found in journals.compare_all().differences if found.req_id in own]


def test_no_second_redirect_leads_to_or_from_either_end(console: Fleet, anna: User, until: Wait) -> None:
    throttle(console, "msn-a")
    defer(console, until, {"hotmail.com": 5})
    first = planned(anna, "msn-a", "msn-b", "hotmail.com")
    again = planned(anna, "msn-a", "msn-b", "hotmail.com")
    confirmed(first, anna)
    with pytest.raises(Busy, match="has msn-a since"):
        confirmed(again, anna)
    with pytest.raises(PlanRefused, match=r"Flush .* moves mail from msn-a to msn-b"):
        planned(anna, "msn-b", "msn-a", "hotmail.com")
    with pytest.raises(PlanRefused, match=r"Flush .* moves mail from msn-a to msn-b"):
        planned(anna, "aol-a", "msn-a", "aol.com")
    run_to_its_end(first)
    assert first.state == OperationState.DONE


def test_a_console_that_is_gone_leaves_a_redirect_that_ends_by_itself_and_settles_on_return(
    console: Fleet, anna: User, until: Wait, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.FLUSH_LEASE_S = 30
    throttle(console, "msn-a")
    sent = defer(console, until, {"hotmail.com": 10})
    operation = confirmed(planned(anna, "msn-a", "msn-b", "hotmail.com"), anna)

    class Killed(BaseException):
        """Not an Exception: nothing on the way may catch it."""

    def die(machine: Any) -> Account:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(flush_run._Machine, "_look", die)
        with pytest.raises(Killed):
            operations.run(operation_id=operation.pk)
    assert "hotmail.com drain:" in redirect_of(console, "msn-a")
    # The read user knows the lease once the guard has looked.
    until(lambda: polled("msn-a").op_id == str(operation.pk), "the guard to publish whose it is")
    assert polled("msn-a").to == "[198.51.100.12]:25"
    until(lambda: redirect_of(console, "msn-a") == "", "the guard to end it", timeout_s=50)
    new = console.send(3, domain="hotmail.com", via="msn-a")
    until(lambda: console.instance("msn-a").counts()["deferred"] >= 3, "new mail to be deferred here again")
    Operation.objects.filter(pk=operation.pk).update(lease_until=None)
    run_to_its_end(operation)
    account = Account.from_json(Flush.objects.get().account)
    assert operation.state == OperationState.FAILED_SAFE, operation.outcome
    assert account.selected == 10
    assert account.adds_up
    assert account.adds_up_there
    assert set(accepted(console, sent["hotmail.com"]).values()) <= {1}
    assert not accepted(console, new)


def test_the_command_moves_all_and_tells_what_somebody_took_out_meanwhile(
    console: Fleet, anna: User, until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle(console, "msn-a")
    sent = defer(console, until, {"hotmail.com": 8, "outlook.com": 4})
    poll_host(host_id=instance("msn-a").host_id, force=True)
    taken = next(m for m in console.instance("msn-a").postqueue() if m["queue_name"] == "deferred")
    put_on = flush_run._Machine.put_on

    def take_one_out(machine: Any) -> None:
        console.host("rustin").run(["postsuper", "-c", "/etc/postfix-msn-a", "-d", taken["queue_id"]])
        put_on(machine)

    monkeypatch.setattr(flush_run._Machine, "put_on", take_one_out)
    told = flushed("rustin/msn-a", "msn-b", "--yes", "--reason", "its address is throttled", "--wait")
    account = Account.from_json(told["account"])
    assert (told["state"], told["stage"]) == ("done", "ended"), told
    assert told["domains"] == ["*", "hotmail.com", "outlook.com"]
    assert (account.selected, account.moved, account.gone, account.unknown) == (12, 11, 1, 0)
    until(lambda: not any(console.instance("msn-b").counts().values()), "msn-b to deliver")
    arrived = accepted(console, sent["hotmail.com"] + sent["outlook.com"])
    assert (len(arrived), set(arrived.values())) == (11, {1})
    assert redirect_of(console, "msn-a") == ""


def flushed(*words: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("flush", *words, "--user", "anna", "--json", stdout=out)
    told: dict[str, Any] = json.loads(out.getvalue())
    return told
