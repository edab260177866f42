from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.forms.models import model_to_dict

from relays.models import Host, Instance, InstanceState, QueueSnapshot, Sample
from relays.services.store import Reading, Unread, store_readings

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 21, 3, 1, 30, 250_000, tzinfo=UTC)


@pytest.fixture
def instance() -> Instance:
    host = Host.objects.create(name="rustin", ssh_address="127.0.0.1")
    instance = Instance.objects.create(
        host=host, name="msn-a", config_dir="/etc/postfix-msn-a", first_seen_at=AT
    )
    InstanceState.objects.create(instance=instance)
    return instance


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


def sample_rows() -> list[tuple[int, int, int | None]]:
    return list(Sample.objects.order_by("ts").values_list("ts", "deferred", "oldest_s"))


def test_a_reading_becomes_state_sample_and_snapshot(instance: Instance, reading: Reading) -> None:
    store_readings([reading])

    state = InstanceState.objects.get()
    fields = model_to_dict(state)
    assert {name: fields[name] for name in fields if not name.startswith(("hour_", "outcomes_"))} == {
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
    assert sample_rows() == [(int(datetime(2026, 11, 21, 3, 0, tzinfo=UTC).timestamp()), 412, 2280)]
    snapshot = QueueSnapshot.objects.get()
    assert (snapshot.at, snapshot.body) == (AT, '{"domains": null}')


def test_the_first_reading_in_a_span_becomes_its_sample(reading: Reading) -> None:
    store_readings([reading])
    store_readings([replace(reading, at=AT + timedelta(minutes=1), deferred=7)])
    store_readings([replace(reading, at=AT + timedelta(minutes=5), deferred=8)])

    assert [row[1] for row in sample_rows()] == [412, 8]


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


def test_what_is_said_of_an_instance_that_is_gone_is_dropped(reading: Reading) -> None:
    gone = replace(reading, instance_id=reading.instance_id + 1)
    store_readings([gone, reading], [Unread(gone.instance_id + 1, AT, "unknown", "not_listed")])

    transaction.get_connection().check_constraints()
    assert InstanceState.objects.get().deferred == 412
    assert len(sample_rows()) == 1
    assert QueueSnapshot.objects.count() == 1


@pytest.mark.parametrize(
    "text", ['"', "\\", "{a,b}", "NULL", "'); DROP TABLE x; --", "%s", "\u202e<b>", "\t\n", ""]
)
def test_hostile_text_is_stored_as_it_is(reading: Reading, text: str) -> None:
    store_readings([replace(reading, top_reply=text, condition_detail=text, snapshot=text)])

    state = InstanceState.objects.get()
    assert (state.top_reply, state.condition_detail, QueueSnapshot.objects.get().body) == (text, text, text)
