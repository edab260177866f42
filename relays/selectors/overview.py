"""The fleet matrix: providers, their instances, and how old each figure is.

It reads one row an instance, never samples, in a number of queries that does not depend on the fleet's
size. Only what the page will show is spelled out; the rest is summed. Times, counts and remote text leave
here as text, because formatting them cell by cell in a template costs more than everything else.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from django.db.models import Count, F, Max, Min, Q
from django.urls import reverse

from relays.domain.words import count, plural, span
from relays.models import Host, Instance, ProviderHour
from relays.selectors.abnormal import Abnormal, abnormal_lines
from relays.selectors.cells import cell
from relays.selectors.figures import moment
from relays.selectors.hosts import HostStatus, host_statuses
from relays.selectors.readings import NO_DETAILS, Reading, details_of, instance_urls, normal, readings
from relays.selectors.states import RANK

# A provider's row shows this many instances; more of them fold into one line where nothing is wrong.
CELLS_SHOWN = 7
# However bad the day, the page stays readable: what is beyond these is counted and linked.
TROUBLED_SHOWN = 24
ABNORMAL_SHOWN = 30
TREND_HOURS = 24
# How the row of instances without a provider is called in ?open=.
NO_PROVIDER = "none"


@dataclass(frozen=True, slots=True)
class Folded:
    """The instances of a provider that are not spelled out, and where they are."""

    number: str
    deferred: str
    oldest: str
    url: str


@dataclass(frozen=True, slots=True)
class Trend:
    """Deferred over the last day as an SVG path in a box of 240 by 28."""

    path: str
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """One provider: totals over its instances, the trend, and its cells."""

    slug: str
    name: str
    url: str
    deferred: str
    active: str
    oldest: str
    unknown: str
    moment: str
    trend: Trend | None
    # One <li> for each instance that is spelled out.
    cells: list[str]
    folded: Folded | None
    # Where the row is folded again, when it was opened.
    close_url: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Everything the home page shows."""

    tag: str
    hosts: int
    summary: str
    newest: str
    oldest: str
    rows: list[Row]
    abnormal: list[Abnormal]
    abnormal_more: int


def version_tag(now: datetime) -> str:
    """Return a text that changes whenever the matrix may look different: one query.

    The minute is part of it, so that what turns late by age alone, or is edited here, shows within one.
    """
    newest = Host.objects.aggregate(
        hosts=Count("pk", distinct=True),
        polled=Count("pk", distinct=True, filter=Q(enabled=True)),
        newest_attempt=Max("last_attempt_at"),
        newest_answer=Max("instances__state__asked_at"),
        known=Count("instances"),
        matched=Count("instances__provider"),
        newest_removal=Max("instances__removed_at"),
    )
    minute = int(now.timestamp() // 60)
    return sha256(f"{minute} {newest}".encode()).hexdigest()[:16]


def matrix(
    now: datetime, *, opened: Collection[str] = (), all_abnormal: bool = False, tag: str = ""
) -> Matrix:
    """Return the home page's content.

    opened: slugs of providers whose folded instances are to be spelled out; all_abnormal: no cap on the
    abnormal lines; tag: what version_tag gave.
    """
    hosts = host_statuses(now)
    everything = readings(now)
    present = [reading for reading in everything if reading.removed_at is None]
    lines, more = abnormal_lines(everything, hosts, now, None if all_abnormal else ABNORMAL_SHOWN)
    providers = _providers()
    return Matrix(
        tag=tag,
        hosts=len(hosts),
        summary=f"{plural(len(present), 'instance')} on {plural(len(hosts), 'host')}",
        newest=moment(max(filter(None, (provider.newest for provider in providers)), default=None), now),
        oldest=moment(min(filter(None, (provider.oldest for provider in providers)), default=None), now),
        rows=_rows(present, providers, _Asked(hosts, opened, now)),
        abnormal=lines,
        abnormal_more=more,
    )


class _Provider(NamedTuple):
    id: int | None
    slug: str
    name: str
    # Of its instances' newest figures; None: none of them was ever read.
    oldest: datetime | None
    newest: datetime | None


def _providers() -> list[_Provider]:
    """Return the providers that have instances, in the matrix' order; last what stands for none."""
    rows = (
        Instance.objects.filter(removed_at=None)
        .order_by(F("provider__position").asc(nulls_last=True), "provider__slug")
        .values_list("provider_id", "provider__slug", "provider__name")
        .annotate(oldest=Min("state__sampled_at"), newest=Max("state__sampled_at"))
    )
    return [
        _Provider(pk, slug or NO_PROVIDER, name or "no provider yet", oldest, newest)
        for pk, slug, name, oldest, newest in rows
    ]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every part of the page is made for."""

    hosts: dict[int, HostStatus]
    opened: Collection[str]
    now: datetime


def _rows(present: Iterable[Reading], providers: list[_Provider], asked: _Asked) -> list[Row]:
    groups: dict[int | None, list[Reading]] = defaultdict(list)
    for reading in present:
        groups[reading.provider_id].append(reading)
    filled = [provider for provider in providers if provider.id in groups]
    parted = {
        provider: _parted(groups[provider.id], asked.hosts, spelled_out=provider.slug in asked.opened)
        for provider in filled
    }
    details = details_of([reading.id for shown, _ in parted.values() for reading in shown])
    trends = _trends(asked.now)
    url = instance_urls()
    rows = []
    for provider, (shown, hidden) in parted.items():
        cells = [
            cell(reading, asked.hosts[reading.host_id], url, details.get(reading.id, NO_DETAILS), asked.now)
            for reading in shown
        ]
        rows.append(_row(provider, groups[provider.id], cells, hidden, asked, trends.get(provider.id)))
    return rows


def _parted(
    group: list[Reading], hosts: dict[int, HostStatus], *, spelled_out: bool
) -> tuple[list[Reading], list[Reading]]:
    """Return the instances that get a cell, and those that fold away.

    All get one, by name, where they fit; else what is not normal comes first.
    """
    if len(group) <= CELLS_SHOWN:
        return group, []
    quiet: list[Reading] = []
    loud: list[Reading] = []
    for reading in group:
        (quiet if normal(reading, hosts[reading.host_id]) else loud).append(reading)
    loud.sort(key=lambda reading: (RANK.get(reading.state, len(RANK)), -(reading.deferred or 0)))
    ranked = loud + quiet
    shown = len(ranked) if spelled_out else max(CELLS_SHOWN, min(len(loud), TROUBLED_SHOWN))
    return ranked[:shown], ranked[shown:]


def _row(  # noqa: PLR0913, PLR0917 (the parts of one row)
    provider: _Provider,
    group: list[Reading],
    cells: list[str],
    hidden: Collection[Reading],
    asked: _Asked,
    trend: Trend | None,
) -> Row:
    slug = provider.slug
    known = [reading for reading in group if reading.deferred is not None]
    unknown = len(group) - len(known)
    return Row(
        slug=slug,
        name=provider.name,
        url="" if slug == NO_PROVIDER else reverse("relays:provider", args=[slug]),
        deferred=count(sum(reading.deferred or 0 for reading in known)) if known else "?",
        active=count(sum(reading.active or 0 for reading in known)) if known else "?",
        oldest=_oldest(group),
        unknown=f"and {plural(unknown, 'instance')} unknown" if known and unknown else "",
        moment=moment(
            provider.oldest,
            asked.now,
            stale=any(not asked.hosts[reading.host_id].fresh for reading in group),
        ),
        trend=trend,
        cells=cells,
        folded=_folded(hidden, asked.hosts, _open_url({*asked.opened, slug}, slug)),
        close_url=_open_url({*asked.opened} - {slug}, slug) if slug in asked.opened else "",
    )


def _open_url(opened: Collection[str], slug: str) -> str:
    query = f"?open={','.join(sorted(opened))}" if opened else ""
    return f"{reverse('matrix')}{query}#row-{slug}"


def _folded(hidden: Collection[Reading], hosts: dict[int, HostStatus], url: str) -> Folded | None:
    if not hidden:
        return None
    ok = sum(normal(reading, hosts[reading.host_id]) for reading in hidden)
    parts = ((ok, "more ok"), (len(hidden) - ok, "more not ok"))
    return Folded(
        number=", ".join(f"{number:,} {what}" for number, what in parts if number),
        deferred=count(sum(reading.deferred or 0 for reading in hidden)),
        oldest=_oldest(hidden),
        url=url,
    )


def _oldest(group: Iterable[Reading]) -> str:
    oldest = max((reading.oldest_s for reading in group if reading.oldest_s is not None), default=None)
    return "" if oldest is None else span(oldest)


def _trends(now: datetime) -> dict[int | None, Trend]:
    first = int(now.timestamp()) // 3600 * 3600 - (TREND_HOURS - 1) * 3600
    hours: dict[int | None, dict[int, int]] = defaultdict(dict)
    rows = ProviderHour.objects.filter(ts__gte=first).values_list("provider_id", "ts", "deferred")
    for provider_id, ts, deferred in rows:
        hours[provider_id][(ts - first) // 3600] = deferred
    return {provider_id: trend_of(by_hour) for provider_id, by_hour in hours.items()}


def trend_of(by_hour: dict[int, int]) -> Trend:
    """Return the sparkline of hourly counts, keyed 0 (oldest) to 23; an hour without data is a gap."""
    most = max(by_hour.values(), default=0)
    path, pen_down = [], False
    for hour in range(TREND_HOURS):
        if hour not in by_hour:
            pen_down = False
            continue
        x, y = hour * 240 / (TREND_HOURS - 1), 26 - 24 * by_hour[hour] / (most or 1)
        # A lone hour between two gaps is a dash, not nothing.
        path.append(f"L{x:.0f} {y:.1f}" if pen_down else f"M{x:.0f} {y:.1f}h2")
        pen_down = True
    return Trend("".join(path), f"deferred by hour over a day: at most {most:,}")
