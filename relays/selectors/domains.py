"""Recipient domains: where mail fails, and where it began to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, Model, QuerySet, Sum

from relays.domain.maillog.tables import OTHER
from relays.domain.shares import Outcome, percent, rose
from relays.domain.words import visible
from relays.models import (
    DomainOutcomesDay,
    DomainOutcomesHour,
    FleetDomainOutcomesDay,
    FleetDomainOutcomesHour,
    Provider,
    RecipientDomain,
)
from relays.selectors.outcomes import Scope
from relays.selectors.ranges import DAY_S, HOUR_S, RANGES, Range

_INSTANCE_TABLES: dict[int, type[Model]] = {HOUR_S: DomainOutcomesHour, DAY_S: DomainOutcomesDay}
_FLEET_TABLES: dict[int, type[Model]] = {HOUR_S: FleetDomainOutcomesHour, DAY_S: FleetDomainOutcomesDay}
_FAILURES = F("deferred") + F("bounced") + F("expired") + F("softbounce")

BEFORE_DAYS = 7


@dataclass(frozen=True, slots=True)
class Domain:
    """One recipient domain within a range."""

    id: int
    name: str
    mx_host: str
    provider: str
    outcome: Outcome
    # The same of the days before; only where domains are compared.
    before: Outcome | None = None


def domains(scope: Scope, chosen: Range, now: datetime, limit: int | None = None) -> list[Domain]:
    """Return recipient domains by failures, most first, at most `limit`."""
    span_s = chosen.counts_span_s
    found = _counts(scope, span_s, chosen.first(now, span_s)).annotate(failures=Sum(_FAILURES))
    rows = found.order_by("-failures", "-sent__sum", "domain_id")[:limit]
    return _named((row["domain_id"], _outcome(row), None) for row in rows)


def rising(provider: Provider, now: datetime) -> list[Domain]:
    """Return domains whose failure share rose, by failures: the last 24 hours against 7 days before them.

    The days are whole UTC ones, and end before the 24 hours begin; shares.rose has the rule.
    """
    day = RANGES["24h"]
    since = day.first(now, HOUR_S)
    before_until = since // DAY_S * DAY_S
    recent = {
        row["domain_id"]: _outcome(row)
        for row in _counts(provider, HOUR_S, since).annotate(failures=Sum(_FAILURES)).filter(failures__gt=0)
    }
    before = {
        row["domain_id"]: _outcome(row)
        for row in _counts(provider, DAY_S, before_until - BEFORE_DAYS * DAY_S, before_until)
    }
    risen = [
        (domain_id, outcome, before[domain_id])
        for domain_id, outcome in recent.items()
        if domain_id in before and rose(outcome, before[domain_id])
    ]
    risen.sort(key=lambda item: -item[1].failures)
    return _named(risen)


def _counts(scope: Scope, span_s: int, first: int, end: int | None = None) -> QuerySet[Any, Any]:
    where: dict[str, Any] = {"ts__gte": first}
    if end is not None:
        where["ts__lt"] = end
    of_provider = isinstance(scope, Provider)
    where["domain__provider" if of_provider else "instance"] = scope
    table = (_FLEET_TABLES if of_provider else _INSTANCE_TABLES)[span_s]
    rows = table._default_manager.filter(**where).order_by().values("domain_id")
    counts: QuerySet[Any, Any] = rows.annotate(*(Sum(name) for name in Outcome._fields))
    return counts


def _outcome(row: dict[str, int]) -> Outcome:
    return Outcome._make(row[f"{name}__sum"] for name in Outcome._fields)


def _named(rows: Iterable[tuple[int, Outcome, Outcome | None]]) -> list[Domain]:
    """Give counts the names of their domains: read for these alone, grouping by text is slow."""
    found = list(rows)
    known = RecipientDomain.objects.select_related("provider").in_bulk([row[0] for row in found])
    return [
        Domain(
            id=domain_id,
            name=visible(known[domain_id].name),
            mx_host=visible(known[domain_id].mx_host),
            provider=known[domain_id].provider.slug,
            outcome=outcome,
            before=before,
        )
        for domain_id, outcome, before in found
    ]


@dataclass(frozen=True, slots=True)
class DomainRow:
    """A domain as a page shows it."""

    domain: Domain
    beyond: bool
    sent: str
    deferred: str
    bounced: str
    expired: str
    share: str
    share_before: str


def domain_rows(found: list[Domain]) -> list[DomainRow]:
    """Return domains as table rows."""
    return [
        DomainRow(
            domain=domain,
            beyond=domain.name == OTHER,
            sent=f"{domain.outcome.sent:,}",
            deferred=f"{domain.outcome.deferred:,}",
            bounced=f"{domain.outcome.bounced + domain.outcome.softbounce:,}",
            expired=f"{domain.outcome.expired:,}",
            share=percent(domain.outcome.failure_share),
            share_before=percent(domain.before.failure_share if domain.before else None),
        )
        for domain in found
    ]
