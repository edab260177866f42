"""Queues as their page shows them: what a filter takes, by what it has in common, and message by message."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.db.models import F, Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from relays.domain.audit import canonical, digest
from relays.domain.filters import QueueFilter, described, from_words, to_words
from relays.domain.people import masked_address, masked_reply
from relays.domain.queue_reading import Groups
from relays.domain.words import count, size, span, visible
from relays.models import Instance, PendingDeletion, Provider, QueueRead
from relays.models.message import DeletionState, ReadState
from relays.models.operation import OperationState
from relays.selectors.figures import clock, moment
from relays.selectors.queue_groups import BY, Grouped, grouped
from relays.services.deletions import AGAIN_AFTER, STOPPED
from relays.services.message_actions import KINDS, Purge
from relays.services.reasons import rule_table

# A page over more instances than this would be a page about everything: take a provider.
MOST_INSTANCES = 60

# A link that chooses more domains than this would be nobody's choice.
_MOVED_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose queues a page is about: one instance's, a provider's, or all."""

    instance: Instance | None = None
    provider: Provider | None = None

    @property
    def words(self) -> dict[str, str]:
        """What stands for it in an address."""
        if self.instance is not None:
            return {"instance": str(self.instance.pk)}
        return {"provider": self.provider.slug} if self.provider is not None else {}

    @property
    def title(self) -> str:
        """What the page is called."""
        if self.instance is not None:
            return f"Queue of {visible(self.instance.name)}"
        return f"Queues of {self.provider.slug}" if self.provider is not None else "Queues"

    def instances(self) -> QuerySet[Instance]:
        """Return its instances, the fullest first."""
        found = Instance.objects.filter(removed_at=None).select_related("host", "provider", "state")
        if self.instance is not None:
            found = found.filter(pk=self.instance.pk)
        elif self.provider is not None:
            found = found.filter(provider=self.provider)
        return found.order_by(F("state__deferred").desc(nulls_last=True), "name", "pk")


def queue_url(scope: Scope, words: Mapping[str, str], **more: str) -> str:
    """Return the address of a queue page. more: `by`, `show`, `cursor`; "" leaves one out."""
    query = {key: value for key, value in {**scope.words, **words, **more}.items() if value}
    return f"{reverse('relays:queues')}?{urlencode(query)}" if query else reverse("relays:queues")


@dataclass(frozen=True, slots=True)
class ReadRow:
    """How far the reading of one instance is."""

    name: str
    host: str
    url: str
    messages: str
    moment: str
    state: str
    tone: str
    error: str


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group, and the page of its messages."""

    label: str
    url: str
    messages: str
    cells: list[tuple[str, int]]
    note: str


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message in a list."""

    queue_id: str
    url: str
    queue: str
    age: str
    arrived: str
    size: str
    sender: str
    recipients: list[tuple[str, str]]
    more: str


@dataclass(frozen=True, slots=True)
class DeletionRow:
    """What waits to be deleted, or was to be."""

    id: int
    operation: int
    instance: str
    messages: str
    at: str
    left: str
    undone: bool
    # What was to follow it and failed or was stopped, an operation's id or 0, and when the next begins.
    stopped: int
    again: str


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A message, whole but for its body. found: whether it is in the queue; recipients with what to do."""

    queue_id: str
    row: MessageRow | None
    reading: bool
    tag: str
    asof: str
    error: str
    recipients: list[tuple[str, str, str, str]]


@dataclass(frozen=True, slots=True)
class QueuePage:
    """Everything of a queue page. reading: whether to ask again soon; tag: of all that is shown but ages."""

    scope: Scope
    title: str
    what: str
    words: dict[str, str]
    tag: str
    reading: bool
    progress: str
    # How far the readings are in per cent, None where that is not known.
    percent: int | None
    reads: list[ReadRow]
    sums: list[tuple[str, str]]
    messages_total: int
    asof: str
    # Names the instances whose reading failed: what is not shown of them is not known.
    failed: list[str]
    left_out: str
    table: Grouped
    rows: list[GroupRow]
    tabs: list[tuple[str, str, bool]]
    chips: list[tuple[str, str]]
    messages: list[MessageRow] | None
    messages_url: str
    groups_url: str
    next_url: str
    actions: list[tuple[str, str, str]]
    # What moves it to another instance and where that is planned; "" where no domains are known for it.
    move: tuple[str, str]
    deletions: list[DeletionRow]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page was asked for: whose queues, which messages, by what, and the readings that answer it."""

    scope: Scope
    wanted: QueueFilter
    by: str
    cursor: str
    may_see: bool
    groups: list[QueueRead]
    page: QueueRead | None = None

    @property
    def reads(self) -> list[QueueRead]:
        """All of the readings."""
        return [*self.groups, *([self.page] if self.page else [])]


def queue_page(asked: Asked, now: datetime, *, instances: int) -> QueuePage:
    """Return the page from what is known of its readings. instances: how many there are in all."""
    scope, words = asked.scope, to_words(asked.wanted)
    known = [(read.instance, Groups.from_json(json.loads(read.body))) for read in asked.groups if read.body]
    waiting = [read for read in asked.reads if _is_open(read)]
    table = grouped(asked.by, known, may_see=asked.may_see)
    messages = None if asked.page is None else _messages(asked.page, asked.may_see)
    body = json.loads(asked.page.body) if asked.page and asked.page.body else {}
    total = sum(groups.messages for _, groups in known)
    return QueuePage(
        scope=scope,
        title=scope.title,
        what=described(asked.wanted, _reason_title(asked.wanted.reason)),
        words=words,
        tag=_tag(asked, now),
        reading=bool(waiting),
        progress=_progress(waiting, now),
        percent=_percent(waiting),
        reads=[_read_row(read, words, now) for read in asked.groups],
        sums=_sums(known, now),
        messages_total=total,
        asof=_asof(asked.reads, now),
        failed=_failed(asked.reads),
        left_out=_left_out(len(asked.groups), instances, known),
        table=table,
        rows=[
            GroupRow(
                line.label,
                queue_url(scope, {**words, **line.words}, by=_next_by(asked.by)) if line.words else "",
                line.shown,
                line.cells,
                line.note,
            )
            for line in table.lines
        ],
        tabs=[(title, queue_url(scope, words, by=by), by == asked.by) for by, title in BY.items()],
        chips=[
            (text, queue_url(scope, {k: v for k, v in words.items() if k != key}, by=asked.by))
            for key, text in _chips(asked.wanted)
        ],
        messages=messages,
        messages_url=queue_url(scope, words, show="messages") if scope.instance else "",
        groups_url=queue_url(scope, words, by=asked.by),
        next_url=queue_url(scope, words, show="messages", cursor=body["cursor"])
        if body.get("cursor")
        else "",
        actions=[(kind.name, kind.title, kind.permission) for kind in KINDS if kind is not Purge],
        move=_move(scope, known),
        deletions=deletion_rows(scope, now),
    )


def _move(scope: Scope, known: Sequence[tuple[Instance, Groups]]) -> tuple[str, str]:
    """Return the move of all that waits for these messages' recipient domains: a redirect is by domain."""
    table = known[0][1].tables["domain"] if scope.instance is not None and known else None
    domains = [row.key for row in table.rows if row.key] if table else []
    if scope.instance is None or table is None or not 0 < table.distinct == len(domains) <= _MOVED_AT_MOST:
        return "", ""
    of = visible(domains[0]) if len(domains) == 1 else f"these {len(domains)} domains"
    query = urlencode({"domain": domains}, doseq=True)
    return f"Move all for {of}", f"{reverse('relays:flush-new', args=[scope.instance.pk])}?{query}"


def _is_open(read: QueueRead) -> bool:
    return read.state in (ReadState.WAITING, ReadState.READING)


def _tag(asked: Asked, now: datetime) -> str:
    """Return what changes with any reading, and every 3 s while one is under way, for its progress."""
    since = [int((now - read.asked_at).total_seconds()) // 3 for read in asked.reads if _is_open(read)]
    return digest(
        canonical([[read.pk, read.state, read.attempt, read.seen] for read in asked.reads] + [since])
    )[:16]


def _progress(waiting: list[QueueRead], now: datetime) -> str:
    """Say what is being read, how far that is, how much it is by the newest poll, and for how long."""
    if not waiting:
        return ""
    begun = min((read.begun_at or read.asked_at for read in waiting), default=now)
    seen, about = _seen_of(waiting)
    named = waiting[0].instance.name if len(waiting) == 1 else f"{len(waiting)} instances"
    far = f"{count(seen)} of about {count(about)} messages" if seen else f"about {count(about)} messages"
    twice = ", which are read twice for a reason" if any(map(_passes_over, waiting)) else ""
    return f"reading {visible(named)}, {far}{twice}, for {span((now - begun).total_seconds())}"


def _seen_of(waiting: Iterable[QueueRead]) -> tuple[int, int]:
    """Return how many messages were read, and about how many there are to be read, in all passes."""
    seen = about = 0
    for read in waiting:
        seen += read.seen if read.state == ReadState.READING else 0
        about += _queued(read.instance) * (2 if _passes_over(read) else 1)
    return seen, max(about, seen)


def _passes_over(read: QueueRead) -> bool:
    """Whether a queue is read once for the replies that have a reason, and again for what is asked."""
    return "reason" in dict(parse_qsl(read.words))


def _percent(waiting: list[QueueRead]) -> int | None:
    """Return how far the readings are, None where nothing tells."""
    seen, about = _seen_of(waiting)
    return min(99, 100 * seen // about) if seen else None


def _queued(instance: Instance) -> int:
    state = getattr(instance, "state", None)
    return (
        sum(getattr(state, queue) or 0 for queue in ("incoming", "active", "deferred", "hold"))
        if state
        else 0
    )


def _read_row(read: QueueRead, words: Mapping[str, str], now: datetime) -> ReadRow:
    tones = {ReadState.DONE: "ok", ReadState.FAILED: "bad"}
    messages = json.loads(read.body)["messages"] if read.body else None
    return ReadRow(
        name=visible(read.instance.name),
        host=read.instance.host.name,
        url=queue_url(Scope(instance=read.instance), words),
        messages=count(messages),
        moment=moment(read.read_at, now, stale=read.state == ReadState.FAILED),
        state=ReadState(read.state).label,
        tone=tones.get(ReadState(read.state), "info"),
        error=visible(read.error),
    )


def _asof(reads: Iterable[QueueRead], now: datetime) -> str:
    """Return the age of the oldest of the readings: a sum is no newer than that."""
    known = [read for read in reads if read.body]
    oldest = min((read.read_at for read in known if read.read_at), default=None)
    return moment(oldest, now, stale=any(read.state == ReadState.FAILED for read in known))


def _failed(reads: Iterable[QueueRead]) -> list[str]:
    failed = [read for read in reads if read.state == ReadState.FAILED]
    never = [read for read in failed if not read.body]
    anew = [read for read in failed if read.body]
    told = (
        (never, "Could not be read, so not known"),
        (anew, "Could not be read anew, so shown as last known"),
    )
    return [f"{what}: {_names(found)}." for found, what in told if found]


def _names(reads: Iterable[QueueRead]) -> str:
    return ", ".join(dict.fromkeys(visible(read.instance.name) for read in reads))


def _left_out(read: int, instances: int, known: Iterable[tuple[Instance, Groups]]) -> str:
    notes = [f"the {read} fullest of {instances} instances"] if read < instances else []
    unparsable = sum(groups.unparsable for _, groups in known)
    if unparsable:
        notes.append(f"{count(unparsable)} entries could not be read and are in no count")
    return "; ".join(notes)


def _sums(known: list[tuple[Instance, Groups]], now: datetime) -> list[tuple[str, str]]:
    if not known:
        return []
    oldest = [groups.oldest for _, groups in known if groups.oldest is not None]
    return [
        ("messages", count(sum(groups.messages for _, groups in known))),
        ("of all queued", count(sum(groups.of for _, groups in known))),
        ("recipients", count(sum(groups.recipients for _, groups in known))),
        ("size", size(sum(groups.size_bytes for _, groups in known))),
        ("oldest", span(now.timestamp() - min(oldest)) if oldest else "none"),
    ]


def _next_by(by: str) -> str:
    """Return what to group by next, once a group of this was chosen."""
    return {"domain": "reply", "sender_domain": "sender"}.get(by, "domain")


def _reason_title(slug: str) -> str:
    reasons = rule_table().reasons
    return reasons[slug].title if slug in reasons else slug


def _chips(wanted: QueueFilter) -> list[tuple[str, str]]:
    """Return each part of a filter in words, with its key."""
    words = to_words(wanted)
    parts = {key: from_words({key: value}) for key, value in words.items()}
    return [(key, described(part, _reason_title(part.reason))) for key, part in parts.items()]


def _messages(read: QueueRead, may_see: bool) -> list[MessageRow]:
    if not read.body:
        return []
    body = json.loads(read.body)
    return [message_row(read.instance, message, body["now"], may_see) for message in body["messages"]]


def message_row(instance: Instance, message: Mapping[str, Any], now: float, may_see: bool) -> MessageRow:
    """Return a message as a list shows it. now: by the host's clock, as its arrival is."""
    shown = message["recipients"]
    hidden = message["recipients_total"] - len(shown)
    return MessageRow(
        queue_id=message["queue_id"],
        url=reverse("relays:message", args=[instance.pk, message["queue_id"]]),
        queue=message["queue"],
        age=span(now - message["arrival"]),
        arrived=arrived(message["arrival"]),
        size=size(message["size_bytes"]),
        sender=address(message["sender"], may_see),
        recipients=[(address(who, may_see), reply(text, may_see)) for who, text in shown],
        more=f"and {count(hidden)} more" if hidden > 0 else "",
    )


def message_page(read: QueueRead, queue_id: str, now: datetime, *, may_see: bool) -> MessagePage:
    """Return one message from the reading of the page that has it alone."""
    body: Mapping[str, Any] = json.loads(read.body) if read.body else {"messages": [], "now": 0}
    message = next(iter(body["messages"]), None)
    provider, table = read.instance.provider.slug if read.instance.provider else "", rule_table()
    recipients = []
    for who, text in message["recipients"] if message else []:
        verdict = table.classify(text, provider=provider) if text else None
        title = table.reasons[verdict.reason].title if verdict else ""
        advice = table.advice(verdict) if verdict else ""
        recipients.append((address(who, may_see), reply(text, may_see), title, advice))
    return MessagePage(
        queue_id=queue_id,
        row=message_row(read.instance, message, body["now"], may_see) if message else None,
        reading=_is_open(read),
        tag=f"{read.pk}{read.state[0]}{read.attempt}",
        asof=moment(read.read_at, now, stale=read.state == ReadState.FAILED),
        error=visible(read.error),
        recipients=recipients,
    )


def arrived(seconds: float) -> str:
    """Return when a message came, by its host's clock; a question mark for what is no time."""
    try:
        return f"{timezone.localtime(datetime.fromtimestamp(seconds, UTC)):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"


def address(text: str, may_see: bool) -> str:
    """Return an address for whoever may see it whole, or not."""
    return visible(text if may_see else masked_address(text))


def reply(text: str, may_see: bool) -> str:
    """Return a reply likewise."""
    return visible(text if may_see else masked_reply(text))


def deletion_rows(scope: Scope, now: datetime) -> list[DeletionRow]:
    """Return what is to be deleted, what was undone and is not released yet, and where either has failed."""
    waiting = Q(follow_up=None) & ~Q(state=DeletionState.BEGUN)
    stopped = Q(follow_up__state__in=STOPPED)
    found = PendingDeletion.objects.select_related("operation", "follow_up").filter(waiting | stopped)
    if scope.instance is not None:
        found = found.filter(operation__instance=scope.instance)
    elif scope.provider is not None:
        found = found.filter(operation__instance__provider=scope.provider)
    return [_deletion_row(pending, now) for pending in found[:50]]


def _again(pending: PendingDeletion, now: datetime) -> str:
    """Say when what failed is begun again; "" where nothing has, or where somebody stopped it."""
    last = pending.follow_up
    if last is None or last.state == OperationState.ABORTED or last.ended_at is None:
        return ""
    at = clock(max(last.ended_at + AGAIN_AFTER, now), now)
    return at.text if at else ""


def _deletion_row(pending: PendingDeletion, now: datetime) -> DeletionRow:
    at = clock(pending.due_at, now)
    left = max(timedelta(0), pending.due_at - now)
    return DeletionRow(
        id=pending.pk,
        operation=pending.operation_id,
        instance=visible(pending.operation.instance_name),
        messages=count(pending.messages),
        at=at.text if at else "",
        left=span(left.total_seconds()),
        undone=pending.state == DeletionState.UNDONE,
        stopped=pending.follow_up_id or 0,
        again=_again(pending, now),
    )
