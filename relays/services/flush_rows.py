"""The rows of a flush: what was selected, what its logs told of each, and what all of it comes to.

Every write is one that may come twice: a crash between two of them makes the next look tell the same again.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum

from relays.domain.flush import Account, At, Event, Message, There
from relays.models import Flush, FlushArrival, FlushRecipient
from relays.services.statements import Row, run

_BATCH = 2_000
# New mail that went the same way is counted by its rows; a source of 200 a second fills them in minutes.
MAX_NEW = 200_000
# How long a receipt can be read recipient by recipient.
KEPT = timedelta(days=30)


def select(flush: Flush, messages: Iterable[Message]) -> None:
    """Write down what is to be moved: every recipient of it, and nothing of a selection that a crash left."""
    rows = (
        FlushRecipient(
            flush=flush,
            queue_id=message.queue_id,
            recipient=address,
            selected=True,
            arrived_at=message.arrival,
            size_bytes=message.size,
            last_reply=reason,
        )
        for message in messages
        for address, reason in message.recipients
    )
    with transaction.atomic():
        FlushRecipient.objects.filter(flush=flush).delete()
        # A message may have one recipient twice.
        FlushRecipient.objects.bulk_create(rows, batch_size=_BATCH, ignore_conflicts=True)


def take_source(flush: Flush, events: Sequence[Event], cursor: str) -> None:
    """Store what the source's log told, with its cursor, in one transaction."""
    out = [event for event in events if event.kind == "out"]
    direct = [event for event in events if event.kind == "direct"]
    with transaction.atomic():
        _take_new(flush, out)
        run(_KEPT, _KEPT_COLUMNS, _kept(flush, out))
        run(_MOVED, _OUT_COLUMNS, _once(_out(flush, e) for e in out if e.status == "sent"))
        for sent, at in (("sent", At.DIRECT), ("bounced", At.BOUNCED)):
            run(_ENDED, _ENDED_COLUMNS, _once(_ended(flush, e, at) for e in direct if e.status == sent))
        lost = _once(_ended(flush, e, At.LOST) for e in out if e.status == "bounced")
        run(_ENDED, _ENDED_COLUMNS, lost)
        for kind, at in (("expired", At.EXPIRED), ("gone", At.GONE)):
            messages = sorted({event.queue_id for event in events if event.kind == kind})
            run(_LEFT, _LEFT_COLUMNS, [(flush.pk, queue_id, str(at)) for queue_id in messages])
        flush.source_cursor = cursor
        flush.save(update_fields=["source_cursor"])


def take_target(flush: Flush, events: Sequence[Event], cursor: str) -> None:
    """Store what the target's log told, with its cursor, in one transaction."""
    came_in = {event.queue_id for event in events if event.kind == "in"}
    # Of two lines of one recipient the later holds: a statement over all of them would take either.
    told = {(e.queue_id, e.recipient): e.status for e in events if e.kind == "done" and e.status in _THERE}
    with transaction.atomic():
        FlushArrival.objects.bulk_create(
            (FlushArrival(flush=flush, queue_id=queue_id) for queue_id in sorted(came_in)),
            batch_size=_BATCH,
            ignore_conflicts=True,
        )
        run(_NAMED, _NAMED_COLUMNS, [(flush.pk, e.queue_id, e.text) for e in events if e.kind == "mid"])
        run(
            _THERE_TOLD,
            _THERE_COLUMNS,
            [(flush.pk, queue_id, _THERE[status], to) for (queue_id, to), status in told.items()],
        )
        expired = [(flush.pk, e.queue_id, There.EXPIRED) for e in events if e.kind == "expired"]
        run(_THERE_EXPIRED, _THERE_EXPIRED_COLUMNS, expired)
        flush.target_cursor = cursor
        flush.save(update_fields=["target_cursor"])


def take_queue(flush: Flush, queued: Collection[tuple[str, str]]) -> int:
    """Mark what is neither in the source's queue nor told of by its log as unknown; return how many.

    queued: (queue id, recipient) of all that is there now.
    """
    waiting = FlushRecipient.objects.filter(flush=flush, selected=True, at__in=(At.WAITING, At.UNKNOWN))
    left = [pk for pk, *key in waiting.values_list("pk", "queue_id", "recipient") if tuple(key) not in queued]
    for begin in range(0, len(left), 500):
        FlushRecipient.objects.filter(pk__in=left[begin : begin + 500]).update(at=At.UNKNOWN)
    return len(left)


def take_target_queue(flush: Flush, queued: Collection[str]) -> int:
    """Mark what the target has in its queue, and unmark what it had; return how many it tells nothing of.

    queued: queue ids.
    """
    found = [(pk, next_id in queued) for pk, next_id in _untold(flush).values_list("pk", "next_id")]
    for there, state in ((True, There.QUEUED), (False, There.NONE)):
        pks = [pk for pk, is_there in found if is_there is there]
        for begin in range(0, len(pks), 500):
            FlushRecipient.objects.filter(pk__in=pks[begin : begin + 500]).update(there=state)
    return sum(not is_there for _, is_there in found)


def awaits_target(flush: Flush) -> bool:
    """Tell if something was moved that the target's log does not yet tell the fate of."""
    return _untold(flush).exists()


def _untold(flush: Flush) -> QuerySet[FlushRecipient]:
    return FlushRecipient.objects.filter(flush=flush, at=At.MOVED, there__in=(There.NONE, There.QUEUED))


def account(flush: Flush) -> Account:
    """Return what all rows of a flush come to."""
    rows = FlushRecipient.objects.filter(flush=flush)
    at = dict(rows.filter(selected=True).values_list("at").annotate(n=Count("pk")))
    there = dict(rows.filter(selected=True, at=At.MOVED).values_list("there").annotate(n=Count("pk")))
    sums = rows.aggregate(
        soft=Sum("soft_bounces"),
        came_back=Count("pk", filter=Q(selected=True, tries__gt=0)),
        new=Count("pk", filter=Q(selected=False, at=At.MOVED)),
        lost=Count("pk", filter=Q(at=At.LOST)),
    )
    return Account(
        selected=sum(at.values()),
        moved=at.get(At.MOVED, 0),
        direct=at.get(At.DIRECT, 0),
        waiting=at.get(At.WAITING, 0),
        bounced=at.get(At.BOUNCED, 0) + at.get(At.LOST, 0),
        expired=at.get(At.EXPIRED, 0),
        gone=at.get(At.GONE, 0),
        unknown=at.get(At.UNKNOWN, 0),
        soft_bounces=sums["soft"] or 0,
        came_back=sums["came_back"],
        bounced_by_drain=sums["lost"],
        new_moved=sums["new"],
        there_sent=there.get(There.SENT, 0),
        there_deferred=there.get(There.DEFERRED, 0),
        there_bounced=there.get(There.BOUNCED, 0),
        there_expired=there.get(There.EXPIRED, 0),
        there_queued=there.get(There.QUEUED, 0),
        there_unknown=there.get(There.NONE, 0),
        duplicates=len(duplicates(flush)),
    )


def forget(*, now: datetime) -> int:
    """Delete the recipients of flushes that ended long ago; return how many. Their accounts stay for good.

    Addresses are personal data, and hundreds of thousands of rows a flush are not looked at again.
    """
    ended = Flush.objects.filter(operation__ended_at__lt=now - KEPT)
    recipients = FlushRecipient.objects.filter(flush__in=ended).delete()[0]
    return recipients + FlushArrival.objects.filter(flush__in=ended).delete()[0]


def duplicates(flush: Flush) -> list[FlushArrival]:
    """Return the messages that the target took and the source does not know of: they went twice.

    A session that ended after RCPT left an id and no message; such an id has no Message-ID.
    """
    known = FlushRecipient.objects.filter(flush=flush).exclude(next_id="").values("next_id")
    return list(flush.arrivals.exclude(message_id="").exclude(queue_id__in=known).order_by("pk")[:10_000])


_THERE = {"sent": There.SENT, "deferred": There.DEFERRED, "bounced": There.BOUNCED}


def _take_new(flush: Flush, out: Sequence[Event]) -> None:
    """Keep new mail that went through the drain apart: it is moved, but nobody selected it."""
    ids = {event.queue_id for event in out}
    if not ids:
        return
    known = set()
    listed = sorted(ids)
    for begin in range(0, len(listed), 500):
        rows = FlushRecipient.objects.filter(flush=flush, queue_id__in=listed[begin : begin + 500])
        known |= set(rows.values_list("queue_id", "recipient"))
    new = [event for event in out if (event.queue_id, event.recipient) not in known]
    if new and FlushRecipient.objects.filter(flush=flush, selected=False).count() < MAX_NEW:
        FlushRecipient.objects.bulk_create(
            (
                FlushRecipient(flush=flush, queue_id=e.queue_id, recipient=e.recipient, selected=False)
                for e in new
            ),
            batch_size=_BATCH,
            ignore_conflicts=True,
        )


def _out(flush: Flush, event: Event) -> Row:
    return (flush.pk, event.queue_id, event.recipient, event.next_id)


def _kept(flush: Flush, out: Iterable[Event]) -> list[Row]:
    """Return for each recipient that the drain could not hand over how often, and what was said last."""
    tries: dict[tuple[str, str], tuple[int, int, str]] = {}
    for event in out:
        if event.status in ("deferred", "softbounce"):
            key = (event.queue_id, event.recipient)
            n, soft, _ = tries.get(key, (0, 0, ""))
            tries[key] = (n + 1, soft + (event.status == "softbounce"), event.text)
    return [(flush.pk, *key, n, soft, reply) for key, (n, soft, reply) in tries.items()]


def _ended(flush: Flush, event: Event, at: At) -> Row:
    return (flush.pk, event.queue_id, event.recipient, str(at))


def _once(rows: Iterable[Row]) -> list[Row]:
    """Return one row a recipient, the last: a statement over two of them would take either."""
    return list({row[1:3]: row for row in rows}.values())


_OUT_COLUMNS = {"flush_id": "bigint", "queue_id": "text", "recipient": "text", "next_id": "text"}
_KEPT_COLUMNS = {
    "flush_id": "bigint",
    "queue_id": "text",
    "recipient": "text",
    "n": "integer",
    "soft": "integer",
    "reply": "text",
}
_ENDED_COLUMNS = {
    "flush_id": "bigint",
    "queue_id": "text",
    "recipient": "text",
    "ended": "text",
}
_LEFT_COLUMNS = {"flush_id": "bigint", "queue_id": "text", "ended": "text"}
_NAMED_COLUMNS = {"flush_id": "bigint", "queue_id": "text", "message_id": "text"}
_THERE_COLUMNS = {"flush_id": "bigint", "next_id": "text", "there": "text", "recipient": "text"}
_THERE_EXPIRED_COLUMNS = {"flush_id": "bigint", "next_id": "text", "there": "text"}

_OF_RECIPIENT = (
    "{source} WHERE relays_flushrecipient.flush_id = {flush_id}"
    " AND relays_flushrecipient.queue_id = {queue_id} AND relays_flushrecipient.recipient = {recipient}"
)
_SET = "UPDATE relays_flushrecipient SET"
_MOVED = " ".join([_SET, "at = 'moved', next_id = {next_id}", _OF_RECIPIENT])
_KEPT = " ".join([
    _SET,
    "tries = tries + {n}, soft_bounces = soft_bounces + {soft}, last_reply = {reply}",
    _OF_RECIPIENT,
    "AND at = 'waiting'",
])  # fmt: skip
_ENDED = " ".join([_SET, "at = {ended}", _OF_RECIPIENT])
_LEFT = (
    "UPDATE relays_flushrecipient SET at = {ended} {source}"
    " WHERE relays_flushrecipient.flush_id = {flush_id}"
    " AND relays_flushrecipient.queue_id = {queue_id}"
    " AND relays_flushrecipient.at IN ('waiting', 'unknown')"
)
_NAMED = (
    "UPDATE relays_flusharrival SET message_id = {message_id} {source}"
    " WHERE relays_flusharrival.flush_id = {flush_id} AND relays_flusharrival.queue_id = {queue_id}"
)
_THERE_TOLD = (
    "UPDATE relays_flushrecipient SET there = {there} {source}"
    " WHERE relays_flushrecipient.flush_id = {flush_id} AND relays_flushrecipient.next_id = {next_id}"
    " AND relays_flushrecipient.recipient = {recipient}"
)
_THERE_EXPIRED = (
    "UPDATE relays_flushrecipient SET there = {there} {source}"
    " WHERE relays_flushrecipient.flush_id = {flush_id} AND relays_flushrecipient.next_id = {next_id}"
)
