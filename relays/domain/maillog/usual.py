"""The expression that takes what is counted out of nearly all lines of a log, and the lines that it leaves.

relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from relays.domain.maillog.lines import telling

# What is counted is told by one expression in all lines that are as nearly all are; the rest is read by the
# expressions of lines.py. Tests hold the two equal. Its first group is the stamp up to the seconds (see
# _Clock), host and program the second, queue id the third.
#
# The groups of a delivery are what the next one can be counted by that has the same: the recipient's domain
# and all up to the relay, and what was said: of mail that was sent dsn and status are enough. The last group
# has what is written otherwise; a line with another word before "=" is only counted as one that was seen.
#
# A class of what may be there is compared in one step a byte, one of what may not in as many as it has, and
# anything but one byte in the fewest: so "host and program" may reach into the next line, and is none then.
_HEAD = rb"\n(.{%d})%b ([^\[]+)\[[0-9]{1,10}\]: ([0-9A-Za-z]{5,31}): "
_TOLD = (
    rb"(?:from=<%(no_quote)b*>, size=([0-9]{1,15}), nrcpt=[0-9]"
    rb"|to=<%(no_at)b*@(%(no_at)b*>, (?:orig_to=<%(no_quote)b*>, )?relay=%(no_blank)b*), "
    rb"(?:conn_use=[0-9]+, )?delay=([0-9]+(?:\.[0-9]+)?), delays=[0-9./]+, "
    rb"dsn=([245]\.[0-9]{1,3}\.[0-9]{1,3}, status=(?:sent(?= \()|(?:deferred|bounced|SOFTBOUNCE) \([^\n]*))"
    rb"([^\n]*)"
    rb"|client=([^\n]+)|((?:from|to|client)=[^\n]*)|[a-z-]+=)"
) % {
    b"no_quote": rb"[\0-\t\x0b-!#-=?-\xff]",  # nor bracket
    b"no_at": rb"[\0-\t\x0b-!#-;=?A-\xff]",  # nor quote, nor bracket
    b"no_blank": rb"[\0-\x08\x0e-\x1f!-+\x2d-\xff]",  # nor comma
}
_ORIGIN = 2


def expression(seconds: int, digits: int, rest: bytes) -> re.Pattern[bytes]:
    """Return the expression for lines whose stamps are alike.

    seconds: their length up to the seconds; digits, rest: of a fraction, 0 for none, and what follows it,
    which are only looked at.
    """
    fraction = rb"[.,][0-9]{%d}%b" % (digits, re.escape(rest)) if digits else b""
    return re.compile(_HEAD % (seconds, fraction) + _TOLD)


def odd_lines(text: bytes, usual: re.Pattern[bytes], numbers: set[int]) -> list[bytes]:
    """Return the lines of these matches, and those that may tell what is counted and have no match."""
    matches = [match for match in enumerate(usual.finditer(text)) if b"\n" not in match[1][_ORIGIN]]
    counted = {match.start() + 1 for nth, match in matches if nth not in numbers}
    return [line for at, line in telling(text) if at not in counted]


def lines(text: bytes) -> Iterator[bytes]:
    """Yield the lines of a text that begins and ends with a line end."""
    start = 1
    while (end := text.find(b"\n", start)) >= 0:
        yield text[start:end]
        start = end + 1


def lines_backwards(text: bytes) -> Iterator[bytes]:
    """Yield them from the last to the first."""
    end = len(text) - 1
    while end > 0:
        start = text.rfind(b"\n", 0, end) + 1
        yield text[start:end]
        end = start - 1
