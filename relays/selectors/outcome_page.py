"""What the pages of a provider and of an instance have in common: what became of their mail, and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from relays.domain.shares import Outcome, percent
from relays.domain.words import span
from relays.models import Provider
from relays.selectors.domains import BEFORE_DAYS, DomainRow, domain_rows, domains, rising
from relays.selectors.figures import Clock, clock
from relays.selectors.flush_marks import FlushMark, flush_marks
from relays.selectors.outcomes import (
    Counted,
    Scope,
    Span,
    coarser,
    counted,
    moment_of,
    outcomes_over_time,
    summed,
)
from relays.selectors.ranges import DAY_S, RANGES, Range
from relays.selectors.replies import ReplyRow, replies, reply_rows

REPLIES_SHOWN = 10
DOMAINS_SHOWN = 15
RowT = TypeVar("RowT")

# Beyond the last bound of the delays nothing is known but that.
_OPEN_DELAY_S = 86_400


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A line of the chart's figures as a table."""

    at: Clock | None
    outcome: Outcome
    deferral_share: str
    bounce_share: str
    p50: str
    p95: str


@dataclass(frozen=True, slots=True)
class Shown(Generic[RowT]):
    """The first rows of a table, and whether there are more."""

    rows: list[RowT]
    more: bool


@dataclass(frozen=True, slots=True)
class OutcomePage:
    """Outcomes, replies and recipient domains of a scope within a range."""

    chosen: Range
    ranges: list[Range]
    counted: Counted
    total: SpanRow
    spans: list[SpanRow]
    # Replies and domains are counted by hours or days: since this one began.
    since: Clock | None
    by: str
    replies: Shown[ReplyRow]
    domains: Shown[DomainRow]
    # None: the scope has no long tail to look into.
    rising: Shown[DomainRow] | None
    flushes: list[FlushMark]
    before_days: int = BEFORE_DAYS


def outcome_page(scope: Scope, chosen: Range, now: datetime) -> OutcomePage:
    """Return what a page shows of a scope's outcomes."""
    known = counted(scope, now)
    spans = outcomes_over_time(scope, chosen, now, known.newest)
    span_s = chosen.counts_span_s
    return OutcomePage(
        chosen=chosen,
        ranges=list(RANGES.values()),
        counted=known,
        total=_row(summed(spans), now),
        spans=[_row(span, now) for span in reversed(coarser(spans, chosen.table_s))],
        since=clock(moment_of(chosen.first(now, span_s)), now),
        by="UTC day" if span_s == DAY_S else "hour",
        replies=_shown(reply_rows(replies(scope, chosen, now, REPLIES_SHOWN + 1), now), REPLIES_SHOWN),
        domains=_shown(domain_rows(domains(scope, chosen, now, DOMAINS_SHOWN + 1)), DOMAINS_SHOWN),
        rising=_shown(domain_rows(rising(scope, now)), DOMAINS_SHOWN)
        if isinstance(scope, Provider) and scope.catch_all
        else None,
        flushes=flush_marks(scope, chosen, now)[::-1],
    )


def _shown(rows: list[RowT], limit: int) -> Shown[RowT]:
    return Shown(rows[:limit], len(rows) > limit)


def _row(spanned: Span, now: datetime) -> SpanRow:
    return SpanRow(
        at=clock(moment_of(spanned.ts), now),
        outcome=spanned.outcome,
        deferral_share=percent(spanned.outcome.deferral_share or None),
        bounce_share=percent(spanned.outcome.bounce_share or None),
        p50=delay_words(spanned.delay(0.5)),
        p95=delay_words(spanned.delay(0.95)),
    )


def delay_words(delay_s: float | None) -> str:
    """Return a delay for the eye: with a decimal where it is short; "" for none."""
    if delay_s is None:
        return ""
    if delay_s >= _OPEN_DELAY_S:
        return "over 1 d"
    return f"{delay_s:.1f} s" if delay_s < 10 else span(delay_s)
