"""Times beside figures: when each was true, for the eye and for the script that lets it tick."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.safestring import SafeString

from relays.domain.words import span


def moment(at: datetime | None, now: datetime, *, stale: bool = False) -> str:
    """Return the age of a figure as a <time> element; "" for one that never was.

    stale: it is older than it should be. Made here and not by a template, because a matrix has hundreds.
    """
    if at is None:
        return ""
    tone = "asof stale" if stale else "asof"
    iso, age = at.isoformat(timespec="seconds"), span((now - at).total_seconds())
    # Nothing of it comes from outside, so nothing needs escaping.
    return SafeString(f'<time class="{tone}" datetime="{iso}" data-age>{age} ago</time>')


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day: for <time>, and for the eye."""

    iso: str
    text: str


def clock(at: datetime | None, now: datetime, *, seconds: bool = False) -> Clock | None:
    """Return a time of day, with its date where that is not today; None for one that never was."""
    if at is None:
        return None
    local, today = timezone.localtime(at), timezone.localtime(now)
    form = "%H:%M:%S" if seconds else "%H:%M"
    if local.date() != today.date():
        form = f"%d %b {form}" if local.year == today.year else f"%d %b %Y {form}"
    text = local.strftime(form)
    return Clock(at.isoformat(timespec="seconds"), text)
