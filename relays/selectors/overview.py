"""The fleet matrix: providers, their instances, and how old each figure is.

It reads one row an instance, never samples, in a number of queries that does not depend on the fleet's
size. Only what the page will show is spelled out; the rest is summed. Times, counts and remote text leave
here as text, because formatting them cell by cell in a template costs more than everything else.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from django.db import connection
from django.urls import reverse

from relays.domain.shares import Outcome, percent
from relays.domain.words import count, plural, span
from relays.models import Provider, ProviderHour
from relays.selectors.abnormal import Abnormal, May, abnormal_lines
from relays.selectors.beside import Fact, RowAction, facts_beside, lines_beside, row_actions
from relays.selectors.cells import cell
from relays.selectors.figures import moment
from relays.selectors.hosts import HostStatus, host_statuses
from relays.selectors.markup import Markup
from relays.selectors.operation_lines import operation_lines
from relays.selectors.readings import (
    Reading,
    addresses,
    instance_urls,
    normal,
    provider_urls,
    readings,
    time_of,
)
from relays.selectors.redirects import Redirected, redirect_lines, redirected
from relays.selectors.rows import TREND_HOURS, Folded, Row, Trend, trend_of
from relays.selectors.states import RANK

# A provider's row shows this many instances; more of them fold into one line where nothing is wrong.
CELLS_SHOWN = 7
# However bad the day, the page stays readable: what is beyond these is counted and linked.
TROUBLED_SHOWN = 24
ABNORMAL_SHOWN = 30
# Also while very many operations run.
_SICK_SHOWN_ALWAYS = 10
# How the row of instances without a provider is called in ?open=.
NO_PROVIDER = "none"


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


# Plain SQL, because the ORM would join the tables, and this is asked by every tab every 10 s.
_NEWEST = """
SELECT * FROM
    (SELECT count(*) AS hosts, sum(CASE WHEN enabled THEN 1 END) AS polled, max(last_attempt_at) AS attempt
     FROM relays_host) AS host,
    (SELECT count(*) AS known, count(provider_id) AS matched, max(removed_at) AS removal
     FROM relays_instance) AS instance,
    (SELECT max(asked_at) AS answer, max(outcomes_at) AS counted FROM relays_instancestate) AS state,
    (SELECT count(*) AS live, sum(attempt) AS claims, max(lease_until) AS lease, max(id) AS newest
     FROM relays_operation WHERE state IN ('queued', 'running')) AS operation"""


def version_tag(now: datetime) -> str:
    """Return a text that changes whenever the matrix may look different: one query.

    The minute is part of it, so that what turns late by age alone, or is edited here, shows within one.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST)
        newest = cursor.fetchone()
    minute = int(now.timestamp() // 60)
    return sha256(f"{minute} {newest}".encode()).hexdigest()[:16]


def matrix(
    now: datetime,
    *,
    opened: Collection[str] = (),
    all_abnormal: bool = False,
    may: May = lambda _permission: False,
    tag: str = "",
) -> Matrix:
    """Return the home page's content.

    opened: slugs of providers whose folded instances are to be spelled out; all_abnormal: no cap on the
    abnormal lines; may: what its reader may do and see; tag: what version_tag gave.
    """
    hosts = host_statuses(now)
    stale = {host.id for host in hosts.values() if not host.fresh}
    everything = readings(now)
    present = [reading for reading in everything if reading.removed is None]
    redirects = redirected(now)
    under_way = operation_lines(now) if may("relays.view_operation") else []
    limit = None if all_abnormal else max(ABNORMAL_SHOWN - len(under_way), _SICK_SHOWN_ALWAYS)
    actions = row_actions(may)
    lines, more = abnormal_lines(everything, hosts, actions, now, limit, may)
    read = [reading.sampled for reading in present if reading.sampled]
    return Matrix(
        tag=tag,
        hosts=len(hosts),
        summary=f"{plural(len(present), 'instance')} on {plural(len(hosts), 'host')}",
        newest=moment(time_of(max(read, default=None)), now),
        oldest=moment(time_of(min(read, default=None)), now),
        rows=_rows(present, _Asked(hosts, stale, redirects, opened, now, facts_beside(now), actions)),
        abnormal=[*under_way, *redirect_lines(redirects, may), *lines_beside(now), *lines],
        abnormal_more=more,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every part of the page is made for."""

    hosts: dict[int, HostStatus]
    # Ids of those whose figures are not as young as they should be.
    stale: set[int]
    redirects: Mapping[int, Redirected]
    opened: Collection[str]
    now: datetime
    # What other apps say of instances, by id.
    facts: Mapping[int, Fact]
    # What can be done about instances in one click, by id.
    actions: Mapping[int, Sequence[RowAction]]

    def normal(self, reading: Reading) -> bool:
        """Whether an instance may fold away."""
        return reading.id not in self.redirects and normal(reading, self.stale)


class _Provider(NamedTuple):
    id: int | None
    slug: str
    name: str


def _providers() -> list[_Provider]:
    """Return the providers in the matrix' order; last what stands for none."""
    known = Provider.objects.order_by("position", "slug").values_list("id", "slug", "name")
    return [*map(_Provider._make, known), _Provider(None, NO_PROVIDER, "no provider yet")]


def _rows(present: Iterable[Reading], asked: _Asked) -> list[Row]:
    groups: dict[int | None, list[Reading]] = defaultdict(list)
    for reading in present:
        groups[reading.provider_id].append(reading)
    parted = {
        provider: _parted(groups[provider.id], asked, spelled_out=provider.slug in asked.opened)
        for provider in _providers()
        if provider.id in groups
    }
    address = addresses()
    trends = _trends([provider.id for provider in parted if provider.id], asked.now)
    url = instance_urls()
    rows = []
    for provider, (shown, hidden) in parted.items():
        cells = [
            cell(
                reading,
                asked.hosts[reading.host_id],
                url,
                address.get(reading.id, ""),
                asked.redirects.get(reading.id),
                asked.now,
                asked.facts.get(reading.id),
                asked.actions.get(reading.id, ()),
            )
            for reading in shown
        ]
        rows.append(_row(provider, groups[provider.id], cells, hidden, asked, trends.get(provider.id)))
    return rows


def _parted(group: list[Reading], asked: _Asked, *, spelled_out: bool) -> tuple[list[Reading], list[Reading]]:
    """Return the instances that get a cell, and those that fold away.

    All get one, by name, where they fit; else what is not normal comes first.
    """
    if len(group) <= CELLS_SHOWN:
        return group, []
    quiet: list[Reading] = []
    loud: list[Reading] = []
    for reading in group:
        (quiet if asked.normal(reading) else loud).append(reading)
    loud.sort(key=lambda reading: (RANK.get(reading.state, len(RANK)), -(reading.deferred or 0)))
    ranked = loud + quiet
    shown = len(ranked) if spelled_out else max(CELLS_SHOWN, min(len(loud), TROUBLED_SHOWN))
    return ranked[:shown], ranked[shown:]


def _row(  # noqa: PLR0913, PLR0917 (the parts of one row)
    provider: _Provider,
    group: list[Reading],
    cells: list[Markup],
    hidden: Collection[Reading],
    asked: _Asked,
    trend: Trend | None,
) -> Row:
    slug = provider.slug
    known = [reading for reading in group if reading.deferred is not None]
    unknown = len(group) - len(known)
    hour = _hour(group)
    oldest_read = min((reading.sampled for reading in group if reading.sampled), default=None)
    return Row(
        slug=slug,
        name=provider.name,
        url="" if provider.id is None else provider_urls().format(slug),
        deferred=count(sum(reading.deferred or 0 for reading in known)) if known else "?",
        active=count(sum(reading.active or 0 for reading in known)) if known else "?",
        oldest=_oldest(group),
        hour_sent="" if hour is None else count(hour.sent),
        hour_share="" if hour is None else percent(hour.deferral_share or None),
        unknown=f"and {plural(unknown, 'instance')} unknown" if known and unknown else "",
        moment=moment(
            time_of(oldest_read),
            asked.now,
            stale=any(reading.host_id in asked.stale for reading in group),
        ),
        trend=trend,
        cells=cells,
        folded=_folded(hidden, asked, slug),
        close_url=_open_url({*asked.opened} - {slug}, slug) if slug in asked.opened else "",
    )


def _open_url(opened: Collection[str], slug: str) -> str:
    query = f"?open={','.join(sorted(opened))}" if opened else ""
    return f"{_home_url()}{query}#row-{slug}"


@cache
def _home_url() -> str:
    return reverse("matrix")


def _folded(hidden: Collection[Reading], asked: _Asked, slug: str) -> Folded | None:
    if not hidden:
        return None
    ok = sum(map(asked.normal, hidden))
    parts = ((ok, "more ok"), (len(hidden) - ok, "more not ok"))
    return Folded(
        number=", ".join(f"{number:,} {what}" for number, what in parts if number),
        deferred=count(sum(reading.deferred or 0 for reading in hidden)),
        oldest=_oldest(hidden),
        url=_open_url({*asked.opened, slug}, slug),
    )


def _hour(group: Iterable[Reading]) -> Outcome | None:
    """Return the last hour's outcomes of all instances whose log is read; None where none is."""
    counted = [reading for reading in group if reading.hour_sent is not None]
    if not counted:
        return None
    return Outcome(
        sent=sum(reading.hour_sent or 0 for reading in counted),
        deferred=sum(reading.hour_deferred or 0 for reading in counted),
        bounced=sum(reading.hour_bounced or 0 for reading in counted),
        expired=sum(reading.hour_expired or 0 for reading in counted),
    )


def _oldest(group: Iterable[Reading]) -> str:
    oldest = max((reading.oldest_s for reading in group if reading.oldest_s is not None), default=None)
    return "" if oldest is None else span(oldest)


def _trends(provider_ids: list[int], now: datetime) -> dict[int | None, Trend | None]:
    last = int(now.timestamp()) // 3600 * 3600
    first = last - (TREND_HOURS - 1) * 3600
    hours: dict[int | None, list[int | None]] = defaultdict(lambda: [None] * TREND_HOURS)
    # By provider, as the table's key begins: by time alone, months of hours would be looked through.
    rows = ProviderHour.objects.filter(provider_id__in=provider_ids, ts__range=(first, last))
    for provider_id, ts, deferred in rows.values_list("provider_id", "ts", "deferred"):
        hours[provider_id][(ts - first) // 3600] = deferred
    return {provider_id: trend_of(tuple(by_hour)) for provider_id, by_hour in hours.items()}
