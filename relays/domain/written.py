"""What the write door of a host tells, checked: rows of its verbs (docs/relayctl.md) as values.

As hostile as all else from a relay: see reading.py. Times are seconds since 1970 by the host's clock.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from relays.domain import fields
from relays.domain.fields import BadRow
from relays.domain.text import printable

MAX_OUTPUT = 2_048
_MAX_WORDS = 100
_MAX_FACTS = 50
_MAX_OFFSET = 2**60

_MAX_ITEMS = 1_000
_MAX_HEADERS = 9_000
_MAX_BODY = 256 * 1024

_QUEUE_ID = re.compile(r"\A[0-9A-Za-z]{6,31}\Z")
_HASH = re.compile(r"\A[0-9a-f]{64}\Z")
_REQ_ID = re.compile(r"\A[0-9a-zA-Z-]{8,64}\Z")
_OP_ID = re.compile(r"\A[0-9a-zA-Z-]{1,64}\Z")
_VERB = re.compile(r"\A[a-z]+\.[a-z]+\Z")
_KEY = re.compile(r"\A[A-Za-z_.]{1,40}\Z")

State = Literal["absent", "begun", "done"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change would do now. counts: messages, None where they could not be counted."""

    plan_hash: str
    commands: tuple[tuple[str, ...], ...]
    counts: Mapping[str, int | None]
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a change. exit_status: None where the command did not end by itself, or never began.

    left: ids of messages that were left alone, by why (docs/relayctl.md, "Single messages").
    """

    ok: bool
    command: tuple[str, ...]
    exit_status: int | None
    timed_out: bool
    output: str
    took_ms: int
    counts: Mapping[str, int | None]
    left: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the host knows of a request.

    absent: it never began; begun: it began and has no result, so it may have had its effect; done: result.
    running: whether it may still come to its end; None: not known (of an absent one, asked without a fence).
    """

    req_id: str
    state: State
    running: bool | None
    replayed: bool = False
    verb: str = ""
    instance: str = ""
    params_sha: str = ""
    begun_at: float | None = None
    ended_at: float | None = None
    result: Result | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the console could change a host, or an instance of it (name), now. problem: "" if it could.

    off: what root's limits on the host have switched off, of verbs that can be.
    """

    name: str
    problem: str
    fence: int = 0
    off: tuple[str, ...] = ()


class JournalEntry(NamedTuple):
    """One line of the host's journal; row: the whole of it. A damaged one has an offset and nothing else."""

    offset: int
    damaged: bool = False
    at: float = 0.0
    event: str = ""
    req_id: str = ""
    verb: str = ""
    instance: str = ""
    op_id: str = ""
    fence: int | None = None
    params_sha: str = ""
    user: str = ""
    address: str = ""
    row: Mapping[str, Any] = {}


def parse_plan(row: Mapping[str, Any]) -> Plan:
    """Return a `plan` row. Raises BadRow."""
    facts = fields.mapping(row, "facts")
    if len(facts) > _MAX_FACTS:
        raise BadRow("facts are too many")
    return Plan(
        plan_hash=fields.matching(row, "plan_hash", _HASH),
        commands=tuple(map(_command, fields.sequence(row, "commands", _MAX_WORDS))),
        counts=_counts(row),
        facts={_key(key): fields.text(facts, key, 1_000) for key in facts},
    )


def parse_entry(row: Mapping[str, Any]) -> Entry:
    """Return a `result` row of a change or of `op.result`. Raises BadRow."""
    req_id, running = fields.matching(row, "req_id", _REQ_ID), fields.flag(row, "running")
    state = row.get("state")
    if state == "absent":
        return Entry(req_id, "absent", running)
    if state not in ("begun", "done"):
        raise BadRow("state is neither absent, begun nor done")
    return Entry(
        req_id,
        "done" if state == "done" else "begun",
        running,
        replayed=fields.flag(row, "replayed") is True,
        verb=fields.matching(row, "verb", _VERB),
        instance=fields.matching(row, "instance", fields.NAME),
        params_sha=fields.matching(row, "params_sha", _HASH),
        begun_at=fields.seconds(row, "begun_at"),
        ended_at=fields.seconds(row, "ended_at") if state == "done" else None,
        result=_result(fields.mapping(row, "result")) if state == "done" else None,
    )


def parse_host_readiness(row: Mapping[str, Any]) -> Readiness:
    """Return the `host` row of `write.check`. Raises BadRow."""
    limits = row.get("limits")
    off = [key for key, value in limits.items() if value is False] if isinstance(limits, dict) else []
    return Readiness("", fields.text(row, "problem", 300), off=tuple(map(_key, off[:_MAX_FACTS])))


def parse_instance_readiness(row: Mapping[str, Any]) -> Readiness:
    """Return an `instance` row of `write.check`. Raises BadRow."""
    return Readiness(
        fields.matching(row, "name", fields.NAME),
        fields.text(row, "problem", 300),
        fields.needed_count(row, "fence", fields.MAX_SIZE),
    )


def parse_journal_row(row: Mapping[str, Any]) -> JournalEntry:
    """Return a row of `journal.read`; one that somebody tampered with is damaged. Raises BadRow."""
    offset = fields.needed_count(row, "offset", _MAX_OFFSET)
    if row.get("kind") == "damaged":
        return JournalEntry(offset, damaged=True)
    entry = fields.mapping(row, "entry")
    try:
        return _journal_entry(offset, entry)
    except BadRow:
        # Its lines are root's, not relayctl's word: what relayctl would not write, somebody else has.
        return JournalEntry(offset, damaged=True)


def _journal_entry(offset: int, entry: Mapping[str, Any]) -> JournalEntry:
    return JournalEntry(
        offset,
        at=fields.seconds(entry, "at"),
        event=fields.matching(entry, "event", fields.CODE),
        req_id=_optional(entry, "req_id", _REQ_ID),
        verb=fields.text(entry, "verb", 40),
        instance=fields.text(entry, "instance", 63),
        op_id=_optional(entry, "op_id", _OP_ID),
        fence=fields.count(entry, "fence", fields.MAX_SIZE),
        params_sha=_optional(entry, "params_sha", _HASH),
        user=fields.text(entry, "user", 32),
        address=fields.text(entry, "from", 45),
        row=entry,
    )


def _optional(row: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    return "" if row.get(key) is None else fields.matching(row, key, pattern)


def _result(row: Mapping[str, Any]) -> Result:
    exit_status = row.get("exit_status")
    if exit_status is not None and (type(exit_status) is not int or not -255 <= exit_status <= 255):
        raise BadRow("exit_status is none")
    output = row.get("output")
    if not isinstance(output, str) or len(output) > MAX_OUTPUT:
        raise BadRow("output is not text, or too long")
    return Result(
        ok=fields.flag(row, "ok") is True,
        command=_command(row.get("command")),
        exit_status=exit_status,
        timed_out=fields.flag(row, "timed_out") is True,
        output="\n".join(printable(line, MAX_OUTPUT) for line in output.split("\n")),
        took_ms=fields.needed_count(row, "took_ms"),
        counts=_counts(row),
        left=_left(row),
    )


def _left(row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    left = row.get("left", {})
    if not isinstance(left, dict) or len(left) > _MAX_FACTS:
        raise BadRow("left is not an object")
    return {_key(why): _ids(left, why) for why in left}


def _ids(left: Mapping[str, Any], why: str) -> tuple[str, ...]:
    ids = fields.sequence(left, why, _MAX_ITEMS)
    if not all(isinstance(each, str) and _QUEUE_ID.match(each) for each in ids):
        raise BadRow("left has what is no queue id")
    return tuple(ids)


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers of a message as postcat(1) has them, hostile text line by line; cut: there are more."""

    queue_id: str
    lines: tuple[str, ...]
    cut: bool


def parse_headers(row: Mapping[str, Any]) -> Headers:
    """Return the row of `message.headers`. Raises BadRow."""
    text = row.get("text")
    if not isinstance(text, str) or len(text) > _MAX_HEADERS:
        raise BadRow("text is not text, or too long")
    return Headers(
        fields.matching(row, "id", _QUEUE_ID), tuple(text.split("\n")), fields.flag(row, "cut") is True
    )


@dataclass(frozen=True, slots=True)
class Body:
    """The begin of a message's body as it was sent, hostile text line by line; cut: there is more."""

    queue_id: str
    lines: tuple[str, ...]
    cut: bool


def parse_body(rows: Sequence[Mapping[str, Any]]) -> Body:
    """Return the rows of `message.body`. Raises BadRow."""
    texts = [text for row in rows if isinstance(text := row.get("text"), str)]
    if not rows or len(texts) < len(rows) or sum(map(len, texts)) > _MAX_BODY:
        raise BadRow("text is not text, or too long")
    return Body(
        fields.matching(rows[0], "id", _QUEUE_ID),
        tuple("".join(texts).split("\n")),
        fields.flag(rows[0], "cut") is True,
    )


def _command(words: object) -> tuple[str, ...]:
    # Empty where there was nothing left to run a command for.
    if not isinstance(words, list) or len(words) > _MAX_WORDS or (words and not fields.all_are(str, words)):
        raise BadRow("a command is not a list of words")
    return tuple(printable(word, 1_000) for word in words)


def _counts(row: Mapping[str, Any]) -> dict[str, int | None]:
    counts = fields.mapping(row, "counts")
    if len(counts) > _MAX_FACTS:
        raise BadRow("counts are too many")
    return {_key(key): fields.count(counts, key) for key in counts}


def _key(text: str) -> str:
    if not _KEY.match(text):
        raise BadRow("a key is malformed")
    return text
