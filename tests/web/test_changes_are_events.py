"""Whatever somebody changes in the console's own tables is an event: who, what, and what it was before."""

import json
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client

from relays.models import AuditEvent, Host, Instance, Origin, Provider, ReasonRule
from relays.services import audit
from tests.factories import client_make, host_make, instance_make, provider_make, recipient_domain_make
from tests.people import browser_of

pytestmark = pytest.mark.django_db
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture
def anna() -> Client:
    return browser_of("anna", "administrator")


def told() -> tuple[str, str, str, Any, Any]:
    """Return the one event there is: who, what, of which thing, before, after."""
    event = AuditEvent.objects.get()
    details = json.loads(event.details)
    assert event.phase == "succeeded"
    return event.actor_name, event.action, event.object_name, details["before"], details["after"]


def test_a_host_that_is_added(anna: Client) -> None:
    form = {"name": "rustin", "ssh_address": "192.0.2.9", "ssh_port": 22, "ssh_user": "relay-read"}
    anna.post("/add-host/", form | {"host_key": KEY})
    who, what, which, before, after = told()
    assert (who, what, which, before) == ("anna", "host.add", "rustin", {})
    assert after["address"] == "192.0.2.9"
    assert after["key"].startswith("SHA256:")


def test_a_host_that_is_switched_off_and_changed(anna: Client) -> None:
    host_make("rustin")
    anna.post("/hosts/rustin/switch/", {"on": "0"})
    assert told() == ("anna", "host.change", "rustin", {"polled": True}, {"polled": False})


def test_a_key_that_is_accepted(anna: Client) -> None:
    host_make("rustin", offered_key=KEY)
    anna.post("/hosts/rustin/key/", {"host_key": KEY})
    _, what, _, before, after = told()
    assert what == "host.key"
    assert set(before) == set(after) == {"key"}
    assert before != after


def test_a_host_that_is_removed(anna: Client) -> None:
    host_make("rustin")
    anna.post("/hosts/rustin/remove/", {"name": "rustin"})
    assert not Host.objects.exists()
    assert told()[:3] == ("anna", "host.remove", "rustin")


def test_an_instance_that_is_matched_by_hand(anna: Client) -> None:
    provider_make("gmail")
    instance = instance_make(host_make("rustin"), "msn-a", provider="msn")
    anna.post(f"/instances/{instance.pk}/match/", {"provider": "gmail"})
    assert told()[1:3] == ("instance.match", "msn-a")
    assert told()[3:] == (
        {"provider": "msn", "by_hand": False},
        {"provider": "gmail", "by_hand": True},
    )


def test_a_provider_that_is_changed(anna: Client) -> None:
    provider = provider_make("gmail")
    form = {"slug": "gmail", "name": "Gmail", "position": 10, "domains": "gmail.com", "mx_suffixes": ""}
    anna.post("/providers/gmail/change/", form)
    provider.refresh_from_db()
    _, what, which, _, after = told()
    assert (what, which) == ("provider.change", "gmail")
    assert after["domains"] == ["gmail.com"]


def test_a_recipient_domain_that_is_given_to_another_provider(anna: Client) -> None:
    provider_make("gmail")
    domain = recipient_domain_make("example.net")
    anna.post(f"/domains/{domain.pk}/provider/", {"provider": "gmail"})
    assert told() == ("anna", "domain.assign", "example.net", {"provider": ""}, {"provider": "gmail"})


def test_an_origin_from_adoption_to_removal(anna: Client) -> None:
    client = client_make("192.0.2.50")
    anna.post(f"/clients/{client.pk}/adopt/")
    origin = Origin.objects.get()
    anna.post(f"/origins/{origin.pk}/change/", {"name": "lists", "addresses": "192.0.2.50 192.0.2.51"})
    anna.post(f"/origins/{origin.pk}/remove/")
    actions = AuditEvent.objects.values_list("action", "actor_name")
    assert list(actions) == [(f"origin.{what}", "anna") for what in ("add", "change", "remove")]
    changed = json.loads(AuditEvent.objects.get(action="origin.change").details)
    assert changed["after"]["addresses"] == ["192.0.2.50", "192.0.2.51"]


def test_a_rule_from_its_making_to_its_removal(anna: Client) -> None:
    form = {"slug": "own", "reason": "other", "pattern": "never heard of", "position": 1, "enabled": "on"}
    anna.post("/add-reason-rule/", form | {"action": "save"})
    assert ReasonRule.objects.exists()
    anna.post("/reason-rules/own/remove/")
    assert list(AuditEvent.objects.values_list("action", flat=True)) == ["rule.add", "rule.remove"]


def test_what_cannot_be_written_down_is_not_changed(anna: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    host_make("rustin")
    instance = instance_make(Host.objects.get(), "msn-a", provider="msn")

    def fail(**_: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(audit, "record", fail)
    anna.raise_request_exception = False
    assert anna.post("/hosts/rustin/remove/", {"name": "rustin"}).status_code == 500
    provider_make("gmail")
    assert anna.post(f"/instances/{instance.pk}/match/", {"provider": "gmail"}).status_code == 500
    assert Instance.objects.get().provider == Provider.objects.get(slug="msn")
