"""`/healthz` and `/readyz`, as a load balancer asks them: without a session."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from fleet.models import Heartbeat
from fleet.views import health


@pytest.fixture(autouse=True)
def ask_for_migrations_anew() -> None:
    health.require_migrations.cache_clear()


@pytest.mark.django_db
def test_healthz_answers_without_the_database(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {"alive": True}


@pytest.mark.django_db
def test_readyz_is_ready_without_worker_and_scheduler_and_says_so(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "database": "ok",
        "processes": {
            "worker": {"running": False, "seen_s_ago": None},
            "scheduler": {"running": False, "seen_s_ago": None},
            "broker": {"running": False, "seen_s_ago": None},
        },
    }


@pytest.mark.django_db
def test_readyz_tells_the_age_of_the_signs_of_life(client: Client) -> None:
    now = timezone.now()
    Heartbeat.objects.create(process="worker", at=now - timedelta(seconds=5))
    Heartbeat.objects.create(process="scheduler", at=now - timedelta(seconds=90))
    processes = client.get("/readyz").json()["processes"]
    assert processes["worker"]["running"] is True
    assert processes["worker"]["seen_s_ago"] in {5, 6}
    assert processes["scheduler"]["running"] is False


def test_readyz_refuses_without_a_database_and_keeps_the_reason_to_the_log(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OperationalError("connection to fleet:s3cret@db.example failed")

    monkeypatch.setattr(health, "require_migrations", fail)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "database": "unavailable"}
    assert "s3cret" in caplog.text
    monkeypatch.undo()


@pytest.mark.django_db
def test_readyz_refuses_a_database_of_an_older_version(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'fleet'")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "database": "not migrated"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_it_rejects_post(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
