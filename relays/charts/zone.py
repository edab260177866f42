"""The time zone of a chart's axis: plotly knows none, and shows every time as UTC."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils import timezone


class Zone(NamedTuple):
    """What a chart adds to UTC, the same all along its axis, and what it calls that."""

    offset_s: int
    title: str

    def axis(self, ts: int) -> int:
        """Return where a time (seconds since 1970) lies: in milliseconds that plotly takes for UTC."""
        return (ts + self.offset_s) * 1000


UTC_ZONE = Zone(0, "UTC")


def zone_at(now: datetime) -> Zone:
    """Return the pages' time zone as it is now.

    Its offset of now stands for the whole axis: one that changed within it would draw an hour of autumn over
    another, and their bars would add up (docs/decisions/0042).
    """
    offset = timezone.localtime(now).utcoffset() or timedelta()
    name, title = timezone.get_current_timezone_name(), offset_name(offset)
    return Zone(round(offset.total_seconds()), title if name == "UTC" else f"{name}, {title}")


def offset_name(offset: timedelta) -> str:
    """Return an offset from UTC for the eye: `UTC+05:30`."""
    minutes = round(offset.total_seconds() / 60)
    if not minutes:
        return "UTC"
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
