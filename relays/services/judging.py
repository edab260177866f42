"""The states of instances: the published rule (domain/health.py) over what is known of them at a moment."""

from collections.abc import Iterable
from datetime import datetime
from functools import cached_property, lru_cache

from relays.domain.freshness import fresh_for
from relays.domain.health import MIN_DEFERRED, REFUSALS, LastHour, QueueFigures, State, judge
from relays.domain.reading import InstanceReading
from relays.domain.reasons import RuleTable
from relays.models import InstanceState
from relays.services.reasons import rule_table

_HOUR = ("sent", "deferred", "bounced", "expired", "handed_over", "accepted", "throttled", "blocked")


class Judge:
    """Tells the states of instances by their queues and by the last hour of their logs, as stored now."""

    def __init__(self, instance_ids: Iterable[int], *, at: datetime, interval_s: float) -> None:
        """Take the last hours that reach to `at`, as figures of a host that is polled so often do."""
        states = InstanceState.objects.filter(instance_id__in=list(instance_ids)).order_by()
        rows = states.values_list(
            "instance_id", "instance__provider__slug", "outcomes_at", *(f"hour_{name}" for name in _HOUR)
        )
        self._providers: dict[int, str] = {}
        self._hours: dict[int, LastHour] = {}
        for pk, slug, outcomes_at, *counts in rows:
            self._providers[pk] = slug or ""
            if outcomes_at is not None and at - outcomes_at <= fresh_for(interval_s):
                # A figure that came to the database later than the others is null until its log is read.
                self._hours[pk] = LastHour(*(count or 0 for count in counts))

    def state_of(self, reading: InstanceReading, instance_id: int) -> State:
        """Return the state of an instance as its host told of it."""
        if reading.running is False:
            return State.STOPPED
        if not reading.was_read or reading.deferred is None:
            return State.UNKNOWN
        figures = self._figures(reading, reading.deferred, self._providers.get(instance_id, ""))
        return judge(figures, self._hours.get(instance_id))

    def _figures(self, reading: InstanceReading, deferred: int, provider: str) -> QueueFigures:
        # What so few say does not matter, and most instances have no more.
        replies = (reading.replies if deferred >= MIN_DEFERRED else None) or {"rows": [], "sampled": 0}
        refused = dict.fromkeys((State.THROTTLED, State.BLOCKED), 0)
        for text, count in replies["rows"]:
            state = _refusal(self._rules, text, provider)
            if state is not None:
                refused[state] += count
        return QueueFigures(
            deferred, reading.oldest_s, replies["sampled"], refused[State.THROTTLED], refused[State.BLOCKED]
        )

    @cached_property
    def _rules(self) -> RuleTable:
        return rule_table()


@lru_cache(maxsize=8192)
def _refusal(rules: RuleTable, text: str, provider: str) -> State | None:
    """Return what a reply says of an address: remembered, because the same come from poll to poll."""
    return REFUSALS.get(rules.classify(text, provider=provider).reason)
