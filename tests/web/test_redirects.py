"""Redirects on the pages: whoever put one on, it stands wherever its instance does until it ends."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relays.models import Host, Instance, InstanceRedirect, InstanceState, Operation
from relays.selectors.figures import clock
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


def test_one_whose_end_is_past_is_not_said_to_end(operator: Client) -> None:
    redirect = redirected("")
    operation = flush_of(redirect, "running")
    seen, ends = timezone.now() - timedelta(minutes=20), timezone.now() - timedelta(minutes=5)
    InstanceRedirect.objects.update(op_id=str(operation.pk), seen_at=seen, ends_at=ends)
    told = line(operator)
    said = clock(ends, timezone.now())
    assert said is not None and f"should have given back at {said.text}, not seen since" in told
    assert "gives back by" not in told
    assert 'class="asof stale"' in told
    assert (
        'class="tone-warn"' in operator.get("/").content.decode().partition('id="abnormal-redirect-')[0][-40:]
    )


def test_one_that_a_flush_left_behind_is_not_its_to_watch(operator: Client) -> None:
    redirect = redirected("")
    operation = flush_of(redirect, "unknown")
    InstanceRedirect.objects.update(op_id=str(operation.pk))
    told = line(operator)
    assert f"by flush {operation.pk}, which has ended" in told
    assert f"/instances/{redirect.instance.pk}/" in told


def test_who_may_not_see_operations_is_not_led_to_one(viewer: Client) -> None:
    redirect = redirected("")
    operation = flush_of(redirect, "running")
    InstanceRedirect.objects.update(op_id=str(operation.pk))
    told = line(viewer)
    assert f"by flush {operation.pk}, gives back by" in told
    assert "/operations/" not in told and f'href="/instances/{redirect.pk}/">Instance<' in told
    assert "/operations/" not in viewer.get(f"/instances/{redirect.pk}/").content.decode()


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


def cell(browser: Client, instance: Instance) -> str:
    page = browser.get("/").content.decode()
    return page.partition(f'id="cell-{instance.pk}"')[2].partition("</li>")[0]


def test_an_instance_that_is_redirected_looks_healthy_nowhere(viewer: Client) -> None:
    redirect = redirected("", problem="its map was changed by hand")
    instance = redirect.instance
    told = "to [198.51.100.12]:25 by no flush of this console, gives back by"
    for path in (f"/instances/{instance.pk}/", "/hosts/rustin/", "/providers/msn/"):
        page = viewer.get(path).content.decode()
        assert '<span class="state">redirected</span>' in page
        assert '<span class="state">ok</span>' not in page
        assert told in page
        assert "its map was changed by hand" in page
        assert "seen <time" in page
    shown = cell(viewer, instance)
    assert '<span class="state">redirected</span>' in shown
    assert f"redirected {told}" in shown


def test_one_that_is_in_trouble_says_so_first(viewer: Client) -> None:
    redirect = redirected("")
    InstanceState.objects.update(state="blocked")
    for page in (
        cell(viewer, redirect.instance),
        viewer.get("/hosts/rustin/").content.decode(),
        viewer.get(f"/instances/{redirect.instance.pk}/").content.decode(),
    ):
        assert '<span class="state">blocked</span>' in page
        assert "edirected" in page and "to [198.51.100.12]:25" in page


def test_one_that_is_redirected_does_not_fold_away(viewer: Client) -> None:
    redirect = redirected("")
    for number in range(20):
        instance_make(redirect.instance.host, f"msn-{number:02}")
    assert "redirected" in cell(viewer, redirect.instance)
    assert "14 more ok" in viewer.get("/").content.decode()
    InstanceRedirect.objects.all().delete()
    assert "redirected" not in viewer.get("/").content.decode().partition("What the states mean")[0]


def test_redirects_cost_two_queries_however_many_there_are(viewer: Client) -> None:
    redirect = redirected("1")
    with CaptureQueriesContext(connection) as one:
        viewer.get("/hosts/rustin/")
    for number in range(5):
        instance = instance_make(redirect.instance.host, f"msn-{number}")
        InstanceRedirect.objects.create(instance=instance, seen_at=timezone.now(), to="?", op_id="2")
    with CaptureQueriesContext(connection) as many:
        assert viewer.get("/hosts/rustin/").content.decode().count("redirected") >= 6
    assert len(many) == len(one)


def test_a_redirect_seen_on_a_host_that_is_silent_is_of_its_last_answer(viewer: Client) -> None:
    redirect = redirected("")
    Host.objects.update(last_success_at=timezone.now() - timedelta(hours=1))
    page = viewer.get(f"/instances/{redirect.instance.pk}/").content.decode()
    assert "stale, was redirected" in page
    assert '; last seen <time class="asof stale"' in page
