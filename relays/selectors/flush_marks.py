"""The flushes of a scope as marks on its charts, and as the lines beside them that lead to their pages."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import Q
from django.urls import reverse

from relays.domain.flush import Account
from relays.domain.words import count, plural, visible
from relays.models import Flush, Instance
from relays.selectors.figures import Clock, clock
from relays.selectors.outcomes import Scope
from relays.selectors.ranges import Range

# More than a chart has room for.
_SHOWN = 50


@dataclass(frozen=True, slots=True)
class FlushMark:
    """A flush from or to a scope.

    began, ended: of its redirect, in seconds since 1970; ended is None while it may be on.
    """

    id: int
    began: int
    ended: int | None
    at: Clock | None
    # "msn-a to msn-b", what was moved, and its page.
    words: str
    figures: str
    url: str


def flush_marks(scope: Scope, chosen: Range, now: datetime) -> list[FlushMark]:
    """Return the flushes from or to a scope that were on within a range, oldest first: one query."""
    ours = Q(source=scope) | Q(target=scope)
    if not isinstance(scope, Instance):
        ours = Q(source__provider=scope) | Q(target__provider=scope)
    first = datetime.fromtimestamp(chosen.first(now, chosen.span_s), UTC)
    within = Q(given_back_at=None) | Q(given_back_at__gte=first)
    found = (
        Flush.objects.filter(ours & within, redirected_at__isnull=False).distinct().order_by("-pk")[:_SHOWN]
    )
    return [_mark(flush, now) for flush in reversed(found)]


def marks_version(marks: Iterable[FlushMark]) -> str:
    """Return a text that is another whenever what the chart shows of its marks is."""
    return " ".join(f"{mark.id}:{mark.began}:{mark.ended}" for mark in marks)


def _mark(flush: Flush, now: datetime) -> FlushMark:
    account = Account.from_json(flush.account)
    began = flush.redirected_at or now
    return FlushMark(
        id=flush.pk,
        began=int(began.timestamp()),
        ended=int(flush.given_back_at.timestamp()) if flush.given_back_at else None,
        at=clock(began, now),
        words=f"{visible(flush.source_name)} to {visible(flush.target_name)}",
        figures=f"{count(account.moved)} of {plural(account.selected, 'recipient')} moved",
        url=reverse("relays:operation", args=[flush.pk]),
    )
