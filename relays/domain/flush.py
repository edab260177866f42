"""A flush in figures: what was selected, what became of it, when it must end, and whether it adds up.

Pure. The count equation is that of docs/flush.md: every recipient that was selected is in exactly one place.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple

from relays.domain import fields as row_fields
from relays.domain.fields import BadRow
from relays.domain.text import printable
from relays.domain.words import count, plural

MAX_RECIPIENTS = 200_000
_MAX_ADDRESS = 320
_MAX_TEXT = 400


class At(StrEnum):
    """Where a selected recipient is, as the source's log and queue tell.

    LOST: bounced by the move itself. GONE: taken out by hand, by the log's own word. UNKNOWN: neither in
    the queue nor told of.
    """

    WAITING = "waiting"
    MOVED = "moved"
    DIRECT = "direct"
    BOUNCED = "bounced"
    LOST = "lost"
    EXPIRED = "expired"
    GONE = "gone"
    UNKNOWN = "unknown"


class There(StrEnum):
    """What became of a moved recipient at the target, as its log and queue tell; NONE: not told yet."""

    NONE = ""
    SENT = "sent"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    QUEUED = "queued"


class Message(NamedTuple):
    """A message in the source's queue. recipients: address and the last reply, of the chosen domains only."""

    queue: str
    queue_id: str
    arrival: int
    size: int
    recipients: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan of a queue comes to.

    elsewhere: messages with recipients of other domains too; near_end: within an hour of their queue
    lifetime; too_large, smtputf8: that the target would not take; domains: recipients by domain, the fullest
    50.
    """

    messages: int
    recipients: int
    size_bytes: int
    elsewhere: int
    near_end: int
    too_large: int
    smtputf8: int
    oldest: int | None
    domains: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One precondition. detail and remedy are empty where it holds."""

    name: str
    ok: bool
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """What the target said of itself. size_limit: bytes, None where it names none.

    starttls: it offers TLS; encrypts: and the drain uses it.
    """

    name: str
    size_limit: int | None
    smtputf8: bool
    starttls: bool
    encrypts: bool


@dataclass(frozen=True, slots=True)
class RedirectFacts:
    """Whether an instance is onboarded, and what redirect is on. to: "" for none; left_s: of its lease."""

    instance: str
    onboarded: bool
    problems: tuple[str, ...]
    fast_flush: bool
    to: str
    domains: tuple[str, ...]
    op_id: str
    left_s: float | None
    problem: str


class Event(NamedTuple):
    """A line of a flush.log: what, when (seconds since 1970), which message, and of a delivery the rest."""

    kind: str
    time: int
    queue_id: str
    recipient: str = ""
    status: str = ""
    dsn: str = ""
    next_id: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """Recipients by place. All but new_moved are of those that were selected.

    moved: accepted by the target; direct: delivered by the source's own way; waiting: still in its queue;
    gone: taken out by hand; unknown: in no queue and in no log; soft_bounces: tries that the drain took back;
    came_back: recipients that it could not hand over at least once; there_*: of the moved ones, at the
    target; duplicates: messages that the target took and the source does not know of.
    """

    selected: int = 0
    moved: int = 0
    direct: int = 0
    waiting: int = 0
    bounced: int = 0
    expired: int = 0
    gone: int = 0
    unknown: int = 0
    soft_bounces: int = 0
    came_back: int = 0
    bounced_by_drain: int = 0
    new_moved: int = 0
    there_sent: int = 0
    there_deferred: int = 0
    there_bounced: int = 0
    there_expired: int = 0
    there_queued: int = 0
    there_unknown: int = 0
    duplicates: int = 0

    @property
    def left(self) -> int:
        """What is no longer in the source's queue."""
        return self.selected - self.waiting

    @property
    def adds_up(self) -> bool:
        """Whether each selected recipient is in one known place, and none was bounced by the move."""
        parts = self.moved + self.direct + self.waiting + self.bounced + self.expired + self.gone
        return self.unknown == 0 and self.bounced_by_drain == 0 and parts == self.selected

    @property
    def adds_up_there(self) -> bool:
        """Whether nothing that the target took vanished there."""
        there = (
            self.there_sent
            + self.there_deferred
            + self.there_bounced
            + self.there_expired
            + self.there_queued
        )
        return self.there_unknown == 0 and there == self.moved

    def as_json(self) -> dict[str, int]:
        """Return the account as it is stored."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, int]) -> "Account":
        """Return the account that as_json() gave; what was not known then is 0."""
        return cls(**{field.name: int(value.get(field.name, 0)) for field in fields(cls)})


# Ends a flush by itself. Shares of what the target was asked to take.
FIRST_TRIES = 20
MAX_SOFT_BOUNCE_SHARE = 0.01
MIN_THERE = 50
MAX_DEFERRED_THERE = 0.10
MAX_BOUNCED_THERE = 0.05
NO_PROGRESS_S = 300


# Messages that are tried by id: no batch comes sooner after another, and none makes up for more than that.
BATCH_EVERY_S, BATCH_MAKES_UP_S = 15.0, 30.0
MOST_A_BATCH = 500
MOST_A_MINUTE = 2_000


def batch_due(rate: int, since_s: float | None) -> int:
    """Return how many messages may be handed out now; since_s: seconds since the last, None for none yet.

    rate: messages a minute, 0 for no bound. Each batch is paid for by the time before it, so that however
    late one comes, no more than the rate is handed out over time.
    """
    if not rate:
        return MOST_A_BATCH
    earned_s = BATCH_EVERY_S if since_s is None else since_s
    if earned_s < BATCH_EVERY_S:
        return 0
    earned = int(rate * min(earned_s, max(BATCH_MAKES_UP_S, 60 / rate)) / 60)
    # The first waits for nothing, whatever the rate.
    return min(MOST_A_BATCH, max(earned, since_s is None))


def must_end(account: Account, *, since_progress_s: float, past_deadline: bool) -> str:
    """Say why a flush has to end now, by its own guards; "" where it may go on. since_progress_s: seconds."""
    tries = account.moved + account.new_moved + account.soft_bounces
    bounces = account.soft_bounces
    if account.bounced_by_drain:
        return f"{plural(account.bounced_by_drain, 'recipient')} bounced on the way: that must never be."
    if bounces and (tries <= FIRST_TRIES or bounces > MAX_SOFT_BOUNCE_SHARE * tries):
        return (
            f"The target refused {count(bounces)} of {count(tries)} for good; nothing bounced, all were kept."
        )
    if reason := _must_end_there(account):
        return reason
    if past_deadline:
        return "Its time is up."
    if since_progress_s > NO_PROGRESS_S:
        return f"Nothing has moved for {NO_PROGRESS_S // 60} minutes."
    return ""


def _must_end_there(account: Account) -> str:
    """Say why the target is no better than the source."""
    tried = account.there_sent + account.there_deferred + account.there_bounced
    if tried < MIN_THERE:
        return ""
    for word, part, most in (
        ("deferred", account.there_deferred, MAX_DEFERRED_THERE),
        ("bounced", account.there_bounced, MAX_BOUNCED_THERE),
    ):
        if part > most * tried:
            return (
                f"The target's own mail is {word} too: {count(part)} of {count(tried)},"
                f" over {100 * most:.0f} %."
            )
    return ""


def outcome(account: Account, *, why_ended: str) -> str:
    """Return what came of a flush in a sentence or two, for its page and its audit event."""
    parts = [f"{count(account.moved)} of {plural(account.selected, 'recipient')} moved"]
    for words, number in (
        ("sent on the source's own way", account.direct),
        ("still there", account.waiting),
        ("bounced", account.bounced),
        ("expired", account.expired),
        ("taken out by hand", account.gone),
        ("not accounted for", account.unknown),
    ):
        if number:
            parts.append(f"{count(number)} {words}")
    there = f"At the target {count(account.there_sent)} are delivered, {count(account.there_queued)} queued"
    there += f" and {count(account.there_deferred)} deferred." if account.there_deferred else "."
    twice = f" {plural(account.duplicates, 'message')} arrived twice: listed." if account.duplicates else ""
    end = f" {why_ended}" if why_ended else ""
    return f"{', '.join(parts)}. {there}{twice} The redirect is off.{end}"


class Candidate(NamedTuple):
    """An instance that mail could be moved to. state: of its chip; counts are None where never read."""

    id: int
    name: str
    host: str
    address: str
    same_provider: bool
    state: str
    fresh: bool
    deferred: int | None
    active: int | None
    redirected: bool
    busy: bool


class Ranked(NamedTuple):
    """A candidate with what speaks for and against it. problem: why not to choose it, "" for nothing."""

    candidate: Candidate
    problem: str
    notes: tuple[str, ...]


_HEALTHY = ("ok", "quiet")


def rank(candidates: Sequence[Candidate]) -> list[Ranked]:
    """Return candidates, the best first: healthy ones of the same provider with the least in their queues."""
    ranked = [Ranked(each, _problem(each), tuple(_notes(each))) for each in candidates]
    return sorted(
        ranked,
        key=lambda item: (
            item.problem != "",
            not item.candidate.same_provider,
            (item.candidate.deferred or 0) + (item.candidate.active or 0),
            item.candidate.name,
        ),
    )


def _problem(candidate: Candidate) -> str:
    if candidate.redirected:
        return "its own mail is redirected"
    if candidate.busy:
        return "another operation has it"
    if not candidate.fresh:
        return "its host gives no fresh figures"
    if candidate.state not in _HEALTHY:
        return f"it is {candidate.state} itself"
    return ""


def _notes(candidate: Candidate) -> Iterator[str]:
    if candidate.deferred is None:
        yield "its queue was never read"
    else:
        yield f"{count(candidate.deferred)} deferred, {count(candidate.active)} active"
    if not candidate.same_provider:
        yield "for another provider"
    if candidate.state == "quiet":
        yield "sent nothing in the last hour"


def parse_scan(end: Mapping[str, Any]) -> Scanned:
    """Return the totals of a `flush.scan`. Raises BadRow."""
    counts = row_fields.mapping(end, "counts")
    domains = end.get("domains")
    if not isinstance(domains, list) or not all(isinstance(d, list) and len(d) == 2 for d in domains):
        raise BadRow("domains are not pairs")
    return Scanned(
        messages=row_fields.needed_count(counts, "messages"),
        recipients=row_fields.needed_count(counts, "recipients"),
        size_bytes=row_fields.needed_count(counts, "bytes", row_fields.MAX_SIZE),
        elsewhere=row_fields.needed_count(counts, "elsewhere"),
        near_end=row_fields.needed_count(counts, "near_end"),
        too_large=row_fields.needed_count(counts, "too_large"),
        smtputf8=row_fields.needed_count(counts, "smtputf8"),
        oldest=row_fields.count(end, "oldest"),
        domains=tuple((printable(str(name), 255), _count(number)) for name, number in domains[:50]),
    )


def parse_messages(row: Mapping[str, Any]) -> list[Message]:
    """Return a `messages` row of a `flush.scan`. Raises BadRow."""
    try:
        return [
            Message(
                _text(queue, 20),
                _text(queue_id, 31),
                _count(arrival),
                _count(size),
                tuple(
                    (_text(address, _MAX_ADDRESS), _text(reason, _MAX_TEXT)) for address, reason in recipients
                ),
            )
            for queue, queue_id, arrival, size, recipients in row["rows"]
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise BadRow(f"a message is malformed: {error}") from error


def parse_events(row: Mapping[str, Any]) -> list[Event]:
    """Return an `events` row of a `flush.log`. Raises BadRow."""
    try:
        return [_event(*event) for event in row["rows"]]
    except (KeyError, ValueError, TypeError) as error:
        raise BadRow(f"an event is malformed: {error}") from error


def _event(kind: Any, at: Any, queue_id: Any, *rest: Any) -> Event:
    begun = Event(_text(kind, 10), _count(at), _text(queue_id, 31))
    if kind in ("out", "direct"):
        recipient, status, dsn, next_id, reply = rest
        return begun._replace(
            recipient=_text(recipient, _MAX_ADDRESS),
            status=_text(status, 20),
            dsn=_text(dsn, 12),
            next_id=_text(next_id or "", 31),
            text=_text(reply, _MAX_TEXT),
        )
    if kind == "done":
        recipient, status, dsn, reply = rest
        return begun._replace(
            recipient=_text(recipient, _MAX_ADDRESS),
            status=_text(status, 20),
            dsn=_text(dsn, 12),
            text=_text(reply, _MAX_TEXT),
        )
    if kind == "mid":
        (message_id,) = rest
        return begun._replace(text=_text(message_id, _MAX_ADDRESS))
    if kind not in ("in", "expired", "gone") or rest:
        raise BadRow(f"an event is of no known kind: {str(kind)[:20]}")
    return begun


def parse_check(row: Mapping[str, Any]) -> Check:
    """Return a `check` row of a `flush.preflight`. Raises BadRow."""
    return Check(
        row_fields.matching(row, "check", row_fields.CODE),
        row_fields.flag(row, "ok") is True,
        row_fields.text(row, "detail", _MAX_TEXT),
        row_fields.text(row, "remedy", _MAX_TEXT),
    )


def parse_peer(row: Mapping[str, Any]) -> PeerFacts:
    """Return the `peer` row of a `flush.preflight`. Raises BadRow."""
    return PeerFacts(
        row_fields.text(row, "name", 63),
        row_fields.count(row, "size_limit", row_fields.MAX_SIZE),
        row_fields.flag(row, "smtputf8") is True,
        row_fields.flag(row, "starttls") is True,
        row_fields.flag(row, "encrypts") is True,
    )


def parse_redirect(row: Mapping[str, Any]) -> RedirectFacts:
    """Return a row of `redirect.status`. Raises BadRow."""
    problems, domains = row.get("problems"), row.get("domains")
    if not isinstance(problems, list) or not isinstance(domains, list):
        raise BadRow("problems and domains must be lists")
    left_s = row.get("left_s")
    return RedirectFacts(
        instance=row_fields.matching(row, "instance", row_fields.NAME),
        onboarded=row_fields.flag(row, "onboarded") is True,
        problems=tuple(printable(str(text), 300) for text in problems[:20]),
        fast_flush=row_fields.flag(row, "fast_flush") is True,
        to=row_fields.text(row, "to", 80),
        domains=tuple(printable(str(name), 255) for name in domains[:200]),
        op_id=row_fields.text(row, "op_id", 64),
        left_s=float(left_s) if left_s is not None and row_fields.is_number(left_s, 0, 1e9) else None,
        problem=row_fields.text(row, "problem", 300),
    )


def _text(value: Any, limit: int) -> str:
    if not isinstance(value, str):
        raise BadRow("what should be text is none")
    return printable(value, limit)


def _count(value: Any) -> int:
    if not row_fields.is_count(value):
        raise BadRow("what should be a count is none")
    return int(value)
