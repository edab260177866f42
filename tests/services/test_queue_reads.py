"""Questions about queues: answered once, by one worker, and old answers stay until there is a newer one."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relays.domain.filters import QueueFilter, from_words
from relays.domain.queue_reading import TABLES, Group, Groups, Table
from relays.domain.reading import Header
from relays.models import Instance, QueueRead
from relays.models.message import ReadState
from relays.remote import relayctl
from relays.remote.errors import Unreachable
from relays.services import queue_reads
from tests.factories import host_make, instance_make

pytestmark = pytest.mark.django_db

AGES = [412, *[0] * 9]
FULL = Group("a" * 16, 12, AGES, "host <mx>[<ip>] said: 452 4.2.2 The mailbox of <address> is full")
BUSY = Group("b" * 16, 400, AGES, "host <mx>[<ip>] said: 421 4.7.0 Too many messages from <ip>")


def groups_of(*replies: Group) -> Groups:
    tables = {name: Table([], 0, 0) for name in TABLES} | {"reply": Table(list(replies), len(replies), 0)}
    return Groups(1795188249.0, 412, 430, 551233, 1795180000, AGES, 1000, 0, tables)


@pytest.fixture
def instance() -> Instance:
    return instance_make(host_make("rustin"), "msn-a", 412)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[QueueFilter]]:
    """What the host was asked for; it answers with two replies."""
    seen: list[QueueFilter] = []
    header = Header("0.1.0", "0" * 64, "", 1795188249.0, "")

    def answer(
        _target: object, _limits: object, *, wanted: QueueFilter, progress: relayctl.Progress, **_: Any
    ) -> relayctl.QueueGroups:
        seen.append(wanted)
        progress(200)
        progress(412)
        return relayctl.QueueGroups(header, 0.0, groups_of(FULL, BUSY))

    monkeypatch.setattr(relayctl, "queue_groups", answer)
    yield seen


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(queue_reads, "_send", lambda read: found.append(read.pk))
    return found


def ask(instance: Instance, *, fresh: bool = True, **words: str) -> QueueRead:
    return queue_reads.ask(instance=instance, what=queue_reads.GROUPS, wanted=from_words(words), fresh=fresh)


def test_a_host_that_tells_its_progress_all_the_time_is_written_down_now_and_then(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = queue_reads._Progress(ask(instance))
    with CaptureQueriesContext(connection) as captured:
        for messages in range(1, 1_000):
            progress(messages)
    assert len(captured) < 5
    monkeypatch.setattr(queue_reads, "_WRITTEN_EVERY_S", 0)
    progress(1_000)
    assert QueueRead.objects.get().seen == 1_000


def test_a_question_is_asked_once_and_answered_once(
    instance: Instance, asked: list[QueueFilter], sent: list[int]
) -> None:
    read = ask(instance, domain="hotmail.com")
    assert ask(instance, domain="HOTMAIL.com").pk == read.pk
    assert sent == [read.pk]
    assert queue_reads.run(read_id=read.pk)
    assert not queue_reads.run(read_id=read.pk)
    assert asked == [from_words({"domain": "hotmail.com"})]
    read.refresh_from_db()
    assert (read.state, read.error) == (ReadState.DONE, "")
    assert json.loads(read.body)["messages"] == 412


def test_how_far_it_is_read_is_stored_over_all_passes(
    instance: Instance, asked: list[QueueFilter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_reads, "_WRITTEN_EVERY_S", 0)
    for reason, seen in (("", 412), ("mailbox-full", 824)):
        read = ask(instance, reason=reason)
        queue_reads.run(read_id=read.pk)
        read.refresh_from_db()
        assert read.seen == seen
    assert len(asked) == 3


def test_a_reason_is_asked_for_by_its_replies(instance: Instance, asked: list[QueueFilter]) -> None:
    queue_reads.run(read_id=ask(instance, reason="mailbox-full", queue="deferred").pk)
    assert asked == [from_words({"queue": "deferred"}), from_words({"queue": "deferred", "reply": "a" * 16})]


def test_an_answer_stays_while_none_newer_comes(
    instance: Instance, asked: list[QueueFilter], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ask(instance)
    queue_reads.run(read_id=read.pk)
    QueueRead.objects.update(asked_at=timezone.now() - timedelta(minutes=5))
    assert ask(instance, fresh=False).state == ReadState.DONE
    again = ask(instance)
    assert (again.pk, again.state) == (read.pk, ReadState.WAITING)
    first = QueueRead.objects.get().read_at

    def refuse(*_: object, **__: object) -> None:
        raise Unreachable("rustin: no answer within 10 s")

    monkeypatch.setattr(relayctl, "queue_groups", refuse)
    assert queue_reads.run(read_id=read.pk)
    read.refresh_from_db()
    assert (read.state, read.error) == (ReadState.FAILED, "rustin: no answer within 10 s")
    assert read.read_at == first
    assert json.loads(read.body)["messages"] == 412


def test_one_question_of_an_instance_is_answered_at_a_time(
    instance: Instance, asked: list[QueueFilter], sent: list[int]
) -> None:
    first, second = ask(instance), ask(instance, queue="hold")
    now = timezone.now()
    QueueRead.objects.filter(pk=first.pk).update(
        state=ReadState.READING, lease_until=now + timedelta(seconds=60)
    )
    assert not queue_reads.run(read_id=second.pk)
    QueueRead.objects.update(asked_at=now - timedelta(seconds=10))
    ask(instance, queue="hold", fresh=False)
    assert sent[-1] == second.pk
    QueueRead.objects.filter(pk=first.pk).update(lease_until=now)
    assert queue_reads.run(read_id=second.pk)


def test_a_worker_that_died_is_followed_by_another(
    instance: Instance, asked: list[QueueFilter], sent: list[int]
) -> None:
    read = ask(instance)
    long_ago = timezone.now() - timedelta(minutes=5)
    QueueRead.objects.update(state=ReadState.READING, lease_until=long_ago, asked_at=long_ago)
    ask(instance, fresh=False)
    assert sent == [read.pk] * 2
    assert queue_reads.run(read_id=read.pk)


def test_old_answers_are_forgotten(instance: Instance) -> None:
    ask(instance)
    assert queue_reads.forget_old(now=timezone.now()) == 0
    assert queue_reads.forget_old(now=timezone.now() + timedelta(hours=7)) == 1
