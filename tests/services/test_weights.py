"""Weights as operations, on a real BIND: planned, guarded, verified, rolled back, whatever dies."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.utils import timezone

from dns.domain.records import RecordSet, difference
from dns.domain.safety import NoWarmAddress, TooManyRemoved
from dns.lookup import Server, read_name
from dns.models import PublishedState, RelayName, Weight, Zone
from dns.publishing.powerdns import PowerDns
from dns.publishing.rfc2136 import Key, Rfc2136
from dns.selectors.shares import share_rows
from dns.services import weights, zones
from relays.models import Address, Instance, InstanceState, Operation, RelayNameLock
from relays.models.operation import OperationState
from relays.remote.errors import Unreachable
from relays.services import operations
from relays.services.audit import SYSTEM
from relays.services.kinds import PlanRefused
from relays.services.origins import origin_add
from tests.dns_servers import ALGORITHM, API_KEY, KEY, SECRET, ZONE, Bind, PowerDnsServer
from tests.factories import accepted_make, host_make, instance_make
from tests.people import user_make

pytestmark = pytest.mark.django_db

MSN = f"msn.{ZONE}"
OLD, NEW = "192.0.2.11", "192.0.2.12"


class Killed(BaseException):
    """The worker dies here: nothing after this line of it runs."""


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with Bind() as server:
        yield server


@pytest.fixture
def primary(bind: Bind) -> Rfc2136:
    """Return the primary, serving one A record for each address at the relay name."""
    publisher = Rfc2136(Server("127.0.0.1", bind.port), ZONE, Key(KEY, ALGORITHM, SECRET), within_s=20)
    served = publisher.read(MSN).ours(MSN)
    if change := difference(served, [RecordSet.of(MSN, "A", 600, [OLD, NEW])]):
        publisher.write(change)
    return publisher


@pytest.fixture
def zone(bind: Bind) -> Zone:
    return zones.zone_save(
        name=ZONE,
        method="rfc2136",
        servers=[f"127.0.0.1:{bind.port}"],
        allowed_names=[MSN],
        tsig_name=KEY,
        tsig_algorithm=ALGORITHM,
        secret=SECRET,
        actor=SYSTEM,
    )


@pytest.fixture
def msn(zone: Zone, primary: Rfc2136) -> RelayName:
    return zones.relay_name_import(zone=zone, name=MSN, rendering="mx", actor=SYSTEM)


@pytest.fixture
def anna() -> User:
    return user_make("anna", "operator")


def _planned(user: User, kind: str = "weights.apply", **params: Any) -> Operation:
    return operations.plan_relay_name(kind=kind, relay_name=MSN, params=params, user=user, actor=SYSTEM)


def _done(operation: Operation, user: User) -> Operation:
    operations.confirm(
        operation=operation, plan_hash=operation.plan_hash, user=user, actor=SYSTEM, reason="a test"
    )
    operations.run(operation_id=operation.pk)
    operation.refresh_from_db()
    return operation


def _parts(msn: RelayName) -> dict[str, int]:
    return dict(msn.published.first().parts)  # type: ignore[union-attr]


def test_what_a_zone_serves_is_the_first_state(msn: RelayName) -> None:
    assert {row.address: row.weight for row in msn.weights.all()} == {OLD: 1, NEW: 1}
    assert _parts(msn) == {OLD: 1, NEW: 1}
    assert zones.check_relay_name(relay_name=msn) == {}
    assert SECRET not in Zone.objects.get().sealed_secret


def test_weights_are_published_and_verified_on_every_server(
    msn: RelayName, anna: User, primary: Rfc2136
) -> None:
    operation = _planned(anna, weights={OLD: 5, NEW: 1})
    assert operation.plan["summary"] == f"{MSN} gives {OLD} 83.3 %, {NEW} 16.7 %."
    before = primary.read(MSN).serial
    _done(operation, anna)
    assert operation.state == OperationState.DONE, operation.outcome
    assert operation.outcome.startswith("1 name server serves it; effective everywhere from")
    assert primary.read(MSN).serial == before + 1
    assert _parts(msn) == {OLD: 5, NEW: 1}
    assert not RelayNameLock.objects.exists()
    with pytest.raises(PlanRefused, match="serves this already"):
        _planned(anna, weights={OLD: 5})


def test_an_address_goes_out_and_comes_back_with_its_weight(msn: RelayName, anna: User) -> None:
    _done(_planned(anna, weights={OLD: 5, NEW: 2}), anna)
    out = _done(_planned(anna, kind="address.out", address=NEW), anna)
    assert out.state == OperationState.DONE and _parts(msn) == {OLD: 1}
    with pytest.raises(PlanRefused, match="is out of msn"):
        _planned(anna, kind="address.out", address=NEW)
    with pytest.raises(weights.Refusal, match="No address would be left") as refused:
        _planned(anna, kind="address.out", address=OLD)
    assert type(refused.value.reasons[0]).__name__ == "WouldBeEmpty"
    _done(_planned(anna, kind="address.back", address=NEW), anna)
    assert _parts(msn) == {OLD: 5, NEW: 2}


def test_the_last_warm_address_stays(msn: RelayName, anna: User) -> None:
    Weight.objects.filter(address=NEW).update(is_warm=False)
    with pytest.raises(weights.Refusal) as refused:
        _planned(anna, kind="address.out", address=OLD, override=True)
    assert [type(one) for one in refused.value.reasons] == [NoWarmAddress]


def test_two_addresses_go_at_a_time_with_an_override_alone(msn: RelayName, anna: User) -> None:
    third = "192.0.2.13"
    _done(_planned(anna, weights={third: 1}, override=True), anna)
    Weight.objects.filter(address=third).update(is_warm=True)
    with pytest.raises(weights.Refusal) as refused:
        _planned(anna, weights={OLD: 0, NEW: 0})
    assert [type(one) for one in refused.value.reasons] == [TooManyRemoved]
    assert _done(_planned(anna, weights={OLD: 0, NEW: 0}, override=True), anna).state == OperationState.DONE
    assert _parts(msn) == {third: 1}


def test_hosts_stay_for_resolvers_that_hold_the_old_mx_records(
    msn: RelayName, anna: User, primary: Rfc2136
) -> None:
    _done(_planned(anna, weights={OLD: 5}), anna)
    RelayName.objects.update(rendering="equal")
    operation = _done(_planned(anna, weights={OLD: 1}), anna)
    assert operation.state == OperationState.DONE, operation.outcome
    assert "6 hosts that nothing leads to any more stay" in " ".join(operation.plan["notes"])
    hosts = [f"w{number}-192-0-2-11.{MSN}" for number in range(1, 6)] + [f"w1-192-0-2-12.{MSN}"]
    look = replace(primary, also=tuple(hosts))
    assert {item.name for item in look.read(MSN).ours(MSN)} == {MSN, *hosts}
    assert zones.check_relay_name(relay_name=msn) == {}
    # Within the TTL they stay whatever is changed, behind it the next change removes them.
    _done(_planned(anna, kind="address.out", address=NEW), anna)
    assert len(look.read(MSN).ours(MSN)) == 7
    PublishedState.objects.update(effective_at=timezone.now())
    assert _done(_planned(anna, kind="address.back", address=NEW), anna).state == OperationState.DONE
    assert {item.name for item in look.read(MSN).ours(MSN)} == {MSN}


def test_hosts_that_a_lost_database_left_behind_are_in_nobodys_way(
    msn: RelayName, anna: User, primary: Rfc2136
) -> None:
    left = [RecordSet.of(f"w{number}-192-0-2-12.{MSN}", "A", 600, ["192.0.2.99"]) for number in (1, 2)]
    primary.write(difference([], left))
    operation = _done(_planned(anna, weights={OLD: 5}), anna)
    assert operation.state == OperationState.DONE, operation.outcome
    assert _parts(msn) == {OLD: 5, NEW: 1}
    look = replace(primary, also=tuple(item.name for item in left))
    assert [item.values for item in look.read(MSN).ours(MSN) if item.name == left[0].name] == [(NEW,)]
    primary.write(difference([left[1]], []))


def test_going_back_is_a_new_change(msn: RelayName, anna: User) -> None:
    _done(_planned(anna, weights={OLD: 5}), anna)
    first_change = PublishedState.objects.latest("pk")
    _done(_planned(anna, weights={OLD: 9}), anna)
    _done(_planned(anna, kind="weights.rollback", to=first_change.pk), anna)
    assert _parts(msn) == {OLD: 5, NEW: 1}
    for stray in ("12'", "9" * 5_000):
        with pytest.raises(PlanRefused, match="no such earlier state"):
            _planned(anna, kind="weights.rollback", to=stray)


def test_what_somebody_else_changed_is_left_alone(msn: RelayName, anna: User, primary: Rfc2136) -> None:
    operation = _planned(anna, weights={OLD: 5})
    theirs = [RecordSet.of(MSN, "A", 600, [OLD])]
    primary.write(difference(primary.read(MSN).ours(MSN), theirs))
    assert _done(operation, anna).state == OperationState.FAILED_SAFE
    assert "has changed since the plan was made" in operation.outcome
    assert primary.read(MSN).ours(MSN) == tuple(theirs)
    assert zones.check_relay_name(relay_name=msn) == {
        str(primary.primary): f"serves {OLD} 1 at serial {primary.read(MSN).serial}"
    }


def test_a_change_between_the_last_look_and_the_update_is_left_alone(
    msn: RelayName, anna: User, primary: Rfc2136, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = [RecordSet.of(MSN, "A", 600, [OLD])]
    write = Rfc2136.write

    def late(self: Rfc2136, change: Any) -> None:
        monkeypatch.setattr(Rfc2136, "write", write)
        primary.write(difference(primary.read(MSN).ours(MSN), theirs))
        write(self, change)

    monkeypatch.setattr(Rfc2136, "write", late)
    operation = _done(_planned(anna, weights={OLD: 5}), anna)
    assert operation.state == OperationState.FAILED_SAFE
    assert primary.read(MSN).ours(MSN) == tuple(theirs)


@pytest.mark.parametrize("where", ["before", "after", "remembering", "verifying"])
def test_a_worker_that_dies_leaves_old_or_new_and_one_write(
    where: str, msn: RelayName, anna: User, primary: Rfc2136, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, before = Rfc2136.write, primary.read(MSN).serial

    def dying(self: Rfc2136, change: Any) -> None:
        if where == "after":
            write(self, change)
        raise Killed

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    operation = _planned(anna, weights={OLD: 5})
    with monkeypatch.context() as worker:
        if where == "remembering":
            worker.setattr(weights, "remember", die)
        elif where == "verifying":
            worker.setattr(weights, "_verify", die)
        else:
            worker.setattr(Rfc2136, "write", dying)
        with pytest.raises(Killed):
            _done(operation, anna)
    Operation.objects.filter(pk=operation.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    operations.run(operation_id=operation.pk)
    operation.refresh_from_db()
    assert operation.state == OperationState.DONE, operation.outcome
    assert primary.read(MSN).serial == before + 1
    assert PublishedState.objects.filter(operation=operation).count() == 1
    assert _parts(msn) == {OLD: 5, NEW: 1}


def test_a_stop_that_comes_after_the_write_is_too_late(
    msn: RelayName, anna: User, primary: Rfc2136, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation, write = _planned(anna, weights={OLD: 5}), Rfc2136.write

    def stopped(self: Rfc2136, change: Any) -> None:
        write(self, change)
        operations.abort(operation=operation, user=anna, actor=SYSTEM)

    monkeypatch.setattr(Rfc2136, "write", stopped)
    assert _done(operation, anna).state == OperationState.DONE
    assert "anna asked for it to stop when it was written already" in operation.outcome
    assert _parts(msn) == {OLD: 5, NEW: 1}
    assert weights.weights_of(msn) == {OLD: 5, NEW: 1}


@pytest.fixture
def by_hand(msn: RelayName) -> RelayName:
    """The relay name in a zone that people write."""
    Zone.objects.update(method="manual")
    return RelayName.objects.select_related("zone").get()


def _again(operation: Operation) -> Operation:
    """Run it as the sweeper does when it is due."""
    Operation.objects.filter(pk=operation.pk).update(due_at=None)
    operations.run(operation_id=operation.pk)
    operation.refresh_from_db()
    return operation


def test_records_that_people_write_are_waited_for_and_verified(
    by_hand: RelayName, anna: User, primary: Rfc2136
) -> None:
    operation = _done(_planned(anna, weights={OLD: 5}), anna)
    assert operation.state == OperationState.RUNNING
    assert "write them into the zone" in str(operation.progress)
    wanted = [RecordSet.from_json(item) for item in operation.plan["facts"]["records"]]
    primary.write(difference(primary.read(MSN).ours(MSN), wanted))
    assert _again(operation).state == OperationState.DONE, operation.outcome
    assert _parts(by_hand) == {OLD: 5, NEW: 1}
    assert weights.weights_of(by_hand) == {OLD: 5, NEW: 1}


def test_records_that_nobody_writes_are_waited_for_until_it_is_stopped_or_late(
    by_hand: RelayName, anna: User
) -> None:
    operation = _done(_planned(anna, weights={OLD: 5}), anna)
    operations.abort(operation=operation, user=anna, actor=SYSTEM)
    assert _again(operation).state == OperationState.ABORTED
    operation = _done(_planned(anna, weights={OLD: 5}), anna)
    Operation.objects.filter(pk=operation.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    assert _again(operation).state == OperationState.FAILED_SAFE
    assert "Nobody wrote the records" in operation.outcome
    assert weights.weights_of(by_hand) == {OLD: 1, NEW: 1}


def test_a_name_server_that_is_behind_is_named(
    msn: RelayName, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    msn.zone.servers.append("127.0.0.1:1")
    msn.zone.save()
    monkeypatch.setattr(weights, "_VERIFY_FOR", timedelta(0))
    operation = _done(_planned(anna, weights={OLD: 5}), anna)
    assert operation.state == OperationState.DONE
    assert "not every name server serves it yet. 127.0.0.1:1: 127.0.0.1:1 takes no connection" in (
        operation.outcome
    )
    msn.refresh_from_db()
    assert list(msn.drift) == ["127.0.0.1:1"]


def test_one_change_at_a_time(msn: RelayName, anna: User) -> None:
    first, second = _planned(anna, weights={OLD: 5}), _planned(anna, weights={OLD: 7})
    operations.confirm(operation=first, plan_hash=first.plan_hash, user=anna, actor=SYSTEM, reason="a test")
    with pytest.raises(operations.Busy, match=f"by anna has {MSN} since"):
        operations.confirm(
            operation=second, plan_hash=second.plan_hash, user=anna, actor=SYSTEM, reason="a test"
        )
    with pytest.raises(operations.Busy):
        weights.change_by_rule(relay_name=msn, weights={OLD: 3}, reason="ramp")


def test_a_plan_by_weights_that_another_change_replaced_is_not_confirmed(msn: RelayName, anna: User) -> None:
    first, second = _planned(anna, weights={OLD: 5}), _planned(anna, weights={OLD: 7})
    assert _done(first, anna).state == OperationState.DONE
    with pytest.raises(operations.PlanStale, match=f"The weights of {MSN} have changed"):
        operations.confirm(
            operation=second, plan_hash=second.plan_hash, user=anna, actor=SYSTEM, reason="a test"
        )
    second.refresh_from_db()
    assert second.state == OperationState.PLANNED and _parts(msn) == {OLD: 5, NEW: 1}


@pytest.mark.parametrize("made_of", [{}, {OLD: 2, NEW: 1}, [OLD], "x", None])
def test_weights_that_were_worked_out_from_others_are_not_planned(
    made_of: Any, msn: RelayName, anna: User
) -> None:
    with pytest.raises(operations.PlanStale):
        _planned(anna, weights={OLD: 5}, made_of=made_of)


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        (
            {"state": "blocked", "hour_blocked": 1_096, "deferred": 412},
            "blocked at msn: 1,096 recipients refused so",
        ),
        (
            {"state": "throttled", "hour_throttled": None, "deferred": 412},
            "throttled at msn: 412 messages deferred at",
        ),
        ({"state": "slow", "deferred": 412}, ""),
        ({"state": "ok"}, ""),
    ],
)
def test_the_reason_for_taking_an_address_out_is_proposed_where_the_figures_tell(
    figures: dict[str, Any], reason: str, msn: RelayName, anna: User
) -> None:
    instance_make(host_make("rustin"), "msn-a", ip=OLD, **figures)
    proposed = _planned(anna, "address.out", address=OLD).plan["reason"]
    assert proposed.startswith(reason) and bool(proposed) == bool(reason)
    assert _planned(anna, weights={OLD: 7}).plan["reason"] == ""


def test_a_rule_changes_weights_and_takes_an_address_out(msn: RelayName) -> None:
    operation = weights.change_by_rule(relay_name=msn, weights={OLD: 3}, reason="day 2 of a ramp")
    operations.run(operation_id=operation.pk)
    assert _parts(msn) == {OLD: 3, NEW: 1}
    out = weights.take_out_by_rule(relay_name=msn, address=NEW, reason="blocked")
    operations.run(operation_id=out.pk)
    out.refresh_from_db()
    assert out.state == OperationState.DONE and out.requested_by_name == SYSTEM.name
    assert _parts(msn) == {OLD: 1}


def test_lua_is_for_the_api_of_powerdns_alone(msn: RelayName, anna: User) -> None:
    RelayName.objects.update(rendering="lua")
    with pytest.raises(PlanRefused, match="RFC 2136 knows no such record"):
        _planned(anna, weights={OLD: 5})


def test_lua_is_published_and_its_draws_are_verified(anna: User) -> None:
    with PowerDnsServer() as server:
        api = PowerDns(server.api_url, API_KEY, ZONE, within_s=20)
        api.write(difference([], [RecordSet.of(MSN, "A", 600, [OLD, NEW])]))
        zone = zones.zone_save(
            name=ZONE,
            method="powerdns",
            servers=[f"127.0.0.1:{server.port}"],
            allowed_names=[MSN],
            api_url=server.api_url,
            secret=API_KEY,
            actor=SYSTEM,
        )
        found = zones.relay_name_import(zone=zone, name=MSN, rendering="lua", actor=SYSTEM)
        operation = _done(_planned(anna, weights={OLD: 5, NEW: 1}), anna)
        assert operation.state == OperationState.DONE, operation.outcome
        assert operation.outcome.startswith("1 name server serves it"), operation.outcome
        assert _parts(found) == {OLD: 5, NEW: 1}
        assert [item.type for item in api.read(MSN).ours(MSN)] == ["LUA"]
        drawn = [read_name(Server("127.0.0.1", server.port), zone=ZONE, name=MSN) for _ in range(60)]
        assert {value for answer in drawn for item in answer.records for value in item.values} == {OLD, NEW}
        assert zones.check_relay_name(relay_name=found) == {}
        assert zones.doctor(zone=zone)["update"] == ""


def test_a_viewer_may_not_change_weights(msn: RelayName) -> None:
    with pytest.raises(operations.NotAllowed):
        _planned(user_make("vic", "viewer"), weights={OLD: 5})


def observed_make(msn: RelayName, *, messages: int = 500, counted_s: float = 20) -> None:
    """Have both addresses take as many messages of what is published for an hour, counted so long ago."""
    now = timezone.now()
    PublishedState.objects.filter(relay_name=msn).update(effective_at=now - timedelta(hours=1))
    host = host_make()
    for name, ip in (("msn-a", OLD), ("msn-b", NEW)):
        counted = now - timedelta(seconds=counted_s)
        instance = instance_make(host, name, ip=ip, outcomes_at=counted)
        if messages:
            accepted_make(instance, "198.51.100.1", messages, at=now - timedelta(minutes=10))


def test_three_shares_stand_side_by_side(msn: RelayName, anna: User) -> None:
    _done(_planned(anna, weights={OLD: 5}), anna)
    observed_make(msn)
    old, new = share_rows(msn)
    assert (old.wanted, old.published, new.wanted, new.published) == ("83.3 %", "83.3 %", "16.7 %", "16.7 %")
    assert new.observed == "50.0 % (46.9 % to 53.1 %, 1,000 messages)"
    assert "reuses connections" in new.causes[0]


def test_a_bucket_that_one_log_tells_more_of_than_the_other_tells_no_share(msn: RelayName) -> None:
    observed_make(msn, messages=0)
    now = timezone.now()
    accepted_make(Instance.objects.get(name="msn-a"), "198.51.100.1", 1_500, at=now)
    accepted_make(Instance.objects.get(name="msn-b"), "198.51.100.1", 1_200, at=now)
    assert [row.causes for row in share_rows(msn)] == [(), ()]
    assert [row.observed for row in share_rows(msn)] == ["no messages", "no messages"]


def test_that_no_mail_came_is_told_only_of_logs_that_were_read(msn: RelayName) -> None:
    observed_make(msn, messages=0)
    assert [row.observed for row in share_rows(msn)] == ["no messages", "no messages"]
    InstanceState.objects.filter(instance__name="msn-b").update(
        outcomes_at=timezone.now() - timedelta(hours=2)
    )
    for row in share_rows(msn):
        assert (row.observed, row.unknown) == ("not known", f"the log of {NEW} is not read up to now.")
        assert row.as_json()["observed"] is None
    Address.objects.filter(ip=OLD).delete()
    assert share_rows(msn)[0].unknown.startswith(f"no instance sends from {OLD}")
    # What is out of DNS has no part in it.
    msn.weights.filter(address=NEW).update(is_on=False)
    PublishedState.objects.update(parts={OLD: 1})
    Address.objects.create(instance=Instance.objects.get(name="msn-a"), ip=OLD)
    assert share_rows(msn)[0].observed == "no messages"


def test_counts_without_one_of_the_logs_tell_no_share(msn: RelayName, anna: User) -> None:
    _done(_planned(anna, weights={OLD: 5}), anna)
    observed_make(msn, counted_s=3600)
    assert [(row.observed, row.causes) for row in share_rows(msn)] == [("not known", ()), ("not known", ())]


def test_what_was_published_this_minute_is_not_observed_yet(msn: RelayName) -> None:
    observed_make(msn, messages=0)
    PublishedState.objects.update(effective_at=timezone.now() + timedelta(minutes=10))
    (why,) = {row.unknown for row in share_rows(msn)}
    assert why.startswith("what is published has not been in effect")


def test_only_the_mail_of_a_zones_origins_is_observed(msn: RelayName) -> None:
    host = host_make()
    old, new = instance_make(host, "msn-a", ip=OLD), instance_make(host, "msn-b", ip=NEW)
    before = timezone.now() - timedelta(minutes=10)
    accepted_make(old, "198.51.100.1", 60, at=before)
    accepted_make(new, "198.51.100.1", 40, at=before)
    accepted_make(new, "198.51.100.2", 900, at=before)
    PublishedState.objects.update(effective_at=timezone.now() - timedelta(hours=1))
    msn.zone.origins.add(origin_add(name="lists", addresses=["198.51.100.1"]))
    assert [row.seen.messages for row in share_rows(msn)] == [60, 40]
    msn.zone.origins.clear()
    assert [row.seen.messages for row in share_rows(msn)] == [60, 940]


def test_what_somebody_else_changed_can_be_taken_for_what_is_wanted(
    msn: RelayName, anna: User, primary: Rfc2136
) -> None:
    third = "192.0.2.13"
    theirs = [RecordSet.of(MSN, "A", 600, [OLD, third])]
    primary.write(difference(primary.read(MSN).ours(MSN), theirs))
    zones.check_relay_name(relay_name=msn)
    assert msn.drift
    zones.relay_name_accept(relay_name=msn, actor=SYSTEM)
    msn.refresh_from_db()
    assert msn.drift == {} and _parts(msn) == {OLD: 1, third: 1}
    told = {row.address: (row.is_on, row.is_warm) for row in msn.weights.all()}
    assert told == {OLD: (True, True), NEW: (False, True), third: (True, False)}


def test_nothing_is_taken_over_or_removed_while_an_operation_changes_it(msn: RelayName, anna: User) -> None:
    operation = _planned(anna, weights={OLD: 5})
    operations.confirm(
        operation=operation, plan_hash=operation.plan_hash, user=anna, actor=SYSTEM, reason="a test"
    )
    with pytest.raises(ValidationError, match="wait for its end"):
        zones.relay_name_accept(relay_name=msn, actor=SYSTEM)
    with pytest.raises(ValidationError, match="wait for its end"):
        zones.zone_remove(zone=msn.zone, actor=SYSTEM)
    operations.run(operation_id=operation.pk)
    zones.zone_remove(zone=msn.zone, actor=SYSTEM)
    assert not RelayName.objects.exists() and not Zone.objects.exists()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "no name"}, "is not a domain name"),
        ({"servers": []}, "every authoritative server"),
        ({"servers": ["ns.example.org"]}, "is not the address of a name server"),
        ({"servers": ["192.0.2.1:99999"]}, "is not a port"),
        ({"servers": ["127.1"]}, "is not the address of a name server"),
        ({"servers": ["2852039166"]}, "is not the address of a name server"),
        ({"servers": ["169.254.169.254"]}, "no address that a machine of ours can have"),
        ({"servers": ["192.0.2.53", "[fe80::1]:53"]}, "no address that a machine of ours can have"),
        ({"primary": "[::ffff:a9fe:a9fe]"}, "no address that a machine of ours can have"),
        ({"allowed_names": ["msn.example.net"]}, "is not in the zone"),
        ({"tsig_algorithm": "hmac-md5"}, "algorithm is one of"),
        ({"method": "powerdns", "api_url": "file:///etc/passwd"}, "The API's address"),
        ({"method": "powerdns", "api_url": "gopher://192.0.2.1:8081"}, "The API's address is"),
        (
            {"method": "powerdns", "api_url": "http://169.254.169.254"},
            "no address that a machine of ours can",
        ),
        ({"method": "powerdns", "api_url": "http://[fd00:ec2::254]:80"}, "no address that a machine of ours"),
        ({"method": "powerdns", "api_url": "http://2852039166:8081"}, "Give a host name or an IP address"),
        ({"method": "powerdns", "api_url": "http://ns.example.org:99999"}, "The API's address: Port"),
        ({"method": "powerdns", "api_url": "http://[::1"}, "The API's address: Invalid IPv6 URL"),
        ({"method": "nsupdate"}, "is written by"),
        ({"secret": None}, "A secret is needed"),
    ],
)
def test_a_zone_that_cannot_be_is_refused(changes: dict[str, Any], why: str) -> None:
    settings: dict[str, Any] = {
        "name": "other.example.org", "method": "rfc2136", "servers": ["192.0.2.53"],
        "allowed_names": ["msn.other.example.org"], "tsig_name": KEY, "secret": SECRET, "actor": SYSTEM,
    }  # fmt: skip
    with pytest.raises(ValidationError, match=why):
        zones.zone_save(**settings | changes)
    assert not Zone.objects.exists()


@pytest.mark.parametrize("text", ["192.0.2.53", "192.0.2.53:5300", "2001:db8::53", "[2001:db8::53]:5300"])
def test_the_address_of_a_name_server_reads_back_as_it_is_kept(text: str) -> None:
    server = zones.parse_server(text)
    assert str(server) == text
    assert zones.parse_server(f"[{server.address}]:53" if ":" in server.address else server.address)


def test_a_relay_name_that_serves_nothing_is_not_taken_over(zone: Zone) -> None:
    with pytest.raises(ValidationError, match="has no address"):
        zones.relay_name_import(zone=zone, name=f"gmail.{ZONE}", actor=SYSTEM)
    with pytest.raises(ValidationError, match="is not in the zone"):
        zones.relay_name_import(zone=zone, name="msn.example.net", actor=SYSTEM)
    zone.servers, zone.primary = ["127.0.0.1:1"], "127.0.0.1:1"
    with pytest.raises(Unreachable):
        zones.relay_name_import(zone=zone, name=MSN, actor=SYSTEM)


def test_the_commands_add_show_change_and_check(
    bind: Bind, primary: Rfc2136, anna: User, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")

    def command(*words: str) -> str:
        out = StringIO()
        call_command(*words, stdout=out)
        return out.getvalue()

    command(
        "dns", "zone", ZONE, "--server", f"127.0.0.1:{bind.port}", "--allow", MSN, "--tsig-name", KEY,
        "--secret-file", str(tmp_path / "secret"),
    )  # fmt: skip
    assert (
        command("dns", "name", MSN, "--zone", ZONE, "--rendering", "mx")
        == f"{MSN} serves {OLD} 1, {NEW} 1.\n"
    )
    told = command("weights", MSN, "--set", f"{OLD}=5", "--plan", "--user", "anna")
    assert f"+ {MSN}. 600 IN MX 10 w1-192-0-2-12.{MSN}." in told
    told = command("weights", MSN, "--set", f"{OLD}=5", "--yes", "--reason", "a test", "--user", "anna")
    assert "1 name server serves it" in told
    assert "wanted 83.3 %  published 83.3 %  observed not known" in command("weights", MSN)
    assert '"published": 0.8333333333333334' in command("weights", MSN, "--json")
    assert f"{OLD} 5, {NEW} 1" in command(
        "dns", "name", MSN, "--zone", ZONE, "--rendering", "equal", "--ttl", "300"
    )
    assert RelayName.objects.values_list("rendering", "ttl").get() == ("equal", 300)
    assert "update: ok" in command("dns", "check") and f"{MSN}: as published" in command("dns", "check")
    with pytest.raises(CommandError, match="is not ADDRESS=WEIGHT"):
        command("weights", MSN, "--set", OLD, "--user", "anna")
    with pytest.raises(CommandError, match="There is no relay name"):
        command("weights", "gmail.example.org")
