from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.forms.models import model_to_dict

from relays.models import Host, Instance, InstanceState, QueueSnapshot, Sample
from relays.services.store import Reading, Unread, store_readings

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 21, 3, 1, 30, 250_000, tzinfo=UTC)


@pytest.fixture
def instance() -> Instance:
    host = Host.objects.create(name="rustin", ssh_address="127.0.0.1")
    return Instance.objects.create(host=host, name="msn-a", config_dir="/etc/postfix-msn-a", first_seen_at=AT)


@pytest.fixture
def reading(instance: Instance) -> Reading:
    return Reading(
        instance_id=instance.pk,
        at=AT,
        incoming=1,
        active=2,
        deferred=412,
        hold=3,
        corrupt=None,
        oldest_s=2280,
        size_bytes=551_233,
        state="throttled",
        top_reply="said: 421 4.7.0 <script>",
        top_reply_count=400,
        snapshot='{"domains": null}',
    )


def sample_rows() -> list[tuple[int, int, int, int | None]]:
    return list(Sample.objects.values_list("ts", "deferred", "deferred_max", "oldest_s"))


def test_a_reading_becomes_state_sample_and_snapshot(instance: Instance, reading: Reading) -> None:
    store_readings([reading])

    state = InstanceState.objects.get()
    assert model_to_dict(state) == {
        "instance": instance.pk,
        "sampled_at": AT,
        "asked_at": AT,
        "state_since": AT,
        "incoming": 1,
        "active": 2,
        "deferred": 412,
        "hold": 3,
        "corrupt": None,
        "oldest_s": 2280,
        "size_bytes": 551_233,
        "state": "throttled",
        "condition": "",
        "condition_detail": "",
        "top_reply": "said: 421 4.7.0 <script>",
        "top_reply_count": 400,
    }
    assert sample_rows() == [(int(datetime(2026, 11, 21, 3, 0, tzinfo=UTC).timestamp()), 412, 412, 2280)]
    snapshot = QueueSnapshot.objects.get()
    assert (snapshot.at, snapshot.body) == (AT, '{"domains": null}')


def test_a_sample_keeps_the_newest_counts_and_the_worst_of_its_span(reading: Reading) -> None:
    store_readings([reading])
    store_readings([replace(reading, at=AT + timedelta(minutes=1), deferred=7, oldest_s=None)])

    assert [row[1:] for row in sample_rows()] == [(7, 412, 2280)]


def test_the_next_span_gets_a_sample_of_its_own(reading: Reading) -> None:
    store_readings([reading])
    store_readings([replace(reading, at=AT + timedelta(minutes=5), deferred=7)])

    assert [row[1:3] for row in sample_rows()] == [(412, 412), (7, 7)]


def test_replaying_and_coming_late_change_nothing(reading: Reading) -> None:
    newer = replace(reading, at=AT + timedelta(minutes=1), deferred=7, state="ok", snapshot="{}")
    store_readings([reading])
    store_readings([newer])
    before = (sample_rows(), model_to_dict(InstanceState.objects.get()), QueueSnapshot.objects.get().body)

    store_readings([newer])
    store_readings([reading])

    assert before == (
        sample_rows(),
        model_to_dict(InstanceState.objects.get()),
        QueueSnapshot.objects.get().body,
    )


def test_state_since_moves_only_when_the_state_does(reading: Reading) -> None:
    store_readings([reading])
    store_readings([replace(reading, at=AT + timedelta(minutes=1))])
    assert InstanceState.objects.get().state_since == AT

    later = AT + timedelta(minutes=2)
    store_readings([replace(reading, at=later, state="ok")])
    assert InstanceState.objects.get().state_since == later


def test_an_unread_queue_keeps_its_last_counts_with_their_age(reading: Reading) -> None:
    store_readings([reading])
    later = AT + timedelta(minutes=1)
    store_readings([], [Unread(reading.instance_id, later, "stopped", "stopped", "master is not running")])

    state = InstanceState.objects.get()
    assert (state.deferred, state.sampled_at) == (412, AT)
    assert (state.state, state.condition, state.asked_at, state.state_since) == (
        "stopped",
        "stopped",
        later,
        later,
    )
    assert len(sample_rows()) == 1


def test_a_queue_never_read_has_no_counts(instance: Instance) -> None:
    store_readings([], [Unread(instance.pk, AT, "unknown", "not_listed")])

    state = InstanceState.objects.get()
    assert (state.deferred, state.active, state.oldest_s, state.sampled_at) == (None, None, None, None)
    assert state.state == "unknown"


def test_an_instance_that_is_gone_stores_nothing_of_the_call(reading: Reading) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        store_readings([reading, replace(reading, instance_id=reading.instance_id + 1)])
        # SQLite looks at foreign keys when a transaction ends, and the test's own is open around this one.
        transaction.get_connection().check_constraints()

    assert not InstanceState.objects.exists()
    assert not Sample.objects.exists()
