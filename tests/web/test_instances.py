"""The page of an instance, and its charts."""

import json
from html import unescape

import pytest
from django.test import Client

from relays.domain.health import RULES, State
from relays.models import Instance
from tests.factories import (
    fleet_make,
    host_make,
    instance_make,
    provider_make,
    samples_make,
    snapshot_make,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def msn_a() -> Instance:
    instance = fleet_make()["msn-a"]
    replies = [("host mx said: 421 4.7.0 <b>slow</b> \u202edown", 398), ("host mx said: 452 4.2.2 full", 14)]
    snapshot_make(instance, [("hotmail.com", [0, 3, 12, 40, 80, 120, 60, 31, 0, 0])], replies)
    samples_make(instance, 26)
    return instance


@pytest.mark.parametrize("tail", ["", "counts.json", "ages.json"])
def test_each_address_is_read_only_and_for_those_logged_in(client: Client, viewer: Client, tail: str) -> None:
    path = f"/instances/{fleet_make()['msn-a'].pk}/{tail}"
    assert client.get(path)["Location"].startswith("/login/")
    assert viewer.post(path).status_code == 405
    assert viewer.get(f"/instances/999999/{tail}").status_code == 404


def test_it_shows_counts_rule_replies_and_configuration(viewer: Client, msn_a: Instance) -> None:
    page = viewer.get(f"/instances/{msn_a.pk}/").content.decode()
    assert RULES[State.THROTTLED] in unescape(page)
    assert "<dd>412</dd>" in page
    assert "97 %" in page
    assert "&lt;b&gt;slow&lt;/b&gt; \\u202edown" in page
    assert "qmgr_message_active_limit" in page
    assert "/var/log/postfix-msn-a.log" in page
    assert "hotmail.com" in page


def test_what_was_never_read_is_not_known(viewer: Client) -> None:
    instance = instance_make(host_make(), "msn-a", None, state="unknown", condition="not_listed")
    page = viewer.get(f"/instances/{instance.pk}/").content.decode()
    assert page.count("<dd>?") == 7
    assert "alternate_config_directories" in page
    assert "Not known: its queue was never read." in page


def test_an_instance_of_a_dead_host_says_its_figures_are_the_last_known(viewer: Client) -> None:
    instance = fleet_make()["default"]
    page = viewer.get(f"/instances/{instance.pk}/").content.decode()
    assert "These are the last known figures" in page
    assert "was ok" in page


def test_the_number_of_queries_stays_small(
    viewer: Client, msn_a: Instance, django_assert_max_num_queries: object
) -> None:
    with django_assert_max_num_queries(19):  # type: ignore[operator]
        viewer.get(f"/instances/{msn_a.pk}/")


@pytest.mark.parametrize(
    ("chosen", "points"), [("1d", (280, 290)), ("7d", (300, 320)), ("90d", (24, 28)), ("1y", (0, 1))]
)
def test_the_counts_chart_reads_the_table_that_fits_its_range(
    viewer: Client, msn_a: Instance, chosen: str, points: tuple[int, int]
) -> None:
    figure = json.loads(viewer.get(f"/instances/{msn_a.pk}/counts.json", {"range": chosen}).content)
    assert [trace["name"] for trace in figure["data"]] == ["deferred", "active", "incoming", "hold"]
    assert points[0] <= len(figure["data"][0]["x"]) <= points[1]


def test_a_range_that_is_none_gets_the_shortest(viewer: Client, msn_a: Instance) -> None:
    assert viewer.get(f"/instances/{msn_a.pk}/counts.json", {"range": "10y"}).status_code == 200


def test_the_ages_chart_has_the_queue_by_domain(viewer: Client, msn_a: Instance) -> None:
    figure = json.loads(viewer.get(f"/instances/{msn_a.pk}/ages.json").content)
    assert figure["layout"]["yaxis"]["ticktext"] == ["hotmail.com"]
    assert figure["data"][0]["text"][0][1] == "3"


def test_without_a_snapshot_the_ages_chart_is_empty_not_wrong(viewer: Client) -> None:
    instance = fleet_make()["msn-b"]
    assert json.loads(viewer.get(f"/instances/{instance.pk}/ages.json").content)["data"][0]["z"] == []


def test_it_matches_by_hand_and_back_by_name(operator: Client) -> None:
    provider_make("yahoo")
    instance = instance_make(host_make(), "msn-a", 1, 60)
    path = f"/instances/{instance.pk}/match/"
    operator.post(path, {"provider": "yahoo"})
    instance.refresh_from_db()
    assert instance.provider is not None
    assert (instance.provider.slug, instance.provider_by_hand) == ("yahoo", True)
    operator.post(path, {"provider": ""})
    instance.refresh_from_db()
    assert instance.provider is not None
    assert (instance.provider.slug, instance.provider_by_hand) == ("msn", False)


def test_a_provider_that_is_none_changes_nothing(operator: Client) -> None:
    instance = instance_make(host_make(), "msn-a", 1, 60)
    page = operator.post(
        f"/instances/{instance.pk}/match/", {"provider": "nobody"}, follow=True
    ).content.decode()
    assert "no such provider" in page
    assert Instance.objects.get().provider == instance.provider


def test_a_viewer_may_not_match(viewer: Client) -> None:
    instance = instance_make(host_make(), "msn-a", 1, 60)
    assert viewer.post(f"/instances/{instance.pk}/match/", {"provider": ""}).status_code == 403
    assert viewer.get(f"/instances/{instance.pk}/match/").status_code == 405
    assert '<button class="btn">Match' not in viewer.get(f"/instances/{instance.pk}/").content.decode()


def test_a_removed_instance_keeps_its_page(viewer: Client) -> None:
    instance = fleet_make()["msn-b"]
    Instance.objects.filter(pk=instance.pk).update(removed_at=instance.first_seen_at)
    page = viewer.get(f"/instances/{instance.pk}/").content.decode()
    assert "inventory has it no more" in page
    assert "Removed instances" in viewer.get("/hosts/rustin/").content.decode()
