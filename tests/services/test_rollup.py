from datetime import UTC, datetime, timedelta

import pytest

from relays.models import Host, Instance, Provider, ProviderHour, Sample, SampleDay, SampleHour
from relays.services.rollup import MAX_HOURS_A_RUN, prune, roll_up

pytestmark = pytest.mark.django_db

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
