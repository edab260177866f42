"""Signs of life of worker, scheduler and broker, in the database so that every machine's pages see them."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from celery.signals import after_task_publish, beat_init, before_task_publish, task_prerun, worker_ready
from django.db import close_old_connections
from django.http import HttpRequest
from django.utils import timezone

from fleet.models import Heartbeat

WRITTEN_EVERY_S = 10
AWAY_AFTER = timedelta(seconds=60)
"""The scheduler sends a task every 10 s and the worker runs it: a minute of silence is no hiccup."""

_written_at: dict[str, float] = {}


def connect() -> None:
    """Listen to Celery: a worker shows life by starting a task, the scheduler by sending one."""
    worker_ready.connect(_worker_lives)
    task_prerun.connect(_worker_lives)
    beat_init.connect(_listen_to_scheduler)


def _worker_lives(**_: Any) -> None:
    record(Heartbeat.Process.WORKER)


def _listen_to_scheduler(**_: Any) -> None:
    # Only now: web and worker send tasks too, which says nothing of the scheduler.
    before_task_publish.connect(_scheduler_lives)
    after_task_publish.connect(_broker_lives)
    _scheduler_lives()


def _scheduler_lives(**_: Any) -> None:
    record(Heartbeat.Process.SCHEDULER)
    # The scheduler has no task whose end would close its connection.
    close_old_connections()


def _broker_lives(**_: Any) -> None:
    record(Heartbeat.Process.BROKER)
    close_old_connections()


def record(process: Heartbeat.Process) -> None:
    """Write that this kind of process lives, at most every WRITTEN_EVERY_S."""
    now, written_at = time.monotonic(), _written_at.get(process)
    if written_at is not None and now - written_at < WRITTEN_EVERY_S:
        return
    _written_at[process] = now
    at = timezone.now()
    Heartbeat.objects.bulk_create(
        [Heartbeat(process=process, at=at, since=at)],
        update_conflicts=True,
        unique_fields=["process"],
        # What this process writes first, it writes as it starts.
        update_fields=["at"] if written_at is not None else ["at", "since"],
    )


def context(_request: HttpRequest) -> dict[str, Callable[[], list[str]]]:
    """Let any template ask for `processes_away`; one that does not ask costs no query (context processor)."""
    return {"processes_away": lambda: away(timezone.now())}


def last_seen() -> dict[str, datetime | None]:
    """Return when each kind of process last showed life; None: never."""
    seen = dict(Heartbeat.objects.values_list("process", "at"))
    return {process.value: seen.get(process.value) for process in Heartbeat.Process}


def away(now: datetime) -> list[str]:
    """Return the kinds of process that are not running, as far as their silence tells."""
    seen = {row.process: row for row in Heartbeat.objects.all()}
    silent = [
        process.value
        for process in Heartbeat.Process
        if process not in seen or now - seen[process].at > AWAY_AFTER
    ]
    # Without the scheduler nobody tells of the broker; of one that has just started silence tells nothing.
    scheduler = seen.get(Heartbeat.Process.SCHEDULER)
    if Heartbeat.Process.SCHEDULER in silent or (scheduler and now - scheduler.since <= AWAY_AFTER):
        return [process for process in silent if process != Heartbeat.Process.BROKER]
    return silent
