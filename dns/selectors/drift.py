"""Relay names whose servers do not all serve what was published, for "abnormal now"."""

from datetime import datetime, timedelta

from django.urls import reverse

from dns.models import RelayName
from relays.domain.words import plural, visible
from relays.selectors.abnormal import Abnormal
from relays.selectors.figures import moment

# The check runs every five minutes.
_LATE = timedelta(minutes=11)


def abnormal(now: datetime) -> list[Abnormal]:
    """Return a line for each relay name that a server serves otherwise, or that a server tells nothing of."""
    return [_line(row, now) for row in RelayName.objects.exclude(drift={}).select_related("zone")]


def _line(row: RelayName, now: datetime) -> Abnormal:
    page = reverse("dns:relay-name", args=[row.pk])
    server, wrong = min(row.drift.items())
    late = row.checked_at is None or now - row.checked_at > _LATE
    return Abnormal(
        id=f"drift-{row.pk}",
        subject=row.name,
        where="relay name",
        url=page,
        state="not as published",
        tone="warn",
        since=None,
        figures=f"{len(row.drift)} of {plural(len(row.zone.servers), 'server')}: ",
        reason="",
        quote=visible(f"{server}: {wrong}"),
        moment=moment(row.checked_at, now, stale=late),
        action="Relay name",
        action_url=f"{page}#servers-title",
    )
