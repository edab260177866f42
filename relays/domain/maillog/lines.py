"""One line of a Postfix log, read whole.

A line is Postfix's where its program is written NAME/PROGRAM[PID], which nobody else does: NAME is
syslog_name, of any shape, with more slashes where a service of master.cf has a name of its own. What a line
tells is taken from where Postfix writes it and nowhere else: the text of a remote server, in parentheses at
its end, may say anything. Addresses and replies are hostile; no line raises.

relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import compress
from typing import NamedTuple

from relays.domain.maillog.stamps import Stamps

# Far longer than Postfix and the syslog daemons write one.
MAX_LINE = 1 << 20
# What a crash or another system leaves in a log: Postfix writes neither.
LITTER = b"\0\r"

_PROGRAM = rb"\w[\w.+@-]{0,99}(?:/[\w.+@-]{1,99}){1,9}"
PROGRAM = re.compile(_PROGRAM + rb"\Z")
# Stamp, host, program, PID, message; Solaris puts a tag before the message.
LINE = re.compile(
    rb"(.{8,60}?) ([^ ]{1,255}) (" + _PROGRAM + rb")\[(\d{1,10})\]: (?:\[ID \d+ \w+\.\w+\] )?(.*)\Z"
)
# A word before a colon is a queue id where it has a digit, as each has, or where what follows needs one.
MESSAGE = re.compile(rb"(?:((?=[A-Za-z]*\d|NOQUEUE|\w+: (?:to|from|client)=)[0-9A-Za-z]{5,31}): )?(.*)\Z")

# What is left of a line's beginning when all is taken out that names and numbers are made of: of a stamp, a
# host and NAME/PROGRAM[PID] there remains `  ::  /[]: `. Lines that are alike leave the same: of thousands a
# few dozen have to be looked at.
_NAMES = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._+@-"
_STAMP_LEFT = rb"(?:<>)?(?: {0,4}::| ?:::) (?:<> )?"
_POSTFIX_LEFT = re.compile(_STAMP_LEFT + rb" /+\[\]: ")
# Each that is known is counted in all of a text.
_MOST_KNOWN = 4
# What is left of ": to=", ": from=" and ": client=".
_TELLS_LEFT = b": ="
_FOREIGN_LEFT = re.compile(_STAMP_LEFT + rb"[^:]*: ")

# In brackets a quoted local part may hold anything, even a bracket. Old versions wrote none.
_ADDRESS = rb'(?:<(?P<%(name)b>[^">]*(?:"(?:[^"\\]|\\.)*"[^">]*)*)>|(?P<bare_%(name)b>[^<,\s]*))'
_TO, _ORIG_TO, _FROM = (_ADDRESS % {b"name": name} for name in (b"to", b"orig_to", b"from"))
_PEER = rb"(?P<%(name)bname>[^\s\[\],]*)\[(?P<%(name)baddress>[^\s\[\],]*)\](?::\d+)?"

DELIVERY = re.compile(
    rb"to=" + _TO + rb"(?:, orig_to=" + _ORIG_TO + rb")?"
    rb"(?:, relay=(?P<relay>[^,\s]*))?(?:, conn_use=(?P<conn_use>\d+))?(?:, delay=(?P<delay>\d+(?:\.\d+)?))?"
    rb"(?:, delays=(?P<delays>[\d./]+))?(?:, tls=(?P<tls>[^,\s]*))?"
    rb"(?:, dsn=(?P<dsn>[245]\.\d{1,3}\.\d{1,3}))?(?P<more>(?:, (?!status=)[a-z_]+=[^,()\s]*)*)"
    rb", status=(?P<status>[A-Za-z-]+)(?: \((?P<reply>.*))?\Z"
)
QUEUED = re.compile(rb"from=" + _FROM + rb", size=(?P<size>\d{1,15}), nrcpt=(?P<nrcpt>\d+)")
EXPIRED = re.compile(rb"from=" + _FROM + rb", status=(?P<status>(?:force-)?expired)(?:, .*)?\Z")
CLIENT = re.compile(
    rb"client=" + _PEER % {b"name": b""} + rb"(?:, orig_queue_id=(?P<orig_queue_id>\w*))?"
    rb"(?:, orig_client=" + _PEER % {b"name": b"orig_"} + rb")?(?:, (?P<more>.*))?\Z"
)
# What smtpd(8) says to a client that is not in mynetworks, of a recipient that is not local: with a queue id
# once another recipient was taken.
DENIAL = b": Relay access denied;"
DENIED = re.compile(
    rb"reject: RCPT from "
    + _PEER % {b"name": b""}
    + rb": [45]\d\d (?:[45]\.\d{1,3}\.\d{1,3} )?<.*>: Relay access denied;"
)
_PICKED_UP = re.compile(rb"uid=\d+ from=")
# As the sender wrote it: brackets may be missing, and blanks be within.
_MESSAGE_ID = re.compile(rb"((?:resent-)?message-id)=<?(.*?)>?\Z")
_PAIR = re.compile(rb"(?:\A|,? )([a-z][a-z_-]*)=(?:<([^>]*)>|([^,\s]*))")

# What a delivery agent's status makes of the recipient. Probes (of verify(8), of `sendmail -bv`) deliver
# nothing.
PROBE = "probe"
OUTCOMES = {
    b"sent": "sent",
    b"deferred": "deferred",
    b"bounced": "bounced",
    b"SOFTBOUNCE": "softbounce",
    b"deliverable": PROBE,
    b"undeliverable": PROBE,
    b"undeliverable-but-not-cached": PROBE,
}


class Message(NamedTuple):
    """What follows PROGRAM[PID] in a line.

    kind: "delivery" (of one recipient, or a probe), "queued", "expired", "client" (a message comes in),
    "story" (more of a message, nothing to count) or "other". fields: under the names that Postfix gives them,
    the reply under "reply". text: the message as it stands, but for its queue id.
    """

    queue_id: str
    kind: str
    fields: dict[str, str]
    text: str


class Line(NamedTuple):
    """A line of Postfix's.

    time: seconds since 1970. name: syslog_name with the service's own part, as in "postfix-msn-a/drain".
    program: "smtp", "qmgr" and so on.
    """

    time: int
    host: str
    name: str
    program: str
    pid: int
    message: Message


class Survey(NamedTuple):
    """What many lines are, taken together.

    lines: how many. tells: how often they say what may be counted, which is at least as often as it is; where
    a remote server's words look like it, more often. others: lines that don't begin like one of Postfix's,
    with each: whether it begins as another program's does.
    """

    lines: int
    tells: int
    others: list[tuple[bytes, bool]]


def parse(line: bytes, stamps: Stamps) -> Line | None:
    """Return what a line tells; None where it isn't Postfix's, or cut before it told what is counted."""
    line = line.translate(None, LITTER)
    match = LINE.match(line) if len(line) < MAX_LINE else None
    time = match and stamps[match[1]]
    message = match and parse_message(match[5])
    if match is None or time is None or message is None:
        return None
    name, _, program = _text(match[3]).rpartition("/")
    return Line(time, _text(match[2]), name, program, int(match[4]), message)


def is_postfix(line: bytes) -> bool:
    """Tell whether a line begins like one of Postfix's, which is all that is asked of most."""
    return _POSTFIX_LEFT.match(line.translate(None, _NAMES)) is not None


def survey(text: bytes, known: set[bytes]) -> Survey:
    """Tell of many lines at once what there is to look at. The text begins and ends with a line end.

    known: what lines of Postfix's were seen to leave at their beginning, a line end before it; more is added.
    """
    left = text.translate(None, _NAMES)
    lines, tells = left.count(b"\n") - 1, left.count(_TELLS_LEFT)
    if sum(map(left.count, known)) == lines:
        return Survey(lines, tells, [])
    shapes = left.split(b"\n")[1:-1]
    strange = set()
    for shape in set(shapes):
        match = _POSTFIX_LEFT.match(shape)
        if not match:
            strange.add(shape)
        elif len(known) < _MOST_KNOWN:
            known.add(b"\n" + match[0])
    if not strange:
        return Survey(lines, tells, [])
    whole = text.split(b"\n")[1:-1]
    numbers = compress(range(lines), map(strange.__contains__, shapes))
    others = [(whole[nth], _FOREIGN_LEFT.match(shapes[nth]) is not None) for nth in numbers]
    return Survey(lines, tells, others)


def telling(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Return where those lines of a text begin that may tell what is counted, and the lines themselves."""
    at = 0
    for line, shape in zip(text.split(b"\n"), text.translate(None, _NAMES).split(b"\n")):  # noqa: B905 (Python 3.9)
        if _TELLS_LEFT in shape:
            yield at, line
        at += len(line) + 1


def parse_message(message: bytes) -> Message | None:
    """Return what a line's message tells; None where it was cut before it told what is counted."""
    match = MESSAGE.match(message)
    if match is None:
        return None
    queue_id, text = match.groups(b"")
    reader = _READERS.get(text.partition(b"=")[0], _read_other) if queue_id else _read_other
    told = reader(text)
    return told and Message(_text(queue_id), *told, _text(text))


def _read_delivery(text: bytes) -> tuple[str, dict[str, str]] | None:
    match = DELIVERY.match(text)
    if match is None or match["status"] not in OUTCOMES:
        return None
    fields = _fields(match)
    if match["reply"]:
        fields["reply"] = _text(unclosed(match["reply"]))
    return "delivery", fields


def _read_sender(text: bytes) -> tuple[str, dict[str, str]] | None:
    match = QUEUED.match(text)
    if match:
        return "queued", _fields(match)
    match = EXPIRED.match(text)
    if match:
        return "expired", _fields(match)
    return None if b", status=" in text else _read_other(text)


def _read_client(text: bytes) -> tuple[str, dict[str, str]] | None:
    match = CLIENT.match(text)
    return ("client", _fields(match)) if match else None


def _read_other(text: bytes) -> tuple[str, dict[str, str]]:
    message_id = _MESSAGE_ID.match(text)
    if message_id:
        return "story", {_text(message_id[1]): _text(message_id[2])}
    return ("story", _pairs(text)) if _PICKED_UP.match(text) else ("other", {})


_READERS = {b"to": _read_delivery, b"from": _read_sender, b"client": _read_client}


def unclosed(reply: bytes) -> bytes:
    """Return a reply without the parenthesis that closes it, which a cut line has lost."""
    return reply[:-1] if reply.endswith(b")") else reply


def _pairs(text: bytes) -> dict[str, str]:
    return {_text(name): _text(bracketed or bare) for name, bracketed, bare in _PAIR.findall(text)}


def _fields(match: re.Match[bytes]) -> dict[str, str]:
    """Return what a line tells by Postfix's names."""
    found = {name: value for name, value in match.groupdict().items() if value is not None}
    more = _pairs(found.pop("more", b""))
    # A field that is not where it belongs, or not as it should be, is none.
    unknown = {name: value for name, value in more.items() if name not in match.re.groupindex}
    return {**unknown, **{name.replace("bare_", ""): _text(value) for name, value in found.items()}}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
