"""`manage.py fleet`."""

import json
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import call_command

from relays.models import Host, InstanceState
from tests.factories import fleet_make, host_make, instance_make

pytestmark = pytest.mark.django_db


def fleet(*arguments: str) -> str:
    out = StringIO()
    call_command("fleet", *arguments, stdout=out)
    return out.getvalue()


def test_json_has_exactly_the_documented_keys() -> None:
    fleet_make()
    report = json.loads(fleet("--json"))
    assert set(report) == {"at", "hosts", "instances"}
    assert set(report["hosts"][0]) == {"name", "state", "since", "error", "last_success_at"}
    (msn_a,) = [row for row in report["instances"] if row["name"] == "msn-a"]
    sampled_at = msn_a.pop("sampled_at")
    assert sampled_at < report["at"]
    assert msn_a == {
        "host": "rustin",
        "name": "msn-a",
        "provider": "msn",
        "address": "198.51.100.11",
        "queues": {"incoming": 0, "active": 3, "deferred": 412, "hold": 0, "corrupt": None},
        "oldest_s": 2280,
        "state": "throttled",
        "last_hour": None,
    }
    states = {host["name"]: (host["state"], host["error"]) for host in report["hosts"]}
    assert states["rustin"] == ("fresh", "")
    assert states["ohara"] == ("unreachable", "ohara.example port 22: no answer within 10 s")


def test_json_of_what_was_never_read_is_null() -> None:
    host = host_make(last_outcome="", last_success_at=None, outcome_since=None)
    instance_make(host, "default", None, state="unknown", provider=None)
    report = json.loads(fleet("--json"))
    (row,) = report["instances"]
    assert set(row["queues"].values()) == {None}
    assert (row["sampled_at"], row["provider"], row["address"]) == (None, None, None)
    assert report["hosts"][0]["last_success_at"] is None


def test_json_tells_the_last_hour_of_an_instance_whose_log_was_read() -> None:
    instance = instance_make(host_make(), "msn-a", 1, 60, provider="msn")
    hour = {
        "sent": 620,
        "deferred": 57,
        "suspended": 12,
        "bounced": 3,
        "expired": 1,
        "handed_over": 2,
        "accepted": 700,
    }
    InstanceState.objects.filter(instance=instance).update(
        outcomes_at=datetime(2026, 11, 21, 0, 12, 18, 5, tzinfo=UTC),
        **{f"hour_{name}": number for name, number in hour.items()},
    )
    (row,) = json.loads(fleet("--json"))["instances"]
    assert row["last_hour"] == {"until": "2026-11-21T00:12:18+00:00", **hour}


def test_text_is_a_table_under_the_hosts_that_do_not_answer() -> None:
    fleet_make()
    lines = fleet().splitlines()
    assert lines[0] == "ohara: unreachable ohara.example port 22: no answer within 10 s"
    assert lines[1].split() == [
        *("provider", "instance", "host", "state", "deferred", "active", "oldest", "as", "of", "address")
    ]
    (msn_a,) = [line for line in lines if " msn-a " in line]
    assert msn_a.split()[:6] == ["msn", "msn-a", "rustin", "throttled", "412", "3"]


def test_text_shows_no_terminal_escape_of_a_host() -> None:
    host = host_make(last_outcome="refused", last_error="\x1b[2Jgone")
    instance_make(host, "msn-\x1b[31ma", 1, 60, provider="msn")
    assert "\x1b" not in fleet()


def test_an_empty_fleet_says_so() -> None:
    assert fleet().strip() == "No instance is known yet."
    Host.objects.all().delete()
    assert json.loads(fleet("--json"))["hosts"] == []
