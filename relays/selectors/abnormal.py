"""What is abnormal now: one line each, worst first, with its figures and the page that deals with it."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from django.db.models import Exists
from django.urls import reverse

from relays.domain.freshness import HostState
from relays.domain.health import State
from relays.domain.reasons import RuleTable
from relays.domain.words import plural, span, visible
from relays.models import InstanceState, ReasonRule
from relays.selectors.beside import RowAction
from relays.selectors.figures import Clock, clock, moment
from relays.selectors.hosts import HostStatus
from relays.selectors.markup import joined, markup
from relays.selectors.readings import Reading, instance_urls, time_of
from relays.selectors.states import RANK, REMOVED, TONES, words
from relays.services.reasons import rule_table, shipped_table

# Tells whether the reader has a permission: a button leads only where its reader may go.
May = Callable[[str], bool]

# Postfix, smtp_chat.c and smtp_connect.c: "host NAME[IP] said: WORDS (in reply to COMMAND command)".
_INTRODUCED = re.compile(
    r"(?: said| refused to talk to me): (?P<words>.+?)(?: \(in reply to [^)]*\))?\Z", re.DOTALL
)

_LINE = (
    '<li class="tone-{tone}" id="abnormal-{id}">'
    '<span class="who"><a href="{url}" data-row>{subject}</a> <span class="asof">{where}</span></span>'
    '<span class="state">{state}</span><span class="what">{since}{figures}{reason}{quote}</span>{age}'
    '<span class="acts"><a class="btn btn-sm" href="{action_url}">{action}'
    '<span class="visually-hidden"> of {subject}</span></a>{beside}</span></li>'
)
_SINCE = 'since <time datetime="{iso}">{text}</time>: '
_REASON = ": <b>{title}</b>"
_QUOTE = ' <q class="quote" title="{words}">{words}</q>'
_NEVER = markup('<span class="asof">never</span>')


@dataclass(frozen=True, slots=True)
class Abnormal:
    """One line: what, since when, the figures and the words, and where to deal with it."""

    id: str
    subject: str
    where: str
    url: str
    state: str
    tone: str
    since: Clock | None
    figures: str
    # What the commonest reply means, and its words.
    reason: str
    quote: str
    moment: str
    action: str
    action_url: str
    # What else can be done, in one click.
    beside: Sequence[RowAction] = ()

    def with_beside(self, actions: Sequence[RowAction]) -> "Abnormal":
        """Return the line with what else can be done."""
        return replace(self, beside=actions)

    @property
    def html(self) -> str:
        """The line as a list item."""
        since = self.since
        return markup(
            _LINE,
            tone=self.tone,
            id=self.id,
            url=self.url,
            subject=self.subject,
            where=self.where,
            state=self.state,
            since=markup(_SINCE, iso=since.iso, text=since.text) if since else "",
            figures=self.figures,
            reason=markup(_REASON, title=self.reason) if self.reason and self.quote else "",
            quote=markup(_QUOTE, words=self.quote) if self.quote else "",
            beside=joined(one.html(self.subject) for one in self.beside),
            age=self.moment or _NEVER,
            action=self.action,
            action_url=self.action_url,
        )


def troubled(
    everything: Iterable[Reading], hosts: dict[int, HostStatus]
) -> tuple[list[HostStatus], list[Reading]]:
    """Return the hosts that give no fresh figures, and the instances that are not ok."""
    instances = [
        reading
        for reading in everything
        # Its host's own line says why nothing is known.
        if reading.state in RANK and (reading.state != State.UNKNOWN or hosts[reading.host_id].fresh)
    ]
    return [host for host in hosts.values() if host.state in RANK], instances


def abnormal_lines(  # noqa: PLR0913, PLR0917 (all that a line is made of)
    everything: list[Reading],
    hosts: dict[int, HostStatus],
    actions: Mapping[int, Sequence[RowAction]],
    now: datetime,
    limit: int | None,
    may: May,
) -> tuple[list[Abnormal], int]:
    """Return the worst lines, at most `limit` of them, and how many there are beyond.

    actions: what can be done about instances in one click, by id.
    """
    sick_hosts, sick = troubled(everything, hosts)
    ranked: list[tuple[int, str, HostStatus | Reading]] = [
        *((RANK[host.state], host.name, host) for host in sick_hosts),
        *((RANK[reading.state], reading.name, reading) for reading in sick),
    ]
    ranked.sort(key=lambda item: item[:2])
    shown = [thing for _, _, thing in ranked[:limit]]
    details = _details([thing.id for thing in shown if isinstance(thing, Reading)])
    by_host: dict[int, list[Reading]] = defaultdict(list)
    for reading in everything:
        by_host[reading.host_id].append(reading)
    reasons = _reasons(details)
    lines = [
        _host_line(thing, by_host[thing.id], now, may)
        if isinstance(thing, HostStatus)
        else _instance_line(
            thing, hosts[thing.host_id], details.get(thing.id), reasons.get(thing.id, ""), now
        ).with_beside(actions.get(thing.id, ()))
        for thing in shown
    ]
    return lines, len(ranked) - len(shown)


class _Detail(NamedTuple):
    """What only an instance that has a line needs."""

    state_since: datetime | None
    condition: str
    condition_detail: str
    top_reply: str
    top_reply_count: int
    provider: str | None
    # Whether there are rules of the administrator's own to read: mostly there are none.
    own_rules: bool


def _details(instance_ids: list[int]) -> dict[int, _Detail]:
    rows = InstanceState.objects.filter(pk__in=instance_ids).values_list(
        "pk",
        "state_since",
        "condition",
        "condition_detail",
        "top_reply",
        "top_reply_count",
        "instance__provider__slug",
        Exists(ReasonRule.objects.filter(enabled=True)),
    )
    return {pk: _Detail._make(rest) for pk, *rest in rows}


def _host_line(host: HostStatus, instances: list[Reading], now: datetime, may: May) -> Abnormal:
    url = reverse("relays:host", args=[host.name])
    action, action_url = "Host", url
    if host.state == HostState.KEY_CHANGED and may("relays.change_host"):
        action, action_url = "Compare keys", reverse("relays:host-key", args=[host.name])
    elif may("relays.examine_host"):
        action, action_url = "Doctor", f"{url}#doctor"
    return Abnormal(
        id=f"host-{host.id}",
        subject=host.name,
        where="host",
        url=url,
        state=words(host.state),
        tone=TONES[host.state],
        since=clock(host.last_success_at if host.state == HostState.LATE else host.since, now),
        figures=_last_seen(instances),
        reason="",
        quote=visible(host.error),
        moment=moment(host.last_success_at, now, stale=True),
        action=action,
        action_url=action_url,
    )


def _last_seen(instances: list[Reading]) -> str:
    if not instances:
        return "no instance known yet"
    deferred = sum(reading.deferred or 0 for reading in instances)
    return f"{plural(len(instances), 'instance')}, {deferred:,} deferred when last seen"


def _instance_line(
    reading: Reading, host: HostStatus, detail: _Detail | None, reason: str, now: datetime
) -> Abnormal:
    current = host.fresh or reading.state == REMOVED
    url = instance_urls().format(reading.id)
    return Abnormal(
        id=f"instance-{reading.id}",
        subject=visible(reading.name),
        where=host.name,
        url=url,
        state=reading.state if current else f"stale, was {reading.state}",
        tone=TONES[reading.state] if current else "idle",
        since=clock(time_of(reading.removed) or (detail.state_since if detail else None), now),
        figures=_figures(reading),
        reason=reason,
        quote=_quote(reading.state, detail) if detail else "",
        moment=moment(time_of(reading.sampled), now, stale=not host.fresh),
        action="Instance" if reading.state == REMOVED else "Queue",
        action_url=url,
    )


def _figures(reading: Reading) -> str:
    if reading.deferred is None:
        return "its queue was never read"
    oldest = "" if reading.oldest_s is None else f", oldest {span(reading.oldest_s)}"
    seen = " when last seen" if reading.state in (State.STOPPED, State.UNKNOWN, REMOVED) else ""
    return f"{reading.deferred:,} deferred{oldest}{seen}"


def _reasons(details: dict[int, _Detail]) -> dict[int, str]:
    """Return what the commonest reply to each instance means, in words."""
    own_rules = any(detail.own_rules for detail in details.values())
    table = rule_table() if own_rules else shipped_table()
    return {
        pk: _reason(table, detail.top_reply, detail.provider or "")
        for pk, detail in details.items()
        if detail.top_reply
    }


# Thirty texts take longer than the rest of the page, and are the same at the next poll.
@lru_cache(maxsize=1024)
def _reason(table: RuleTable, reply: str, provider: str) -> str:
    return table.reasons[table.classify(reply, provider=provider).reason].title


def _quote(state: str, detail: _Detail) -> str:
    """Return the words that explain a state: the commonest reply, or why the queue could not be read."""
    if state in (State.STOPPED, State.UNKNOWN):
        return visible(detail.condition_detail) or words(detail.condition)
    if not detail.top_reply:
        return ""
    return f"{detail.top_reply_count:,} \N{MULTIPLICATION SIGN} {visible(_said(detail.top_reply))}"


def _said(reply: str) -> str:
    """Return the remote server's own words where Postfix introduces them: one line has no room for more."""
    match = _INTRODUCED.search(reply)
    return match["words"] if match else reply
