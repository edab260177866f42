"""The rate of an instance on its page: what holds, how old that is, and what somebody changed by hand."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from relays.models import Host, Instance, Operation
from relays.services import operations
from relays.services.audit import Actor
from relays.services.kinds import PlanRefused
from tests.factories import host_make, instance_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def instance() -> Instance:
    instance = instance_make(host_make("rustin"), "msn-a")
    set_to(instance, "0s")
    return instance


def set_to(instance: Instance, value: str) -> None:
    """Have the newest inventory say so."""
    instance.inventory["limits"]["smtp_transport_rate_delay"] = value
    instance.save()
    Host.objects.update(inventory_at=timezone.now() - timedelta(minutes=2))


def done(instance: Instance, kind: str, *, ago_s: float, **params: int) -> Operation:
    now = timezone.now()
    return Operation.objects.create(
        kind=kind, instance=instance, params=params, plan_hash="x", planned_at=now, requested_by_name="otto",
        state="done", ended_at=now - timedelta(seconds=ago_s),
    )  # fmt: skip


def card(browser: Client, instance: Instance) -> str:
    page = browser.get(f"/instances/{instance.pk}/").content.decode()
    return page.partition('id="rate"')[2].partition("</section>")[0]


def test_a_rate_that_is_not_held_says_so_with_its_age(viewer: Client, instance: Instance) -> None:
    shown = card(viewer, instance)
    assert "Not held" in shown and "2 min ago" in shown and "<form" not in shown


def test_an_older_relayctl_says_nothing_of_it(viewer: Client, instance: Instance) -> None:
    del instance.inventory["limits"]["smtp_transport_rate_delay"]
    instance.save()
    assert "Not known" in card(viewer, instance)


def test_what_an_operation_set_stands_there_before_and_after_it_is_read_back(
    operator: Client, instance: Instance
) -> None:
    operation = done(instance, "rate.hold", ago_s=5, delay_s=20)
    shown = card(operator, instance)
    assert "at most one delivery in 20s" in shown and f"operation {operation.pk}" in shown
    assert "5 s ago" in shown and "rate.release" in shown
    Operation.objects.update(ended_at=timezone.now() - timedelta(hours=1))
    set_to(instance, "20s")
    shown = card(operator, instance)
    assert f"operation {operation.pk}" in shown and "2 min ago" in shown and "by hand" not in shown


@pytest.mark.parametrize("value", ["7s", "0s"])
def test_what_somebody_changed_by_hand_is_told(value: str, operator: Client, instance: Instance) -> None:
    operation = done(instance, "rate.hold", ago_s=3_600, delay_s=20)
    set_to(instance, value)
    shown = card(operator, instance)
    assert f"Operation {operation.pk} set 20s: somebody has changed it since." in shown
    assert "rate.release" in shown


def test_a_rate_that_was_released_is_nobodys(operator: Client, instance: Instance) -> None:
    done(instance, "rate.hold", ago_s=3_600, delay_s=20)
    done(instance, "rate.release", ago_s=5)
    shown = card(operator, instance)
    assert "Not held" in shown and "rate.release" not in shown


@pytest.mark.parametrize("delay_s", ["", "0", "-1", "1.5", "x", "9" * 40, "\u0661"])
def test_what_is_no_delay_is_refused_before_the_host_is_asked(delay_s: str, instance: Instance) -> None:
    anna = User.objects.create_superuser("anna")
    with pytest.raises(PlanRefused, match="whole number"):
        operations.plan(
            kind="rate.hold",
            instance=instance,
            params={"delay_s": delay_s},
            user=anna,
            actor=Actor("user", "anna"),
        )
