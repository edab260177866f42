"""The audit trail: a chain that shows what was changed, and a table that takes only new rows."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from pytest_django import DjangoCaptureOnCommitCallbacks

from relays.domain.audit import FIRST_HASH, breaks, canonical, digest
from relays.models import AuditEvent, AuditHead, AuditParams, Host
from relays.selectors.audit import links
from relays.services import audit
from relays.services.anchors import note_head, noted_head
from relays.services.audit import SYSTEM, Actor, Subject, record
from relays.services.audit_check import verify
from tests.factories import host_make

ANNA = Actor("user", "anna", 3, {"ip": "192.0.2.7", "roles": ["operator"]})


def _found() -> list[tuple[int, str]]:
    return [(found.seq, found.what) for found in breaks(links(), audit.key())]


def _force(statement: str, *params: Any) -> None:
    """Change the trail as a superuser could: with the triggers out of the way."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit%%'"
            )
            triggers = cursor.fetchall()
            for name, _ in triggers:
                cursor.execute(f"DROP TRIGGER {name}")
            cursor.execute(statement, params)
            for _, sql in triggers:
                cursor.execute(sql)
        else:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(statement, params)
            cursor.execute("SET LOCAL session_replication_role = origin")


@pytest.mark.django_db
def test_events_are_numbered_without_gaps_and_chained() -> None:
    first = record(actor=ANNA, action="login", phase="succeeded")
    second = record(actor=SYSTEM, action="operation.queue.run", phase="begun", reason="stuck since noon")
    assert (first.seq, second.seq) == (1, 2)
    assert first.prev_hash == FIRST_HASH
    assert second.prev_hash == first.hash
    assert AuditHead.objects.get().hash == second.hash
    assert _found() == []


@pytest.mark.django_db
def test_hostile_text_is_kept_inert_and_hashed_as_stored() -> None:
    subject = Subject(type="instance", id="1", name="msn-a\x00\u202e<script>")
    record(
        actor=Actor("user", "an\x1b[31mna"), action="login", phase="denied", subject=subject, reason="a\x00b"
    )
    event = AuditEvent.objects.get()
    assert event.object_name == r"msn-a\x00\u202e<script>"
    assert event.actor_name == r"an\x1b[31mna"
    assert _found() == []


@pytest.mark.django_db
def test_params_lie_apart_and_can_go_without_breaking_the_chain() -> None:
    event = record(actor=ANNA, action="trace", phase="succeeded", params={"recipient": "bob@example.org"})
    assert "bob" not in event.details
    assert event.params_sha256 == digest(canonical({"recipient": "bob@example.org"}))
    AuditParams.objects.all().delete()
    assert _found() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement", ["UPDATE relays_auditevent SET phase = 'denied'", "DELETE FROM relays_auditevent"]
)
def test_the_database_refuses_to_change_or_delete_an_event(statement: str) -> None:
    record(actor=ANNA, action="login", phase="succeeded")
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert AuditEvent.objects.get().phase == "succeeded"


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no TRUNCATE")
@pytest.mark.django_db
def test_postgresql_refuses_to_truncate_the_trail() -> None:
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("TRUNCATE relays_auditevent CASCADE")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", datetime(2026, 11, 21, 3, 0, 0, 1, tzinfo=UTC)),
        ("actor_kind", "token"),
        ("actor_id", 4),
        ("actor_name", "Anna"),
        ("action", "logout"),
        ("phase", "denied"),
        ("object_type", "host"),
        ("object_id", "82"),
        ("object_name", "msn-b"),
        ("host", "cleveland"),
        ("instance", "msn-b"),
        ("operation_id", 82),
        ("reason", "stuck since Noon"),
        ("details", "{}"),
        ("params_sha256", ""),
        ("key_id", "0" * 16),
        ("prev_hash", "1" * 64),
        ("hash", "1" * 64),
    ],
)
def test_a_change_anywhere_in_an_event_is_found(column: str, value: object) -> None:
    subject = Subject("instance", "81", "msn-a", "rustin", "msn-a", 81)
    for _ in range(3):
        record(
            actor=ANNA, action="x", phase="begun", subject=subject, reason="stuck since noon", params={"n": 1}
        )
    _force(f"UPDATE relays_auditevent SET {column} = %s WHERE seq = 2", value)
    assert _found()[0][0] == 2


@pytest.mark.django_db
def test_a_missing_event_is_found_and_so_is_what_follows_it() -> None:
    for _ in range(4):
        record(actor=ANNA, action="login", phase="succeeded")
    _force("DELETE FROM relays_auditevent WHERE seq = 2")
    assert _found() == [(2, "1 events are missing before 3")]


@pytest.mark.django_db(transaction=True)
def test_fifty_writers_at_once_make_one_chain() -> None:
    def write(number: int) -> None:
        try:
            record(actor=ANNA, action="login", phase="succeeded", details={"n": number})
        finally:
            connection.close()

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(write, range(200)))
    assert AuditEvent.objects.count() == 200
    assert AuditHead.objects.get().seq == 200
    assert _found() == []


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_audited_does_not_happen() -> None:
    """The event and the change are one transaction: neither stands without the other."""
    record(actor=ANNA, action="login", phase="succeeded")
    AuditHead.objects.update(seq=F("seq") - 1)
    with pytest.raises(DatabaseError), transaction.atomic():
        host_make("cleveland")
        record(actor=ANNA, action="change", phase="succeeded")
    assert not Host.objects.exists()


def _trail(capture: DjangoCaptureOnCommitCallbacks, events: int) -> None:
    with capture(execute=True):
        for number in range(events):
            record(actor=ANNA, action="login", phase="succeeded", params={"n": number})


@pytest.mark.django_db
def test_a_whole_trail_verifies(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> None:
    _trail(django_capture_on_commit_callbacks, 5)
    verdict = verify()
    assert verdict.holds
    assert verdict.events == 5
    assert verdict.last == (5, AuditHead.objects.get().hash)


@pytest.mark.django_db
def test_a_tail_that_was_cut_with_its_head_is_found_by_the_anchor_file(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    _trail(django_capture_on_commit_callbacks, 5)
    _force("DELETE FROM relays_auditparams WHERE event_id > 3")
    _force("DELETE FROM relays_auditevent WHERE seq > 3")
    AuditHead.objects.update(seq=3, hash=AuditEvent.objects.get(seq=3).hash)
    assert [(found.seq, found.what) for found in verify().breaks] == [
        (4, "events up to 5 are missing: the anchor file knows them")
    ]


@pytest.mark.django_db
def test_an_emptied_trail_is_found(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    _trail(django_capture_on_commit_callbacks, 2)
    _force("DELETE FROM relays_auditparams")
    _force("DELETE FROM relays_auditevent")
    AuditHead.objects.all().delete()
    assert not verify().holds


@pytest.mark.django_db
def test_changed_params_are_found(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> None:
    _trail(django_capture_on_commit_callbacks, 3)
    AuditParams.objects.filter(event_id=2).update(text='{"n":7}')
    assert [(found.seq, found.what) for found in verify().breaks] == [(2, "its parameters were changed")]


def test_the_anchor_file_keeps_the_newest_head() -> None:
    assert noted_head() is None
    for seq in (1, 12_345, 7):
        note_head(seq, f"{seq:064}")
    head = noted_head()
    assert head is not None
    assert (head.seq, head.hash) == (12_345, f"{12_345:064}")
