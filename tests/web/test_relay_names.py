"""Pages over relay names: three shares side by side, and plans that name servers refuse or take."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from dns.domain.records import RecordSet, difference
from dns.lookup import Server
from dns.models import PublishedState, RelayName, Weight, Zone
from dns.publishing.rfc2136 import Key, Rfc2136
from dns.services import zones
from relays.models import AuditEvent, InstanceState, Operation
from relays.services.audit import SYSTEM
from tests.dns_servers import ALGORITHM, KEY, SECRET, ZONE, Bind
from tests.factories import host_make
from tests.relay_names import mail_make, relay_name_make, state_make

pytestmark = pytest.mark.django_db

MSN = f"msn.{ZONE}"
OLD, NEW, THIRD = "192.0.2.11", "192.0.2.12", "192.0.2.13"


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with Bind() as server:
        wanted = [RecordSet.of(MSN, "A", 600, [OLD, NEW])]
        key = Key(KEY, ALGORITHM, SECRET)
        Rfc2136(Server("127.0.0.1", server.port), ZONE, key).write(difference([], wanted))
        yield server


@pytest.fixture
def msn(bind: Bind) -> RelayName:
    zone = zones.zone_save(
        name=ZONE,
        method="rfc2136",
        servers=[f"127.0.0.1:{bind.port}"],
        allowed_names=[MSN],
        tsig_name=KEY,
        secret=SECRET,
        actor=SYSTEM,
    )
    return zones.relay_name_import(zone=zone, name=MSN, rendering="mx", actor=SYSTEM)


def test_without_relay_names_the_list_says_how_to_take_one_over(operator: Client) -> None:
    assert "manage.py dns name" in operator.get("/relay-names/").content.decode()


def test_a_viewer_sees_shares_and_may_change_none(msn: RelayName, viewer: Client) -> None:
    assert MSN in viewer.get("/relay-names/").content.decode()
    page = viewer.get(f"/relay-names/{msn.pk}/").content.decode()
    assert page.count("50.0 %") == 4
    assert "no messages" not in page
    assert f"What is observed is not known: no instance sends from {OLD}." in page
    assert "its name servers answered <time" in page
    assert "asked <time" in page
    assert "Plan these weights" not in page and SECRET not in page
    assert viewer.post(f"/relay-names/{msn.pk}/plan/weights.apply/").status_code == 403


def test_a_relay_name_leads_to_a_ramp_of_one_of_its_addresses(
    msn: RelayName, viewer: Client, operator: Client
) -> None:
    link = f"/ramps/new/?relay_name={msn.pk}"
    assert link not in viewer.get(f"/relay-names/{msn.pk}/").content.decode()
    assert f'href="{link}">Start a ramp' in operator.get(f"/relay-names/{msn.pk}/").content.decode()
    assert f'value="{msn.pk}" selected' in operator.get(link).content.decode()


def test_abnormal_now_names_what_is_not_served_as_published(msn: RelayName, viewer: Client) -> None:
    host_make("rustin")
    assert "abnormal-drift" not in viewer.get("/").content.decode()
    checked = timezone.now() - timedelta(hours=2)
    drift = {"192.0.2.54": "serves <script>alert(1)</script> alone"}
    RelayName.objects.filter(pk=msn.pk).update(drift=drift, checked_at=checked)
    line = viewer.get("/").content.decode().partition("abnormal-drift-")[2].partition("</li>")[0]
    assert f"/relay-names/{msn.pk}/#servers-title" in line and MSN in line
    assert "192.0.2.54: serves &lt;script&gt;" in line and "<script>" not in line
    assert "1 of 1 server" in line and "2 h ago" in line and "asof stale" in line


def test_an_answer_of_long_ago_shows_its_age(msn: RelayName, viewer: Client) -> None:
    RelayName.objects.filter(pk=msn.pk).update(served_at=timezone.now() - timedelta(days=3))
    for path in ("/relay-names/", f"/relay-names/{msn.pk}/"):
        assert "3 d ago" in viewer.get(path).content.decode()


def test_weights_are_planned_and_shown_before_anything_changes(msn: RelayName, operator: Client) -> None:
    answer = operator.post(
        f"/relay-names/{msn.pk}/plan/weights.apply/",
        {f"weight:{OLD}": "5", f"weight:{NEW}": "1"},
        follow=True,
    )
    operation = Operation.objects.get()
    assert answer.redirect_chain == [(f"/operations/{operation.pk}/", 302)]
    page = answer.content.decode()
    assert f"{OLD} 83.3 %, {NEW} 16.7 %" in page and "Change weights" in page
    assert zones.check_relay_name(relay_name=msn) == {}


def test_its_operation_is_headed_by_its_name_and_leads_back_to_it(msn: RelayName, operator: Client) -> None:
    fields = {f"weight:{OLD}": "5000", f"weight:{NEW}": "1"}
    page = operator.post(f"/relay-names/{msn.pk}/plan/weights.apply/", fields, follow=True).content.decode()
    assert f"<h1>Change weights: {MSN}</h1>" in page
    assert f"<title>Change weights: {MSN} · " in page
    link = f'<a href="/relay-names/{msn.pk}/">{MSN}</a>'
    assert link in page.partition('class="crumbs"')[2].partition("</p>")[0]
    assert f'<a class="btn" href="/relay-names/{msn.pk}/">Cancel</a>' in page
    assert f"{OLD}: 5000, {NEW}: 1" in page
    assert "{&#x27;" not in page and "False" not in page
    Operation.objects.update(planned_at=timezone.now() - timedelta(minutes=11))
    page = operator.get(f"/operations/{Operation.objects.get().pk}/").content.decode()
    assert f'make it again from <a href="/relay-names/{msn.pk}/">its page</a>' in page


def test_an_operation_of_a_relay_name_that_is_gone_has_no_link(msn: RelayName, operator: Client) -> None:
    operator.post(f"/relay-names/{msn.pk}/plan/address.out/", {"address": NEW})
    operation = Operation.objects.get()
    RelayName.objects.all().delete()
    Operation.objects.update(planned_at=timezone.now() - timedelta(minutes=11))
    page = operator.get(f"/operations/{operation.pk}/").content.decode()
    assert f": {MSN}</h1>" in page and "make it again from its page" in page


def test_the_override_does_what_it_says(msn: RelayName, operator: Client) -> None:
    Weight.objects.create(relay_name=msn, address=THIRD)
    path = f"/relay-names/{msn.pk}/"
    assert "Override: let more than one address go at once" in operator.get(path).content.decode()
    fields = {f"weight:{OLD}": "0", f"weight:{NEW}": "0"}
    page = operator.post(f"{path}plan/weights.apply/", fields, follow=True).content.decode()
    assert "2 of 2 addresses would go at once" in page
    operator.post(f"{path}plan/weights.apply/", {**fields, "override": "on"})
    page = operator.get(f"/operations/{Operation.objects.get().pk}/").content.decode()
    assert '<dt>override</dt><dd class="mono">yes</dd>' in page


def test_weights_and_serials_are_written_as_such(msn: RelayName, operator: Client) -> None:
    Weight.objects.filter(address=OLD).update(weight=5_000)
    PublishedState.objects.update(serial=2_026_112_801)
    page = operator.get(f"/relay-names/{msn.pk}/").content.decode()
    assert f'name="weight:{OLD}" value="5000"' in page
    assert "2026112801" in page


def test_one_address_is_taken_out_by_the_button_of_its_row(msn: RelayName, operator: Client) -> None:
    page = operator.get(f"/relay-names/{msn.pk}/").content.decode()
    assert page.count(f"/relay-names/{msn.pk}/plan/address.out/") == 2
    operator.post(f"/relay-names/{msn.pk}/plan/address.out/", {"address": NEW, f"weight:{OLD}": "5"})
    operation = Operation.objects.get()
    assert (operation.kind, operation.params["address"]) == ("address.out", NEW)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({f"weight:{OLD}": "0", f"weight:{NEW}": "0"}, "No address would be left"),
        ({f"weight:{OLD}": "many"}, "must be a whole number"),
        ({f"weight:{OLD}": "9" * 5000}, "must be a whole number"),
        ({"weight:<script>": "1"}, "is not an address"),
        ({}, "Give at least one address its weight"),
    ],
)
def test_what_is_refused_is_told_on_the_page(
    fields: dict[str, str], why: str, msn: RelayName, operator: Client
) -> None:
    page = operator.post(f"/relay-names/{msn.pk}/plan/weights.apply/", fields, follow=True).content.decode()
    assert why in page and "<script>:" not in page
    assert not Operation.objects.exists()


def test_name_servers_that_are_not_as_published_are_named(msn: RelayName, operator: Client) -> None:
    Zone.objects.update(servers=["127.0.0.1:1"])
    msn.refresh_from_db()
    zones.check_relay_name(relay_name=msn)
    assert "127.0.0.1:1 takes no connection" in operator.get(f"/relay-names/{msn.pk}/").content.decode()


def test_a_preview_tells_shares_records_and_refusals_while_weights_are_typed(operator: Client) -> None:
    row = relay_name_make()
    path = f"/relay-names/{row.pk}/preview/"

    def told(**weights: str) -> str:
        fields = {f"weight:{OLD}": weights["old"], f"weight:{NEW}": weights["new"]}
        return operator.post(path, fields).content.decode()

    assert "<b>66.7 %</b>" in told(old="2", new="1")
    assert f"- {MSN}. 600 IN MX 10 w3-192-0-2-11.{MSN}." in told(old="2", new="1")
    assert "These records are published already" in told(old="5", new="1")
    assert "the smallest share of mx is 1/32 = 3.1 %" in told(old="9975", new="25")
    assert "No address would be left" in told(old="0", new="0")
    assert "must be a whole number" in told(old="9" * 5000, new="1")
    assert "has a scope" in operator.post(path, {"weight:fe80::1%eth0": "1"}).content.decode()
    hostile = operator.post(path, {"weight:<script>": "1"}).content.decode()
    assert "<script>" not in hostile and "&lt;script&gt;" in hostile
    assert not Operation.objects.exists() and row.published.count() == 1


def test_a_chart_has_three_shares_an_address_and_marks_changes(viewer: Client) -> None:
    row = relay_name_make()
    state_make(row, {OLD: 3, NEW: 1}, at=timezone.now() - timedelta(hours=5))
    for hours_ago in (9, 8, 2):
        mail_make({OLD: 750, NEW: 250}, hours_ago=hours_ago)
    figure = viewer.get(f"/relay-names/{row.pk}/shares.json?range=24h").json()
    assert [trace["name"] for trace in figure["data"]] == [
        OLD, f"{OLD} published", f"{OLD} wanted", NEW, f"{NEW} published", f"{NEW} wanted",
    ]  # fmt: skip
    observed, published, wanted = figure["data"][3:]
    assert observed["y"] == [25.0, 25.0, None, 25.0]
    assert observed["text"][0] == "25.0 % of 1,000 (22.4 % to 27.8 %)"
    assert published["y"] == wanted["y"] == [16.67, 25.0, 25.0]
    assert len(figure["layout"]["shapes"]) == 1
    assert figure["layout"]["annotations"][0]["text"] == "found so"
    page = viewer.get(f"/relay-names/{row.pk}/").content.decode()
    assert "counted up to" in page and page.count("25.0 %") >= 3


def test_a_log_that_was_never_read_leaves_every_share_of_the_past_unknown(viewer: Client) -> None:
    row = relay_name_make()
    mail_make({OLD: 500, NEW: 100})
    assert "Not known" not in viewer.get(f"/relay-names/{row.pk}/").content.decode()
    InstanceState.objects.filter(instance__addresses__ip=NEW).update(outcomes_at=None)
    page = viewer.get(f"/relay-names/{row.pk}/").content.decode()
    assert f"Not known: the log of {NEW} was never read." in page
    chart = viewer.get(f"/relay-names/{row.pk}/shares.json").json()
    assert [len(one["x"]) for one in chart["data"] if one["name"] == OLD] == [0]


def test_mail_that_leaves_the_published_shares_is_told_with_causes(viewer: Client) -> None:
    row = relay_name_make()
    mail_make({OLD: 500, NEW: 500})
    page = viewer.get(f"/relay-names/{row.pk}/").content.decode()
    assert f"{NEW} gets 50.0 % where 16.7 % is published: chance explains 4.7 points." in page
    assert "smtp_connection_cache_on_demand = no" in page


def test_what_somebody_else_wrote_is_shown_three_ways_and_can_stay(
    bind: Bind, msn: RelayName, operator: Client
) -> None:
    key = Key(KEY, ALGORITHM, SECRET)
    at = Rfc2136(Server("127.0.0.1", bind.port), ZONE, key)
    ours, theirs = at.read(MSN).ours(MSN), [RecordSet.of(MSN, "A", 600, [OLD])]
    at.write(difference(ours, theirs))
    zones.check_relay_name(relay_name=msn)
    page = operator.get(f"/relay-names/{msn.pk}/").content.decode()
    assert f"serves {OLD} 1 at serial" in page and "Take what is served for what is wanted" in page
    answer = operator.post(f"/relay-names/{msn.pk}/accept/", follow=True).content.decode()
    assert "is what is wanted from now on" in answer and "as published" in answer
    assert not msn.weights.get(address=NEW).is_on
    Zone.objects.update(servers=["127.0.0.1:1"], primary="127.0.0.1:1")
    answer = operator.post(f"/relay-names/{msn.pk}/accept/", follow=True).content.decode()
    assert "was left as it is: 127.0.0.1:1 takes no connection" in answer
    at.write(difference(theirs, ours))


def test_settings_are_changed_and_published_with_the_next_weights(operator: Client) -> None:
    row = relay_name_make()
    path = f"/relay-names/{row.pk}/change/"
    assert "Addresses that are warm" in operator.get(path).content.decode()
    fields = {"rendering": "equal", "ttl": "300", "min_warm": "1", "warm": [OLD]}
    answer = operator.post(path, fields, follow=True).content.decode()
    assert "plan its weights to publish what differs" in answer and "warming" in answer
    row.refresh_from_db()
    assert (row.rendering, row.ttl, row.provider) == ("equal", 300, None)
    assert [weight.is_warm for weight in row.weights.all()] == [True, False]
    event = AuditEvent.objects.latest("pk")
    assert event.action == "relay_name.change" and '"ttl":300' in event.details.replace(" ", "")
    assert (
        "equal knows one share"
        in operator.post(f"/relay-names/{row.pk}/preview/", {f"weight:{OLD}": "5"}).content.decode()
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rendering": "lua"}, "RFC 2136 knows no such record"),
        ({"rendering": "srv"}, "Select a valid choice"),
        ({"ttl": "10"}, "A TTL of mx is 60 to 3600 s."),
        ({"ttl": "9" * 5000}, "Enter a whole number"),
        ({"min_warm": "3"}, "no more than there are"),
        ({"warm": ["192.0.2.99"]}, "Select a valid choice"),
    ],
)
def test_settings_that_cannot_be_are_refused_beside_their_field(
    changes: dict[str, str], why: str, operator: Client
) -> None:
    row = relay_name_make()
    fields = {"rendering": "mx", "ttl": "600", "min_warm": "1", "warm": [OLD, NEW]}
    page = operator.post(f"/relay-names/{row.pk}/change/", fields | changes).content.decode()
    assert why in page.replace("&#x27;", "'")
    row.refresh_from_db()
    assert (row.rendering, row.ttl, row.min_warm) == ("mx", 600, 1)
