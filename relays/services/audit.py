"""Writing the audit trail: by the service that changes something, in the transaction of the change."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from relays.domain import audit
from relays.domain.audit import FIRST_HASH, Event, canonical, digest
from relays.domain.text import printable
from relays.models import AuditEvent, AuditHead, AuditParams, Instance
from relays.services.anchors import note_head

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD_ROW = 1


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where, as an event keeps it. details: address, user agent, session, roles."""

    kind: str
    name: str
    id: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


SYSTEM = Actor("system", "relay-fleet")


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event is about: type, id and name, and the host and instance where it happens."""

    type: str = ""
    id: str = ""
    name: str = ""
    host: str = ""
    instance: str = ""
    operation_id: int | None = None


def record(
    *,
    actor: Actor,
    action: str,
    phase: str,
    subject: Subject | None = None,
    reason: str = "",
    details: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Append an event, in the transaction that is under way.

    details and params are JSON values without fractions, and free of secrets. What may hold personal data
    goes into params, which are in the chain by their digest only. A failure ends the caller's transaction
    with it: what cannot be audited does not happen.
    """
    subject = subject or Subject()
    with transaction.atomic(savepoint=False):
        head = _locked_head()
        params_text = canonical(params) if params else ""
        event = Event(
            seq=head.seq + 1,
            at_us=to_us(timezone.now()),
            actor_kind=actor.kind,
            actor_id=actor.id,
            actor_name=printable(actor.name, 150),
            action=action,
            phase=phase,
            object_type=subject.type,
            object_id=printable(subject.id, 64),
            object_name=printable(subject.name, 255),
            host=subject.host,
            instance=subject.instance,
            operation_id=subject.operation_id,
            reason=printable(reason, 500),
            details=canonical({**actor.details, **(details or {})}),
            params_sha256=digest(params_text),
            key_id=audit.key_id(key()),
        )
        row = _row(event, head.hash)
        row.save(force_insert=True)
        if params_text:
            AuditParams.objects.create(event=row, text=params_text)
        AuditHead.objects.filter(pk=_HEAD_ROW).update(seq=row.seq, hash=row.hash)
        transaction.on_commit(partial(note_head, row.seq, row.hash))
    return row


def record_change(
    *,
    actor: Actor,
    action: str,
    subject: Subject,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Append the event of a change that the console made in its own database, in the caller's transaction.

    before, after: what it was and what it became; None where it was not there, or is not any more. Only what
    differs is kept.
    """
    before, after = dict(before or {}), dict(after or {})
    differ = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    details = {
        "before": {name: before[name] for name in differ if name in before},
        "after": {name: after[name] for name in differ if name in after},
    }
    record(actor=actor, action=action, phase="succeeded", subject=subject, details=details)


def shell_actor() -> Actor:
    """Return who runs a command: the account of the console's own machine."""
    return Actor("shell", getpass.getuser(), None, {"tty": os.isatty(0)})


def to_us(at: datetime) -> int:
    """Return a time as microseconds since 1970, exactly."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def key() -> bytes:
    """Return the key of the chain, which fleet.bootstrap made on the first start."""
    return _read_key(settings.AUDIT_KEY_PATH)


@lru_cache(maxsize=4)
def _read_key(path: Path) -> bytes:
    return bytes.fromhex(path.read_text().strip())


def _locked_head() -> AuditHead:
    """Return the head of the chain, locked until the transaction ends: events have one order.

    On SQLite the transaction took the write lock when it began.
    """
    head = AuditHead.objects.select_for_update().filter(pk=_HEAD_ROW).first()
    if head is not None:
        return head
    AuditHead.objects.bulk_create([AuditHead(pk=_HEAD_ROW, seq=0, hash=FIRST_HASH)], ignore_conflicts=True)
    return AuditHead.objects.select_for_update().get(pk=_HEAD_ROW)


def _row(event: Event, prev_hash: str) -> AuditEvent:
    fields = event._asdict()
    del fields["at_us"]
    at = _EPOCH + timedelta(microseconds=event.at_us)
    own_hash = audit.chain_hash(key(), prev_hash, event)
    return AuditEvent(at=at, prev_hash=prev_hash, hash=own_hash, **fields)


def instance_subject(instance: Instance | None) -> Subject:
    """Return an instance as what an event is about."""
    if instance is None:
        return Subject()
    return Subject(
        type="instance",
        id=str(instance.pk),
        name=instance.name,
        host=instance.host.name,
        instance=instance.name,
    )
