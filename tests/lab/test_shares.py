"""Shares on real origins and a real resolver: what is published is drawn, a skew is seen, no mail is lost.

The full counts are in bench/weights.py; here a share may leave the published one by four standard errors.
"""

from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from dns.domain.observed import standard_error
from dns.domain.records import difference
from dns.selectors.origins import origin_needs
from dns.selectors.shares import ShareRow
from dns.services.zones import publisher_of, read_primary
from fleet.rehearsal import Fleet, register, spec
from relays.models import Origin
from relays.remote import ssh
from tests.people import user_make
from tests.share_trial import ShareTrial

from .conftest import Wait

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

BIND_ZONE, POWERDNS_ZONE = spec.ZONES
OLD, NEW = "msn-a", "msn-c"


@pytest.fixture
def registered(fleet: Fleet, settings: LazySettings) -> Iterator[Fleet]:
    settings.READ_KEY_PATH = fleet.state.read_key
    settings.WRITE_KEY_PATH = fleet.state.write_key
    register.prepare(fleet)
    register.register(fleet)
    yield fleet
    ssh.close_all()


@pytest.fixture(params=[BIND_ZONE, POWERDNS_ZONE], ids=lambda zone: zone.server)
def trial(registered: Fleet, request: pytest.FixtureRequest) -> Iterator[ShareTrial]:
    """A relay name whose origin opens a connection for each message."""
    yield from _trial(registered, request.param)


@pytest.fixture
def powerdns_trial(registered: Fleet) -> Iterator[ShareTrial]:
    yield from _trial(registered, POWERDNS_ZONE)


@pytest.fixture
def mx_trial(registered: Fleet) -> Iterator[ShareTrial]:
    yield from _trial(registered, BIND_ZONE)


def _trial(fleet: Fleet, zone: spec.Zone) -> Iterator[ShareTrial]:
    trial = ShareTrial(fleet, zone)
    before = read_primary(trial.name).ours(trial.name.name)
    trial.origin.set(smtp_connection_cache_on_demand="no")
    yield trial
    trial.origin.set(smtp_connection_cache_on_demand="yes", smtp_destination_concurrency_limit="20")
    # The fleet is the session's: other tests find its names as they were.
    if change := difference(read_primary(trial.name).ours(trial.name.name), before):
        publisher = publisher_of(trial.name.zone)
        assert publisher is not None
        publisher.write(change)
    # Nor does what the resolver holds lead them, or the next trial, to hosts that are gone.
    fleet.forget_names()


def _agrees(rows: dict[str, ShareRow], counted: dict[str, int]) -> None:
    """Check that the page counts what the relays' logs say, and within chance of what is published."""
    assert {name: row.seen.messages for name, row in rows.items()} == counted
    new = rows[NEW]
    error = standard_error(new.published_share, new.seen.draws)
    assert abs(new.seen.share - new.published_share) <= 4 * error + 0.5 / new.seen.draws, new.observed
    assert not any(row.causes for row in rows.values())


def test_mx_gives_five_to_one(trial: ShareTrial, client: Browser) -> None:
    trial.publish({OLD: 5, NEW: 1}, rendering="mx")
    counted = trial.send(480)
    rows = trial.shares()
    assert rows[NEW].published == "16.7 %" and counted["msn-b"] == 0
    _agrees(rows, counted)
    client.force_login(user_make("vic", "viewer"))
    page = client.get(reverse("dns:relay-name", args=[trial.name.pk])).content.decode()
    assert rows[NEW].observed in page and "by more than chance" not in page


def test_lua_gives_what_its_draws_make_sure(powerdns_trial: ShareTrial) -> None:
    powerdns_trial.publish({OLD: 5, NEW: 1}, rendering="lua", ttl=1)
    # One a second: as many draws as messages.
    counted = powerdns_trial.send(75, per_s=1)
    _agrees(powerdns_trial.shares(), counted)


def test_equal_says_its_share_beforehand_and_is_right(trial: ShareTrial) -> None:
    operation = trial.publish({OLD: 5, NEW: 1}, rendering="equal")
    assert "each address gets 50.0 %, whatever its weight" in " ".join(operation.plan["notes"])
    rows = trial.shares()
    assert (rows[NEW].wanted, rows[NEW].published) == ("16.7 %", "50.0 %")
    counted = trial.send(240)
    _agrees(trial.shares(), counted)


def test_the_skew_of_a_connection_cache_is_seen_and_named(mx_trial: ShareTrial) -> None:
    mx_trial.publish({OLD: 5, NEW: 1}, rendering="mx")
    # One connection at a time carries all mail to the address that was drawn for it.
    mx_trial.origin.set(smtp_connection_cache_on_demand="yes", smtp_destination_concurrency_limit="1")
    counted = mx_trial.send(400)
    rows = mx_trial.shares()
    assert {name: row.seen.messages for name, row in rows.items()} == counted
    assert "smtp_connection_cache_on_demand = no" in rows[NEW].causes[0]


def test_no_mail_bounces_at_an_origin_whose_resolver_holds_what_was_served_before(
    powerdns_trial: ShareTrial,
) -> None:
    """Each change takes away what the resolver has just read."""
    bounced = powerdns_trial.origin.log().count("status=bounced")
    for weights, rendering in (
        ({OLD: 1}, "mx"),
        ({OLD: 5, NEW: 1}, "mx"),
        ({NEW: 1}, "mx"),
        ({OLD: 1}, "mx"),
        ({OLD: 1, NEW: 1}, "equal"),
        ({NEW: 4, OLD: 1}, "mx"),
        ({NEW: 1}, "lua"),
        ({OLD: 1}, "mx"),
    ):
        powerdns_trial.publish(weights, rendering=rendering)
        powerdns_trial.send(3)
    assert powerdns_trial.origin.log().count("status=bounced") == bounced


def test_an_instance_that_refuses_an_origin_is_told_on_the_origins_page(
    mx_trial: ShareTrial, until: Wait
) -> None:
    refusing = mx_trial.fleet.instance(NEW)
    mx_trial.publish({OLD: 1, NEW: 1}, rendering="mx")
    refusing.set(mynetworks="127.0.0.0/8")
    try:
        mx_trial.fleet.send(120, domain="hotmail.com", via=mx_trial.origin.host_name)
        until(lambda: not any(mx_trial.origin.counts().values()), "the origin to have sent all")
    finally:
        refusing.set(mynetworks=f"127.0.0.0/8 {spec.HOST_NET}.0/24")
    assert "Relay access denied" in refusing.log()
    assert mx_trial.counted()[NEW] == 0 and mx_trial.counted()[OLD] > 0
    mx_trial.shares()
    needs = {need.name: need for need in origin_needs(Origin.objects.get(name="lists"), timezone.now()).needs}
    assert needs[NEW].missed == f"{round(mx_trial.counted()[OLD] / 2)}"
    assert needs[NEW].denied == f"{refusing.log().count('Relay access denied;'):,}"
    assert needs[OLD].missed == needs[OLD].denied == ""
