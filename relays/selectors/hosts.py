"""Reading hosts: how far the figures of each can be trusted."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, Sum

from relays.domain.freshness import HostState, host_state
from relays.domain.words import count, plural, size, span, visible
from relays.models import Host
from relays.selectors.figures import Clock, clock, moment
from relays.selectors.states import HOST_RULES, OFF, TONES, words

# Beyond this the host's log times and the console's disagree enough to mislead.
SKEW_WARNED_S = 30


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What a page needs of one host to say how far its figures can be trusted."""

    id: int
    name: str
    state: str
    # Whether its figures are as young as they should be.
    fresh: bool
    last_success_at: datetime | None
    since: datetime | None
    error: str


_STATUS_FIELDS = (
    "id",
    "name",
    "enabled",
    "last_outcome",
    "last_success_at",
    "outcome_since",
    "last_error",
    "poll_interval_s",
)


def host_statuses(now: datetime) -> dict[int, HostStatus]:
    """Return the status of every host by its id, in one query."""
    rows = Host.objects.values_list(*_STATUS_FIELDS, named=True)
    return {row.id: status_of(row, now) for row in rows}


def status_of(host: Any, now: datetime) -> HostStatus:
    """Return the status of one host: a Host, or a row of its _STATUS_FIELDS."""
    interval_s = host.poll_interval_s or settings.POLL_INTERVAL_S
    state = host_state(host.last_outcome, host.last_success_at, now, interval_s) if host.enabled else OFF
    return HostStatus(
        id=host.id,
        name=host.name,
        state=str(state),
        fresh=state == HostState.FRESH,
        last_success_at=host.last_success_at,
        since=host.outcome_since,
        error=host.last_error,
    )


@dataclass(frozen=True, slots=True)
class HostRow:
    """One line of the table of hosts."""

    name: str
    address: str
    state: str
    tone: str
    error: str
    instances: str
    deferred: str
    load: str
    version: str
    moment: str


def host_rows(now: datetime) -> list[HostRow]:
    """Return all hosts by name, in one query."""
    present = Q(instances__removed_at=None)
    hosts = Host.objects.annotate(
        instance_count=Count("instances", filter=present),
        deferred=Sum("instances__state__deferred", filter=present),
    ).order_by("name")
    return [_host_row(host, status_of(host, now), now) for host in hosts]


def _host_row(host: Any, status: HostStatus, now: datetime) -> HostRow:
    return HostRow(
        name=host.name,
        address=_address(host),
        state=words(status.state),
        tone=TONES[status.state],
        error="" if status.fresh else visible(host.last_error),
        instances=count(host.instance_count),
        deferred=count(host.deferred),
        load=_load(host.facts),
        version=visible(host.relayctl_version),
        moment=moment(host.last_success_at, now, stale=not status.fresh),
    )


def _address(host: Host) -> str:
    return host.ssh_address if host.ssh_port == 22 else f"{host.ssh_address}, port {host.ssh_port}"


def _load(facts: dict[str, Any]) -> str:
    return " ".join(f"{value:.2f}" for value in facts.get("load") or [])


@dataclass(frozen=True, slots=True)
class Spool:
    """Room on one spool file system."""

    path: str
    free: str
    total: str
    percent_free: str
    inodes_free: str
    short: bool


@dataclass(frozen=True, slots=True)
class HostPage:
    """Everything the page of one host shows."""

    host: Host
    status: HostStatus
    state: str
    tone: str
    rule: str
    since: Clock | None
    error: str
    success: str
    attempt: str
    facts: list[tuple[str, str]]
    skew_warning: str
    spools: list[Spool]


def host_page(host: Host, now: datetime) -> HostPage:
    """Return what is known of one host."""
    status = status_of(host, now)
    skew = host.clock_skew_s
    return HostPage(
        host=host,
        status=status,
        state=words(status.state),
        tone=TONES[status.state],
        rule=HOST_RULES[status.state],
        since=clock(host.last_success_at if status.state == HostState.LATE else host.outcome_since, now),
        error="" if status.fresh else visible(host.last_error),
        success=moment(host.last_success_at, now, stale=not status.fresh),
        attempt=moment(host.last_attempt_at, now),
        facts=[(what, value) for what, value in _facts(host, now) if value],
        skew_warning=(
            f"The host's clock is {span(abs(skew))} {'ahead of' if skew > 0 else 'behind'} the console's."
            if skew is not None and abs(skew) > SKEW_WARNED_S
            else ""
        ),
        spools=[_spool(spool) for spool in host.facts.get("spools", [])],
    )


def _facts(host: Host, now: datetime) -> list[tuple[str, str]]:
    cpus = host.facts.get("cpus")
    inventory = clock(host.inventory_at, now)
    return [
        ("Reached at", f"{host.ssh_user}@{_address(host)}"),
        ("Polled", f"every {span(host.poll_interval_s or settings.POLL_INTERVAL_S)}"),
        ("Newest poll took", "" if host.last_duration_ms is None else f"{host.last_duration_ms:,} ms"),
        ("Load", f"{_load(host.facts)} on {plural(cpus, 'CPU')}" if cpus else _load(host.facts)),
        ("Clock", "" if host.clock_skew_s is None else f"{host.clock_skew_s:+.1f} s from the console's"),
        ("Postfix", visible(host.postfix_version)),
        ("relayctl", visible(host.relayctl_version)),
        ("Boot", visible(host.boot_id)),
        ("Inventory", f"read {inventory.text}" if inventory else ""),
    ]


def _spool(spool: dict[str, Any]) -> Spool:
    total, free = spool.get("size_bytes"), spool.get("free_bytes")
    share = 100 * free / total if total and free is not None else None
    return Spool(
        path=visible(str(spool.get("path", ""))),
        free=size(free),
        total=size(total),
        percent_free="?" if share is None else f"{share:.0f} %",
        inodes_free=count(spool.get("inodes_free")),
        short=share is not None and share < 10,
    )
