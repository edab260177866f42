"""The main job: queues of real Postfix instances on the matrix, while mail flows and msn-a is throttled."""

import json
from collections.abc import Iterator
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from playwright.sync_api import Page

from fleet.rehearsal import Fleet
from fleet.rehearsal.register import register
from relays.models import Host, Instance
from relays.services.collect import poll_host
from relays.services.providers import load_shipped
from tests.browser.visits import Visit

from .conftest import Wait

pytestmark = [pytest.mark.lab, pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ENOUGH_DEFERRED = 25


@pytest.fixture
def flowing(fleet: Fleet, until: Wait) -> Iterator[Fleet]:
    """The session's fleet with bulk mail flowing, and msn deferring what comes from msn-a."""
    fleet.provider.set_rule("throttle", provider="msn", source="msn-a")
    fleet.traffic("rate", per_s=4)
    fleet.traffic("start")
    fleet.traffic("burst", messages=300)
    msn_a = fleet.instance("msn-a")
    until(lambda: msn_a.counts().get("deferred", 0) >= ENOUGH_DEFERRED, "msn-a defers", timeout_s=90)
    yield fleet
    fleet.traffic("stop")


@pytest.fixture
def console(flowing: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The fleet, registered in this test's database, with the key that its hosts accept."""
    monkeypatch.setattr(settings, "READ_KEY_PATH", flowing.state.read_key)
    load_shipped()
    register(flowing)
    return flowing


def poll_all() -> None:
    for pk in Host.objects.values_list("pk", flat=True):
        poll_host(host_id=pk, force=True)


def counted(fleet: Fleet) -> dict[str, dict[str, int]]:
    """Return what `postqueue -j` itself says of each instance, for the queues that it lists."""
    instances = [instance for host in fleet.hosts.values() for instance in host.instances]
    return {
        name: {queue: counts.get(queue, 0) for queue in ("incoming", "active", "deferred", "hold")}
        for name, counts in ((instance.name, instance.counts()) for instance in instances)
    }


def reported() -> dict[str, dict[str, int]]:
    """Return what `manage.py fleet --json` says, for the same queues."""
    out = StringIO()
    call_command("fleet", "--json", stdout=out)
    return {
        row["name"]: {queue: number for queue, number in row["queues"].items() if queue != "corrupt"}
        for row in json.loads(out.getvalue())["instances"]
    }


def shown(page: Page) -> dict[str, int]:
    """Return the deferred count of each instance's cell."""
    cells = page.locator("a.cell").all()
    return {
        cell.locator(".inst").inner_text(): int(cell.locator(".def").inner_text().replace(",", ""))
        for cell in cells
    }


def test_the_matrix_shows_what_postqueue_counts_while_mail_flows(
    console: Fleet, visit: Visit, until: Wait
) -> None:
    agreed: dict[str, dict[str, int]] = {}

    def each_agreed_once() -> bool:
        before = counted(console)
        poll_all()
        after = counted(console)
        figures, cells = reported(), shown(visit.open("/"))
        # Mail moves meanwhile, so a queue agrees when it stood still and both say the same of it.
        agreed.update(
            (name, queues)
            for name, queues in after.items()
            if before[name] == queues == figures[name] and cells[name] == queues["deferred"]
        )
        return set(agreed) == set(after)

    until(each_agreed_once, "every queue agrees once with its cell", timeout_s=120)
    assert agreed["msn-a"]["deferred"] >= ENOUGH_DEFERRED
    assert visit.unexpected == []


def test_when_mail_stands_still_every_count_is_postqueue_s(console: Fleet, visit: Visit, until: Wait) -> None:
    console.traffic("stop")

    def still() -> bool:
        return all(queues["active"] == queues["incoming"] == 0 for queues in counted(console).values())

    until(still, "what can be delivered is", timeout_s=90)
    poll_all()
    queues = counted(console)

    assert reported() == queues
    assert shown(visit.open("/")) == {name: counts["deferred"] for name, counts in queues.items()}


def test_a_throttled_instance_is_abnormal_and_quotes_the_provider(console: Fleet, visit: Visit) -> None:
    poll_all()
    page = visit.open("/")

    line = page.locator("#abnormal").get_by_role("listitem").filter(has_text="msn-a")
    assert "throttled" in line.inner_text()
    assert "421 4.7.0" in line.inner_text()
    assert Instance.objects.get(name="msn-a").provider_id is not None
