"""Redirects that are on now, as lines of what is abnormal: whoever put one on, it has to end."""

from datetime import datetime

from django.urls import reverse

from relays.domain.words import visible
from relays.models import InstanceRedirect, Operation
from relays.selectors.abnormal import Abnormal
from relays.selectors.figures import clock, moment
from relays.selectors.readings import instance_urls


def redirect_lines(now: datetime) -> list[Abnormal]:
    """Return a line for each redirect that the newest polls saw: one query, two where there is any."""
    found = list(InstanceRedirect.objects.select_related("instance__host").order_by("instance__name"))
    if not found:
        return []
    idents = [int(each.op_id) for each in found if each.op_id.isdecimal()]
    known = set(Operation.objects.filter(pk__in=idents).values_list("pk", flat=True))
    return [_line(each, known, now) for each in found]


def _line(redirect: InstanceRedirect, operations: set[int], now: datetime) -> Abnormal:
    instance = redirect.instance
    url = instance_urls().format(instance.pk)
    operation = int(redirect.op_id) if redirect.op_id.isdecimal() else 0
    watched = operation in operations
    ends = clock(redirect.ends_at, now)
    by = f"by flush {operation}" if watched else "by no flush of this console"
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
