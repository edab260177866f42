"""Questions about queues, asked by pages and answered by workers: no page waits while a million are read."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from django.db.models import Q
from django.utils import timezone

from relays.domain.filters import QueueFilter, from_words, to_words
from relays.domain.text import printable
from relays.models import Instance, QueueRead
from relays.models.message import ReadState
from relays.remote import relayctl
from relays.remote.errors import RemoteError
from relays.remote.ssh import Limits
from relays.services import dispatch
from relays.services.doors import read_target
from relays.services.queue_filters import resolved

TASK = "relays.tasks.read_queue"
QUEUE = "collect"
GROUPS, MESSAGES = "groups", "messages"
# An answer that is older is read anew when its page is opened.
FRESH = timedelta(seconds=30)
# A request ends within its 200 s, and there are two of them where a reason is asked for.
_LEASE = timedelta(seconds=420)
_SEND_AGAIN = timedelta(seconds=5)
_KEPT = timedelta(hours=6)
# Listing a million messages takes Postfix half a minute of one processor, and several times that on a host
# that is busy or has to read them from the disk. Meanwhile it is told how far it is.
_LIMITS = Limits(wall_s=200, idle_s=45)
_WRITTEN_EVERY_S = 0.5
GROUPS_A_TABLE = 200
MESSAGES_A_PAGE = 50


def ask(
    *, instance: Instance, what: str, wanted: QueueFilter, cursor: str = "", fresh: bool = True
) -> QueueRead:
    """Return the newest answer to a question, and have it read where it is none or too old.

    what: GROUPS or MESSAGES; cursor: of a page of messages. fresh: read anew what is older than FRESH.
    """
    now = timezone.now()
    words = urlencode(to_words(wanted) | ({"cursor": cursor} if cursor else {}))
    key = hashlib.sha256(words.encode()).hexdigest()
    read, made = QueueRead.objects.get_or_create(
        instance=instance, what=what, key=key, defaults={"words": words, "asked_at": now}
    )
    if made:
        _send(read)
    elif read.state in (ReadState.DONE, ReadState.FAILED):
        if fresh and now - read.asked_at > FRESH:
            _ask_again(read, now)
    elif now - read.asked_at > _SEND_AGAIN and (read.lease_until is None or read.lease_until < now):
        # The message was lost, or the instance was being read for somebody else.
        _ask_again(read, now)
    return read


def run(*, read_id: int) -> bool:
    """Answer a question that nobody is answering; return whether it was answered now."""
    read = _claim(read_id)
    if read is None:
        return False
    started, at = time.monotonic(), timezone.now()
    try:
        fields: dict[str, Any] = {"state": ReadState.DONE, "body": _answer(read), "error": "", "read_at": at}
    except RemoteError as error:
        fields = {"state": ReadState.FAILED, "error": printable(str(error), 500)}
    took_ms = round(1000 * (time.monotonic() - started))
    mine = QueueRead.objects.filter(pk=read.pk, attempt=read.attempt)
    return bool(mine.update(took_ms=took_ms, lease_until=None, **fields))


def forget_old(*, now: datetime) -> int:
    """Delete answers that nobody has asked for of late: they hold addresses."""
    return QueueRead.objects.filter(asked_at__lt=now - _KEPT).delete()[0]


def _ask_again(read: QueueRead, now: datetime) -> None:
    QueueRead.objects.filter(pk=read.pk, attempt=read.attempt).update(state=ReadState.WAITING, asked_at=now)
    read.state, read.asked_at = ReadState.WAITING, now
    _send(read)


def _send(read: QueueRead) -> None:
    dispatch.send_on_commit(TASK, ident=read.pk, queue=QUEUE, expires_s=60)


def _claim(read_id: int) -> QueueRead | None:
    """Take a question by compare-and-set; one at a time an instance, whose queue is read wholly for each."""
    now = timezone.now()
    read = QueueRead.objects.select_related("instance__host", "instance__provider").filter(pk=read_id).first()
    if read is None or read.state != ReadState.WAITING:
        return None
    others = QueueRead.objects.filter(instance=read.instance, lease_until__gt=now)
    if others.exclude(pk=read.pk).exists():
        return None
    free = Q(lease_until=None) | Q(lease_until__lte=now)
    mine = QueueRead.objects.filter(free, pk=read.pk, attempt=read.attempt, state=ReadState.WAITING)
    claimed = {"state": ReadState.READING, "begun_at": now, "lease_until": now + _LEASE, "seen": 0}
    if mine.update(attempt=read.attempt + 1, **claimed) != 1:
        return None
    read.attempt += 1
    return read


class _Progress:
    """Stores how many messages were read for an answer, in all passes over the queue."""

    def __init__(self, read: QueueRead) -> None:
        self._mine = QueueRead.objects.filter(pk=read.pk, attempt=read.attempt)
        self._before = self._now = 0
        self._written_at = -_WRITTEN_EVERY_S

    def __call__(self, messages: int) -> None:
        self._now = messages
        # relayctl tells it once a second; a host that told it 200,000 times would keep the database busy.
        if time.monotonic() - self._written_at >= _WRITTEN_EVERY_S:
            self._written_at = time.monotonic()
            self._mine.update(seen=self._before + messages)

    def next_pass(self) -> None:
        """Count on from here: the queue is read once more."""
        self._before += self._now


def _answer(read: QueueRead) -> str:
    progress = _Progress(read)
    words = dict(parse_qsl(read.words, keep_blank_values=True))
    instance, target = read.instance, read_target(read.instance.host)
    wanted = resolved(instance, from_words(words), _LIMITS, progress)
    progress.next_pass()
    if read.what == GROUPS:
        groups = relayctl.queue_groups(
            target, _LIMITS, instance=instance.name, wanted=wanted, limit=GROUPS_A_TABLE, progress=progress
        ).groups
        return orjson.dumps(groups.as_json()).decode()
    page = relayctl.queue_list(
        target,
        _LIMITS,
        instance=instance.name,
        wanted=wanted,
        cursor=words.get("cursor"),
        limit=MESSAGES_A_PAGE,
        progress=progress,
    )
    return json.dumps(_page(page))


def _page(page: relayctl.MessagePage) -> Mapping[str, Any]:
    return {
        "now": page.header.now,
        "cursor": page.cursor,
        "messages": [asdict(message) for message in page.messages],
    }
