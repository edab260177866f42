"""Hourly and daily roll-ups of the samples, and how long all that grows with time is kept.

All of it is SQL that runs the same on SQLite and PostgreSQL, and may run twice: a roll-up overwrites its
rows with what the finer table holds. The newest hour and day are made again each time, as they grow.
Outcomes need no roll-up: services/outcomes.py adds them to all their spans.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Min, Model, QuerySet

from relays.models import (
    Accepted,
    AcceptedDay,
    AcceptedHour,
    Client,
    DomainOutcomesDay,
    DomainOutcomesHour,
    FleetDomainOutcomesDay,
    FleetDomainOutcomesHour,
    ImportedTotals,
    Outcomes,
    OutcomesDay,
    OutcomesHour,
    Provider,
    ProviderHour,
    ProviderOutcomesDay,
    ProviderOutcomesHour,
    ProviderReplyCountsDay,
    ProviderReplyCountsHour,
    ReplyCluster,
    ReplyCountsDay,
    ReplyCountsHour,
    Sample,
    SampleDay,
    SampleHour,
)

HOUR_S = 3600
DAY_S = 24 * HOUR_S

# An outage leaves few hours with samples, but a restored backup may leave many: the rest waits its turn.
MAX_HOURS_A_RUN = 48
# A whole day of 2,000 instances at once would hold SQLite's write lock for seconds.
PRUNE_STEP_S = 6 * HOUR_S
MAX_STEPS_A_RUN = 40

KEEP_S: dict[type[Model], int] = {
    Sample: 14 * DAY_S,
    SampleHour: 400 * DAY_S,
    ProviderHour: 400 * DAY_S,
    SampleDay: 3650 * DAY_S,
    Outcomes: 14 * DAY_S,
    OutcomesHour: 400 * DAY_S,
    OutcomesDay: 5 * 365 * DAY_S,
    ProviderOutcomesHour: 400 * DAY_S,
    ProviderOutcomesDay: 5 * 365 * DAY_S,
    DomainOutcomesHour: 14 * DAY_S,
    DomainOutcomesDay: 400 * DAY_S,
    FleetDomainOutcomesHour: 14 * DAY_S,
    FleetDomainOutcomesDay: 400 * DAY_S,
    ReplyCountsHour: 90 * DAY_S,
    ReplyCountsDay: 400 * DAY_S,
    ProviderReplyCountsHour: 90 * DAY_S,
    ProviderReplyCountsDay: 400 * DAY_S,
    Accepted: 14 * DAY_S,
    AcceptedHour: 400 * DAY_S,
    AcceptedDay: 5 * 365 * DAY_S,
    ImportedTotals: 400 * DAY_S,
}
# Of these the oldest are found by provider: no index of theirs begins with the time.
_REPLIES = (ReplyCountsHour, ReplyCountsDay, ProviderReplyCountsHour, ProviderReplyCountsDay)
_BY_PROVIDER = (ProviderHour, ProviderOutcomesHour, ProviderOutcomesDay, *_REPLIES)
# As long as the counts that point at them, and by a day more.
_KEEP_CLUSTERS = timedelta(days=401)
_KEEP_CLIENTS = timedelta(days=5 * 365 + 1)
_ROWS_A_STEP = 1_000


def roll_up(*, now: datetime) -> int:
    """Bring hours, provider hours and days up to `now`. Return how many hours were made."""
    hours = _hours_to_make(now)
    for hour in hours:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_HOUR, [hour, hour, hour + HOUR_S])
            cursor.execute(_PROVIDER_HOUR, [hour])
    for day in sorted({hour // DAY_S * DAY_S for hour in hours}):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_DAY, [day, day, day + DAY_S])
    return len(hours)


def prune(*, now: datetime) -> int:
    """Delete what is older than its retention, in small steps. Return how many rows went."""
    deleted = 0
    for model, keep_s in KEEP_S.items():
        for rows in _rows(model):
            deleted += _prune_older(rows, int(now.timestamp()) - keep_s)
    return deleted + _prune_clusters(now) + _prune_clients(now)


def _hours_to_make(now: datetime) -> list[int]:
    """Return the starts of the newest hour already made and of those with samples after it, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(ts), 0) FROM relays_samplehour")
        made = cursor.fetchone()[0]
        cursor.execute(
            "SELECT DISTINCT ts - ts %% %s AS hour FROM relays_sample WHERE ts >= %s AND ts <= %s"
            " ORDER BY hour LIMIT %s",
            [HOUR_S, made, int(now.timestamp()), MAX_HOURS_A_RUN],
        )
        return [row[0] for row in cursor.fetchall()]


def _rows(model: type[Model]) -> list[QuerySet[Model]]:
    rows = model._default_manager.all()
    if model not in _BY_PROVIDER:
        return [rows]
    return [rows.filter(provider=pk) for pk in Provider.objects.values_list("pk", flat=True)]


def _prune_older(rows: QuerySet[Model], before: int) -> int:
    deleted = 0
    for _ in range(MAX_STEPS_A_RUN):
        # Asked again each time: stamps of a clock that was wrong may lie years apart.
        oldest = rows.aggregate(oldest=Min("ts"))["oldest"]
        if oldest is None or oldest >= before:
            break
        deleted += rows.filter(ts__lt=min(oldest + PRUNE_STEP_S, before)).delete()[0]
    return deleted


def _prune_clusters(now: datetime) -> int:
    old = ReplyCluster.objects.filter(last_seen_at__lt=now - _KEEP_CLUSTERS)
    heard = (model._default_manager.values("cluster_id") for model in _REPLIES)
    return _prune_unused(old, *heard) if old.exists() else 0


def _prune_clients(now: datetime) -> int:
    """Forget clients that nobody adopted and that have handed nothing over for years."""
    old = Client.objects.filter(origin=None, last_seen_at__lt=now - _KEEP_CLIENTS)
    return _prune_unused(old, AcceptedDay.objects.values("client_id")) if old.exists() else 0


def _prune_unused(old: QuerySet[Model], *uses: QuerySet[Any, Any]) -> int:
    for use in uses:
        old = old.exclude(pk__in=use)
    deleted = 0
    for _ in range(MAX_STEPS_A_RUN):
        step = list(old.values_list("pk", flat=True)[:_ROWS_A_STEP])
        if not step:
            break
        deleted += old.model._default_manager.filter(pk__in=step).delete()[0]
    return deleted


_COUNTS = "incoming, active, deferred, hold, oldest_s, deferred_max"
_MEANS = """CAST(ROUND(AVG(incoming)) AS INTEGER), CAST(ROUND(AVG(active)) AS INTEGER),
    CAST(ROUND(AVG(deferred)) AS INTEGER), CAST(ROUND(AVG(hold)) AS INTEGER), MAX(oldest_s)"""
_OVERWRITE = """incoming = excluded.incoming, active = excluded.active, deferred = excluded.deferred,
    hold = excluded.hold, deferred_max = excluded.deferred_max, oldest_s = excluded.oldest_s"""

_HOUR = f"""
INSERT INTO relays_samplehour (instance_id, ts, {_COUNTS})
SELECT instance_id, %s, {_MEANS}, MAX(deferred)
FROM relays_sample WHERE ts >= %s AND ts < %s GROUP BY instance_id
ON CONFLICT (instance_id, ts) DO UPDATE SET {_OVERWRITE}"""

_DAY = f"""
INSERT INTO relays_sampleday (instance_id, ts, {_COUNTS})
SELECT instance_id, %s, {_MEANS}, MAX(deferred_max)
FROM relays_samplehour WHERE ts >= %s AND ts < %s GROUP BY instance_id
ON CONFLICT (instance_id, ts) DO UPDATE SET {_OVERWRITE}"""

_PROVIDER_HOUR = """
INSERT INTO relays_providerhour (provider_id, ts, active, deferred, deferred_max)
SELECT instance.provider_id, hour.ts, SUM(hour.active), SUM(hour.deferred), SUM(hour.deferred_max)
FROM relays_samplehour AS hour JOIN relays_instance AS instance ON instance.id = hour.instance_id
WHERE hour.ts = %s AND instance.provider_id IS NOT NULL
GROUP BY instance.provider_id, hour.ts
ON CONFLICT (provider_id, ts) DO UPDATE SET
    active = excluded.active, deferred = excluded.deferred, deferred_max = excluded.deferred_max"""
