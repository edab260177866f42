"""Redirects that the newest polls saw, in words: whoever put one on, it stands wherever its instance does."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.urls import reverse

from relays.domain.words import visible
from relays.models import Instance, InstanceRedirect, Operation
from relays.models.flush import FlushState
from relays.models.operation import LIVE
from relays.selectors.abnormal import Abnormal, May
from relays.selectors.figures import clock, moment
from relays.selectors.hosts import status_of
from relays.selectors.readings import NORMAL, instance_urls
from relays.selectors.states import REDIRECTED, TONES

# By a map that is not relayctl's.
_UNKNOWN_PLACE = "an unknown place"


@dataclass(frozen=True, slots=True)
class Redirected:
    """A redirect. figures: where to, by whom and how long; watch_url: of the live flush whose it is."""

    instance: Instance
    tone: str
    figures: str
    problem: str
    moment: str
    watch_url: str


def redirected(now: datetime, instances: QuerySet[Instance] | None = None) -> dict[int, Redirected]:
    """Return the redirects of all instances, or of those, by instance id: one query, two where any is on."""
    rows = InstanceRedirect.objects.select_related("instance__host").order_by("instance__name")
    found = list(rows if instances is None else rows.filter(instance__in=instances))
    if not found:
        return {}
    idents = [each.operation_id for each in found]
    flushes = Operation.objects.filter(pk__in=idents, kind="flush")
    states = {pk: (state, at) for pk, state, at in flushes.values_list("pk", "state", "flush__state")}
    return {each.pk: _redirected(each, *states.get(each.operation_id, ("", "")), now) for each in found}


def shown(state: str, redirect: Redirected | None) -> tuple[str, str]:
    """Return an instance's state and its tone: whose mail goes elsewhere is not ok, and may be worse."""
    if redirect is not None and state in NORMAL:
        return REDIRECTED, redirect.tone
    return state, TONES.get(state, "idle")


def redirect_lines(redirects: Mapping[int, Redirected], may: May) -> list[Abnormal]:
    """Return a line of what is abnormal for each."""
    return [_line(each, may) for each in redirects.values()]


def _redirected(redirect: InstanceRedirect, state: str, at: str | None, now: datetime) -> Redirected:
    operation = redirect.operation_id
    watched = state in LIVE
    ends = clock(redirect.ends_at, now)
    by = f"by flush {operation}" if state else "by no flush of this console"
    by += ", which has ended" if state and not watched else ""
    by += ", paused: its mail waits" if watched and at == FlushState.PAUSED else ""
    over = redirect.ends_at is not None and redirect.ends_at < now
    until = "should have given back at {}, not seen since" if over else "gives back by {}"
    how_long = f", {until.format(ends.text)}" if ends else ""
    return Redirected(
        instance=redirect.instance,
        tone="info" if watched and not redirect.problem and not over else "warn",
        figures=f"to {_UNKNOWN_PLACE if redirect.to == '?' else visible(redirect.to)} {by}{how_long}",
        problem=visible(redirect.problem),
        moment=moment(redirect.seen_at, now, stale=over or not status_of(redirect.instance.host, now).fresh),
        watch_url=reverse("relays:operation", args=[operation]) if watched else "",
    )


def _line(redirect: Redirected, may: May) -> Abnormal:
    instance = redirect.instance
    watch_url = redirect.watch_url if may("relays.view_operation") else ""
    url = instance_urls().format(instance.pk)
    return Abnormal(
        id=f"redirect-{instance.pk}",
        subject=visible(instance.name),
        where=instance.host.name,
        url=url,
        state=REDIRECTED,
        tone=redirect.tone,
        since=None,
        figures=redirect.figures,
        reason="",
        quote=redirect.problem,
        moment=redirect.moment,
        action="Watch" if watch_url else "Instance",
        action_url=watch_url or url,
    )
