"""What logs tell of a flush, told twice, in any order, or by half: one truthful account."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.utils import timezone

from relays.domain.flush import Event, Message
from relays.models import Flush, FlushRecipient, Operation
from relays.remote import flush as remote
from relays.remote.flush import LogPiece, Peer
from relays.services import flush_rows, flush_run
from relays.services.flush_run import Ends
from relays.services.job import Job
from tests.factories import host_make, instance_make, operation_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def flush() -> Flush:
    """A flush of three messages, one of which has two recipients."""
    source, target = (instance_make(host_make(host), name) for host, name in (("a", "msn-a"), ("b", "msn-b")))
    made = Flush.objects.create(
        operation=operation_make(source, state="running"),
        source=source,
        target=target,
        source_name="msn-a",
        target_name="msn-b",
        began_at=timezone.now(),
    )
    flush_rows.select(made, [message("A1", "a", "b"), message("A2", "a"), message("A3", "c")])
    return made


def message(queue_id: str, *users: str) -> Message:
    return Message("deferred", queue_id, 1_000, 2_048, tuple((at(user), "421 later") for user in users))


def at(user: str) -> str:
    return f"{user}@hotmail.com"


def out(queue_id: str, user: str, status: str, next_id: str = "") -> Event:
    return Event("out", 1_100, queue_id, at(user), status, "", next_id, "said so")


def direct(queue_id: str, user: str, status: str) -> Event:
    return out(queue_id, user, status)._replace(kind="direct")


def came_in(next_id: str, message_id: str) -> list[Event]:
    return [Event("in", 1_100, next_id), Event("mid", 1_100, next_id, text=message_id)]


def done(next_id: str, user: str, status: str) -> Event:
    return Event("done", 1_101, next_id, at(user), status)


def source_told(flush: Flush, *events: Event) -> None:
    flush_rows.take_source(flush, events, "{}")


def target_told(flush: Flush, *events: Event) -> None:
    flush_rows.take_target(flush, events, "{}")


def queued(*rows: tuple[str, str]) -> set[tuple[str, str]]:
    return {(queue_id, at(user)) for queue_id, user in rows}


def test_each_recipient_is_followed_to_its_end_and_telling_it_twice_changes_nothing(flush: Flush) -> None:
    source: Sequence[Event] = [
        out("A1", "a", "sent", "B1"),
        out("A1", "b", "sent", "B1"),
        direct("A2", "a", "sent"),
    ]
    target = [*came_in("B1", "1@list"), done("B1", "a", "sent"), done("B1", "b", "deferred")]
    for _ in range(2):
        source_told(flush, *source)
        target_told(flush, *target)
        account = flush_rows.account(flush)
        assert (account.selected, account.moved, account.direct, account.waiting) == (4, 2, 1, 1)
        assert (account.there_sent, account.there_deferred, account.duplicates) == (1, 1, 0)
        assert account.adds_up and account.adds_up_there


def test_a_later_word_of_the_target_replaces_the_one_before(flush: Flush) -> None:
    source_told(flush, out("A2", "a", "sent", "B2"))
    target_told(flush, *came_in("B2", "2@list"), done("B2", "a", "deferred"))
    target_told(flush, done("B2", "a", "sent"))
    account = flush_rows.account(flush)
    assert (account.there_sent, account.there_deferred) == (1, 0)


def test_what_is_in_no_queue_and_in_no_log_is_unknown_and_does_not_add_up(flush: Flush) -> None:
    assert flush_rows.take_queue(flush, queued(("A1", "a"), ("A1", "b"), ("A2", "a"))) == 1
    account = flush_rows.account(flush)
    assert (account.unknown, account.waiting, account.gone) == (1, 3, 0)
    assert not account.adds_up


def test_the_log_of_one_that_was_unknown_tells_it_after_all(flush: Flush) -> None:
    flush_rows.take_queue(flush, queued(("A1", "a"), ("A1", "b"), ("A2", "a")))
    source_told(flush, out("A3", "c", "sent", "B3"))
    assert flush_rows.take_queue(flush, queued(("A1", "a"), ("A1", "b"), ("A2", "a"))) == 0
    assert flush_rows.account(flush).adds_up


def test_a_message_that_somebody_took_out_is_gone_by_the_log_s_own_word(flush: Flush) -> None:
    source_told(flush, out("A1", "a", "sent", "B1"), Event("gone", 1_100, "A1"), Event("gone", 1_100, "A3"))
    account = flush_rows.account(flush)
    assert (account.moved, account.gone, account.waiting, account.unknown) == (1, 2, 1, 0)
    assert account.adds_up


def test_a_bounce_after_a_try_of_the_drain_is_the_source_s_own(flush: Flush) -> None:
    source_told(flush, out("A2", "a", "softbounce"))
    source_told(flush, direct("A2", "a", "bounced"))
    account = flush_rows.account(flush)
    assert (account.bounced, account.bounced_by_drain, account.soft_bounces) == (1, 0, 1)
    assert account.adds_up


def test_a_bounce_by_the_drain_never_adds_up(flush: Flush) -> None:
    source_told(flush, out("A2", "a", "bounced"))
    account = flush_rows.account(flush)
    assert (account.bounced, account.bounced_by_drain) == (1, 1)
    assert not account.adds_up


def test_an_expired_message_ends_its_recipients_that_still_waited(flush: Flush) -> None:
    source_told(flush, out("A1", "a", "sent", "B1"), Event("expired", 1_100, "A1"))
    account = flush_rows.account(flush)
    assert (account.moved, account.expired) == (1, 1)


def test_a_message_that_the_target_took_twice_is_listed(flush: Flush) -> None:
    """The source was killed between the target's 250 and its own line: it sent the message once more."""
    source_told(flush, out("A2", "a", "sent", "B5"))
    target_told(flush, *came_in("B4", "2@list"), *came_in("B5", "2@list"), Event("in", 1_100, "B6"))
    assert [found.queue_id for found in flush_rows.duplicates(flush)] == ["B4"]


def test_new_mail_on_the_same_way_is_counted_apart(flush: Flush) -> None:
    source_told(flush, out("A9", "z", "sent", "B9"))
    target_told(flush, *came_in("B9", "9@list"))
    account = flush_rows.account(flush)
    assert (account.selected, account.moved, account.new_moved, account.duplicates) == (4, 0, 1, 0)


def test_a_selection_that_a_crash_left_is_made_anew(flush: Flush) -> None:
    flush_rows.select(flush, [message("A1", "a", "b")])
    assert set(FlushRecipient.objects.values_list("queue_id", flat=True)) == {"A1"}


def test_a_message_with_one_recipient_twice_is_selected_once(flush: Flush) -> None:
    flush_rows.select(flush, [message("A1", "a", "a")])
    assert flush_rows.account(flush).selected == 1


def test_a_target_that_has_neither_it_nor_a_word_of_it_does_not_add_up(flush: Flush) -> None:
    source_told(flush, out("A2", "a", "sent", "B2"), out("A3", "c", "sent", "B3"))
    assert flush_rows.take_target_queue(flush, {"B2"}) == 1
    account = flush_rows.account(flush)
    assert (account.there_queued, account.there_unknown) == (1, 1)
    assert not account.adds_up_there


def test_what_the_target_sends_while_it_is_looked_at_is_told_of(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A double of the host: the moment between its queue and its log cannot be met on a real one."""
    source_told(flush, out("A2", "a", "sent", "B2"))
    asked: list[str] = []

    def scan(*_: object, **__: object) -> tuple[None, list[Message]]:
        asked.append("queue")
        return None, []

    def log(*_: object, **__: object) -> LogPiece:
        # It left after the log was read, where the log is read first.
        asked.append("log")
        told = [done("B2", "a", "sent")] if asked[0] == "queue" or len(asked) > 2 else []
        return LogPiece((*came_in("B2", "2@list"), *told), "{}", more=False)

    monkeypatch.setattr(remote, "scan", scan)
    monkeypatch.setattr(remote, "log", log)
    monkeypatch.setattr(flush_run, "_LOOK_EVERY_S", 0)
    assert flush.source is not None and flush.target is not None
    ends = Ends(flush.source, flush.target, Peer("198.51.100.12"), "198.51.100.11")
    flush_run._Machine(Job(flush.operation), flush, ends, timedelta(minutes=15))._read_target_again()
    account = flush_rows.account(flush)
    assert (account.there_sent, account.there_unknown) == (1, 0)


def test_recipients_are_forgotten_after_a_month_and_the_account_is_not(flush: Flush) -> None:
    source_told(flush, out("A2", "a", "sent", "B2"))
    target_told(flush, *came_in("B2", "2@list"))
    flush.account = flush_rows.account(flush).as_json()
    flush.save()
    now = timezone.now()
    Operation.objects.update(ended_at=None)
    assert flush_rows.forget(now=now + timedelta(days=31)) == 0
    Operation.objects.update(ended_at=now)
    assert flush_rows.forget(now=now + timedelta(days=29)) == 0
    assert flush_rows.forget(now=now + timedelta(days=31)) == 5
    assert not FlushRecipient.objects.exists()
    assert Flush.objects.get().account["moved"] == 1
