from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps
from django.db.models import Model

from relays.models import (
    Accepted,
    AcceptedDay,
    AcceptedHour,
    Client,
    DomainOutcomesDay,
    DomainOutcomesHour,
    FleetDomainOutcomesDay,
    FleetDomainOutcomesHour,
    Host,
    ImportedTotals,
    Instance,
    InstanceState,
    Origin,
    Outcomes,
    OutcomesDay,
    OutcomesHour,
    Provider,
    ProviderHour,
    ProviderOutcomesDay,
    ProviderOutcomesHour,
    ProviderReplyCountsDay,
    ProviderReplyCountsHour,
    ReplyCluster,
    ReplyCountsDay,
    ReplyCountsHour,
    Sample,
    SampleDay,
    SampleHour,
)
from relays.services.rollup import KEEP_S, MAX_HOURS_A_RUN, MAX_STEPS_A_RUN, prune, roll_up
from tests.factories import accepted_make, outcomes_make, replies_make, reply_cluster_make

pytestmark = pytest.mark.django_db

OUTCOME_TABLES: list[type[Model]] = [
    Outcomes,
    OutcomesHour,
    OutcomesDay,
    ProviderOutcomesHour,
    ProviderOutcomesDay,
    DomainOutcomesHour,
    DomainOutcomesDay,
    FleetDomainOutcomesHour,
    FleetDomainOutcomesDay,
    ReplyCountsHour,
    ReplyCountsDay,
    ProviderReplyCountsHour,
    ProviderReplyCountsDay,
    Accepted,
    AcceptedHour,
    AcceptedDay,
    ImportedTotals,
]

HOUR = timedelta(hours=1)
DAY = datetime(2026, 11, 21, tzinfo=UTC)


def epoch(at: datetime) -> int:
    return int(at.timestamp())


@pytest.fixture
def instances() -> list[Instance]:
    host = Host.objects.create(name="rustin", ssh_address="127.0.0.1")
    provider = Provider.objects.create(slug="msn", name="Outlook")
    return [
        Instance.objects.create(
            host=host, name=name, config_dir=f"/etc/postfix-{name}", provider=provider, first_seen_at=DAY
        )
        for name in ("msn-a", "msn-b")
    ]


def sample(instance: Instance, at: datetime, deferred: int) -> None:
    Sample.objects.create(
        instance=instance,
        ts=epoch(at),
        incoming=0,
        active=1,
        deferred=deferred,
        hold=0,
        oldest_s=deferred or None,
    )


def test_an_hour_has_the_mean_and_the_worst_of_its_samples(instances: list[Instance]) -> None:
    for minute, deferred in ((0, 10), (5, 20), (55, 60)):
        sample(instances[0], DAY + timedelta(minutes=minute), deferred)
    sample(instances[0], DAY + HOUR, 1000)

    assert roll_up(now=DAY + HOUR) == 2

    hour = SampleHour.objects.get(ts=epoch(DAY))
    assert (hour.deferred, hour.deferred_max, hour.oldest_s, hour.active) == (30, 60, 60, 1)


def test_a_provider_hour_sums_its_instances(instances: list[Instance]) -> None:
    sample(instances[0], DAY, 10)
    sample(instances[1], DAY, 32)
    roll_up(now=DAY)

    assert list(ProviderHour.objects.values_list("ts", "deferred", "active")) == [(epoch(DAY), 42, 2)]


def test_the_growing_hour_and_day_are_made_again(instances: list[Instance]) -> None:
    sample(instances[0], DAY, 10)
    roll_up(now=DAY)
    sample(instances[0], DAY + timedelta(minutes=5), 30)
    roll_up(now=DAY + timedelta(minutes=5))

    assert [hour.deferred for hour in SampleHour.objects.all()] == [20]
    assert [day.deferred for day in SampleDay.objects.all()] == [20]
    assert [hour.deferred for hour in ProviderHour.objects.all()] == [20]


def test_a_day_is_the_mean_of_its_hours(instances: list[Instance]) -> None:
    for hour, deferred in ((0, 10), (23, 30), (24, 500)):
        sample(instances[0], DAY + hour * HOUR, deferred)
    roll_up(now=DAY + 25 * HOUR)

    days = {day.ts: day.deferred for day in SampleDay.objects.all()}
    assert days == {epoch(DAY): 20, epoch(DAY + 24 * HOUR): 500}


def test_after_an_outage_it_catches_up_in_bounded_steps(instances: list[Instance]) -> None:
    hours = MAX_HOURS_A_RUN + 10
    for hour in range(hours):
        sample(instances[0], DAY + hour * HOUR, hour)
    now = DAY + hours * HOUR

    assert roll_up(now=now) == MAX_HOURS_A_RUN
    roll_up(now=now)
    assert SampleHour.objects.count() == hours
    # Nothing is left but the newest hour, which may still grow.
    assert roll_up(now=now) == 1


def test_an_empty_fleet_rolls_up_nothing() -> None:
    assert roll_up(now=DAY) == 0
    assert prune(now=DAY) == 0


def test_samples_go_after_a_fortnight_and_hours_stay(instances: list[Instance]) -> None:
    sample(instances[0], DAY, 10)
    roll_up(now=DAY)
    sample(instances[0], DAY + timedelta(days=1), 20)

    assert prune(now=DAY + timedelta(days=14, minutes=5)) == 1
    assert [row.deferred for row in Sample.objects.all()] == [20]
    assert SampleHour.objects.count() == 1

    prune(now=DAY + timedelta(days=401))
    assert not SampleHour.objects.exists()
    assert SampleDay.objects.count() == 1


def outcomes_of(instance: Instance, at: datetime) -> None:
    InstanceState.objects.get_or_create(instance=instance)
    outcomes_make(instance, at=at, domain="hotmail.com", sent=5)
    replies_make(instance, reply_cluster_make("said: 421 4.7.0 slow down"), at=at, deferred=3)
    accepted_make(instance, "192.0.2.1", 7, at=at)
    ImportedTotals.objects.create(instance=instance, ts=epoch(at), sent=5)


def test_every_table_of_spans_has_its_retention() -> None:
    spans = {
        model
        for model in apps.get_app_config("relays").get_models()
        if "ts" in {field.name for field in model._meta.get_fields()}
    }
    assert spans == KEEP_S.keys()


GONE_AFTER_14_DAYS = {Outcomes, DomainOutcomesHour, FleetDomainOutcomesHour, Accepted}


@pytest.mark.parametrize(
    ("days", "kept"),
    [
        (13, set(OUTCOME_TABLES)),
        (16, set(OUTCOME_TABLES) - GONE_AFTER_14_DAYS),
        (92, set(OUTCOME_TABLES) - GONE_AFTER_14_DAYS - {ReplyCountsHour, ProviderReplyCountsHour}),
        (402, {OutcomesDay, ProviderOutcomesDay, AcceptedDay}),
        (5 * 365 + 2, set()),
    ],
)
def test_outcomes_go_by_their_age(instances: list[Instance], days: int, kept: set[type[Model]]) -> None:
    outcomes_of(instances[0], DAY)
    prune(now=DAY + timedelta(days=days))
    assert {model for model in OUTCOME_TABLES if model._default_manager.exists()} == kept


def test_clusters_stay_while_they_are_heard_or_counted(instances: list[Instance]) -> None:
    outcomes_of(instances[0], DAY)
    ReplyCluster.objects.update(last_seen_at=DAY)
    heard = reply_cluster_make("said: 550 no such user")
    ReplyCluster.objects.filter(pk=heard.pk).update(last_seen_at=DAY + timedelta(days=300))
    late = DAY + timedelta(days=500)
    replies_make(instances[1], reply_cluster_make("said: 421 4.7.0 slow down"), at=late, deferred=1)
    prune(now=late)
    assert ReplyCluster.objects.count() == 2
    for model in (ReplyCountsDay, ReplyCountsHour, ProviderReplyCountsDay):
        model.objects.all().delete()
    prune(now=late)
    assert ReplyCluster.objects.count() == 2
    ProviderReplyCountsHour.objects.all().delete()
    prune(now=late)
    assert list(ReplyCluster.objects.all()) == [heard]


def test_clients_that_nobody_adopted_go_when_their_counts_have_gone(instances: list[Instance]) -> None:
    adopted = accepted_make(instances[0], "192.0.2.1", 7, at=DAY)
    Client.objects.filter(pk=adopted.pk).update(origin=Origin.objects.create(name="lists.example"))
    accepted_make(instances[0], "192.0.2.2", 7, at=DAY)
    prune(now=DAY + timedelta(days=5 * 365))
    assert Client.objects.count() == 2
    prune(now=DAY + timedelta(days=5 * 365 + 2))
    assert list(Client.objects.all()) == [adopted]


def test_stamps_of_a_wrong_clock_are_reached_at_once(instances: list[Instance]) -> None:
    sample(instances[0], datetime(1970, 1, 2, tzinfo=UTC), 1)
    sample(instances[0], DAY - timedelta(days=15), 2)
    assert prune(now=DAY) == 2


def test_much_that_is_old_goes_in_bounded_steps(instances: list[Instance]) -> None:
    for number in range(MAX_STEPS_A_RUN + 5):
        sample(instances[0], DAY + number * 7 * HOUR, 1)
    late = DAY + timedelta(days=40)
    assert prune(now=late) == MAX_STEPS_A_RUN
    assert prune(now=late) == 5
