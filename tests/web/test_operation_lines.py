"""Operations among what is abnormal now, on the home page."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from relays.models import Instance, Operation
from relays.selectors.operation_lines import STUCK_AFTER
from relays.services.job import LEASE
from tests.factories import host_make, instance_make, operation_make
from tests.people import browser_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def instance() -> Instance:
    return instance_make(host_make("rustin"), "msn-a", provider="msn")


@pytest.fixture
def anna() -> Client:
    return browser_of("anna", "operator")


def live(instance: Instance, *, lease_for_s: float | None, **fields: object) -> Operation:
    operation = operation_make(instance, state="running")
    lease = None if lease_for_s is None else timezone.now() + timedelta(seconds=lease_for_s)
    Operation.objects.filter(pk=operation.pk).update(lease_until=lease, ended_at=None, outcome="", **fields)
    return operation


def line(browser: Client, operation: Operation) -> str:
    """Return the operation's line; "" where it has none."""
    page = browser.get("/").content.decode()
    return page.partition(f'id="abnormal-operation-{operation.pk}"')[2].partition("</li>")[0]


def test_what_runs_is_shown_with_its_progress_and_leads_to_its_page(anna: Client, instance: Instance) -> None:
    operation = live(instance, lease_for_s=60, progress={"text": "", "done": 1_204, "total": 20_000})
    shown = line(anna, operation)
    assert "running" in shown
    assert "1,204 of 20,000 messages" in shown
    assert f'href="/operations/{operation.pk}/">Watch' in shown
    assert "20 s ago" in shown


def test_what_is_in_nobodys_hands_for_two_minutes_is_stuck(anna: Client, instance: Instance) -> None:
    moment_ago = live(instance, lease_for_s=-1)
    assert "stuck" not in line(anna, moment_ago)
    long_ago = -STUCK_AFTER.total_seconds() - 1
    Operation.objects.update(
        lease_until=timezone.now() + timedelta(seconds=long_ago),
        confirmed_at=timezone.now() + timedelta(seconds=long_ago) - LEASE,
    )
    assert "stuck" in line(anna, moment_ago)


def test_what_waits_for_its_time_is_not_stuck(anna: Client, instance: Instance) -> None:
    hour_ago = timezone.now() - timedelta(hours=1)
    due = timezone.now() + timedelta(minutes=5)
    operation = live(instance, lease_for_s=None, confirmed_at=hour_ago, due_at=due)
    assert "running" in line(anna, operation)


def test_what_ended_unknown_is_shown_for_a_day(anna: Client, instance: Instance) -> None:
    operation = operation_make(instance, state="unknown")
    assert "What to check" in line(anna, operation)
    assert "Postfix tries them now." in line(anna, operation)
    Operation.objects.update(ended_at=timezone.now() - timedelta(hours=25))
    assert line(anna, operation) == ""


def test_what_ended_otherwise_is_not_abnormal(anna: Client, instance: Instance) -> None:
    operation = operation_make(instance, state="done")
    assert line(anna, operation) == ""


def test_who_may_not_see_operations_sees_none_there(viewer: Client, instance: Instance) -> None:
    operation = live(instance, lease_for_s=60)
    assert line(viewer, operation) == ""


def test_a_poll_brings_an_operation_that_has_begun(anna: Client, instance: Instance) -> None:
    tag = anna.get("/").context["fleet"].tag
    live(instance, lease_for_s=60)
    answer = anna.get("/", {"tag": tag}, headers={"HX-Request": "true"})
    assert b"Watch" in answer.content
