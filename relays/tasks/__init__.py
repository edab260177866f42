"""What the workers run. A message carries an id and nothing else; the rows decide.

Celery closes the database connections of its threads after each task.
"""

from celery import shared_task
from django.utils import timezone

from relays.services import (
    alarms,
    anchors,
    collect,
    deletions,
    flush_rows,
    operations,
    queue_reads,
    reasons,
    rollup,
    traces,
)

__all__ = [
    "anchor_audit",
    "collect_host",
    "dispatch_due_polls",
    "operate",
    "prune",
    "read_queue",
    "reclassify",
    "roll_up",
    "sweep_operations",
    "tell_operators",
    "trace",
]


@shared_task(name="relays.tasks.dispatch_due_polls", queue="collect")  # type: ignore[untyped-decorator]
def dispatch_due_polls() -> None:
    """Send a poll for each host that is due."""
    collect.dispatch_due_polls()


@shared_task(name="relays.tasks.collect_host", queue="collect")  # type: ignore[untyped-decorator]
def collect_host(host_id: int) -> None:
    """Poll one host, if it is due."""
    collect.poll_host(host_id=host_id)


@shared_task(name="relays.tasks.roll_up", queue="collect")  # type: ignore[untyped-decorator]
def roll_up() -> None:
    """Bring the hourly and daily tables up to now."""
    rollup.roll_up(now=timezone.now())


@shared_task(name="relays.tasks.prune", queue="collect")  # type: ignore[untyped-decorator]
def prune() -> None:
    """Delete what is older than its retention."""
    rollup.prune(now=timezone.now())
    operations.forget_unconfirmed(now=timezone.now())
    flush_rows.forget(now=timezone.now())
    queue_reads.forget_old(now=timezone.now())
    traces.forget_old(now=timezone.now())


@shared_task(name="relays.tasks.reclassify", queue="collect")  # type: ignore[untyped-decorator]
def reclassify() -> None:
    """Give replies that older rules judged the reasons that hold now."""
    reasons.reclassify()


@shared_task(name="relays.tasks.read_queue", queue="collect")  # type: ignore[untyped-decorator]
def read_queue(read_id: int) -> None:
    """Answer one question about a queue, if nobody else does."""
    queue_reads.run(read_id=read_id)


@shared_task(name="relays.tasks.operate", queue="operate")  # type: ignore[untyped-decorator]
def operate(operation_id: int) -> None:
    """Run one operation, if nobody else does."""
    operations.run(operation_id=operation_id)


@shared_task(name="relays.tasks.sweep_operations", queue="operate")  # type: ignore[untyped-decorator]
def sweep_operations() -> None:
    """Begin the deletions that are due, and send again what is to be done and in nobody's hands."""
    deletions.begin_due(now=timezone.now())
    operations.sweep()


@shared_task(name="relays.tasks.anchor_audit", queue="operate")  # type: ignore[untyped-decorator]
def anchor_audit() -> None:
    """Write the head of the audit trail where no change to the database reaches."""
    anchors.anchor_everywhere()


@shared_task(name="relays.tasks.tell_operators", queue="operate")  # type: ignore[untyped-decorator]
def tell_operators() -> None:
    """Mail the operators what has gone wrong and lasts."""
    alarms.look(now=timezone.now())


@shared_task(name="relays.tasks.trace", queue="collect")  # type: ignore[untyped-decorator]
def trace(trace_id: int) -> None:
    """Answer one trace, if nobody else does."""
    traces.trace_run(trace_id=trace_id)
