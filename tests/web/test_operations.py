"""The pages over operations: plan, confirm, watch, stop; and who may do that."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from relays.models import AuditEvent, Instance, Operation
from relays.models.operation import OperationState
from relays.remote.errors import Unreachable
from relays.services import operations
from tests.factories import host_make, instance_make
from tests.two_steps import FarSide, TwoSteps, registered

pytestmark = pytest.mark.django_db


@pytest.fixture
def far() -> Iterator[FarSide]:
    with registered() as far:
        yield far


@pytest.fixture
def instance() -> Instance:
    return instance_make(host_make("rustin"), "msn-a")


def plan(client: Client, instance: Instance, **params: str) -> Operation:
    answer = client.post(f"/instances/{instance.pk}/plan/{TwoSteps.name}/", params)
    assert answer.status_code == 302, answer.content
    return Operation.objects.latest("pk")


def confirm(client: Client, operation: Operation, **fields: str) -> int:
    data = {"plan_hash": operation.plan_hash, "reason": "stuck since noon"} | fields
    return client.post(f"/operations/{operation.pk}/confirm/", data).status_code


def test_an_operator_plans_confirms_and_sees_the_end(
    operator: Client, far: FarSide, instance: Instance
) -> None:
    operation = plan(operator, instance, domain="hotmail.com")
    page = operator.get(f"/operations/{operation.pk}/").content.decode()
    assert "Two steps." in page
    assert "<dd>412</dd>" in page
    assert "hotmail.com" in page
    assert confirm(operator, operation) == 302
    assert (
        "Queued: it will run when worker and scheduler are back"
        in operator.get(f"/operations/{operation.pk}/").content.decode()
    )
    operations.run(operation_id=operation.pk)
    page = operator.get(f"/operations/{operation.pk}/").content.decode()
    assert "Both were done." in page
    assert "stuck since noon" in page
    event = AuditEvent.objects.get(phase="requested")
    assert (event.actor_name, event.reason) == ("anna", "stuck since noon")
    assert '"ip":"127.0.0.1"' in event.details


def test_the_list_has_it_and_narrows(operator: Client, far: FarSide, instance: Instance) -> None:
    assert "Nothing was changed yet" in operator.get("/operations/").content.decode()
    operation = plan(operator, instance)
    assert "Nothing was changed yet" in operator.get("/operations/").content.decode()
    confirm(operator, operation)
    for query in (
        "",
        "?state=live",
        "?instance=msn-a",
        "?instance=rustin",
        f"?kind={TwoSteps.name}",
        "?who=anna",
    ):
        assert f"{operation.pk} · Two steps" in operator.get(f"/operations/{query}").content.decode(), query
    for query in ("?state=ended", "?instance=msn-b", "?who=vera", "?kind=other", "?state=" + "x" * 99):
        page = operator.get(f"/operations/{query}").content.decode()
        assert ("No operation is like this." in page) or query.endswith("x" * 99), query


def test_a_poll_brings_only_what_changed(operator: Client, far: FarSide, instance: Instance) -> None:
    operation = plan(operator, instance)
    confirm(operator, operation)
    path = f"/operations/{operation.pk}/"
    tag = re.search(r'"tag": "(\w+)"', operator.get(path).content.decode())
    assert tag is not None
    assert operator.get(path, {"tag": tag[1]}, HTTP_HX_REQUEST="true").status_code == 204
    operations.run(operation_id=operation.pk)
    answer = operator.get(path, {"tag": tag[1]}, HTTP_HX_REQUEST="true")
    assert answer.status_code == 200
    assert answer.content.startswith(b'<div id="operation"')
    assert b"data-poll" not in answer.content


def test_over_a_thousand_messages_the_name_is_typed(
    operator: Client, far: FarSide, instance: Instance
) -> None:
    far.queue = 1_001
    operation = plan(operator, instance)
    assert "Type <b>msn-a</b>" in operator.get(f"/operations/{operation.pk}/").content.decode()
    assert confirm(operator, operation) == 409
    assert confirm(operator, operation, typed_name="msn-b") == 409
    assert confirm(operator, operation, typed_name="msn-a") == 302


def test_bad_confirmations_are_told_and_change_nothing(
    operator: Client, far: FarSide, instance: Instance
) -> None:
    operation = plan(operator, instance)
    assert confirm(operator, operation, reason="") == 400
    assert confirm(operator, operation, plan_hash="0" * 64) == 409
    Operation.objects.update(planned_at=timezone.now() - timedelta(minutes=11))
    assert confirm(operator, operation) == 409
    assert "make it again" in operator.get(f"/operations/{operation.pk}/").content.decode()
    operation.refresh_from_db()
    assert operation.state == OperationState.PLANNED


def test_what_cannot_be_planned_is_told_on_the_instances_page(
    operator: Client, far: FarSide, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/instances/{instance.pk}/plan"
    page = operator.post(f"{path}/{TwoSteps.name}/", {"other": "1"}, follow=True).content.decode()
    assert "Nothing was planned for msn-a: Only a domain." in page

    def unreachable(*_: object) -> None:
        raise Unreachable("No answer within 10 s.")

    monkeypatch.setattr(TwoSteps, "plan", unreachable)
    page = operator.post(f"{path}/{TwoSteps.name}/", follow=True).content.decode()
    assert "No answer within 10 s." in page
    page = operator.post(f"{path}/no.such/", follow=True).content.decode()
    assert "There is no operation called" in page
    assert not Operation.objects.exists()


def test_an_operator_stops_it(operator: Client, far: FarSide, instance: Instance) -> None:
    operation = plan(operator, instance)
    confirm(operator, operation)
    assert operator.post(f"/operations/{operation.pk}/abort/").status_code == 302
    operation.refresh_from_db()
    assert operation.state == OperationState.ABORTED
    assert far.effects == []


def test_who_may_look_may_not_act_and_the_denial_is_an_event(
    client: Client, operator: Client, far: FarSide, instance: Instance
) -> None:
    operation = plan(operator, instance)
    confirm(operator, operation)
    vera = get_user_model().objects.create_user("vera")
    vera.user_permissions.add(Permission.objects.get(codename="view_operation"))
    client.force_login(vera)
    assert client.get("/operations/").status_code == 200
    assert client.get(f"/operations/{operation.pk}/").status_code == 200
    for path in (
        f"/instances/{instance.pk}/plan/{TwoSteps.name}/",
        f"/operations/{operation.pk}/abort/",
    ):
        assert client.post(path).status_code == 403, path
    assert confirm(client, operation) == 403
    assert AuditEvent.objects.filter(phase="denied", actor_name="vera").count() == 3


def test_who_may_look_only_is_offered_nothing_to_press(
    client: Client, operator: Client, far: FarSide, instance: Instance
) -> None:
    operation = plan(operator, instance)
    path, confirming = f"/operations/{operation.pk}/", f"/operations/{operation.pk}/confirm/"
    vera = get_user_model().objects.create_user("vera")
    vera.user_permissions.add(Permission.objects.get(codename="view_operation"))
    client.force_login(vera)
    assert confirming in operator.get(path).content.decode()
    page = client.get(path).content.decode()
    assert confirming not in page and "You may not confirm it." in page
    confirm(operator, operation)
    for headers in ({}, {"HX-Request": "true"}):
        assert f"{path}abort/" in operator.get(path, headers=headers).content.decode()
        assert f"{path}abort/" not in client.get(path, headers=headers).content.decode()


def test_without_permission_nothing_is_shown(viewer: Client, far: FarSide) -> None:
    assert viewer.get("/operations/").status_code == 403
    assert viewer.get("/operations/1/").status_code == 403
    assert "Operations</a>" not in viewer.get("/").content.decode()
