"""Every table of the pages as plain values, for spreadsheets and programs.

A table is made of rows; values are numbers, text and times, None where something is not known. Text from
relays is made visible here: who reads a file has no page to escape it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from relays.domain.shares import Outcome
from relays.domain.words import visible
from relays.models import Instance, Provider
from relays.selectors.domains import Domain, domains, rising
from relays.selectors.instances import AGES, age_table, newest_snapshot
from relays.selectors.outcomes import Scope, counted, instances_in, moment_of, outcomes_over_time
from relays.selectors.ranges import Range
from relays.selectors.replies import replies

Value = str | int | float | bool | datetime | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its name, what it is of (part of a file's name), its columns and rows."""

    name: str
    of: str
    title: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Value]]


_COUNTS = Outcome._fields
_HOUR = ("sent", "deferred", "suspended", "bounced", "expired", "handed_over")
_INSTANCE = {
    "instance": "name",
    "host": "host__name",
    "provider": "provider__slug",
    "state": "state__state",
    **{queue: f"state__{queue}" for queue in ("incoming", "active", "deferred", "hold", "corrupt")},
    "oldest_s": "state__oldest_s",
    "sampled_at": "state__sampled_at",
    **{f"hour_{name}": f"state__hour_{name}" for name in (*_HOUR, "accepted")},
    "outcomes_at": "state__outcomes_at",
}


def outcomes_table(scope: Scope, chosen: Range, now: datetime) -> Table:
    """Outcomes by span, with p50 and p95 of the delays in seconds."""
    spans = outcomes_over_time(scope, chosen, now, counted(scope, now).newest)
    return Table(
        "outcomes",
        f"{_of(scope)}-{chosen.key}",
        f"Outcomes of {_of(scope)}, {chosen.label}",
        ("from", *_COUNTS, "delay_p50_s", "delay_p95_s"),
        (
            (moment_of(span.ts), *span.outcome, _rounded(span.delay(0.5)), _rounded(span.delay(0.95)))
            for span in spans
        ),
    )


def replies_table(scope: Scope, chosen: Range, now: datetime) -> Table:
    """Reply clusters by count."""
    return Table(
        "replies",
        f"{_of(scope)}-{chosen.key}",
        f"Replies to mail of {_of(scope)}, {chosen.label}",
        (
            *("count", "deferred", "suspended", "bounced", "softbounce", "first_seen", "last_seen"),
            *("reason", "hard", "fault", "rule", "code", "text", "sample", "digest"),
        ),
        (
            (
                *(reply.count, reply.deferred, reply.suspended, reply.bounced, reply.softbounce),
                *(reply.first, reply.last, reply.reason, reply.hard, reply.fault, reply.rule),
                *(reply.code, reply.text, reply.sample, reply.digest),
            )
            for reply in replies(scope, chosen, now)
        ),
    )


def domains_table(scope: Scope, chosen: Range, now: datetime) -> Table:
    """Recipient domains by failures."""
    return Table(
        "domains",
        f"{_of(scope)}-{chosen.key}",
        f"Recipient domains of {_of(scope)}, {chosen.label}",
        ("domain", "provider", *_COUNTS, "failure_share", "mx_host"),
        (_domain(domain) for domain in domains(scope, chosen, now)),
    )


def rising_table(provider: Provider, chosen: Range, now: datetime) -> Table:
    """Domains whose failure share rose. The spans compared are always the same: chosen is not used."""
    return Table(
        "rising",
        _of(provider),
        f"Domains of {_of(provider)} whose failure share rose",
        ("domain", "provider", *_COUNTS, "failure_share", "mx_host", "failure_share_before"),
        (
            (*_domain(domain), _rounded(domain.before.failure_share if domain.before else None))
            for domain in rising(provider, now)
        ),
    )


def instances_table(provider: Provider, chosen: Range, now: datetime) -> Table:
    """The newest figures of a provider's instances."""
    return _instances(_of(provider), f"Instances of {_of(provider)}", instances_in(provider))


def matrix_table() -> Table:
    """The newest figures of all present instances."""
    return _instances("fleet", "Instances of the fleet", Instance.objects.filter(removed_at=None))


def queue_table(instance: Instance, chosen: Range, now: datetime) -> Table:
    """The queue by recipient domain and age of the message, as it was last summarised."""
    at, body = newest_snapshot(instance)
    table = age_table(body, limit=None)
    return Table(
        "queue",
        _of(instance),
        f"Queue of {_of(instance)} by domain and age",
        ("domain", "recipients", *(age.replace(",", "") for age in AGES), "as_of"),
        ((domain, total, *counts, at) for domain, total, counts in (table.rows if table else [])),
    )


PROVIDER_TABLES: dict[str, Callable[[Provider, Range, datetime], Table]] = {
    "outcomes": outcomes_table,
    "replies": replies_table,
    "domains": domains_table,
    "rising": rising_table,
    "instances": instances_table,
}
INSTANCE_TABLES: dict[str, Callable[[Instance, Range, datetime], Table]] = {
    "outcomes": outcomes_table,
    "replies": replies_table,
    "domains": domains_table,
    "queue": queue_table,
}


def _instances(of: str, title: str, found: QuerySet[Instance]) -> Table:
    rows = found.order_by("provider__position", "name", "host__name").values_list(*_INSTANCE.values())
    return Table("instances", of, title, tuple(_INSTANCE), ((visible(row[0]), *row[1:]) for row in rows))


def _domain(domain: Domain) -> tuple[Value, ...]:
    share = _rounded(domain.outcome.failure_share)
    return (domain.name, domain.provider, *domain.outcome, share, domain.mx_host)


def _of(scope: Scope) -> str:
    return scope.slug if isinstance(scope, Provider) else visible(scope.name)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
