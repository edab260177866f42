"""One poll of one host: claim it, ask it, store what it said or why it said nothing.

Queues first, then logs: each is stored as soon as it is known, and neither loses the other.
"""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from relays.domain.health import State
from relays.domain.reading import InstanceReading
from relays.domain.text import printable
from relays.models import Host, InstanceRedirect
from relays.models.host import PollOutcome
from relays.remote import relayctl
from relays.remote.errors import Incompatible, Incomplete, KeyChanged, Refused, RemoteError
from relays.remote.relayctl import Inventory, Snapshot
from relays.remote.ssh import Limits
from relays.services import dispatch
from relays.services.doors import read_target
from relays.services.instances import reconcile
from relays.services.judging import Judge
from relays.services.logs import LogPoll, read_logs
from relays.services.store import Reading, Unread, store_readings, store_states

logger = logging.getLogger(__name__)

TASK = "relays.tasks.collect_host"
QUEUE = "collect"
# An instance's page shows the 20 fullest; all of them would be most of what a poll costs.
SNAPSHOT_DOMAINS = 50
_TOP_REPLY_LENGTH = 300
INVENTORY_EVERY = timedelta(hours=1)
# One thread slot a host: a poll ends before the next is due, within what a slow host still needs.
_SHORTEST_POLL_S, _LONGEST_POLL_S = 20, 60


@dataclass(frozen=True, slots=True)
class Poll:
    """How a poll of a host went; instances: how many it told of."""

    host: str
    outcome: PollOutcome
    error: str
    duration_ms: int
    instances: int
    logs: tuple[LogPoll, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    asked_at: datetime
    snapshot: Snapshot
    inventory: Inventory | None
    # (configuration directory, name) of the instances known when it was asked, and their keys.
    known: Mapping[tuple[str, str], int]


def dispatch_due_polls() -> int:
    """Send a poll for each host that is due; return how many.

    A host stays due until a worker claims it, so a message that was lost is sent again, and a second one
    finds the host claimed.
    """
    due = Host.objects.filter(_due(timezone.now()), enabled=True).order_by("next_poll_at")
    hosts = list(due.values_list("pk", "poll_interval_s"))
    for pk, interval_s in hosts:
        dispatch.send_on_commit(TASK, ident=pk, queue=QUEUE, expires_s=interval_s or settings.POLL_INTERVAL_S)
    return len(hosts)


def poll_host(*, host_id: int, force: bool = False) -> Poll | None:
    """Poll a host that is due, or at once with `force`; None where there is nothing to do.

    Every failure of the host ends as an outcome on its row. Raises django.db.DatabaseError where the
    console cannot even claim the host.
    """
    host = _claim(host_id, force=force)
    if host is None:
        return None
    started = time.monotonic()
    try:
        answer = _ask(host)
        states = _store(host, answer)
    except RemoteError as error:
        poll = _record_failure(host, error, started)
        # Of a host that answers badly about its queues the logs may still be read.
        answers = isinstance(error, Incompatible | Incomplete)
        return replace(poll, logs=_read_logs(host)) if answers else poll
    except DatabaseError as error:
        return _record_own_failure(host, error, started)
    poll = _record_success(host, answer, started)
    logs = _read_logs(host)
    if any(log.lines for log in logs):
        _judge_again(host, answer, states)
    return replace(poll, logs=logs)


def interval_s(host: Host) -> int:
    """Return how often a host is polled, in seconds."""
    return host.poll_interval_s or settings.POLL_INTERVAL_S


def _due(now: datetime) -> Q:
    return Q(next_poll_at=None) | Q(next_poll_at__lte=now)


def _claim(host_id: int, *, force: bool) -> Host | None:
    """Take the host's next poll by compare-and-set: of two workers, one gets the row.

    A worker that dies after this costs one interval: the next poll is due whatever became of this one.
    """
    now = timezone.now()
    host = Host.objects.filter(pk=host_id).order_by().first()
    if host is None or not (force or host.enabled):
        return None
    due = Q() if force else _due(now)
    next_poll_at = now + timedelta(seconds=interval_s(host))
    claimed = Host.objects.filter(due, pk=host_id, next_poll_at=host.next_poll_at)
    if claimed.update(next_poll_at=next_poll_at, last_attempt_at=now) != 1:
        return None
    host.last_attempt_at, host.next_poll_at = now, next_poll_at
    return host


def _ask(host: Host) -> _Answer:
    """Ask for the queues and, when something has changed or an hour has passed, for the instances."""
    if not host.host_key:
        raise Refused("No host key is pinned yet: accept the one it offers.")
    asked_at = timezone.now()
    limits, target = _limits(host), read_target(host)
    snapshot = relayctl.snapshot(target, limits, domains=SNAPSHOT_DOMAINS)
    known = _known_instances(host)
    needed = _needs_inventory(host, snapshot, known, asked_at)
    return _Answer(asked_at, snapshot, relayctl.inventory(target, limits) if needed else None, known)


def _limits(host: Host) -> Limits:
    return Limits(wall_s=min(_LONGEST_POLL_S, max(_SHORTEST_POLL_S, interval_s(host))))


def _known_instances(host: Host) -> dict[tuple[str, str], int]:
    present = host.instances.filter(removed_at=None).order_by()
    return {
        (config_dir, name): pk for config_dir, name, pk in present.values_list("config_dir", "name", "pk")
    }


def _needs_inventory(
    host: Host, snapshot: Snapshot, known: Mapping[tuple[str, str], int], now: datetime
) -> bool:
    if host.inventory_at is None or now - host.inventory_at >= INVENTORY_EVERY:
        return True
    header = snapshot.header
    if (host.relayctl_sha256, host.boot_id) != (header.sha256, header.boot_id):
        return True
    told = {(reading.config_dir, reading.name) for reading in snapshot.instances}
    # A truncated snapshot leaves instances out; only a new one is news then.
    return not told <= known.keys() if snapshot.truncated else told != known.keys()


def _store(host: Host, answer: _Answer) -> dict[int, State]:
    """Write instances and readings in one transaction, so that no page sees half a poll.

    Return the states by instance id.
    """
    with transaction.atomic():
        if answer.inventory is not None:
            reconcile(host=host, inventory=answer.inventory.instances, at=answer.asked_at)
        told = _told(host, answer)
        states = _states(host, answer, told)
        at = _times(answer.snapshot)
        store_readings(
            [_reading(r, pk, at[r.config_dir], states[pk]) for pk, r in told.items() if r.was_read],
            [_unread(r, pk, at[r.config_dir], states[pk]) for pk, r in told.items() if not r.was_read],
        )
        _store_redirects(told, answer.asked_at)
    return states


def _store_redirects(told: Mapping[int, InstanceReading], at: datetime) -> None:
    """Keep what redirects are on; nearly always there are none, and nothing was known of any."""
    InstanceRedirect.objects.filter(
        instance__in=[pk for pk, reading in told.items() if reading.redirect is None]
    ).delete()
    for pk, reading in told.items():
        if (on := reading.redirect) is not None:
            ends_at = None if on.left_s is None else at + timedelta(seconds=on.left_s)
            InstanceRedirect.objects.update_or_create(
                instance_id=pk,
                defaults={
                    "seen_at": at,
                    "to": on.to,
                    "op_id": on.op_id,
                    "ends_at": ends_at,
                    "problem": on.problem,
                },
            )


def _told(host: Host, answer: _Answer) -> dict[int, InstanceReading]:
    """Return the readings by instance id; one that came to be meanwhile is in the next poll's inventory."""
    known = answer.known if answer.inventory is None else _known_instances(host)
    ids = {config_dir: pk for (config_dir, _), pk in known.items()}
    return {ids[r.config_dir]: r for r in answer.snapshot.instances if r.config_dir in ids}


def _states(host: Host, answer: _Answer, told: Mapping[int, InstanceReading]) -> dict[int, State]:
    judge = Judge(told, at=answer.asked_at, interval_s=interval_s(host))
    return {pk: judge.state_of(reading, pk) for pk, reading in told.items()}


def _read_logs(host: Host) -> tuple[LogPoll, ...]:
    return read_logs(host=host, target=read_target(host), limits=_limits(host))


def _judge_again(host: Host, answer: _Answer, states: Mapping[int, State]) -> None:
    """Let the states follow from what the logs brought, where that changes any."""
    with suppress(DatabaseError):
        now = _states(host, answer, _told(host, answer))
        changed = {pk: state for pk, state in now.items() if state != states.get(pk)}
        store_states(changed, at=answer.asked_at)


def _times(snapshot: Snapshot) -> dict[str, datetime]:
    """Return when each queue was read, by our clock, and not after now: a host may lie about its own."""
    now = timezone.now()
    return {r.config_dir: min(now, snapshot.our_time(r.sampled_at)) for r in snapshot.instances}


def _reading(reading: InstanceReading, instance_id: int, at: datetime, state: State) -> Reading:
    replies = reading.replies["rows"] if reading.replies else []
    top_reply, top_reply_count = max(replies, key=lambda reply: reply[1], default=("", 0))
    code, detail = _condition(reading)
    return Reading(
        instance_id=instance_id,
        at=at,
        incoming=_known(reading.incoming),
        active=_known(reading.active),
        deferred=_known(reading.deferred),
        hold=_known(reading.hold),
        corrupt=reading.corrupt,
        oldest_s=reading.oldest_s,
        size_bytes=reading.size_bytes,
        state=state.value,
        condition=code,
        condition_detail=detail,
        top_reply=top_reply[:_TOP_REPLY_LENGTH],
        top_reply_count=top_reply_count,
        snapshot=orjson.dumps({"domains": reading.domains, "replies": reading.replies}).decode(),
    )


def _unread(reading: InstanceReading, instance_id: int, at: datetime, state: State) -> Unread:
    code, detail = _condition(reading)
    return Unread(instance_id=instance_id, at=at, state=state.value, condition=code, condition_detail=detail)


def _known(count: int | None) -> int:
    if count is None:
        raise ValueError("A queue that was not read has no reading.")
    return count


def _condition(reading: InstanceReading) -> tuple[str, str]:
    return (reading.condition.code, reading.condition.detail) if reading.condition else ("", "")


def _record_success(host: Host, answer: _Answer, started: float) -> Poll:
    snapshot, header = answer.snapshot, answer.snapshot.header
    truncated = snapshot.truncated
    facts = {
        "last_success_at": None if truncated else answer.asked_at,
        "relayctl_version": header.relayctl,
        "relayctl_sha256": header.sha256,
        "boot_id": header.boot_id,
        "postfix_version": header.postfix,
        "clock_skew_s": snapshot.clock_skew_s,
        "facts": dict(snapshot.host) or None,
        "inventory_at": answer.asked_at if answer.inventory else None,
        "offered_key": "",
    }
    outcome = PollOutcome.INCOMPLETE if truncated else PollOutcome.COMPLETE
    error = "relayctl stopped before it had read every instance." if truncated else ""
    kept = {name: value for name, value in facts.items() if value is not None}
    return _record(host, outcome, error, started, instances=len(snapshot.instances), **kept)


def _record_failure(host: Host, error: RemoteError, started: float) -> Poll:
    outcome = PollOutcome(error.code)
    if isinstance(error, KeyChanged):
        return _record(host, outcome, str(error), started, offered_key=error.offered_key)
    return _record(host, outcome, str(error), started)


def _record_own_failure(host: Host, error: DatabaseError, started: float) -> Poll:
    """Tell that the host answered and the console could not keep it; its figures grow old meanwhile."""
    logger.exception("Storing the poll of %s failed", host.name)
    text = f"The host answered, but the console's database refused it: {error}"
    with suppress(DatabaseError):
        return _record(host, PollOutcome.INCOMPLETE, text, started)
    return Poll(host.name, PollOutcome.INCOMPLETE, text, _since_ms(started), 0)


def _record(
    host: Host, outcome: PollOutcome, error: str, started: float, *, instances: int = 0, **fields: object
) -> Poll:
    """Write how the poll went, unless a newer poll of this host has begun meanwhile."""
    now = timezone.now()
    error = printable(error, 500)
    if host.last_outcome != outcome or host.outcome_since is None:
        fields["outcome_since"] = now
    Host.objects.filter(pk=host.pk, last_attempt_at=host.last_attempt_at).update(
        last_outcome=outcome, last_error=error, last_duration_ms=_since_ms(started), **fields
    )
    return Poll(host.name, outcome, error, _since_ms(started), instances)


def _since_ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
