"""What the pages of a provider and of an instance tell of their mail."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relays.models import Instance, InstanceState, LogSource, Provider, ProviderOutcomesHour, RecipientDomain
from relays.selectors.outcomes import outcomes_over_time
from relays.selectors.ranges import RANGES
from relays.services.reasons import shipped_table
from tests.factories import (
    fleet_make,
    host_make,
    instance_make,
    outcomes_make,
    provider_make,
    replies_make,
    reply_cluster_make,
    snapshot_make,
)

pytestmark = pytest.mark.django_db
EVIL = "=cmd|' /C calc'!A0 <script>alert(1)</script> \u202e"
DELAYS = [0, 0, 50] + [0] * 13


@pytest.fixture
def msn_a() -> Instance:
    """An instance with an hour's outcomes and two clusters of replies."""
    instance = instance_make(host_make(), "msn-a", 412, 2280, "throttled", ip="198.51.100.11")
    outcomes_make(
        instance,
        domain="hotmail.com",
        delays=DELAYS,
        sent=620,
        deferred=120,
        suspended=100,
        bounced=7,
        expired=1,
    )
    replies_make(
        instance,
        reply_cluster_make("421 4.7.0 slow down", reason="rate-limited"),
        deferred=120,
        suspended=100,
    )
    replies_make(instance, reply_cluster_make(EVIL, sample=EVIL), bounced=7)
    return instance


def text_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize("path", ["/providers/msn/", "/instances/{pk}/"])
def test_both_pages_tell_outcomes_replies_and_domains(viewer: Client, msn_a: Instance, path: str) -> None:
    page = text_of(viewer, path.format(pk=msn_a.pk))
    assert "<dt>sent</dt><dd>620</dd>" in page
    assert '<dd>120 <span class="share">16 %</span><span class="hint">100 reached nobody</span>' in page
    assert '<dd>8 <span class="share">1.1 %</span><span class="hint">1 expired in the queue</span>' in page
    assert "Rate limited" in page
    assert "lower the concurrency" in page
    assert "120 deferred (100 suspended)" in page
    assert "hotmail.com" in page
    assert "counted up to" in page


def test_hostile_replies_are_text(viewer: Client, msn_a: Instance) -> None:
    page = text_of(viewer, "/providers/msn/")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\u202e" in page


def test_few_messages_are_counts_and_no_percentage(viewer: Client) -> None:
    instance = instance_make(host_make(), "msn-a", 0)
    outcomes_make(instance, domain="hotmail.com", sent=4, deferred=1)
    page = text_of(viewer, "/providers/msn/")
    assert "<dt>deferred</dt><dd>1</dd>" in page
    assert "20 %" not in page


def test_what_was_never_read_is_not_known_and_not_zero(viewer: Client) -> None:
    instance = instance_make(host_make(), "msn-a", 0)
    for path in ("/providers/msn/", f"/instances/{instance.pk}/"):
        page = text_of(viewer, path)
        assert "no log of 1 instance was read yet" in page
        assert page.count("Not known: no log was read yet.") == 2
    assert '<td class="num"><b>?</b></td>' in text_of(viewer, "/providers/msn/")


def test_a_log_that_fell_behind_is_told(viewer: Client, msn_a: Instance) -> None:
    other = instance_make(host_make("cleveland"), "msn-b", 0)
    outcomes_make(other, sent=3)
    InstanceState.objects.filter(instance=other).update(outcomes_at=timezone.now() - timedelta(hours=3))
    page = text_of(viewer, "/providers/msn/")
    assert "3 h ago" in page
    assert "the newest log up to" in page


def test_the_totals_are_those_of_the_chosen_range(viewer: Client, msn_a: Instance) -> None:
    outcomes_make(msn_a, at=timezone.now() - timedelta(days=3), sent=10_000)
    assert "<dd>620</dd>" in text_of(viewer, "/providers/msn/?range=24h")
    assert "<dd>10,620</dd>" in text_of(viewer, "/providers/msn/?range=7d")
    assert "<dd>10,620</dd>" in text_of(viewer, "/providers/msn/?range=90d")
    assert "<dd>620</dd>" in text_of(viewer, "/providers/msn/?range=nonsense")


@pytest.mark.parametrize("path", ["/providers/msn/", "/instances/{pk}/"])
def test_a_poll_gets_204_until_something_changed(viewer: Client, msn_a: Instance, path: str) -> None:
    path = path.format(pk=msn_a.pk)
    headers = {"HX-Request": "true"}
    # The tag of another minute is another one: of two tries only one can meet its end.
    tags = [viewer.get(path).context["tag"]]
    if viewer.get(path, {"tag": tags[0]}, headers=headers).status_code != 204:
        tags.append(viewer.get(path).context["tag"])
        assert viewer.get(path, {"tag": tags[1]}, headers=headers).status_code == 204
    tag = tags[-1]
    InstanceState.objects.update(outcomes_at=timezone.now() + timedelta(seconds=1))
    answer = viewer.get(path, {"tag": tag}, headers=headers)
    assert answer.status_code == 200
    assert b"<html" not in answer.content


@pytest.mark.parametrize("path", ["/providers/msn/outcomes.json", "/instances/{pk}/outcomes.json"])
def test_a_chart_has_the_counts_and_is_304_while_nothing_changed(
    viewer: Client, msn_a: Instance, path: str
) -> None:
    path = path.format(pk=msn_a.pk)
    answer = viewer.get(path)
    traces = {trace["name"]: trace for trace in json.loads(answer.content)["data"]}
    # A new hour may have begun since: it is zero.
    assert traces["sent"]["y"][0] == 620
    assert traces["deferred"]["y"][0] == 20
    assert traces["suspended"]["y"][0] == 100
    assert traces["deferral share"]["y"][0] == 16.04
    assert traces["delay p50"]["text"][0] == "1.4 s"
    assert viewer.get(path, headers={"If-None-Match": answer["ETag"]}).status_code == 304
    InstanceState.objects.update(outcomes_at=timezone.now() + timedelta(seconds=1))
    assert viewer.get(path, headers={"If-None-Match": answer["ETag"]}).status_code == 200


@pytest.mark.parametrize("chosen", RANGES.values(), ids=lambda chosen: chosen.key)
def test_no_range_charts_more_than_2200_spans(chosen: object) -> None:
    for span_s in (chosen.span_s, chosen.sample_span_s):  # type: ignore[attr-defined]
        assert chosen.length_s / span_s <= 2200  # type: ignore[attr-defined]


def test_a_span_without_mail_is_zero_where_the_log_was_counted_and_unknown_after_it() -> None:
    provider = provider_make("msn")
    now = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
    hour = int(now.timestamp()) // 3600 * 3600
    for back, sent in ((6, 5), (4, 7)):
        ProviderOutcomesHour.objects.create(provider=provider, ts=hour - back * 3600, sent=sent)
    spans = outcomes_over_time(provider, RANGES["24h"], now, now - timedelta(hours=2))
    assert [span.outcome.sent for span in spans] == [5, 0, 7, 0, 0]


def test_replies_of_other_providers_are_not_told(viewer: Client, msn_a: Instance) -> None:
    replies_make(msn_a, reply_cluster_make("450 somebody else"), provider=provider_make("yahoo"), deferred=9)
    assert "450 somebody else" not in text_of(viewer, "/providers/msn/")
    assert "450 somebody else" in text_of(viewer, "/providers/yahoo/")
    assert "450 somebody else" in text_of(viewer, f"/instances/{msn_a.pk}/")


def test_a_cluster_is_first_and_last_seen_within_the_scope(viewer: Client, msn_a: Instance) -> None:
    """A text that others have heard for days is new to this provider."""
    (row,) = [
        row
        for row in json.loads(viewer.get("/providers/msn/tables/replies/?format=json").content)["rows"]
        if row["deferred"] == 120
    ]
    assert datetime.fromisoformat(row["first_seen"]) > timezone.now() - timedelta(hours=2)
    assert datetime.fromisoformat(row["last_seen"]) <= timezone.now()


def test_more_replies_than_fit_are_linked(viewer: Client, msn_a: Instance) -> None:
    for number in range(12):
        replies_make(msn_a, reply_cluster_make(f"450 odd text {number}"), deferred=1)
    page = text_of(viewer, "/providers/msn/")
    assert 'href="/providers/msn/tables/replies/?range=24h">All texts' in page
    assert page.count("450 odd text") < 24
    full = text_of(viewer, "/providers/msn/tables/replies/")
    assert full.count("450 odd text") == 24


def test_domains_come_by_failures_and_once_each(viewer: Client, msn_a: Instance) -> None:
    other = instance_make(host_make("cleveland"), "msn-b", 0)
    outcomes_make(other, domain="live.com", deferred=500)
    outcomes_make(other, domain="hotmail.com", sent=5, deferred=1)
    rows = viewer.get("/providers/msn/").context["outcomes"].domains.rows
    assert [(row.domain.name, row.deferred) for row in rows] == [("live.com", "500"), ("hotmail.com", "121")]


def test_what_the_caps_left_out_says_so(viewer: Client, msn_a: Instance) -> None:
    outcomes_make(msn_a, domain="(other)", deferred=5)
    assert "beyond the domains that are kept apart" in text_of(viewer, "/providers/msn/")


def test_a_domain_whose_failure_share_rose_is_told_in_the_catch_all_only(viewer: Client) -> None:
    instance = instance_make(host_make(), "therest-a", 0)
    Provider.objects.filter(slug="therest").update(catch_all=True)
    before = timezone.now() - timedelta(days=4)
    for name, failed in (("risen.example", 60), ("steady.example", 2)):
        outcomes_make(instance, domain=name, at=before, sent=98, deferred=2)
        outcomes_make(instance, domain=name, sent=98, deferred=failed)
    outcomes_make(instance, domain="new.example", sent=10, deferred=90)
    rising = viewer.get("/providers/therest/").context["outcomes"].rising.rows
    assert [(row.domain.name, row.share, row.share_before) for row in rising] == [
        ("risen.example", "38 %", "2.0 %")
    ]
    assert viewer.get("/providers/therest/").status_code == 200
    Provider.objects.update(catch_all=False)
    assert "failure share rose" not in text_of(viewer, "/providers/therest/")


def test_the_log_tells_how_far_it_is_counted_and_what_it_did_not_understand(
    viewer: Client, msn_a: Instance
) -> None:
    LogSource.objects.create(
        host=msn_a.host,
        source="/var/log/postfix-msn-a.log",
        read_at=timezone.now(),
        log_time=timezone.now(),
        behind_bytes=3 << 20,
        lines=1204,
        unrecognized=2,
        samples=["\x1b[31m<b>odd</b>"],
    )
    page = text_of(viewer, f"/instances/{msn_a.pk}/")
    assert "3.0 MiB not read yet" in page
    assert "\\x1b[31m&lt;b&gt;odd&lt;/b&gt;" in page


PROVIDER_TABLES = ["outcomes", "replies", "domains", "rising", "instances"]
INSTANCE_TABLES = ["outcomes", "replies", "domains", "queue"]


@pytest.mark.parametrize(
    "path",
    [f"/providers/msn/tables/{name}/" for name in PROVIDER_TABLES]
    + [f"/instances/{{pk}}/tables/{name}/" for name in INSTANCE_TABLES]
    + ["/tables/matrix/"],
)
def test_every_table_is_a_page_csv_and_json(
    client: Client, viewer: Client, msn_a: Instance, path: str
) -> None:
    snapshot_make(msn_a, [("hotmail.com", [1] * 10)], [])
    path = path.format(pk=msn_a.pk)
    rows = json.loads(viewer.get(path, {"format": "json"}).content)["rows"]
    answer = viewer.get(path, {"format": "csv"})
    lines = cells(answer.getvalue().decode())
    assert len(lines) == len(rows) + 1
    assert rows or "rising" in path
    for row in rows:
        assert list(row) == lines[0]
    assert "attachment" in answer["Content-Disposition"]
    assert "<h1>" in text_of(viewer, path)
    assert client.get(path)["Location"].startswith("/login/")
    assert viewer.post(path).status_code == 405


@pytest.mark.parametrize("path", ["/providers/msn/tables/nothing/", "/providers/nobody/tables/replies/"])
def test_a_table_that_is_none_is_not_found(viewer: Client, msn_a: Instance, path: str) -> None:
    assert viewer.get(path).status_code == 404
    assert viewer.get(f"/instances/{msn_a.pk}/tables/rising/").status_code == 404


def test_a_spreadsheet_gets_no_formula_and_a_program_the_text_itself(viewer: Client, msn_a: Instance) -> None:
    path = "/providers/msn/tables/replies/"
    answer = viewer.get(path, {"format": "csv"})
    text = answer.getvalue().decode()
    header, *rows = cells(text)
    (evil,) = [row for row in rows if row[header.index("bounced")] == "7"]
    assert evil[header.index("text")] == f"'{EVIL[:-1]}\\u202e"
    assert "\u202e" not in text
    (known,) = [
        row for row in json.loads(viewer.get(path, {"format": "json"}).content)["rows"] if row["bounced"]
    ]
    assert known["text"] == f"{EVIL[:-1]}\\u202e"


def test_a_hostile_instance_name_names_no_other_file(viewer: Client) -> None:
    instance = instance_make(host_make(), 'a"/../\r\nx', 0, provider="msn")
    answer = viewer.get(f"/instances/{instance.pk}/tables/outcomes/", {"format": "csv"})
    assert re.fullmatch(r'attachment; filename="outcomes-[a-z0-9-]+\.csv"', answer["Content-Disposition"])


def test_the_outcomes_table_holds_every_span_of_its_range(viewer: Client, msn_a: Instance) -> None:
    outcomes_make(msn_a, at=timezone.now() - timedelta(hours=5), sent=9)
    path = f"/instances/{msn_a.pk}/tables/outcomes/"
    rows = json.loads(viewer.get(path, {"format": "json", "range": "24h"}).content)["rows"]
    assert [row["sent"] for row in rows if row["sent"]] == [9, 620]
    assert len(rows) in {5, 6, 7}
    assert [row["delay_p50_s"] for row in rows if row["sent"] == 620] == [pytest.approx(1.4142)]


def test_a_mail_domain_of_another_provider_counts_for_that_one(viewer: Client, msn_a: Instance) -> None:
    yahoo = provider_make("yahoo")
    outcomes_make(msn_a, provider=yahoo, domain="ymail.com", sent=30)
    assert RecipientDomain.objects.get(name="ymail.com").provider == yahoo
    assert "ymail.com" not in text_of(viewer, "/providers/msn/")
    assert "<dd>30</dd>" in text_of(viewer, "/providers/yahoo/")


def test_a_rule_s_own_advice_stands_in_the_place_of_its_reason_s(viewer: Client, msn_a: Instance) -> None:
    text = "mail transport unavailable"
    replies_make(
        msn_a, reply_cluster_make(text, reason="connection-failure", rule="postfix-no-transport"), deferred=5
    )
    page = text_of(viewer, f"/instances/{msn_a.pk}/")
    assert "Nobody was asked" in page and shipped_table().reasons["connection-failure"].advice not in page


@pytest.mark.parametrize("path", ["/providers/msn/", "/instances/{pk}/"])
def test_the_number_of_queries_does_not_grow(viewer: Client, path: str) -> None:
    instance = fleet_make()["msn-a"]
    needed = []
    for many in (1, 15):
        for number in range(many):
            outcomes_make(instance, domain=f"d{number}.example", deferred=5)
            replies_make(instance, reply_cluster_make(f"450 {number}"), deferred=5)
        with CaptureQueriesContext(connection) as captured:
            viewer.get(path.format(pk=instance.pk))
        needed.append(len(captured))
    assert needed[0] == needed[1] <= 21
