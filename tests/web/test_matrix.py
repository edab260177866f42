"""The home page."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relays.models import Host, InstanceState, ReasonRule
from relays.selectors import overview
from relays.selectors.overview import CELLS_SHOWN, matrix, version_tag
from relays.selectors.readings import readings, time_of
from relays.selectors.rows import trend_of
from tests.factories import (
    THROTTLE,
    fleet_make,
    host_make,
    instance_make,
    outcomes_make,
    provider_make,
    trend_make,
)
from tests.people import browser_of

HTMX = {"HX-Request": "true"}
pytestmark = pytest.mark.django_db


def test_it_shows_every_instance_with_its_figures_and_their_age(viewer: Client) -> None:
    fleet_make()
    page = viewer.get("/").content.decode()
    for name in (
        "msn-a",
        "msn-b",
        "msn-c",
        "gmail-a",
        "yahoo-a",
        "aol-a",
        "therest-a",
        "therest-b",
        "default",
    ):
        assert page.count(f">{name}<") >= 1, name
    assert "5,311" in page
    assert "198.51.100.11" in page
    assert re.search(r"1\d s ago</time>", page)


def test_an_empty_fleet_gets_the_steps_to_its_first_host(operator: Client) -> None:
    page = operator.get("/").content.decode()
    assert "Add your first host" in page
    assert "sha256sum -c" in page
    assert "install --read-key 'ssh-ed25519 " in page


def test_a_fleet_without_a_poll_yet_says_so_and_shows_no_zero(viewer: Client) -> None:
    host_make(last_outcome="", last_success_at=None, last_attempt_at=None)
    page = viewer.get("/").content.decode()
    assert "no figures yet" in page
    assert "No instance is known yet" in page


def test_it_rejects_post(viewer: Client) -> None:
    assert viewer.post("/").status_code == 405


def test_anonymous_is_sent_to_log_in(client: Client) -> None:
    assert client.get("/")["Location"] == "/login/?next=/"


def test_a_poll_gets_204_while_nothing_changed(viewer: Client) -> None:
    fleet_make()
    now = timezone.now()
    tag = overview.version_tag(now)
    if overview.version_tag(timezone.now() + timedelta(seconds=2)) != tag:  # the minute is about to end
        tag = overview.version_tag(timezone.now() + timedelta(seconds=2))
    answers = [viewer.get("/", {"tag": overview.version_tag(timezone.now())}, headers=HTMX) for _ in range(2)]
    assert 204 in {answer.status_code for answer in answers}


def test_a_poll_gets_the_fragment_alone_once_something_changed(viewer: Client) -> None:
    fleet_make()
    tag = overview.version_tag(timezone.now())
    Host.objects.filter(name="rustin").update(last_attempt_at=timezone.now())
    answer = viewer.get("/", {"tag": tag}, headers=HTMX)
    assert answer.status_code == 200
    assert answer.content.decode().lstrip().startswith('<div id="fleet"')
    assert "no-store" in answer["Cache-Control"]


def test_the_tag_changes_with_whatever_the_page_shows() -> None:
    now = timezone.now()
    fleet_make()
    seen = {overview.version_tag(now)}
    InstanceState.objects.filter(instance__name="msn-a").update(asked_at=now)
    seen.add(overview.version_tag(now))
    Host.objects.filter(name="rustin").update(enabled=False)
    seen.add(overview.version_tag(now))
    Host.objects.get(name="ohara").delete()
    seen.add(overview.version_tag(now))
    seen.add(overview.version_tag(now + timedelta(minutes=1)))
    assert len(seen) == 5


def test_the_tag_costs_one_query() -> None:
    fleet_make()
    with CaptureQueriesContext(connection) as queries:
        overview.version_tag(timezone.now())
    assert len(queries) == 1


def test_the_number_of_queries_does_not_grow_with_the_fleet(viewer: Client) -> None:
    fleet_make()
    with CaptureQueriesContext(connection) as small:
        viewer.get("/")
    for h in range(10):
        host = host_make(f"host-{h}")
        for i in range(6):
            instance_make(
                host, f"msn-{h}{i}", 50, 60, "throttled" if i == 0 else "ok", ip=f"192.0.2.{h * 6 + i}"
            )
    with CaptureQueriesContext(connection) as large:
        viewer.get("/")
    # Two of them tell what the viewer may do, one whom relay names lead to, one which are served otherwise.
    assert len(large) == len(small) <= 17


def test_abnormal_now_is_worst_first_with_what_since_when_and_the_words() -> None:
    fleet_make()
    lines = matrix(timezone.now()).abnormal
    assert [(line.subject, line.state) for line in lines] == [
        ("yahoo-a", "blocked"),
        ("therest-b", "stopped"),
        ("ohara", "unreachable"),
        ("msn-a", "throttled"),
        ("therest-a", "slow"),
    ]
    throttled = lines[3]
    assert throttled.figures == "412 deferred, oldest 38 min"
    assert throttled.quote == "398 × 421 4.7.0 Try again later"
    assert throttled.since is not None
    assert lines[1].quote == "the Postfix mail system is not running"
    assert lines[2].figures == "1 instance, 14 deferred when last seen"
    assert lines[2].action_url == "/hosts/ohara/"


@pytest.mark.parametrize(
    ("outcome", "state", "action"),
    [
        ("key_changed", "key changed", "/hosts/rustin/key/"),
        ("refused", "refused", "/hosts/rustin/#doctor"),
        ("incompatible", "incompatible", "/hosts/rustin/#doctor"),
        ("incomplete", "late", "/hosts/rustin/#doctor"),
    ],
)
def test_a_host_in_trouble_is_abnormal_under_its_own_name(outcome: str, state: str, action: str) -> None:
    host_make(last_outcome=outcome, last_error="what went wrong")
    (line,) = matrix(timezone.now(), may=lambda _permission: True).abnormal
    assert (line.state, line.quote, line.action_url) == (state, "what went wrong", action)


@pytest.mark.parametrize(
    ("role", "outcome", "button"),
    [
        ("viewer", "unreachable", '/hosts/rustin/">Host<'),
        ("operator", "unreachable", '/hosts/rustin/#doctor">Doctor<'),
        ("viewer", "key_changed", '/hosts/rustin/">Host<'),
        ("operator", "key_changed", '/hosts/rustin/#doctor">Doctor<'),
        ("administrator", "key_changed", '/hosts/rustin/key/">Compare keys<'),
    ],
)
def test_a_button_leads_only_where_its_reader_may_go(role: str, outcome: str, button: str) -> None:
    host_make(last_outcome=outcome)
    page = browser_of("vera", role).get("/").content.decode()
    (line,) = re.findall(r'<li class="tone-bad" id="abnormal-host-.*?</li>', page)
    assert button in line


def test_a_host_whose_polls_stopped_turns_late_by_itself() -> None:
    instance_make(host_make(age_s=136), "msn-a", 5, 60)
    (line,) = matrix(timezone.now()).abnormal
    assert (line.subject, line.state) == ("rustin", "late")


def test_an_instance_of_a_host_that_does_not_answer_shows_what_was(viewer: Client) -> None:
    host = host_make(last_outcome="unreachable")
    instance_make(host, "msn-a", 412, 60, "throttled")
    fleet = matrix(timezone.now())
    (cell,) = fleet.rows[0].cells
    assert 'class="tone-idle last-known"' in cell
    assert ">stale, was throttled<" in cell
    assert ">rustin unreachable<" in cell
    assert [line.state for line in fleet.abnormal] == ["unreachable", "stale, was throttled"]


def test_a_count_that_is_not_known_is_a_question_mark_never_zero() -> None:
    host = host_make()
    instance_make(host, "msn-a", None, state="unknown", condition="timed_out")
    instance_make(host, "msn-b", 5, 60)
    instance_make(host, "aol-a", None, state="unknown")
    aol, msn = sorted(matrix(timezone.now()).rows, key=lambda row: row.slug)
    assert (aol.deferred, aol.active) == ("?", "?")
    assert (msn.deferred, msn.unknown) == ("5", "and 1 instance unknown")
    assert '<span class="def">?</span>' in msn.cells[0]
    assert "? active" in msn.cells[0]


def test_an_instance_removed_within_a_day_is_told_and_not_counted() -> None:
    host = host_make()
    now = timezone.now()
    instance_make(host, "msn-a", 7, 60, removed_at=now - timedelta(hours=2))
    instance_make(host, "msn-b", 9, 60, removed_at=now - timedelta(days=2))
    fleet = matrix(now)
    assert [(line.subject, line.state) for line in fleet.abnormal] == [("msn-a", "removed")]
    assert fleet.rows == []


def test_an_instance_without_a_provider_has_a_row_of_its_own(viewer: Client) -> None:
    instance = instance_make(host_make(), "default", 1, 60, provider=None)
    page = viewer.get("/").content.decode()
    assert "no provider yet" in page
    assert f"/instances/{instance.pk}/" in page


def test_what_is_normal_folds_and_what_is_not_comes_first() -> None:
    host = host_make()
    for i in range(30):
        instance_make(host, f"msn-{i:02}", 10, 60 + i)
    instance_make(host, "msn-zz", 400, 3600, "throttled")
    (row,) = matrix(timezone.now()).rows
    assert len(row.cells) == CELLS_SHOWN
    assert ">msn-zz<" in row.cells[0]
    assert row.folded is not None
    assert (row.folded.number, row.folded.deferred) == ("24 more ok", "240")
    assert row.deferred == "700"


def test_a_folded_row_opens_by_its_link_and_stays_open_in_polls(viewer: Client) -> None:
    host = host_make()
    for i in range(30):
        instance_make(host, f"msn-{i:02}", 10, 60)
    assert 'href="/?open=msn#row-msn"' in viewer.get("/").content.decode()
    page = viewer.get("/?open=msn").content.decode()
    assert page.count('class="cell"') == 30
    assert 'hx-get="/?open=msn"' in page
    assert "Fold what is normal" in page


def test_a_day_on_which_everything_fails_stays_readable(viewer: Client) -> None:
    host = host_make()
    for i in range(60):
        instance_make(host, f"msn-{i:02}", 100, 60, "blocked")
    fleet = matrix(timezone.now())
    assert (len(fleet.abnormal), fleet.abnormal_more) == (overview.ABNORMAL_SHOWN, 30)
    assert fleet.rows[0].folded is not None
    assert fleet.rows[0].folded.number == "36 more not ok"
    assert viewer.get("/?abnormal=all").content.decode().count('id="abnormal-instance-') == 60


def test_hostile_text_is_shown_and_inert(viewer: Client) -> None:
    reply = "said: 554 <script>alert(1)</script>\u202egpj.exe \x1b[31m\"'><img src=x onerror=alert(2)>"
    host = host_make("rustin")
    instance_make(host, "msn-<b>a", 100, 60, "blocked", provider="msn", top_reply=reply, top_reply_count=100)
    page = viewer.get("/").content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<b>a" not in page
    assert "\\u202egpj.exe" in page
    assert "\\x1b[31m" in page
    assert "\u202e" not in page


def test_no_page_has_what_the_content_security_policy_forbids(viewer: Client) -> None:
    fleet_make()
    page = viewer.get("/").content.decode()
    assert " style=" not in page
    assert " onclick=" not in page
    assert "<style" not in page
    assert "unsafe" not in viewer.get("/")["Content-Security-Policy"]


def test_the_trend_has_a_gap_where_an_hour_is_missing() -> None:
    trend = trend_of((10, 5, None, 10))
    assert trend is not None and trend.path == "M0 2.0h2L10 14.0M31 2.0h2"


def test_a_single_hour_is_no_trend() -> None:
    assert trend_of((None, None, 10)) is None


def test_a_providers_trend_covers_the_last_day() -> None:
    instance_make(host_make(), "msn-a", 5, 60)
    trend_make(provider_make("msn"), [*range(100, 124)])
    (row,) = matrix(timezone.now()).rows
    assert row.trend is not None
    assert row.trend.label == "deferred by hour over a day: at most 123"
    assert row.trend.path.count("L") == 23


def test_times_are_in_order_as_the_databases_own_text() -> None:
    """Whole seconds have no fraction in it, which must not put them behind."""
    whole = timezone.now().replace(microsecond=0)
    times = [whole + timedelta(microseconds=us) for us in (0, 1, 120_000, 999_999, 1_000_000)]
    host = host_make()
    for number, at in enumerate(times):
        instance = instance_make(host, f"msn-{number}", 5, 60)
        InstanceState.objects.filter(instance=instance).update(sampled_at=at)
    read = [reading.sampled for reading in readings(whole)]
    assert read == sorted(read, key=str)
    assert [time_of(text) for text in read] == times


def test_a_cell_with_deferred_mail_leads_to_its_queue_in_one_click(viewer: Client) -> None:
    host = host_make("rustin")
    full, empty = instance_make(host, "msn-a", 412), instance_make(host, "msn-b", 0)
    page = viewer.get("/?open=msn").content.decode()
    address = f"/queues/?instance={full.pk}&amp;queue=deferred"
    assert f'<a class="to-queue" href="{address}"' in page
    assert f"instance={empty.pk}&amp;queue" not in page
    asked = viewer.get(address.replace("&amp;", "&"))
    assert "in deferred" in asked.content.decode()


def test_a_cell_tells_the_last_hour_and_a_row_the_sum(viewer: Client) -> None:
    host = host_make()
    outcomes_make(instance_make(host, "msn-a", 3, 60), sent=620, deferred=12, bounced=5, expired=2)
    outcomes_make(instance_make(host, "msn-b", 3, 60), sent=1520, deferred=128)
    (row,) = matrix(timezone.now()).rows
    words = (
        "620<i> sent</i> \N{MIDDLE DOT} 12<i> deferred</i> \N{MIDDLE DOT} 7<i> bounced in the last hour</i>"
    )
    assert words in row.cells[0]
    assert "<span>1.9 % deferred</span>" in row.cells[0]
    assert "<b>2,140</b> sent/h" in row.html
    assert "<b>6.1 %</b> deferred" in row.html


def test_few_messages_have_no_share_and_a_log_that_was_not_read_no_counts(viewer: Client) -> None:
    host = host_make()
    outcomes_make(instance_make(host, "msn-a", 0), sent=4, deferred=1)
    instance_make(host, "msn-b", 0)
    (row,) = matrix(timezone.now()).rows
    assert "%" not in row.cells[0]
    assert "log not read yet" in row.cells[1]
    assert "<b>4</b> sent/h" in row.html


def test_counts_of_a_log_that_fell_behind_tell_their_age(viewer: Client) -> None:
    instance = instance_make(host_make(), "msn-a", 0)
    outcomes_make(instance, sent=400)
    InstanceState.objects.update(outcomes_at=timezone.now() - timedelta(hours=3))
    (row,) = matrix(timezone.now()).rows
    assert "3 h ago</time></span>" in row.cells[0]


def test_new_counts_alone_make_a_new_page(viewer: Client) -> None:
    instance_make(host_make(), "msn-a", 0)
    now = timezone.now()
    before = version_tag(now)
    InstanceState.objects.update(outcomes_at=now)
    assert version_tag(now) != before


def test_an_abnormal_line_tells_what_the_reply_means_by_the_administrators_rules_first(
    viewer: Client,
) -> None:
    instance_make(host_make(), "msn-a", 412, 60, "throttled", top_reply=THROTTLE, top_reply_count=398)
    (line,) = matrix(timezone.now()).abnormal
    assert line.reason == "Rate limited"
    assert ": <b>Rate limited</b> <q" in line.html
    ReasonRule.objects.create(slug="mine", reason="greylisted", pattern="try again later")
    (line,) = matrix(timezone.now()).abnormal
    assert line.reason == "Greylisted"
