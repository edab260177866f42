"""Every page in a real browser: nothing serious for axe-core, no complaint, no sideways scrolling."""

from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone

from dns.models import PublishedState, RelayName, Weight, Zone
from relays.models import Instance, InstanceRedirect, Operation, Provider, ReasonRule
from tests.browser.visits import Visit
from tests.factories import (
    THROTTLE,
    deletion_make,
    fleet_make,
    host_make,
    instance_make,
    operation_make,
    origins_make,
    outcomes_make,
    queue_read_make,
    queued_message,
    recipient_domain_make,
    replies_make,
    reply_cluster_make,
    samples_make,
    snapshot_make,
)
from tests.ramps import ramp_row, relay_name_row

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZ2XF2vJ5vLbQ1u1pS7k7m9gq0b6hC0mQ1X2b6H0x0a"
LONG_DOMAIN = "a-rather-long-domain-name-that-somebody-really-registered.newsletters.example"
COUNTS = [0, 3, 12, 40, 80, 120, 60, 31, 0, 0]


def paths() -> list[str]:
    """Make a fleet and return the address of each kind of page."""
    instances = fleet_make()
    msn_a = instances["msn-a"]
    snapshot_make(msn_a, [("hotmail.com", COUNTS), (LONG_DOMAIN, COUNTS)], [(THROTTLE, 398)])
    samples_make(msn_a)
    for instance in (msn_a, instances["therest-a"]):
        outcomes_make(instance, domain=LONG_DOMAIN, sent=90, deferred=60, suspended=9, bounced=4, expired=1)
        replies_make(
            instance, reply_cluster_make(f"{THROTTLE} {'x' * 300}", reason="rate-limited"), deferred=60
        )
    Provider.objects.filter(slug="therest").update(catch_all=True)
    origin = origins_make(instances)["list1.example.org"]
    host_make("changed", last_outcome="key_changed", offered_key=OTHER_KEY)
    unknown = reply_cluster_make(f"550 <address> was frobnicated {LONG_DOMAIN}")
    replies_make(msn_a, unknown, deferred=412)
    replies_make(msn_a, reply_cluster_make(THROTTLE, reason="mailbox-full"), deferred=7)
    ReasonRule.objects.create(slug="full", reason="mailbox-full", pattern="full", note="Ticket 4711.")
    return [
        "/",
        "/?abnormal=all",
        "/hosts/",
        "/hosts/rustin/",
        "/hosts/ohara/",
        "/hosts/changed/key/",
        "/hosts/rustin/change/",
        "/hosts/rustin/remove/",
        "/add-host/",
        f"/instances/{msn_a.pk}/",
        f"/instances/{instances['default'].pk}/",
        "/providers/",
        "/providers/msn/",
        "/providers/msn/?range=90d",
        "/providers/therest/",
        "/providers/msn/tables/replies/",
        "/tables/matrix/",
        "/providers/msn/change/",
        "/add-provider/",
        "/origins/",
        f"/origins/{origin.pk}/",
        f"/origins/{origin.pk}/change/",
        f"/origins/{origin.pk}/remove/",
        "/add-origin/",
        f"/domains/{recipient_domain_make('acme.example').pk}/provider/",
        "/reasons/",
        "/reasons/mailbox-full/",
        "/reason-rules/",
        "/reason-rules/full/change/",
        "/reason-rules/full/remove/",
        f"/add-reason-rule/?cluster={unknown.digest}",
        "/search/",
        "/search/?q=msn",
        "/operations/",
        "/operations/?state=done",
        *queue_paths(msn_a),
        f"/operations/{operation_make(msn_a).pk}/",
        f"/operations/{operation_make(msn_a, state='planned').pk}/",
        *redirect_paths(instances),
        *relay_name_paths(),
        "/trace/",
        "/audit/",
        "/password/",
        *ramp_paths(),
    ]


def redirect_paths(instances: dict[str, Instance]) -> list[str]:
    """Have mail redirected, and return the addresses of the pages that say so, and where to."""
    now = timezone.now()
    for name, ends_at in (("gmail-a", now - timedelta(hours=1)), ("aol-a", now + timedelta(minutes=9))):
        InstanceRedirect.objects.create(
            instance=instances[name], seen_at=now, to="[198.51.100.12]:25", ends_at=ends_at, problem="x" * 90
        )
    source = instances["gmail-a"]
    queue_read_make(source, state="failed", error="no answer within 10 s")
    return [f"/instances/{source.pk}/", f"/instances/{source.pk}/flush/", f"/queues/?instance={source.pk}"]


def relay_name_paths() -> list[str]:
    """Make a relay name whose weights are being changed, and return the addresses of its pages."""
    addresses = {"198.51.100.11": 5_000, "2001:db8:1234:5678:9abc:def0:1234:5678": 1}
    zone = Zone.objects.create(name="smtp.example.org")
    drift = {"192.0.2.53": "serves other records"}
    row = RelayName.objects.create(zone=zone, name=f"msn.{zone.name}", drift=drift)
    for address, weight in addresses.items():
        Weight.objects.create(relay_name=row, address=address, weight=weight)
    now = timezone.now()
    PublishedState.objects.create(
        relay_name=row,
        at=now,
        effective_at=now,
        serial=2_026_112_801,
        records=[],
        parts=addresses,
        wanted=addresses,
    )
    old = Operation.objects.create(
        kind="weights.apply", relay_name=row.name, params={"weights": addresses}, plan_hash="0" * 64,
        planned_at=now - timedelta(hours=1), requested_by_name="anna",
    )  # fmt: skip
    return ["/relay-names/", f"/relay-names/{row.pk}/", f"/operations/{old.pk}/"]


def ramp_paths() -> list[str]:
    """Make ramps, and return the addresses of the pages that show them."""
    name = relay_name_row()
    ramp = ramp_row(name)
    ramp_row(name, address="192.0.2.13", state="paused")
    ramp_row(name, address="192.0.2.14", trouble="No address would be left: all mail would stop.")
    ramp_row(name, address="192.0.2.15", state="done", ended_at=timezone.now())
    return [
        "/ramps/",
        f"/ramps/{ramp.pk}/",
        f"/ramps/{ramp.pk}/edit/",
        "/ramps/new/",
        f"/addresses/{ramp.address}/",
    ]


def queue_paths(instance: Instance) -> list[str]:
    """Make readings of a queue, and return the addresses of the pages that show them."""
    queue_read_make(
        instance,
        domains=[("hotmail.com", 21_398), (LONG_DOMAIN, 412)],
        replies=[(f"{THROTTLE} {'x' * 300}", 398), ("host <mx>[<ip>] said: 452 4.2.2 full", 14)],
        senders=[(f"{'a' * 60}@{LONG_DOMAIN}", 412)],
    )
    message = queued_message(sender=f"{'a' * 60}@{LONG_DOMAIN}")
    queue_read_make(
        instance, messages=[message, queued_message("4jWKWh04b5z1T2", queue="hold")], cursor="1-x"
    )
    queue_read_make(instance, messages=[message], id=message["queue_id"])
    deletion_make(instance)
    base = f"/queues/?instance={instance.pk}"
    pages = [f"{base}&by={by}" for by in ("domain", "reason", "reply", "sender")]
    return [
        "/queues/?provider=msn",
        *pages,
        f"{base}&show=messages",
        f"/instances/{instance.pk}/messages/{message['queue_id']}/",
    ]


def serious(visit: Visit) -> list[str]:
    """Return what axe-core finds serious or critical on the page, with where."""
    found = Axe().run(visit.page).response["violations"]
    return [
        f"{visit.page.url} {violation['id']}: {violation['nodes'][0]['html']}"
        for violation in found
        if violation["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_the_browser_complains_of_nothing(visit: Visit, scheme: str) -> None:
    visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    found = []
    for path in paths():
        visit.open(path)
        found += serious(visit)
    assert found == []
    assert visit.unexpected == []


def test_pages_for_nobody_and_for_errors_are_as_good(visit: Visit) -> None:
    found = []
    for path in ("/nothing/", "/login/"):
        visit.open(path)
        found += serious(visit)
    visit.page.context.clear_cookies()
    for path in ("/login/", "/nothing/"):
        visit.open(path)
        found += serious(visit)
    assert found == []


def test_an_empty_fleet_is_as_good(visit: Visit) -> None:
    visit.open("/")
    assert serious(visit) == []
    assert visit.unexpected == []


def test_long_setting_names_leave_their_values_room_on_a_phone(visit: Visit) -> None:
    instance = fleet_make()["msn-a"]
    visit.page.set_viewport_size({"width": 390, "height": 844})
    page = visit.open(f"/instances/{instance.pk}/")
    assert (
        page.evaluate("Math.min(...[...document.querySelectorAll('.facts dd')].map(e => e.clientWidth))")
        > 120
    )


def test_targets_of_a_flush_have_room_on_a_phone(visit: Visit) -> None:
    instances = fleet_make()
    host = host_make("rustin_relays_cooperative_example", age_s=840, last_outcome="unreachable")
    instance_make(host, "therest_with_a_long_name_c", ip="2001:db8:1234:5678:9abc:def0:1234:5678")
    visit.page.set_viewport_size({"width": 390, "height": 844})
    page = visit.open(f"/instances/{instances['msn-a'].pk}/flush/")
    texts = page.locator(".picks input[type=radio] + span")
    assert texts.count() == len(instances)
    assert min(texts.evaluate_all("all => all.map(e => e.clientWidth)")) > 220


def test_no_page_scrolls_sideways_on_a_phone(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    wide = {}
    for path in paths():
        page = visit.open(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide[path] = width
    assert wide == {}
