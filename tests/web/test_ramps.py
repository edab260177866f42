"""Pages over ramps: the list, a start that is seen before it begins, one ramp, and what steers it."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from dns.models import Out, Ramp, RampDay, RampDecision, RampState, RelayName
from relays.models import Address, AuditEvent, Host, Instance, InstanceState, Operation
from tests.factories import outcomes_make
from tests.people import browser_of
from tests.ramps import MSN, NEW, instances_make, ramp_row, relay_name_row

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def msn() -> RelayName:
    instances_make()
    return relay_name_row()


@pytest.fixture
def ramp(msn: RelayName) -> Ramp:
    return ramp_row(msn)


@pytest.fixture
def otto() -> Client:
    return browser_of("otto", "operator")


def text(browser: Client, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def fields(msn: RelayName, **more: Any) -> dict[str, Any]:
    """Return a form as a browser sends it."""
    form = {
        "relay_name": msn.pk,
        "address": NEW,
        "schedule": "ses-45",
        "largest": "50",
        "start_date": (timezone.now() + timedelta(days=1)).date().isoformat(),
        "time_zone": "Europe/Berlin",
        "opens": "09:00",
        "do": "preview",
    }
    return form | more


def preview(browser: Client, form: dict[str, Any]) -> str:
    return browser.post("/ramps/new/", form).content.decode()


def seen(page: str) -> str:
    return page.rsplit('name="seen" value="', maxsplit=1)[-1].split('"', maxsplit=1)[0]


def test_without_ramps_the_list_says_what_they_are_for(viewer: Client, otto: Client) -> None:
    page = text(viewer, "/ramps/")
    assert "No address is being brought up" in page and "Start one" not in page
    assert "Start one" in text(otto, "/ramps/")


def test_the_list_tells_where_each_stands_and_why_it_is_held(ramp: Ramp, viewer: Client) -> None:
    ramp_row(ramp.relay_name, address="192.0.2.13", state="paused")
    ramp_row(ramp.relay_name, address="192.0.2.14", trouble=f"the server refuses {EVIL}")
    page = text(viewer, "/ramps/")
    assert "warming, day 3 of 14" in page and "paused, day 3 of 14" in page
    assert "the server refuses &lt;script&gt;" in page and EVIL not in page
    assert page.index("192.0.2.14") < page.index("192.0.2.13") < page.index("192.0.2.12")
    assert "0 s ago" in page


def test_a_ramp_tells_today_its_dates_its_decisions_and_its_guard_rails(ramp: Ramp, viewer: Client) -> None:
    outcomes_make(Instance.objects.get(name="msn-b"), sent=90, bounced=10, blocked=10)
    page = text(viewer, f"/ramps/{ramp.pk}/")
    for told in (
        "warming, day 3 of 14",
        "540 left",
        "960 sent of 1,000 meant",
        "100 % of its log read",
        "SparkPost advances after 90 %",
        "10.0 % (10 of 100)",
        "The days that come",
        "looked at <time",
    ):
        assert told in page, told
    assert "Hold today" not in page


def test_what_is_broken_and_what_nobody_looked_at_is_marked(ramp: Ramp, viewer: Client) -> None:
    RampDay.objects.filter(ramp=ramp).update(bounced=400, has_gap=True)
    Ramp.objects.update(looked_at=timezone.now() - timedelta(hours=1))
    page = text(viewer, f"/ramps/{ramp.pk}/")
    assert "broken" in page and "lines are missing" in page
    assert "No worker has looked at it for five minutes" in page


def test_every_figure_of_a_guard_rail_tells_its_own_age(ramp: Ramp, viewer: Client) -> None:
    """The day's log, the queue, the host's clock and the last 15 minutes are read at different times."""
    now = timezone.now()
    RampDay.objects.filter(ramp=ramp).update(counted_to=now - timedelta(minutes=2))
    instance = Instance.objects.get(name="msn-b")
    outcomes_make(instance, at=now - timedelta(minutes=10), sent=90)
    InstanceState.objects.filter(instance=instance).update(
        oldest_s=40, sampled_at=now - timedelta(minutes=3), outcomes_at=now - timedelta(minutes=20)
    )
    Host.objects.update(last_success_at=now - timedelta(minutes=4), clock_skew_s=0.2)
    table = text(viewer, f"/ramps/{ramp.pk}/").split('id="rails-title"')[1].split("</table>")[0]
    figure = r'scope="row">([^<]+)</th>.+?"(asof[a-z ]*)" datetime="[^"]+" data-age>([^<]+)<'
    ages = {row[1]: (row[2], row[3]) for row in re.finditer(figure, table)}
    assert ages == {
        "sent of what the step meant": ("asof", "2 min ago"),
        "sent at all": ("asof", "2 min ago"),
        "bounced": ("asof", "2 min ago"),
        "deferred": ("asof", "2 min ago"),
        "refused as throttled or blocked": ("asof", "2 min ago"),
        "age of the oldest in the queue": ("asof", "3 min ago"),
        "of the day&#x27;s log read": ("asof", "2 min ago"),
        "refused as blocked within 15 minutes": ("asof stale", "20 min ago"),
        "tried within 15 minutes for that to count": ("asof stale", "20 min ago"),
        "clock against the hosts&#x27; clocks": ("asof", "4 min ago"),
    }


def test_one_that_has_just_begun_is_not_said_to_be_forgotten(ramp: Ramp, viewer: Client) -> None:
    Ramp.objects.update(looked_at=None, created_at=timezone.now())
    assert "No worker has looked" not in text(viewer, f"/ramps/{ramp.pk}/")
    Ramp.objects.update(created_at=timezone.now() - timedelta(minutes=6))
    assert "No worker has looked" in text(viewer, f"/ramps/{ramp.pk}/")


def test_a_poll_is_answered_with_what_changed(ramp: Ramp, viewer: Client) -> None:
    page = text(viewer, f"/ramps/{ramp.pk}/")
    tag = page.split('"tag": "')[1].split('"')[0]
    headers = {"HX-Request": "true"}
    assert viewer.get(f"/ramps/{ramp.pk}/", {"tag": tag}, headers=headers).status_code in {200, 204}
    Ramp.objects.update(version=9)
    answer = viewer.get(f"/ramps/{ramp.pk}/", {"tag": tag}, headers=headers)
    assert answer.status_code == 200 and "<html" not in answer.content.decode()


def test_the_chart_has_planned_and_actual_and_the_days_that_come(ramp: Ramp, viewer: Client) -> None:
    figure = json.loads(viewer.get(f"/ramps/{ramp.pk}/chart/").content)
    planned, actual, volume, sent, cap = figure["data"]
    assert len(planned["x"]) == 14 and planned["y"][:3] == [5.0, 8.0, 11.0]
    assert actual["y"][3:] == [None] * 11 and sent["y"][:3] == [410, 685, 960]
    assert cap["y"][:2] == [500.0, 1000.0] and volume["name"] == "planned volume"


def test_a_ramp_that_has_ended_shows_no_plan(ramp: Ramp, otto: Client) -> None:
    Ramp.objects.update(state=RampState.DONE, ended_at=timezone.now())
    page = text(otto, f"/ramps/{ramp.pk}/")
    assert "warm after 14 days" in page and "Hold today" not in page and "The days that come" not in page
    assert len(json.loads(otto.get(f"/ramps/{ramp.pk}/chart/").content)["data"][0]["x"]) == 3


def test_a_preview_shows_the_checklist_and_every_day_and_begins_nothing(msn: RelayName, otto: Client) -> None:
    outcomes_make(Instance.objects.get(name="msn-a"), at=timezone.now() - timedelta(days=2), sent=9_000)
    page = preview(otto, fields(msn))
    assert "An instance sends from it" in page and "not known" in page
    assert page.count('<td class="num-left">') >= 90 and "34 A, 32 MX" in page
    assert "Less than the smallest share, 3.1 %: run by its cap." in page
    assert "amazon-ses-developer-guide" in page
    assert not Ramp.objects.exists()


def test_only_what_was_seen_is_begun(msn: RelayName, otto: Client) -> None:
    form = fields(msn)
    form["seen"] = seen(preview(otto, form))
    changed = preview(otto, form | {"do": "start", "reason": "new", "schedule": "sixths"})
    assert "The fields have changed" in changed and not Ramp.objects.exists()
    assert "Say why" in preview(otto, form | {"do": "start"})
    answer = otto.post("/ramps/new/", form | {"do": "start", "reason": "a new address"})
    ramp = Ramp.objects.get()
    assert answer.headers["Location"] == f"/ramps/{ramp.pk}/"
    assert (ramp.address, ramp.started_by, ramp.time_zone) == (NEW, "otto", "Europe/Berlin")
    assert AuditEvent.objects.get(action="ramp.start").actor_name == "otto"


def test_what_is_needed_and_lacking_leaves_nothing_to_press(msn: RelayName, otto: Client) -> None:
    page = preview(otto, fields(msn, address="192.0.2.99"))
    assert 'value="start" disabled' in page and "once what is needed above is met" in page
    assert 'value="start" disabled' not in preview(otto, fields(msn))


def test_curves_and_tables_of_ones_own(msn: RelayName, otto: Client) -> None:
    curve = {"schedule": "linear", "days": "4", "first_share": "10", "last_share": "40"}
    assert "linear, 4 days" in preview(otto, fields(msn, **curve))
    assert "own table, 2 days" in preview(otto, fields(msn, schedule="own", table="5 %\n10 % 500"))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"address": EVIL}, "is not an IP address"),
        ({"address": "192.0.2.99"}, "No instance sends from 192.0.2.99"),
        ({"schedule": "own", "table": EVIL}, "Line 1 is not a share"),
        ({"schedule": "linear", "days": "5"}, "neither a share nor a number"),
        ({"schedule": "linear", "days": ""}, "how many days"),
        ({"schedule": "weekly"}, "Select a valid choice"),
        ({"time_zone": "../etc/passwd"}, "There is no time zone"),
        ({"start_date": "9999-12-31"}, "more than a year ahead"),
        ({"start_date": "0001-01-01"}, "lies in the past"),
        ({"opens": "10:00", "closes": "09:00"}, "ends before it begins"),
        ({"largest": "100"}, "less than or equal to 99.9"),
        ({"rail_max_bounce_share": "250"}, "less than or equal to 100"),
        ({"relay_name": "9" * 40}, "Select a valid choice"),
        ({"reason": ""}, "Say why"),
    ],
)
def test_what_cannot_be_is_told_beside_its_field(
    more: dict[str, str], why: str, msn: RelayName, otto: Client
) -> None:
    """It would begin but for the one thing: the calendar was seen, and a reason is given."""
    form = fields(msn, **{"reason": "a new address"} | more)
    form |= {"do": "start", "seen": seen(preview(otto, form))}
    page = preview(otto, form)
    assert why in page and EVIL not in page
    assert not Ramp.objects.exists()


@pytest.mark.parametrize(
    ("act", "step", "state"),
    [
        ("advance", 3, "running"),
        ("step_back", 1, "running"),
        ("hold", 2, "running"),
        ("pause", 2, "paused"),
        ("cancel", 2, "cancelled"),
    ],
)
def test_an_operator_steers_it(act: str, step: int, state: str, ramp: Ramp, otto: Client) -> None:
    otto.post(f"/ramps/{ramp.pk}/steer/", {"act": act, "reason": "a test", "version": ramp.version})
    ramp.refresh_from_db()
    assert (ramp.step, ramp.state) == (step, state)
    assert AuditEvent.objects.filter(object_type="ramp", actor_name="otto", reason="a test").count() == 1


def test_what_is_refused_is_told_on_its_page(ramp: Ramp, otto: Client) -> None:
    for form, why in (
        ({"act": "hold"}, "Say why"),
        ({"act": "resume", "reason": "a test"}, "It is not paused"),
        ({"act": "explode"}, "There is no such thing to do"),
    ):
        form |= {"version": str(ramp.version)}
        page = otto.post(f"/ramps/{ramp.pk}/steer/", form, follow=True).content.decode()
        assert why in page


@pytest.mark.parametrize("version", ["0", "", "x", "9" * 30])
def test_a_form_from_before_another_change_steers_nothing_and_keeps_what_was_typed(
    version: str, ramp: Ramp, otto: Client
) -> None:
    Ramp.objects.update(version=7)
    form = {"act": "cancel", "reason": "a ticket of mine", "restore": "on", "version": version}
    page = otto.post(f"/ramps/{ramp.pk}/steer/", form).content.decode()
    ramp.refresh_from_db()
    assert (ramp.state, ramp.version) == ("running", 7)
    assert "has changed since this page was loaded" in page
    assert 'value="a ticket of mine"' in page and 'value="on" checked' in page
    otto.post(f"/ramps/{ramp.pk}/steer/", form | {"version": "7"})
    ramp.refresh_from_db()
    assert ramp.state == "cancelled"


def test_a_table_from_before_another_change_is_not_saved_and_kept(ramp: Ramp, otto: Client) -> None:
    Ramp.objects.update(version=7)
    form = {"table": "15 % 2000\n20 % 3000", "reason": "a ticket of mine", "version": "0"}
    page = otto.post(f"/ramps/{ramp.pk}/edit/", form).content.decode()
    ramp.refresh_from_db()
    assert len(ramp.steps) == 14 and "has changed since this page was loaded" in page
    assert "20 % 3000</textarea>" in page and "a ticket of mine" in page and "14 % 2000\n17 % 2500" in page
    assert 'name="version" value="7"' in page
    assert otto.post(f"/ramps/{ramp.pk}/edit/", form | {"version": "7"}).status_code == 302


def test_cancelling_may_go_on_to_the_plan_of_the_old_weights(ramp: Ramp, otto: Client) -> None:
    """The name server is away here: the ramp ends all the same, and the page says what was not planned."""
    form = {"act": "cancel", "reason": "a test", "restore": "on", "version": "0"}
    page = otto.post(f"/ramps/{ramp.pk}/steer/", form, follow=True).content.decode()
    ramp.refresh_from_db()
    assert ramp.state == RampState.CANCELLED and "192.0.2.53" in page
    assert not Operation.objects.exists()


def test_the_rest_is_edited_as_a_table(ramp: Ramp, otto: Client) -> None:
    page = text(otto, f"/ramps/{ramp.pk}/edit/")
    assert "14 % 2000\n17 % 2500" in page
    form = {"table": "15 % 2000\n20 % 3000", "reason": "a test", "version": "0"}
    assert otto.post(f"/ramps/{ramp.pk}/edit/", form).status_code == 302
    ramp.refresh_from_db()
    assert len(ramp.steps) == 5 and ramp.steps[4] == {"share": 0.2, "cap": 3000}
    for table, why in (("1 %", "less than the day before"), (EVIL, "Line 1 is not a share")):
        page = otto.post(
            f"/ramps/{ramp.pk}/edit/", {"table": table, "reason": "a test", "version": "1"}
        ).content.decode()
        assert why in page


def test_a_viewer_steers_nothing(ramp: Ramp, viewer: Client) -> None:
    for path in (f"/ramps/{ramp.pk}/steer/", f"/ramps/{ramp.pk}/edit/", "/ramps/new/"):
        assert viewer.post(path, {"act": "cancel", "reason": "a test"}).status_code == 403
    assert viewer.get(f"/ramps/{ramp.pk}/steer/").status_code == 405


def test_anonymous_is_sent_to_login(ramp: Ramp, client: Client) -> None:
    for path in ("/ramps/", f"/ramps/{ramp.pk}/", f"/ramps/{ramp.pk}/chart/"):
        assert client.get(path).headers["Location"].startswith("/login/")


def test_the_matrix_and_the_instance_say_that_an_address_is_warming(ramp: Ramp, viewer: Client) -> None:
    instance = Address.objects.get(ip=NEW).instance
    assert "warming, day 3 of 14" in text(viewer, "/")
    assert f'href="/ramps/{ramp.pk}/"' in text(viewer, f"/instances/{instance.pk}/")


def test_an_address_that_warms_up_is_not_ticked_as_the_target_of_a_flush(ramp: Ramp, otto: Client) -> None:
    source = Instance.objects.get(name="msn-a")
    page = text(otto, reverse("relays:flush-new", args=[source.pk]))
    assert "warming, day 3 of 14" in page and "checked" not in page.split("2. Where to")[1]


def test_abnormal_now_names_ramps_that_are_held_or_out(ramp: Ramp, viewer: Client) -> None:
    assert f"abnormal-ramp-{ramp.pk}" not in text(viewer, "/")
    Ramp.objects.update(out=Out.BLOCK, step=None)
    page = text(viewer, "/")
    assert f"abnormal-ramp-{ramp.pk}" in page and f"out: blocked under {MSN}" in page


def test_abnormal_now_names_paused_ramps_too(ramp: Ramp, viewer: Client) -> None:
    """One that is paused is still guarded: it may be out, or wait for its records."""
    Ramp.objects.update(state=RampState.PAUSED)
    page = text(viewer, "/")
    assert f"abnormal-ramp-{ramp.pk}" in page and "ramp paused" in page
    Ramp.objects.update(out=Out.BLOCK, step=None)
    assert f"out: blocked, paused under {MSN}" in text(viewer, "/")


def test_a_ramp_that_ended_without_its_records_is_not_shown_green(ramp: Ramp, viewer: Client) -> None:
    RampDecision.objects.create(
        ramp=ramp, local_date=timezone.now().date(), at=timezone.now(), decided_by="person",
        change="finish", step=2, share=0.5,
    )  # fmt: skip
    Ramp.objects.update(state=RampState.DONE, ended_at=timezone.now(), trouble="the server refuses")
    for path in ("/", "/ramps/", f"/ramps/{ramp.pk}/"):
        assert "the server refuses" in text(viewer, path), path
    assert f"abnormal-ramp-{ramp.pk}" in text(viewer, "/")
    assert "page-head tone-bad" in text(viewer, f"/ramps/{ramp.pk}/")
    RampDecision.objects.update(is_written=True)
    Ramp.objects.update(trouble="")
    assert f"abnormal-ramp-{ramp.pk}" not in text(viewer, "/")
    assert "page-head tone-ok" in text(viewer, f"/ramps/{ramp.pk}/")


def test_the_number_of_queries_does_not_grow_with_the_ramps(ramp: Ramp, viewer: Client) -> None:
    with CaptureQueriesContext(connection) as one:
        viewer.get("/ramps/")
    for number in range(20, 28):
        ramp_row(ramp.relay_name, address=f"192.0.2.{number}")
    with CaptureQueriesContext(connection) as many:
        viewer.get("/ramps/")
    assert len(many) == len(one)


def test_the_number_of_queries_does_not_grow_with_the_days(ramp: Ramp, viewer: Client) -> None:
    counted = []
    for steps in (ramp.steps[:4], ramp.steps):
        Ramp.objects.update(steps=steps)
        with CaptureQueriesContext(connection) as queries:
            assert "The days that come" in text(viewer, f"/ramps/{ramp.pk}/")
        counted.append(len(queries))
    assert counted[0] == counted[1]


def _pace(browser: Client, ramp: Ramp) -> str:
    return text(browser, f"/ramps/{ramp.pk}/").partition('id="pace"')[2].partition("</section>")[0]


def _rate_held(instance: Instance, delay_s: int) -> Operation:
    now = timezone.now()
    return Operation.objects.create(
        kind="rate.hold", instance=instance, params={"delay_s": delay_s}, plan_hash="x", planned_at=now,
        requested_by_name="otto", state="done", ended_at=now,
    )  # fmt: skip


def test_a_ramp_offers_the_rate_that_spreads_its_cap_over_the_day(
    ramp: Ramp, viewer: Client, otto: Client
) -> None:
    today = RampDay.objects.filter(ramp=ramp, date=timezone.now().date())
    assert today.update(cap=2000) == 1
    assert "Nothing spreads the cap" in _pace(viewer, ramp) and "<form" not in _pace(viewer, ramp)
    assert 'name="delay_s" value="43"' in _pace(otto, ramp)
    operation = _rate_held(Address.objects.get(ip=NEW).instance, 43)
    held = _pace(otto, ramp)
    assert "at most one delivery in 43s" in held and "Hold it to" not in held and "Release the rate" in held
    # Another day has another number; one that Postfix cannot spread has none.
    today.update(cap=90_000)
    assert "Hold it to" not in _pace(otto, ramp) and "Release the rate" in _pace(otto, ramp)
    Ramp.objects.filter(pk=ramp.pk).update(state=RampState.CANCELLED)
    assert "Release the rate" in _pace(otto, ramp)
    operation.delete()
    assert _pace(otto, ramp) == ""
