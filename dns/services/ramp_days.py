"""The dates of a ramp and their figures: when each begins, what was meant for it, what the logs counted."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F, Min, Model, QuerySet, Sum

from dns.domain.ramp import Evidence, Guardrails
from dns.domain.ramp_days import SPACING, Days, Decided, LocalDays, ShortDays, Span
from dns.domain.ramp_weights import largest_share, smallest_share
from dns.domain.schedule import Binding, Step, bind, from_json
from dns.domain.weights import Rendering, to_shares
from dns.models import DecidedBy, PublishedState, Ramp, RampChange, RampDay, RampDecision, RelayName
from relays.models import Address, Instance, LogSource, Outcomes, OutcomesDay, Sample
from relays.selectors.logs import log_source

BUCKET_S = 300
DAY_S = 24 * 3600
VOLUME_DAYS = 30
# What is looked at for an emergency.
EMERGENCY_WITHIN = timedelta(minutes=15)
# A host whose clock was compared longer ago says nothing about it now.
_SKEW_HOLDS = timedelta(minutes=10)
# Of a log: after these, lines may be missing from what was counted.
_GAPS = ("lost", "not_decompressed", "cursor_stuck", "unknown_instance")


class Counted(NamedTuple):
    """Recipients of a span of time. deferred: tries that reached the provider."""

    sent: int = 0
    deferred: int = 0
    bounced: int = 0
    throttled: int = 0
    blocked: int = 0


def days_of(ramp: Ramp) -> Days:
    """Return how time is cut for a ramp: calendar dates of its zone; minutes in a rehearsal."""
    if settings.RAMP_DAY_S:
        begins = int(ramp.created_at.timestamp()) // BUCKET_S * BUCKET_S
        length = timedelta(seconds=settings.RAMP_DAY_S)
        return ShortDays(datetime.fromtimestamp(begins, UTC), ramp.start_date, length)
    return LocalDays(ZoneInfo(ramp.time_zone), ramp.opens, ramp.closes)


def spacing() -> timedelta:
    """Return how far apart two decisions are at least."""
    return timedelta(seconds=settings.RAMP_DAY_S * 3 // 4) if settings.RAMP_DAY_S else SPACING


def steps_of(ramp: Ramp) -> tuple[Step, ...]:
    """Return the schedule."""
    return from_json(ramp.steps)


def rails_of(ramp: Ramp) -> Guardrails:
    """Return the guard rails that hold for it."""
    return Guardrails.from_json(ramp.rails)


def last_decided(ramp: Ramp) -> Decided | None:
    """Return for which date the schedule, or a person in its place, decided last, and when."""
    newest = ramp.decisions.filter(decided_by__in=[DecidedBy.RULE, DecidedBy.PERSON]).first()
    return Decided(newest.local_date, newest.at) if newest else None


def volume(relay_name: RelayName, now: datetime) -> int:
    """Return how many recipients a day the relay name's addresses sent to, over its last 30 whole UTC days.

    Days before the first that is known do not count. Where no whole day is known, the last 24 hours tell; 0
    where they know nothing either.
    """
    today = int(now.timestamp()) // DAY_S * DAY_S
    bucket = int(now.timestamp()) // BUCKET_S * BUCKET_S
    return _a_day(OutcomesDay, relay_name, today - VOLUME_DAYS * DAY_S, today) or _a_day(
        Outcomes, relay_name, bucket - DAY_S, bucket
    )


def _a_day(model: type[Model], relay_name: RelayName, since: int, until: int) -> int:
    """Return what was sent between the first row after `since` and `until`, as for a day of a ramp."""
    rows = _of_name(model._default_manager.filter(ts__gte=since, ts__lt=until), relay_name)
    found = rows.aggregate(sent=Sum("sent"), first=Min("ts"))
    if found["first"] is None:
        return 0
    length_s: int = settings.RAMP_DAY_S or DAY_S
    return int(found["sent"] * length_s / (until - found["first"]))


def binding(ramp: Ramp, step: int, volume: int) -> Binding:
    """Return what a step of a ramp comes to at a volume (recipients a day)."""
    rendering, addresses = Rendering(ramp.relay_name.rendering), _addresses(ramp)
    smallest = smallest_share(rendering, addresses)
    largest = max(smallest, min(ramp.largest, largest_share(rendering, addresses)))
    return bind(steps_of(ramp)[step], volume=volume, smallest=smallest, largest=largest)


def _addresses(ramp: Ramp) -> int:
    """Return how many addresses carry the name once this one does."""
    # Of all, so that whoever asks for every step of a ramp can have them read once.
    others = [one for one in ramp.relay_name.weights.all() if one.is_on and one.address != ramp.address]
    return len(others) + 1


def instance_of(ramp: Ramp) -> Instance | None:
    """Return the instance that sends from the ramp's address."""
    found = Address.objects.filter(ip=ramp.address, instance__removed_at=None)
    row = found.select_related("instance__host", "instance__state").first()
    return row.instance if row else None


def refresh_day(ramp: Ramp, day: date, now: datetime) -> RampDay:
    """Bring the figures of a date up to now, and return them."""
    span = days_of(ramp).span(day)
    row, _ = RampDay.objects.get_or_create(
        ramp=ramp, date=day, defaults={"begins_at": span.start, "ends_at": span.end}
    )
    instance = instance_of(ramp)
    fields: dict[str, object] = {}
    if instance is not None:
        fields |= counted(instance, ramp.relay_name, span)._asdict()
        fields |= {"counted_to": _counted_to(instance), "has_gap": row.has_gap or _has_gap(instance)}
    buckets = _totals(ramp.relay_name, span)
    fields |= {"total": sum(buckets.values()), "meant": _meant(ramp, row, buckets)}
    if days_of(ramp).date_of(now) == day:
        fields |= _planned(ramp, now)
    RampDay.objects.filter(pk=row.pk).update(**fields)
    row.refresh_from_db()
    return row


def _planned(ramp: Ramp, now: datetime) -> dict[str, object]:
    """Return what the step that holds now means for the date."""
    if ramp.step is None:
        return {"step": None, "share": None, "cap": None, "expected": 0}
    bound = binding(ramp, ramp.step, volume(ramp.relay_name, now))
    return {"step": ramp.step, "share": bound.share, "cap": bound.cap, "expected": bound.expected}


def counted(instance: Instance, relay_name: RelayName, span: Span) -> Counted:
    """Return what an instance's log counted in a span, of the relay name's provider."""
    rows = Outcomes.objects.filter(instance=instance, **_within(span), **_provider(relay_name))
    sums = rows.aggregate(
        sent=Sum("sent"),
        # "Delivery temporarily suspended" was no try: the provider never heard of it.
        deferred=Sum(F("deferred") - F("suspended")),
        bounced=Sum(F("bounced") + F("expired")),
        throttled=Sum("throttled"),
        blocked=Sum("blocked"),
    )
    return Counted(**{name: max(0, number or 0) for name, number in sums.items()})


def evidence(ramp: Ramp, day: RampDay, now: datetime) -> Evidence | None:
    """Return what is known of a date, as its figures were refreshed; None where nothing is."""
    instance = instance_of(ramp)
    if instance is None or day.counted_to is None:
        return None
    span = Span(day.begins_at, day.ends_at)
    return Evidence(
        day.date,
        0.0 if day.has_gap else _coverage(span, day.counted_to),
        sent=day.sent,
        deferred=day.deferred,
        bounced=day.bounced,
        throttled=day.throttled,
        blocked=day.blocked,
        meant=day.meant,
        oldest_s=_oldest_s(instance, span),
        clock_skew_s=_skew(instance, now),
    )


def _coverage(span: Span, counted_to: datetime) -> float:
    """Return the part of a date that the log is counted over. A date that the zone skipped has all of it."""
    whole = span.end - span.start
    if not whole:
        return 1.0
    return min(1.0, max(0.0, (counted_to - span.start) / whole))


def _counted_to(instance: Instance) -> datetime | None:
    state = getattr(instance, "state", None)
    return state.outcomes_at if state else None


def _has_gap(instance: Instance) -> bool:
    found = LogSource.objects.filter(host_id=instance.host_id, source=log_source(instance))
    return found.filter(condition__in=_GAPS).exists()


def _oldest_s(instance: Instance, span: Span) -> int | None:
    """Return how long the oldest message had waited when the date ended."""
    end = int(span.end.timestamp())
    rows = Sample.objects.filter(instance=instance, ts__gte=end - 3600, ts__lt=end)
    newest = rows.order_by("-ts").first()
    return newest.oldest_s if newest else None


def _skew(instance: Instance, now: datetime) -> float | None:
    host = instance.host
    is_fresh = host.last_success_at is not None and abs(now - host.last_success_at) < _SKEW_HOLDS
    return host.clock_skew_s if is_fresh else None


def _totals(relay_name: RelayName, span: Span) -> dict[int, int]:
    """Return what all addresses of a relay name sent, by the start of the bucket."""
    rows = _of_name(Outcomes.objects.all(), relay_name).filter(**_within(span))
    return dict(rows.order_by().values_list("ts").annotate(number=Sum("sent")))


def _meant(ramp: Ramp, day: RampDay, buckets: dict[int, int]) -> int:
    """Return what the published shares gave the address of a date's mail, at most its cap.

    By what was published when, not by the step: before the decision of a date the step before it held.
    """
    states = _states(ramp.relay_name, day)
    begins = [int(state.effective_at.timestamp()) for state in states]
    shares = [float(to_shares(state.parts).get(ramp.address, 0)) for state in states]
    meant = 0.0
    for ts, sent in buckets.items():
        place = bisect_right(begins, ts) - 1
        meant += sent * shares[place] if place >= 0 else 0.0
    return min(round(meant), day.cap) if day.cap is not None else round(meant)


def _states(relay_name: RelayName, day: RampDay) -> Sequence[PublishedState]:
    """Return what was published over a date, oldest first, with what held when it began."""
    rows = relay_name.published.order_by("effective_at", "pk")
    held = rows.filter(effective_at__lte=day.begins_at).last()
    within = rows.filter(effective_at__gt=day.begins_at, effective_at__lt=day.ends_at)
    return [*([held] if held else []), *within]


def _of_name(rows: QuerySet[Any], relay_name: RelayName) -> QuerySet[Any]:
    """Narrow outcomes to the instances that send from a relay name's addresses, and its provider."""
    owners = Address.objects.filter(
        ip__in=relay_name.weights.values("address"), instance__removed_at=None
    ).values("instance")
    return rows.filter(instance__in=owners, **_provider(relay_name))


def _provider(relay_name: RelayName) -> dict[str, int]:
    return {"provider": relay_name.provider_id} if relay_name.provider_id else {}


def _within(span: Span) -> dict[str, int]:
    """Return a span as buckets: those that begin in it."""
    return {"ts__gte": int(span.start.timestamp()), "ts__lt": int(span.end.timestamp())}


def bad_in_a_row(decisions: Iterable[RampDecision]) -> int:
    """Return how many of the newest decisions held for bad signs, without another between them."""
    number = 0
    for decision in decisions:
        if not decision.is_bad:
            break
        number += 1
    return number


def idle_in_a_row(decisions: Iterable[RampDecision]) -> int:
    """Return on how many dates in a row nothing was sent, since it last stepped back."""
    number = 0
    for decision in decisions:
        seen = decision.evidence
        if decision.change == RampChange.STEP_BACK or seen is None or seen["sent"]:
            break
        number += 1
    return number
