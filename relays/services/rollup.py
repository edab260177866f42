"""Hourly and daily roll-ups of the samples, and how long each is kept.

All of it is SQL that runs the same on SQLite and PostgreSQL, and may run twice: a roll-up overwrites its
rows with what the finer table holds. The newest hour and day are made again each time, as they grow.
"""

from datetime import datetime

from django.db import connection, transaction
from django.db.models import Min, Model

from relays.models import ProviderHour, Sample, SampleDay, SampleHour

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
}


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
    return sum(_prune_older(model, int(now.timestamp()) - keep_s) for model, keep_s in KEEP_S.items())


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


def _prune_older(model: type[Model], before: int) -> int:
    oldest = model._default_manager.aggregate(oldest=Min("ts"))["oldest"]
    if oldest is None:
        return 0
    deleted = 0
    for start in range(oldest, before, PRUNE_STEP_S)[:MAX_STEPS_A_RUN]:
        deleted += model._default_manager.filter(ts__lt=min(start + PRUNE_STEP_S, before)).delete()[0]
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
