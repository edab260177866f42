"""Every page says when worker or scheduler is away: the figures grow old, and nothing else would tell why."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from fleet import heartbeats
from fleet.models import Heartbeat
from tests.factories import host_make, instance_make, operation_make
from tests.people import browser_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(client: Client) -> str:
    client.force_login(User.objects.create_user("anna"))
    return client.get("/").content.decode()


@pytest.fixture
def both_live() -> None:
    for process in Heartbeat.Process:
        Heartbeat.objects.create(
            process=process, at=timezone.now(), since=timezone.now() - timedelta(hours=1)
        )


@pytest.fixture
def scheduler_died(both_live: None) -> None:
    longer_ago = timezone.now() - heartbeats.AWAY_AFTER - timedelta(seconds=1)
    Heartbeat.objects.filter(process="scheduler").update(at=longer_ago)


def test_a_page_names_what_is_away(scheduler_died: None, page: str) -> None:
    assert "Not running: scheduler." in page


def test_a_page_is_quiet_while_both_live(both_live: None, page: str) -> None:
    assert "Not running" not in page


def test_what_was_never_seen_is_away() -> None:
    assert heartbeats.away(timezone.now()) == ["worker", "scheduler"]


def test_a_broker_that_takes_nothing_is_away_while_the_scheduler_can_tell(both_live: None) -> None:
    longer_ago = timezone.now() - heartbeats.AWAY_AFTER - timedelta(seconds=1)
    Heartbeat.objects.filter(process="broker").update(at=longer_ago)
    assert heartbeats.away(timezone.now()) == ["broker"]
    Heartbeat.objects.filter(process="scheduler").update(at=longer_ago)
    assert heartbeats.away(timezone.now()) == ["scheduler"]


def test_a_scheduler_that_has_just_started_says_nothing_yet_of_the_broker(
    both_live: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    Heartbeat.objects.filter(process="broker").delete()
    assert heartbeats.away(timezone.now()) == ["broker"]
    monkeypatch.setattr(heartbeats, "_written_at", {})
    heartbeats.record(Heartbeat.Process.SCHEDULER)
    assert heartbeats.away(timezone.now()) == []
    assert heartbeats.away(timezone.now() + heartbeats.AWAY_AFTER - timedelta(seconds=9)) == []
    Heartbeat.objects.filter(process="scheduler").update(since=timezone.now() - timedelta(minutes=2))
    assert heartbeats.away(timezone.now()) == ["broker"]


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (["worker"], "it will run when worker is back"),
        (["broker", "worker"], "it will run when worker and broker are back"),
    ],
)
def test_a_queued_operation_says_what_it_waits_for(both_live: None, gone: list[str], words: str) -> None:
    operation = operation_make(instance_make(host_make("rustin"), "msn-a"), state="queued")
    browser = browser_of("anna", "operator")
    page = f"/operations/{operation.pk}/"
    assert "it runs within seconds" in browser.get(page).content.decode()
    Heartbeat.objects.filter(process__in=gone).delete()
    assert words in browser.get(page, headers={"HX-Request": "true"}).content.decode()


def test_a_sign_of_life_is_written_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "_written_at", {})
    heartbeats.record(Heartbeat.Process.WORKER)
    first = Heartbeat.objects.get().at
    heartbeats.record(Heartbeat.Process.WORKER)
    assert Heartbeat.objects.get().at == first
    monkeypatch.setattr(heartbeats, "WRITTEN_EVERY_S", 0)
    heartbeats.record(Heartbeat.Process.WORKER)
    assert Heartbeat.objects.get().at > first
