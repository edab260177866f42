"""Storing what a log brought: counts at every level, and how far the log is read, in one transaction.

Counts are added, never overwritten, so that late lines reach their five minutes, hour and day alike; a piece
of a log counts once, because its cursor moves by compare-and-set (docs/decisions/0064-outcomes.md).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import add
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from relays.domain.health import REFUSALS, State
from relays.domain.log_reading import AcceptedRow, DelayRow, DeniedRow, OutcomeRow, ReplyRow, SourceReading
from relays.domain.maillog.tables import OTHER, OTHER_DIGEST, TOP_DOMAINS
from relays.domain.text import printable
from relays.models import Host, Instance, LogSource
from relays.services import levels
from relays.services.dimensions import (
    NO_ADDRESS,
    Domains,
    known_clients,
    store_clients,
    store_clusters,
    trusted,
)
from relays.services.levels import BUCKET_S, DELAYS, HOUR_S, OUTCOME_COUNTS, OUTCOMES, REPLY_COUNTS
from relays.services.statements import run, stamp

_THROTTLED_AT, _BLOCKED_AT = OUTCOME_COUNTS.index("throttled"), OUTCOME_COUNTS.index("blocked")
_DELAYS_AT = slice(len(OUTCOMES), len(OUTCOMES) + len(DELAYS))
_DENIED_AT = levels.CLIENT_COUNTS.index("denied")
_SIZE_AT = OUTCOME_COUNTS.index("size_bytes")
_HOUR_COUNTS = (
    "sent",
    "deferred",
    "suspended",
    "bounced",
    "expired",
    "handed_over",
    "throttled",
    "blocked",
)
# Conditions with which a log is read all the same (docs/relayctl.md).
_NOTICES = ("ambiguous", "elsewhere", "lossy")
_REFUSED = ("deferred", "suspended", "bounced")
_Table = dict[tuple[Any, ...], list[int]]


def _zeros(names: Collection[str]) -> _Table:
    return defaultdict(lambda: [0] * len(names))


class _Clock:
    """Times of a host by ours: moved by whole buckets, which is not at all where it is right to 150 s.

    Nothing is of the future, whatever a host says.
    """

    def __init__(self, at: datetime, skew_s: float) -> None:
        self.at = at
        self._moved_s = round(skew_s / BUCKET_S) * BUCKET_S
        self._newest = int(at.timestamp()) // BUCKET_S * BUCKET_S

    def bucket(self, ts: int) -> int:
        return max(0, min(ts - self._moved_s, self._newest))

    def moment(self, stamp_s: float) -> datetime:
        return min(self.at, datetime.fromtimestamp(max(0, stamp_s - self._moved_s), UTC))


@dataclass(frozen=True, slots=True)
class _Member:
    """An instance of the host; source: the log it writes to, "" where that is not known."""

    id: int
    name: str
    present: bool
    source: str


class _Tally:
    """A reading's counts by instance ids and our clock; unplaced: those of names that no instance has."""

    def __init__(
        self, members: Iterable[_Member], clock: _Clock, domains: Domains, digests: Collection[str]
    ) -> None:
        self._ids = {member.name: member.id for member in members}
        self._clock, self._domains, self._digests = clock, domains, digests
        # By instance, and by five minutes and provider; hour and domain; hour, provider and digest; five
        # minutes and the client's address.
        self.outcomes = _zeros(OUTCOME_COUNTS)
        self.domains = _zeros(OUTCOMES)
        self.replies = _zeros(REPLY_COUNTS)
        self.accepted = _zeros(levels.CLIENT_COUNTS)
        self.unplaced: dict[str, int] = defaultdict(int)

    def add_outcome(self, row: OutcomeRow) -> None:
        instance_id = self._ids.get(row.instance)
        if instance_id is None:
            self.unplaced[row.instance] += row.n
            return
        ts, provider_id = self._clock.bucket(row.ts), self._domains.provider_id(row.domain)
        hour = ts - ts % HOUR_S
        counts = self.outcomes[instance_id, ts, provider_id]
        counts[_SIZE_AT] += row.bytes
        _count(counts, OUTCOMES, row)
        _count(self.domains[instance_id, hour, row.domain], OUTCOMES, row)
        if row.digest and row.outcome in REPLY_COUNTS:
            digest = row.digest if row.digest in self._digests else OTHER_DIGEST
            _count(self.replies[instance_id, hour, provider_id, digest], REPLY_COUNTS, row)

    def add_refusal(self, row: OutcomeRow, state: State) -> None:
        """Count an outcome, which was added before, as a refusal of the address."""
        if row.outcome not in _REFUSED or row.instance not in self._ids:
            return
        provider_id = self._domains.provider_id(row.domain)
        counts = self.outcomes[self._ids[row.instance], self._clock.bucket(row.ts), provider_id]
        counts[_BLOCKED_AT if state is State.BLOCKED else _THROTTLED_AT] += row.n

    def add_delays(self, row: DelayRow) -> None:
        instance_id = self._ids.get(row.instance)
        if instance_id is None:
            return
        counts = self.outcomes[instance_id, self._clock.bucket(row.ts), self._domains.provider_id(row.domain)]
        counts[_DELAYS_AT] = map(add, counts[_DELAYS_AT], row.bins)

    def add_accepted(self, row: AcceptedRow) -> None:
        instance_id = self._ids.get(row.instance)
        if instance_id is None:
            self.unplaced[row.instance] += row.n
            return
        self.accepted[instance_id, self._clock.bucket(row.ts), row.ip or NO_ADDRESS][0] += row.n

    def add_denied(self, rows: Iterable[DeniedRow]) -> dict[str, int]:
        """Count who was denied, of clients that are known: strangers that try a relay are nobody's origin.

        Returns the ids of those that were.
        """
        placed = [row for row in rows if row.instance in self._ids]
        ids = known_clients(row.ip for row in placed)
        for row in placed:
            if row.ip in ids:
                self.accepted[self._ids[row.instance], self._clock.bucket(row.ts), row.ip][_DENIED_AT] += (
                    row.n
                )
        return ids


def store_log(
    *, host: Host, source: SourceReading, cursor_was: str, at: datetime, clock_skew_s: float = 0
) -> bool:
    """Add a piece of a host's log and move its cursor on, or do neither.

    cursor_was: the cursor that the piece was asked for with. at: when, by our clock; clock_skew_s: how far
    the host's clock is ahead. False: somebody else has stored from that cursor meanwhile, or the host is
    gone, and nothing was added.
    """
    clock = _Clock(at, clock_skew_s)
    with transaction.atomic():
        if not _take_cursor(host, source, cursor_was, clock):
            return False
        members = _members(host)
        if _has_moved(source, cursor_was):
            unplaced = _store_counts(source, members, clock)
            _note_unplaced(host, source, unplaced)
        _store_last_hour(source, members, clock)
    return True


def log_sources(*, host: Host) -> list[LogSource]:
    """Return the logs that the host's instances write to, with how far each is read; new ones are made."""
    wanted = {member.source for member in _members(host) if member.present and member.source}
    rows = LogSource.objects.filter(host=host, source__in=wanted)
    missing = wanted - {row.source for row in rows}
    if not missing:
        return list(rows)
    LogSource.objects.bulk_create(
        [LogSource(host=host, source=source) for source in sorted(missing)], ignore_conflicts=True
    )
    return list(rows.all())


def note_unread(*, host: Host, code: str, detail: str) -> None:
    """Say why no log of the host could be read now; what is known stays, with its age."""
    host.log_sources.update(condition=code, condition_detail=printable(detail, 300))


def _take_cursor(host: Host, source: SourceReading, cursor_was: str, clock: _Clock) -> bool:
    """Move the cursor by compare-and-set; its row stays locked until the counts are stored."""
    code, detail = _condition(source, cursor_was)
    changes: dict[str, Any] = {
        "behind_bytes": source.behind_bytes,
        "condition": code,
        "condition_detail": detail,
    }
    if source.behind_bytes is not None or source.lines:
        changes["read_at"] = clock.at
    if _has_moved(source, cursor_was):
        changes["cursor"] = source.cursor
        changes["lines"] = F("lines") + source.lines
        changes["unrecognized"] = F("unrecognized") + source.unrecognized
    if source.last is not None:
        changes["log_time"] = clock.moment(source.last)
    if source.samples:
        changes["samples"] = list(source.samples)
    row = LogSource.objects.filter(host_id=host.pk, source=source.source, cursor=cursor_was)
    return row.update(**changes) == 1


def _has_moved(source: SourceReading, cursor_was: str) -> bool:
    """Whether the cursor says that something was read; where it stays, the same lines will come again."""
    return source.cursor not in ("", cursor_was)


def _condition(source: SourceReading, cursor_was: str) -> tuple[str, str]:
    if source.conditions:
        return source.conditions[0].code, source.conditions[0].detail
    if source.lines and not _has_moved(source, cursor_was):
        return "cursor_stuck", f"{source.lines:,} lines came without a new cursor; they were not counted."
    return "", ""


def _members(host: Host) -> list[_Member]:
    """Return the host's instances, those that are present last."""
    of_host = Instance.objects.filter(host_id=host.pk).order_by("name")
    rows = of_host.values_list("pk", "name", "removed_at", "inventory__log")
    members = [_Member(pk, name, removed_at is None, _source(log)) for pk, name, removed_at, log in rows]
    return sorted(members, key=lambda member: member.present)


def _source(log: object) -> str:
    """Return the log that an inventory row names as the verb log.read knows it."""
    if not isinstance(log, dict):
        return ""
    return "journal" if log.get("kind") == "journal" else str(log.get("path") or "")


def _store_counts(source: SourceReading, members: list[_Member], clock: _Clock) -> Mapping[str, int]:
    """Store a reading's counts, and return those that belong to no instance, by the name they had."""
    names = {row.domain for row in source.outcomes} | {row.domain for row in source.delays}
    domains = Domains(names, source.mx)
    replies = trusted(source.replies)
    tally = _Tally(members, clock, domains, replies.keys())
    for outcome in source.outcomes:
        tally.add_outcome(outcome)
    for delays in source.delays:
        tally.add_delays(delays)
    for taken in source.accepted:
        tally.add_accepted(taken)
    _keep_worst_domains(tally.domains)
    domain_ids = domains.store({name for _, _, name in tally.domains}, at=clock.at)
    heard = {digest: domains.slugs.get(provider, "") for _, _, provider, digest in tally.replies}
    reasons = store_clusters(heard, replies, _heard_at(heard, replies, clock))
    for outcome in source.outcomes:
        if state := REFUSALS.get(reasons.get(outcome.digest, "")):
            tally.add_refusal(outcome, state)
    client_ids = store_clients(_seen_at(tally.accepted), source.clients)
    client_ids |= tally.add_denied(source.denied)
    by_domain = {(i, ts, domain_ids[name]): row for (i, ts, name), row in tally.domains.items()}
    levels.add_domains(by_domain)
    levels.add_replies(tally.replies)
    levels.add_accepted({(i, ts, client_ids[ip]): row for (i, ts, ip), row in tally.accepted.items()})
    levels.add_outcomes(tally.outcomes)
    levels.add_totals(domains=by_domain, replies=tally.replies)
    return tally.unplaced


def _count(row: list[int], names: tuple[str, ...], outcome: OutcomeRow) -> None:
    row[names.index(outcome.outcome)] += outcome.n
    if outcome.outcome == "suspended":
        row[names.index("deferred")] += outcome.n


def _keep_worst_domains(domains: _Table) -> None:
    """Keep TOP_DOMAINS of an instance and hour, those that failed most before others; the rest is OTHER."""
    by_hour: dict[tuple[int, int], list[str]] = defaultdict(list)
    for instance_id, hour, name in domains:
        if name != OTHER:
            by_hour[instance_id, hour].append(name)
    for key, names in by_hour.items():
        names.sort(key=lambda name: _failures_first(domains[*key, name]), reverse=True)
        for name in names[TOP_DOMAINS:]:
            rest = domains[*key, OTHER]
            rest[:] = map(add, rest, domains.pop((*key, name)))


def _failures_first(row: list[int]) -> tuple[int, int]:
    counts = dict(zip(OUTCOMES, row, strict=True))
    return counts["deferred"] + counts["bounced"] + counts["expired"], counts["sent"] + counts["handed_over"]


def _heard_at(
    digests: Iterable[str], replies: Mapping[str, ReplyRow], clock: _Clock
) -> dict[str, tuple[datetime, datetime]]:
    return {
        digest: (clock.moment(replies[digest].first), clock.moment(replies[digest].last))
        if digest in replies
        else (clock.at, clock.at)
        for digest in digests
    }


def _seen_at(accepted: _Table) -> dict[str, tuple[datetime, datetime]]:
    times: dict[str, list[int]] = defaultdict(list)
    for _, ts, ip in accepted:
        times[ip].append(ts)
    return {
        ip: (datetime.fromtimestamp(min(spans), UTC), datetime.fromtimestamp(max(spans), UTC))
        for ip, spans in times.items()
    }


def _note_unplaced(host: Host, source: SourceReading, unplaced: Mapping[str, int]) -> None:
    """Name what was counted for nobody, unless relayctl itself has something graver to say."""
    if not unplaced or any(condition.code not in _NOTICES for condition in source.conditions):
        return
    told = ", ".join(f"{number:,} for {name}" for name, number in sorted(unplaced.items()))
    LogSource.objects.filter(host_id=host.pk, source=source.source).update(
        condition="unknown_instance",
        condition_detail=printable(f"The host has no instance of that name: {told}.", 300),
    )


def _store_last_hour(source: SourceReading, members: list[_Member], clock: _Clock) -> None:
    """Sum the last hour of the instances that write to this log, up to where it is known.

    A log that was read to its end is known up to now, even where nothing was written for hours: then the
    figures are 0. One that was not read leaves them as they are, with their age.
    """
    known_to = _known_to(source, clock)
    ids = sorted(member.id for member in members if member.source == source.source)
    if known_to is None or not ids:
        return
    until = int(known_to.timestamp())
    sums = _sums("relays_outcomes", _HOUR_COUNTS, ids, until)
    accepted = _sums("relays_accepted", ("messages",), ids, until)
    nothing = [0] * len(_HOUR_COUNTS)
    rows = [(pk, stamp(known_to), *sums.get(pk, nothing), *accepted.get(pk, [0])) for pk in ids]
    run(_LAST_HOUR, _LAST_HOUR_COLUMNS, rows)


def _known_to(source: SourceReading, clock: _Clock) -> datetime | None:
    if source.behind_bytes == 0:
        return clock.at
    return None if source.last is None else clock.moment(source.last)


def _sums(table: str, names: tuple[str, ...], ids: list[int], until: int) -> dict[int, list[int]]:
    """Return the sums of the spans that began within the hour before `until`, by instance."""
    columns, marks = ", ".join(f"SUM({name})" for name in names), ", ".join(["%s"] * len(ids))
    sql = (
        f"SELECT instance_id, {columns} FROM {table}"
        f" WHERE instance_id IN ({marks}) AND ts > %s AND ts <= %s GROUP BY instance_id"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*ids, until - HOUR_S, until])
        return {pk: [min(number, levels.MAX_COUNT) for number in sums] for pk, *sums in cursor.fetchall()}


_HOUR_COLUMNS = {f"hour_{name}": "integer" for name in (*_HOUR_COUNTS, "accepted")}
_LAST_HOUR_COLUMNS = {"instance_id": "bigint", "at": "timestamptz"} | _HOUR_COLUMNS
_LAST_HOUR = (
    "UPDATE relays_instancestate SET outcomes_at = {at}, "
    + ", ".join(f"{name} = {{{name}}}" for name in _HOUR_COLUMNS)
    + " {source} WHERE relays_instancestate.instance_id = {instance_id}"
    + " AND (outcomes_at IS NULL OR outcomes_at <= {at})"
)
