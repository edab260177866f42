"""Times beside figures: when each was true, for the eye and for the script that lets it tick."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from relays.domain.words import span


@dataclass(frozen=True, slots=True)
class Moment:
    """When a figure was true: for <time>, for the eye, and whether it is older than it should be."""

    iso: str
    ago: str
    stale: bool = False


def moment(at: datetime | None, now: datetime, *, stale: bool = False) -> Moment | None:
    """Return a time as a page shows an age; None for one that never was."""
    if at is None:
        return None
    return Moment(at.isoformat(timespec="seconds"), f"{span((now - at).total_seconds())} ago", stale)


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day: for <time>, and for the eye."""

    iso: str
    text: str


def clock(at: datetime | None, now: datetime) -> Clock | None:
    """Return a time of day, with its date where that is not today; None for one that never was."""
    if at is None:
        return None
    local, today = timezone.localtime(at), timezone.localtime(now)
    text = f"{local:%H:%M}" if local.date() == today.date() else f"{local:%d %b %H:%M}"
    return Clock(at.isoformat(timespec="seconds"), text)
