"""Redirects on the home page: whoever put one on, it stands there until it ends."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from relays.models import InstanceRedirect, Operation
from tests.factories import host_make, instance_make, operation_make

pytestmark = pytest.mark.django_db


def redirected(op_id: str, problem: str = "") -> InstanceRedirect:
    instance = instance_make(host_make("rustin"), "msn-a")
    now = timezone.now()
    return InstanceRedirect.objects.create(
        instance=instance,
        seen_at=now,
        to="[198.51.100.12]:25",
        op_id=op_id,
        ends_at=now + timedelta(minutes=10),
        problem=problem,
    )


def flush_of(redirect: InstanceRedirect, state: str) -> Operation:
    operation = operation_make(redirect.instance, state=state)
    Operation.objects.filter(pk=operation.pk).update(kind="flush")
    return operation


def line(browser: Client) -> str:
    page = browser.get("/").content.decode()
    return page.partition('id="abnormal-redirect-')[2].partition("</li>")[0]


def test_one_of_a_live_flush_is_told_with_its_end_and_watched(operator: Client) -> None:
    redirect = redirected("")
    operation = flush_of(redirect, "running")
    InstanceRedirect.objects.update(op_id=str(operation.pk))
    told = line(operator)
    assert f"to [198.51.100.12]:25 by flush {operation.pk}, gives back by" in told
    assert f"/operations/{operation.pk}/" in told


def test_one_that_a_flush_left_behind_is_not_its_to_watch(operator: Client) -> None:
    redirect = redirected("")
    operation = flush_of(redirect, "unknown")
    InstanceRedirect.objects.update(op_id=str(operation.pk))
    told = line(operator)
    assert f"by flush {operation.pk}, which has ended" in told
    assert f"/instances/{redirect.instance.pk}/" in told


@pytest.mark.parametrize("op_id", ["", "9" * 64, "op-1", "\u0661\u0662", "<b>"])
def test_one_of_nobody_is_told_whatever_the_host_says(operator: Client, op_id: str) -> None:
    redirected(op_id, problem="<script>alert(1)</script>")
    told = line(operator)
    assert "by no flush of this console" in told
    assert "<script>" not in told


def test_a_page_of_its_instance_has_the_button_that_ends_it(operator: Client) -> None:
    redirect = redirected("")
    page = operator.get(f"/instances/{redirect.instance.pk}/").content.decode()
    assert f"/instances/{redirect.instance.pk}/plan/redirect.clear/" in page
