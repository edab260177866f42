"""What a trace looks for: a recipient, a sender, a message id or a queue id, in a span of time."""

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo

from relays.domain.matching import is_long

RECIPIENT, SENDER, MESSAGE_ID, QUEUE_ID = "recipient", "sender", "message_id", "queue_id"
KINDS = {RECIPIENT: "recipient", SENDER: "sender", MESSAGE_ID: "message id", QUEUE_ID: "queue id"}
# What names a person is asked for by those who may see addresses only.
OF_PEOPLE = (RECIPIENT, SENDER)
MAX_TEXT = 900
MOST_SPAN_S = 400 * 86_400

_ID = re.compile(r"\A[0-9A-Za-z]{5,31}\Z")
_AGE = re.compile(r"\A([0-9]{1,6}) ?(s|m|min|h|d)\Z")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
# Numbers in a long queue id are written with these: a number has no vowels, so that none spells a word.
_DIGITS = {char: n for n, char in enumerate("0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz")}
_MICROSECONDS_DIGITS = 4


class BadQuestion(ValueError):
    """A question that cannot be meant; the message is a sentence for whoever asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for between two times (seconds since 1970). kind: one of KINDS."""

    kind: str
    text: str
    since: int
    until: int

    @property
    def texts(self) -> tuple[str, ...]:
        """Parts of lines that tell of it; none for a queue id, which is looked for as one."""
        match self.kind:
            case "recipient":
                return (f"to=<{self.text}>",)
            case "sender":
                return (f"from=<{self.text}>",)
            case "message_id":
                # As the sender wrote it: brackets may be missing.
                return (f"message-id=<{self.text}", f"message-id={self.text}")
        return ()


def question(kind: str, text: str, since: int, until: int) -> Question:
    """Return a checked question. text: with or without its brackets. Raises BadQuestion."""
    if kind not in KINDS:
        raise BadQuestion("Choose what to look for: a recipient, a sender, a message id or a queue id.")
    text = text.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    if not text and kind != SENDER:
        raise BadQuestion(f"Give the {KINDS[kind]} to look for.")
    if len(text) > MAX_TEXT or not text.isprintable() or "<" in text or ">" in text:
        raise BadQuestion(f"This cannot be a {KINDS[kind]}: it is too long, or has signs that none has.")
    if kind == QUEUE_ID and not _ID.match(text):
        raise BadQuestion("A queue id has 5 to 31 letters and digits, as in 4jWKWh04b5z1T1.")
    if since >= until:
        raise BadQuestion("The span ends before it begins.")
    if until - since > MOST_SPAN_S:
        raise BadQuestion("The span is longer than 400 days.")
    return Question(kind, text, since, until)


def moment(text: str, now: datetime, zone: tzinfo) -> datetime:
    """Return the time that somebody wrote: an age (90m, 24h, 3d), or a date with or without a time.

    now: what ages are taken from. zone: of dates that tell none. Raises BadQuestion.
    """
    text = text.strip()
    age = _AGE.match(text)
    try:
        if age:
            return datetime.fromtimestamp(now.timestamp() - int(age[1]) * _SECONDS[age[2]], zone)
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo else at.replace(tzinfo=zone)
        if 0 <= at.timestamp() < 2**31 - 1:
            return at
    except (ValueError, OverflowError, OSError):
        pass
    raise BadQuestion(f"{text[:40]!r} is no time: write 90m, 24h, 3d or 2026-11-28 14:30.")


def arrival_of(queue_id: str) -> int | None:
    """Return when a message with a long queue id came in (seconds since 1970); None for a short id."""
    if not is_long(queue_id):
        return None
    at = 0
    # The last "z" stands before the inode, whose digits have none.
    for char in queue_id.rpartition("z")[0][:-_MICROSECONDS_DIGITS]:
        at = at * len(_DIGITS) + _DIGITS[char]
    return at if at < 2**31 - 1 else None
