"""Outcomes over time: of a provider through all instances, or of one instance for all providers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from django.db.models import Count, F, Max, Min, Model, QuerySet, Sum

from relays.domain.delays import quantile
from relays.domain.maillog.tables import DELAY_BOUNDS
from relays.domain.shares import Outcome
from relays.domain.words import plural
from relays.models import (
    Instance,
    Outcomes,
    OutcomesDay,
    OutcomesHour,
    Provider,
    ProviderOutcomesDay,
    ProviderOutcomesHour,
)
from relays.selectors.figures import Clock, clock, moment
from relays.selectors.ranges import DAY_S, HOUR_S, Range

Scope = Provider | Instance

_BINS = tuple(f"delay_{number:02}" for number in range(len(DELAY_BOUNDS) + 1))
_SUMS = [Sum(name) for name in (*Outcome._fields, *_BINS)]
_INSTANCE_TABLES: dict[int, type[Model]] = {300: Outcomes, HOUR_S: OutcomesHour, DAY_S: OutcomesDay}
_PROVIDER_TABLES: dict[int, type[Model]] = {
    300: Outcomes,
    HOUR_S: ProviderOutcomesHour,
    DAY_S: ProviderOutcomesDay,
}

# Logs are read with each poll: one that is counted no further than this is behind.
LATE = timedelta(minutes=5)


class Span(NamedTuple):
    """A span of time: its start in seconds since 1970, outcomes, and delays by the bins of DELAY_BOUNDS."""

    ts: int
    outcome: Outcome
    delays: tuple[int, ...]

    def delay(self, share: float) -> float | None:
        """Return the seconds within which `share` of what was sent had been delivered."""
        return quantile(self.delays, DELAY_BOUNDS, share)


NOTHING = (0,) * len(_BINS)


@dataclass(frozen=True, slots=True)
class Counted:
    """How far the logs behind some figures are counted: until then nothing is missing."""

    until: Clock | None
    moment: str
    # What is not as it should be: logs far behind the others, instances without a log.
    note: str
    # The newest of the logs: a span after it is unknown and not empty.
    newest: datetime | None
    # The oldest: up to then all of them are counted.
    oldest: datetime | None = None


def in_scope(scope: Scope) -> dict[str, Scope]:
    """Return the filter by which counts of a scope are found."""
    return {"provider" if isinstance(scope, Provider) else "instance": scope}


def instances_in(scope: Scope) -> QuerySet[Instance]:
    """Return the present instances that a scope's mail is expected to go through."""
    if isinstance(scope, Instance):
        return Instance.objects.filter(pk=scope.pk)
    return Instance.objects.filter(provider=scope, removed_at=None)


def outcomes_over_time(scope: Scope, chosen: Range, now: datetime, until: datetime | None) -> list[Span]:
    """Return the range's spans, oldest first, without gaps from the first that has something up to `until`.

    A span without a row had no mail, where its log is counted: it is zero. What comes after `until` is not
    known yet, and is left out.
    """
    tables = _PROVIDER_TABLES if isinstance(scope, Provider) else _INSTANCE_TABLES
    span_s = chosen.span_s
    table = tables[max(table_s for table_s in tables if table_s <= span_s)]
    rows = (
        table._default_manager.filter(ts__gte=chosen.first(now, span_s), **in_scope(scope))
        .annotate(start=F("ts") - F("ts") % span_s)
        .order_by("start")
        .values_list("start")
        .annotate(*_SUMS)
    )
    width = 1 + len(Outcome._fields)
    spans = [Span(row[0], Outcome._make(row[1:width]), row[width:]) for row in rows]
    return _without_gaps(spans, chosen.span_s, until)


def _without_gaps(spans: list[Span], span_s: int, until: datetime | None) -> list[Span]:
    if not spans:
        return []
    end = max(spans[-1].ts, int(until.timestamp()) // span_s * span_s if until else 0)
    known = {span.ts: span for span in spans}
    return [known.get(ts) or Span(ts, Outcome(), NOTHING) for ts in range(spans[0].ts, end + 1, span_s)]


def summed(spans: Iterable[Span]) -> Span:
    """Return all spans as one that begins with the first."""
    everything = list(spans)
    if not everything:
        return Span(0, Outcome(), NOTHING)
    return Span(
        everything[0].ts,
        Outcome._make(map(sum, zip(*(span.outcome for span in everything), strict=True))),
        tuple(map(sum, zip(*(span.delays for span in everything), strict=True))),
    )


def coarser(spans: Sequence[Span], span_s: int) -> list[Span]:
    """Return the same counts in wider spans."""
    groups: dict[int, list[Span]] = {}
    for span in spans:
        groups.setdefault(span.ts // span_s * span_s, []).append(span)
    return [summed(group)._replace(ts=ts) for ts, group in groups.items()]


def counted(scope: Scope, now: datetime) -> Counted:
    """Return how far a scope's logs are counted, in one query."""
    return counted_of(instances_in(scope), now)


def counted_of(instances: QuerySet[Instance], now: datetime) -> Counted:
    """Return how far the logs of these instances are counted, in one query."""
    found = instances.aggregate(
        oldest=Min("state__outcomes_at"),
        newest=Max("state__outcomes_at"),
        read=Count("state__outcomes_at"),
        present=Count("pk"),
    )
    oldest, newest = found["oldest"], found["newest"]
    notes = []
    if newest and newest - oldest > LATE:
        ahead = clock(newest, now, seconds=True)
        notes.append(f"the newest log up to {ahead.text if ahead else ''}")
    if unread := found["present"] - found["read"]:
        notes.append(f"no log of {plural(unread, 'instance')} was read yet")
    return Counted(
        until=clock(oldest, now, seconds=True),
        moment=moment(oldest, now, stale=oldest is not None and now - oldest > LATE),
        note="; ".join(notes),
        newest=newest,
        oldest=oldest,
    )


def version_tag(scope: Scope, chosen: Range, now: datetime, *, every_s: int = 60) -> str:
    """Return a text that changes whenever what is shown of a scope may look different: one query.

    It also changes every so many seconds, so that what does so by age alone, or is edited here, shows then.
    """
    found = instances_in(scope).aggregate(
        asked=Max("state__asked_at"), counted=Max("state__outcomes_at"), present=Count("pk")
    )
    step = int(now.timestamp() // every_s)
    return sha256(f"{step} {chosen.key} {found}".encode()).hexdigest()[:16]


def moment_of(ts: int) -> datetime:
    """Return the start of a span as a time."""
    return datetime.fromtimestamp(ts, UTC)
