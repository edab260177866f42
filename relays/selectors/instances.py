"""Reading instances: table rows for the pages that list some, and everything about one."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from relays.domain.freshness import HostState
from relays.domain.matching import reply_digest
from relays.domain.shares import Outcome, percent
from relays.domain.words import count, size, span, visible
from relays.models import Instance, InstanceState, QueueSnapshot
from relays.selectors.figures import Clock, clock, moment
from relays.selectors.hosts import HostStatus, status_of
from relays.selectors.logs import LogState, log_of
from relays.selectors.outcomes import LATE
from relays.selectors.readings import instance_urls
from relays.selectors.redirects import Redirected, redirected, shown
from relays.selectors.states import INSTANCE_RULES, REMOVED, TONES, words

QUEUES = ("incoming", "active", "deferred", "hold", "corrupt")
# docs/relayctl.md, "What relayctl could not read".
CONDITIONS = {
    "stopped": "Postfix is not running, so its queue could not be asked for.",
    "not_readable": "The user that relayctl runs as may not read it.",
    "not_listed": (
        "An unprivileged postqueue may not name this instance: add its folder to "
        "alternate_config_directories in the main.cf of /etc/postfix; doctor gives the line."
    ),
    "timed_out": "postqueue did not end in time and was stopped.",
    "failed": "postqueue ended with an error.",
    "unparsable": "Some of postqueue's lines were no queue entries; the others are counted.",
    "truncated": "Reading stopped at a limit: the counts are lower bounds.",
    "misconfigured": "postconf cannot read its main.cf.",
}


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One line of a table of instances."""

    name: str
    url: str
    host: str
    provider: str
    address: str
    state: str
    tone: str
    redirect: Redirected | None
    deferred: str
    active: str
    incoming: str
    hold: str
    oldest: str
    moment: str
    hour: "Hour"


@dataclass(frozen=True, slots=True)
class Hour:
    """An instance's outcomes of the last hour, up to the time its log is counted to."""

    sent: str
    deferred: str
    deferral_share: str
    bounced: str
    bounce_share: str
    moment: str


def instance_rows(instances: QuerySet[Instance], now: datetime) -> list[InstanceRow]:
    """Return table rows, in five queries at most."""
    url, redirects = instance_urls(), redirected(now, instances)
    found = instances.select_related("host", "provider", "state").prefetch_related("addresses")
    return [_instance_row(instance, url, redirects.get(instance.pk), now) for instance in found]


def _instance_row(instance: Instance, url: str, redirect: Redirected | None, now: datetime) -> InstanceRow:
    counts = _state(instance)
    state, tone = _chip(instance, counts, status_of(instance.host, now), redirect)
    return InstanceRow(
        name=visible(instance.name),
        url=url.format(instance.pk),
        host=instance.host.name,
        provider=instance.provider.slug if instance.provider else "",
        address=", ".join(address.ip for address in instance.addresses.all()),
        state=state,
        tone=tone,
        redirect=redirect,
        deferred=count(counts.deferred),
        active=count(counts.active),
        incoming=count(counts.incoming),
        hold=count(counts.hold),
        oldest="" if counts.oldest_s is None else span(counts.oldest_s),
        moment=moment(counts.sampled_at, now, stale=not status_of(instance.host, now).fresh),
        hour=_hour(counts, now),
    )


def _hour(counts: InstanceState, now: datetime) -> Hour:
    outcome = last_hour(counts)
    if outcome is None:
        return Hour("?", "?", "", "?", "", "")
    return Hour(
        sent=count(outcome.sent),
        deferred=count(outcome.deferred),
        deferral_share=percent(outcome.deferral_share or None),
        bounced=count(outcome.returned),
        bounce_share=percent(outcome.bounce_share or None),
        moment=moment(
            counts.outcomes_at, now, stale=counts.outcomes_at is None or now - counts.outcomes_at > LATE
        ),
    )


def last_hour(counts: InstanceState) -> Outcome | None:
    """Return an instance's outcomes of the last hour; None where its log was never read."""
    if counts.hour_sent is None:
        return None
    return Outcome(
        sent=counts.hour_sent,
        deferred=counts.hour_deferred or 0,
        suspended=counts.hour_suspended or 0,
        bounced=counts.hour_bounced or 0,
        expired=counts.hour_expired or 0,
        handed_over=counts.hour_handed_over or 0,
    )


def _state(instance: Instance) -> InstanceState:
    """Return the instance's state row; one that was never asked has all figures unknown."""
    try:
        return instance.state
    except InstanceState.DoesNotExist:
        return InstanceState(instance=instance)


def _chip(
    instance: Instance, counts: InstanceState, host: HostStatus, redirect: Redirected | None
) -> tuple[str, str]:
    if instance.removed_at:
        return REMOVED, TONES[REMOVED]
    state, tone = shown(counts.state, redirect)
    return (state, tone) if host.fresh else (f"stale, was {state}", "idle")


@dataclass(frozen=True, slots=True)
class InstancePage:
    """Everything the page of one instance shows."""

    instance: Instance
    name: str
    host: HostStatus
    host_state: str
    state: str
    tone: str
    rule: str
    since: Clock | None
    redirect: Redirected | None
    queues: list[tuple[str, str]]
    oldest: str
    size: str
    moment: str
    condition: str
    condition_detail: str
    replies: list[tuple[str, str, str, str]]
    replies_note: str
    snapshot: str
    ages: "AgeTable | None"
    configuration: list[tuple[str, str]]
    addresses: list[str]
    log: LogState | None


def instance_page(instance: Instance, now: datetime) -> InstancePage:
    """Return what is known of one instance."""
    counts = _state(instance)
    host = status_of(instance.host, now)
    redirect = redirected(now, Instance.objects.filter(pk=instance.pk)).get(instance.pk)
    chip, tone = _chip(instance, counts, host, redirect)
    state, _ = shown(counts.state, redirect)
    stale = not host.fresh
    at, body = newest_snapshot(instance)
    return InstancePage(
        instance=instance,
        name=visible(instance.name),
        host=host,
        host_state="" if host.state in (HostState.FRESH, HostState.NEW) else words(host.state),
        state=chip,
        tone=tone,
        rule=INSTANCE_RULES.get(state, ""),
        since=clock(counts.state_since, now) if state == counts.state else None,
        redirect=redirect,
        queues=[(queue, count(getattr(counts, queue))) for queue in QUEUES],
        oldest=_oldest(counts),
        size=size(counts.size_bytes),
        moment=moment(counts.sampled_at, now, stale=stale),
        condition=CONDITIONS.get(counts.condition, words(counts.condition)),
        condition_detail=visible(counts.condition_detail),
        replies=_replies(body),
        replies_note=_replies_note(body),
        snapshot=moment(at, now, stale=stale),
        ages=age_table(body),
        configuration=_configuration(instance.inventory),
        addresses=[address.ip for address in instance.addresses.all()],
        log=log_of(instance, now),
    )


def _oldest(counts: InstanceState) -> str:
    if counts.oldest_s is not None:
        return span(counts.oldest_s)
    return "?" if counts.deferred is None else "none"


def newest_snapshot(instance: Instance) -> tuple[datetime | None, dict[str, Any]]:
    """Return when the queue was last summarised, and the summary (docs/relayctl.md, `snapshot`)."""
    row = QueueSnapshot.objects.filter(pk=instance.pk).first()
    return (row.at, json.loads(row.body)) if row else (None, {})


AGES = (
    "5 min",
    "10 min",
    "20 min",
    "40 min",
    "80 min",
    "160 min",
    "320 min",
    "640 min",
    "1,280 min",
    "older",
)


@dataclass(frozen=True, slots=True)
class AgeTable:
    """Recipients by domain and age of the message: the busiest domains, and what is beyond them."""

    domains: list[str]
    totals: list[int]
    counts: list[list[int]]
    distinct: int
    beyond: int

    @property
    def rows(self) -> list[tuple[str, int, list[int]]]:
        """The same, line by line."""
        return list(zip(self.domains, self.totals, self.counts, strict=True))


def age_table(body: dict[str, Any], limit: int | None = 20) -> AgeTable | None:
    """Return the queue by domain and age; None where it is not known or nothing is queued."""
    table = body.get("domains")
    if not table or not table["rows"]:
        return None
    rows = table["rows"][:limit]
    return AgeTable(
        domains=[visible(domain) for domain, _, _ in rows],
        totals=[total for _, total, _ in rows],
        counts=[counts for _, _, counts in rows],
        distinct=table["distinct"],
        beyond=table["total"] - sum(total for _, total, _ in rows),
    )


def _replies(body: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the commonest replies: text, count, percent of those looked at, digest."""
    replies = body.get("replies")
    if not replies or not replies["sampled"]:
        return []
    return [
        (visible(text), f"{number:,}", f"{100 * number / replies['sampled']:.0f} %", reply_digest(text))
        for text, number in replies["rows"]
    ]


def _replies_note(body: dict[str, Any]) -> str:
    replies = body.get("replies")
    if not replies or not replies["sampled"]:
        return ""
    looked = f"of {replies['sampled']:,} deferred recipients"
    if replies["sampled"] < replies["total"]:
        looked = f"of {replies['sampled']:,} looked at among {replies['total']:,} deferred recipients"
    return f"{looked}; {replies['other']:,} had other replies" if replies["other"] else looked


def _configuration(inventory: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the inventory as lines: settings first as relayctl orders them, limits after them."""
    left_out = {"kind", "name", "limits", "conditions", "running"}
    lines = [(key, _setting(value)) for key, value in inventory.items() if key not in left_out]
    return lines + [(key, _setting(value)) for key, value in inventory.get("limits", {}).items()]


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return visible(", ".join(map(str, value)))
    if isinstance(value, dict):
        return visible(" ".join(map(str, value.values())))
    return visible("" if value is None else str(value))
