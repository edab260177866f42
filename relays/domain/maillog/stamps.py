"""The times of log lines: month and day without a year, or a date with its zone.

relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from typing import TypeVar

# RFC 3164 ("Nov  2 14:46"), the same with a year after the day or before the month, RFC 3339 and its kin.
# FreeBSD's syslogd may add facility and level, others the priority that stood in the packet.
_STAMP = re.compile(
    rb"(?:<\d{1,3}>)?"
    rb"([A-S][a-z]{2} [ \d]?\d (?:\d{4} )?\d\d:\d\d"
    rb"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d"
    rb"|\d{4} [A-S][a-z]{2} [ \d]?\d \d\d:\d\d)"
    rb":(\d\d)(?:[.,]\d{1,9})?(Z| ?[+-]\d\d:?\d\d)?(?: <[\w.]{1,19}>)?\Z"
)
# A stamp with a fraction of a second: what stands before, its digits, and what stands behind.
FRACTION = re.compile(rb"(.*:\d\d)[.,](\d{1,9})(.*)\Z")

_MONTHS = {
    month: number
    for number, month in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_DIGITS = re.compile(rb"\d+")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_REMEMBERED = 4096
# A host's clock may run ahead of ours, and a log is read while it is written.
_AHEAD = timedelta(days=1)
# As far as the database's integers reach.
_LATEST = 2**31 - 60
# Between two 29ths of February lie up to eight years.
_YEARS_BACK = 9


class Memo(dict[_Key, _Value]):
    """Values made of their keys when they are first asked for; at so many of them it is begun anew."""

    def __init__(self, make: Callable[[_Key], _Value], limit: int) -> None:
        super().__init__()
        self._make = make
        self._limit = limit

    def __missing__(self, key: _Key) -> _Value:
        if len(self) >= self._limit:
            self.clear()
        value = self[key] = self._make(key)
        return value


class Stamps(Memo[bytes, "int | None"]):
    """When a line was written, by its stamp: seconds since 1970; None where there was no such time.

    now: seconds since 1970, when the log was read or, for a file of old, last written: a stamp without a year
    is of the latest year in which it isn't over a day later. zone: of stamps that tell none; None is the
    local time of the machine that this runs on, summer time and all.
    """

    def __init__(self, *, now: float, zone: tzinfo | None) -> None:
        super().__init__(self._time, _REMEMBERED)
        self._latest = datetime.fromtimestamp(now, zone).replace(tzinfo=None) + _AHEAD
        self._zone = zone
        self._minutes = Memo(self._parse, _REMEMBERED)

    def _time(self, stamp: bytes) -> int | None:
        match = _STAMP.match(stamp)
        if match is None:
            return None
        minute, second, zone = match.groups(b"")
        start = self._minutes[minute, zone]
        return None if start is None else start + int(second)

    def _parse(self, key: tuple[bytes, bytes]) -> int | None:
        minute, zone = key
        try:
            moment = self._moment(minute)
            start = int(moment.replace(tzinfo=_offset(zone) if zone else self._zone).timestamp())
            return start if 0 <= start < _LATEST else None
        except (ValueError, OverflowError, KeyError, OSError):
            return None

    def _moment(self, minute: bytes) -> datetime:
        numbers = [int(digits) for digits in _DIGITS.findall(minute)]
        if minute[4:5] == b"-":
            return _naive(*numbers)
        month = _MONTHS[minute[5:8] if minute[:1].isdigit() else minute[:3]]
        if len(numbers) == 3:
            return self._in_latest_year(month, *numbers)
        # No year of a log is below 32, so it doesn't matter on which side of the day it stands.
        day, year = sorted(numbers[:2])
        return _naive(year, month, day, *numbers[2:])

    def _in_latest_year(self, month: int, *rest: int) -> datetime:
        for year in range(self._latest.year, self._latest.year - _YEARS_BACK, -1):
            try:
                moment = _naive(year, month, *rest)
            except ValueError:
                continue  # no 29th of February
            if moment <= self._latest:
                return moment
        raise ValueError("no such day")


def _naive(year: int, month: int, day: int, hour: int, minute: int) -> datetime:
    return datetime(year, month, day, hour, minute)  # noqa: DTZ001 (its zone is not known yet)


def _offset(zone: bytes) -> timezone:
    digits = zone.translate(None, b"Z:+- ")
    offset = timedelta(hours=int(digits[:2] or 0), minutes=int(digits[2:] or 0))
    return timezone(-offset if b"-" in zone else offset)
