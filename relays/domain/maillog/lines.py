"""One line of a Postfix log, read whole.

A line is Postfix's where its program is written NAME/PROGRAM[PID], which nobody else does: NAME is
syslog_name, of any shape, with more slashes where a service of master.cf has a name of its own. What a line
tells is taken from where Postfix writes it and nowhere else: the text of a remote server, in parentheses at
its end, may say anything. Addresses and replies are hostile; no line raises.

relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from relays.domain.maillog.stamps import MINUTE, SECOND, ZONE, Stamps

# Far longer than Postfix and the syslog daemons write one.
MAX_MESSAGE = 1 << 16
MAX_LINE = 2 * MAX_MESSAGE
# What a crash or another system leaves in a log: Postfix writes neither.
LITTER = b"\0\r"

# How a line begins, whoever wrote it: after the stamp FreeBSD may put facility and level, Solaris after the
# program.
_STAMP = rb"(?:<\d{1,3}>)?(" + MINUTE + rb")" + SECOND + rb"(" + ZONE + rb") (?:<[\w.]{1,19}> )?"
_PROGRAM = rb"(\w[\w.+@-]{0,99}(?:/[\w.+@-]{1,99}){1,9})"
_TAG = rb"(?:\[ID \d{1,10} \w{1,9}\.\w{1,9}\] )?"
_QUEUE_ID = rb"[0-9A-Za-z]{5,31}"
_REST = rb"[^\n]{0,%d}" % MAX_MESSAGE

# Every line of Postfix's in a text, each with the newline before it: minute, second, zone, program and, of
# the lines that are counted, queue id and message.
POSTFIX_LINE = re.compile(
    rb"\n" + _STAMP + rb"\S{1,255} " + _PROGRAM + rb"\[\d{1,10}\]: " + _TAG + rb"(?:"
    rb"(" + _QUEUE_ID + rb"): ((?:to|from|client)=" + _REST + rb")|" + _REST + rb")(?=\n)"
)
# The same, one line, with all that it holds.
_LINE = re.compile(_STAMP + rb"(\S{1,255}) " + _PROGRAM + rb"\[(\d{1,10})\]: " + _TAG + rb"(.*)\Z")
_FOREIGN_LINE = re.compile(_STAMP + rb"\S{1,255} (?!" + _PROGRAM + rb"\[)[^\s:]{1,99}: ")
# A word before a colon is a queue id where it has a digit, as each has.
_MESSAGE = re.compile(rb"(?:((?=[A-Za-z]*\d|NOQUEUE|\w+: (?:to|from|client)=)" + _QUEUE_ID + rb"): )?(.*)\Z")

# In brackets a quoted local part may hold anything, even a bracket. Old versions wrote none.
_ADDRESS = rb'(?:<([^">]*(?:"(?:[^"\\]|\\.)*"[^">]*)*)>|([^<,\s]*))'
_PEER = rb"([^\s\[\],]*)\[([^\s\[\]]*)\](?::\d+)?"

# to, to, orig_to, orig_to, relay, conn_use, delay, delays, tls, dsn, more, status, reply
DELIVERY = re.compile(
    rb"to=" + _ADDRESS + rb"(?:, orig_to=" + _ADDRESS + rb")?(?:, relay=([^,\s]*))?(?:, conn_use=(\d+))?"
    rb"(?:, delay=(\d+(?:\.\d+)?))?(?:, delays=([\d./]+))?(?:, tls=([^,\s]*))?"
    rb"(?:, dsn=([245]\.\d{1,3}\.\d{1,3}))?((?:, (?!status=)[a-z_]+=[^,()\s]*)*)"
    rb", status=([A-Za-z-]+)(?: \((.*))?\Z"
)
# from, from, size, nrcpt
QUEUED = re.compile(rb"from=" + _ADDRESS + rb", size=(\d{1,15}), nrcpt=(\d+)")
# from, from, status
EXPIRED = re.compile(rb"from=" + _ADDRESS + rb", status=((?:force-)?expired)(?:, .*)?\Z")
# name, address, orig_queue_id, orig_client's name and address, the rest
CLIENT = re.compile(
    rb"client=" + _PEER + rb"(?:, orig_queue_id=(\w*))?(?:, orig_client=" + _PEER + rb")?(?:, (.*))?\Z"
)
_STORY = re.compile(rb"(?:uid=\d+ from=|(?:resent-)?message-id=)")
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

    time: seconds since 1970; None where there was no such time. name: syslog_name with the service's own
    part, as in "postfix-msn-a/drain". program: "smtp", "qmgr" and so on.
    """

    time: int | None
    host: str
    name: str
    program: str
    pid: int
    message: Message


def parse(line: bytes, stamps: Stamps) -> Line | None:
    """Return what a line tells; None where it isn't Postfix's, or cut before it told what is counted."""
    line = line.translate(None, LITTER)
    match = _LINE.match(line) if POSTFIX_LINE.match(b"\n%b\n" % line) else None
    message = parse_message(match[7]) if match else None
    if match is None or message is None:
        return None
    start = stamps.minute(match[1], match[3])
    if start is None and message.kind in _COUNTED:
        return None
    name, _, program = _text(match[5]).rpartition("/")
    time = None if start is None else start + int(match[2])
    return Line(time, _text(match[4]), name, program, int(match[6]), message)


def is_foreign(line: bytes) -> bool:
    """Tell whether a line is another program's, whole as far as can be told."""
    return _FOREIGN_LINE.match(line) is not None


def parse_message(message: bytes) -> Message | None:
    """Return what a line's message tells; None where it was cut before it told what is counted."""
    match = _MESSAGE.match(message)
    if match is None:
        return None
    queue_id, text = match.groups(b"")
    reader = _READERS.get(text.partition(b"=")[0], _read_other) if queue_id else _read_other
    told = reader(text)
    return told and Message(_text(queue_id), told[0], told[1], _text(text))


def _read_delivery(text: bytes) -> tuple[str, dict[str, str]] | None:
    match = DELIVERY.match(text)
    if match is None or match[12] not in OUTCOMES:
        return None
    to, bare_to, orig_to, bare_orig_to, relay, conn_use, delay, delays, tls, dsn, more, status, reply = (
        match.groups()
    )
    fields = {
        "to": bare_to if to is None else to,
        "orig_to": bare_orig_to if orig_to is None else orig_to,
        "relay": relay,
        "conn_use": conn_use,
        "delay": delay,
        "delays": delays,
        "tls": tls,
        "dsn": dsn,
        "status": status,
        "reply": None if reply is None else unclosed(reply),
    }
    return "delivery", {**_pairs(more), **_present(fields)}


def _read_sender(text: bytes) -> tuple[str, dict[str, str]] | None:
    match = QUEUED.match(text)
    if match:
        return "queued", _present({"from": match[1] or match[2], "size": match[3], "nrcpt": match[4]})
    match = EXPIRED.match(text)
    if match:
        return "expired", _present({"from": match[1] or match[2], "status": match[3]})
    return None if b", status=" in text else _read_other(text)


def _read_client(text: bytes) -> tuple[str, dict[str, str]] | None:
    match = CLIENT.match(text)
    if match is None:
        return None
    name, address, orig_queue_id, orig_name, orig_address, more = match.groups()
    fields = {
        "client_name": name,
        "client_address": address,
        "orig_queue_id": orig_queue_id,
        "orig_client_name": orig_name,
        "orig_client_address": orig_address,
    }
    return "client", {**_pairs(more or b""), **_present(fields)}


def _read_other(text: bytes) -> tuple[str, dict[str, str]] | None:
    return ("story", _pairs(text)) if _STORY.match(text) else ("other", {})


_READERS = {b"to": _read_delivery, b"from": _read_sender, b"client": _read_client}
# Without a time these are no use.
_COUNTED = ("delivery", "expired", "client")


def unclosed(reply: bytes) -> bytes:
    """Return a reply without the parenthesis that closes it, which a cut line has lost."""
    return reply[:-1] if reply.endswith(b")") else reply


def _pairs(text: bytes) -> dict[str, str]:
    return {_text(name): _text(bracketed or bare) for name, bracketed, bare in _PAIR.findall(text)}


def _present(fields: dict[str, bytes | None]) -> dict[str, str]:
    return {name: _text(value) for name, value in fields.items() if value is not None}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
