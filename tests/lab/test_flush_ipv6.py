"""Flushes between hosts of both families: by the one that both ends have, and to an IPv6 address alone."""

import os
import re
from collections import Counter
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from fleet.rehearsal import Fleet
from fleet.rehearsal.spec import HostSpec, InstanceSpec
from relays.domain.flush import Account
from relays.models import Flush, Host
from relays.models.operation import OperationState
from relays.remote import ssh
from relays.services import flush_run
from relays.services.collect import poll_host
from relays.services.hosts import host_add
from relays.services.kinds import PlanRefused

from .conftest import Wait, guarded
from .test_flush import accepted, confirmed, defer, planned, redirect_of, run_to_its_end, throttle

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

SOURCE, TARGET = "2001:db8:25::11", "2001:db8:25::21"
_HOSTS = (
    HostSpec(
        "rustin",
        10,
        "traditional",
        (
            InstanceSpec("msn-a", "msn", "198.51.100.11", SOURCE),
            InstanceSpec("msn-b", "msn", "198.51.100.12"),
        ),
    ),
    HostSpec("cleveland", 20, "rfc3339", (InstanceSpec("msn-c", "msn", "198.51.100.21", TARGET),)),
)


@pytest.fixture(scope="module")
def both_families() -> Iterator[Fleet]:
    """Two hosts; msn-a and msn-c have an address of each family, msn-b of IPv4 alone."""
    with guarded(Fleet(f"t{os.getpid()}six", hosts=_HOSTS, origins=())) as fleet:
        fleet.up()
        yield fleet


@pytest.fixture
def console(both_families: Fleet, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A console that knows both hosts."""
    fleet = both_families
    settings.READ_KEY_PATH, settings.WRITE_KEY_PATH = fleet.state.read_key, fleet.state.write_key
    monkeypatch.setattr(flush_run, "_LOOK_EVERY_S", 0.2)
    for host in fleet.hosts.values():
        host_add(name=host.name, ssh_address=host.ssh_address, ssh_port=host.ssh_port, host_key=host.host_key)
    poll(fleet)
    yield fleet
    ssh.close_all()


@pytest.fixture
def anna(db: None) -> User:
    return User.objects.create_superuser("anna")


def poll(fleet: Fleet) -> None:
    # Addresses come from the inventory, which is asked for once in a while only.
    Host.objects.update(inventory_at=None)
    for row in Host.objects.all():
        poll_host(host_id=row.pk, force=True)


def take_ipv4_from(fleet: Fleet, name: str) -> None:
    """Have an instance be bound to its IPv6 address alone."""
    instance = fleet.instance(name)
    bound = [f"{service}/unix/smtp_bind_address" for service in ("smtp", "relay", "drain")]
    instance.namespace.run("postconf", "-c", instance.config_dir, "-PX", *bound)
    instance.set(inet_interfaces=instance.spec.address6)
    instance.stop()
    instance.start()
    poll(fleet)


def test_mail_goes_by_the_family_that_both_ends_have(console: Fleet, anna: User, until: Wait) -> None:
    throttle(console, "msn-a")
    sent = defer(console, until, {"hotmail.com": 20})["hotmail.com"]
    operation = planned(anna, "msn-a", "msn-c", "hotmail.com")
    assert operation.plan["commands"][0] == ["hotmail.com", "drain:[198.51.100.21]:25"]

    take_ipv4_from(console, "msn-c")
    with pytest.raises(
        PlanRefused, match=r"msn-b has an IPv4 address alone, .* set smtp_bind_address6 at msn-b"
    ):
        planned(anna, "msn-b", "msn-c", "hotmail.com")
    operation = planned(anna, "msn-a", "msn-c", "hotmail.com")
    assert operation.plan["commands"][0] == ["hotmail.com", f"drain:[ipv6:{TARGET}]:25"]
    operation = run_to_its_end(confirmed(operation, anna))

    account = Account.from_json(Flush.objects.get().account)
    assert operation.state == OperationState.DONE, operation.outcome
    assert (account.selected, account.moved, account.waiting, account.duplicates) == (20, 20, 0, 0)
    assert account.adds_up
    assert account.adds_up_there
    handed = re.findall(
        rf"/drain/smtp\[.* relay={TARGET}\[{TARGET}\]:25, .* status=sent .* queued as (\w+)\)",
        console.instance("msn-a").log(),
    )
    taken = re.findall(rf" (\w+): client=unknown\[{SOURCE}\]", console.instance("msn-c").log())
    # There are more: each pre-flight went as far as RCPT, from the same address.
    assert len(set(handed)) == 20
    assert set(handed) < set(taken)
    until(lambda: not any(console.instance("msn-c").counts().values()), "msn-c to deliver")
    assert accepted(console, sent) == Counter(sent)
    assert redirect_of(console, "msn-a") == ""
