"""Redirects that are on now, as lines of what is abnormal: whoever put one on, it has to end."""

from datetime import datetime

from django.urls import reverse

from relays.domain.words import visible
from relays.models import InstanceRedirect, Operation
from relays.models.operation import LIVE
from relays.selectors.abnormal import Abnormal
from relays.selectors.figures import clock, moment
from relays.selectors.readings import instance_urls

# As far as the database's numbers reach.
_MAX_DIGITS = 18


def redirect_lines(now: datetime) -> list[Abnormal]:
    """Return a line for each redirect that the newest polls saw: one query, two where there is any."""
    found = list(InstanceRedirect.objects.select_related("instance__host").order_by("instance__name"))
    if not found:
        return []
    idents = [_operation(each) for each in found]
    states = dict(Operation.objects.filter(pk__in=idents, kind="flush").values_list("pk", "state"))
    return [_line(each, states.get(_operation(each), ""), now) for each in found]


def _operation(redirect: InstanceRedirect) -> int:
    """Return whose it is, as the host tells; 0 for what no number of an operation can be."""
    told = redirect.op_id
    return int(told) if told.isascii() and told.isdecimal() and len(told) <= _MAX_DIGITS else 0


def _line(redirect: InstanceRedirect, state: str, now: datetime) -> Abnormal:
    instance = redirect.instance
    url = instance_urls().format(instance.pk)
    operation = _operation(redirect)
    watched = state in LIVE
    ends = clock(redirect.ends_at, now)
    by = f"by flush {operation}" if state else "by no flush of this console"
    by += ", which has ended" if state and not watched else ""
    until = f", gives back by {ends.text}" if ends else ""
    return Abnormal(
        id=f"redirect-{instance.pk}",
        subject=visible(instance.name),
        where=instance.host.name,
        url=url,
        state="redirected",
        tone="info" if watched and not redirect.problem else "warn",
        since=None,
        figures=f"to {visible(redirect.to)} {by}{until}",
        reason="",
        quote=visible(redirect.problem),
        moment=moment(redirect.seen_at, now),
        action="Watch" if watched else "Instance",
        action_url=reverse("relays:operation", args=[operation]) if watched else url,
    )
