"""Replies to what was not sent, by cluster: how often, since when, why, and what to do."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Max, Min, Model, Sum

from relays.domain.maillog.tables import OTHER_DIGEST
from relays.domain.reasons import Verdict
from relays.domain.words import visible
from relays.models import (
    Provider,
    ProviderReplyCountsDay,
    ProviderReplyCountsHour,
    ReplyCluster,
    ReplyCountsDay,
    ReplyCountsHour,
)
from relays.selectors.figures import Clock, clock
from relays.selectors.outcomes import Scope, in_scope, moment_of
from relays.selectors.ranges import DAY_S, HOUR_S, Range
from relays.services.reasons import shipped_table

_INSTANCE_TABLES: dict[int, type[Model]] = {HOUR_S: ReplyCountsHour, DAY_S: ReplyCountsDay}
_PROVIDER_TABLES: dict[int, type[Model]] = {HOUR_S: ProviderReplyCountsHour, DAY_S: ProviderReplyCountsDay}
_KINDS = ("deferred", "suspended", "bounced", "softbounce")


@dataclass(frozen=True, slots=True)
class Reply:
    """One cluster within a range: `suspended` is part of `deferred`; first and last are of this scope."""

    digest: str
    text: str
    sample: str
    code: str
    count: int
    deferred: int
    suspended: int
    bounced: int
    softbounce: int
    first: datetime
    last: datetime
    reason: str
    title: str
    hard: bool
    fault: str
    advice: str
    rule: str


def replies(scope: Scope, chosen: Range, now: datetime, limit: int | None = None) -> list[Reply]:
    """Return the clusters by count, the commonest first, at most `limit`."""
    span_s = chosen.counts_span_s
    tables = _PROVIDER_TABLES if isinstance(scope, Provider) else _INSTANCE_TABLES
    found = (
        tables[span_s]
        ._default_manager.filter(ts__gte=chosen.first(now, span_s), **in_scope(scope))
        .order_by()
        .values("cluster_id")
        .annotate(
            *(Sum(kind) for kind in _KINDS),
            count=Sum(F("deferred") + F("bounced") + F("softbounce")),
            first=Min("ts"),
            last=Max("ts"),
        )
        .order_by("-count", "cluster_id")
    )
    rows = list(found[:limit])
    clusters = ReplyCluster.objects.in_bulk([row["cluster_id"] for row in rows])
    return [_reply(row, clusters[row["cluster_id"]], span_s) for row in rows]


def _reply(row: dict[str, int], cluster: ReplyCluster, span_s: int) -> Reply:
    first, last = moment_of(row["first"]), moment_of(row["last"]) + timedelta(seconds=span_s)
    table = shipped_table()
    reason = table.reasons.get(cluster.reason)
    codes = f"{cluster.code or ''} {cluster.enhanced}".strip()
    return Reply(
        digest=cluster.digest,
        text=visible(cluster.text)
        if cluster.digest != OTHER_DIGEST
        else "(other): beyond the texts kept apart",
        sample=visible(cluster.sample),
        code=visible(codes),
        count=row["count"],
        deferred=row["deferred__sum"],
        suspended=row["suspended__sum"],
        bounced=row["bounced__sum"],
        softbounce=row["softbounce__sum"],
        # Spans are hours or days; the cluster's own times are exact, but count everywhere.
        first=max(first, cluster.first_seen_at),
        last=min(last, cluster.last_seen_at),
        reason=cluster.reason,
        title=reason.title if reason else cluster.reason,
        hard=cluster.hard,
        fault=reason.fault if reason else "",
        advice=table.advice(Verdict(cluster.reason, cluster.hard, cluster.rule)) if reason else "",
        rule=cluster.rule,
    )


@dataclass(frozen=True, slots=True)
class ReplyRow:
    """A cluster as a page shows it."""

    reply: Reply
    count: str
    first: Clock | None
    last: Clock | None
    parts: str


def reply_rows(found: list[Reply], now: datetime) -> list[ReplyRow]:
    """Return clusters as table rows."""
    return [
        ReplyRow(
            reply=reply,
            count=f"{reply.count:,}",
            first=clock(reply.first, now),
            last=clock(reply.last, now),
            parts=_parts(reply),
        )
        for reply in found
    ]


def _parts(reply: Reply) -> str:
    """Return what the count consists of: `412 deferred (400 suspended), 3 bounced`."""
    suspended = f" ({reply.suspended:,} suspended)" if reply.suspended else ""
    parts = (
        (reply.deferred, f"{reply.deferred:,} deferred{suspended}"),
        (reply.bounced, f"{reply.bounced:,} bounced"),
        (reply.softbounce, f"{reply.softbounce:,} soft-bounced"),
    )
    return ", ".join(text for number, text in parts if number)
