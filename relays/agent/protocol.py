"""The request that comes in on standard input and the reply that goes out: docs/relayctl.md, both capped."""

from __future__ import annotations

import json
import os
import re
import select
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from relays.domain.text import printable

PROTOCOL = 1
VERBS = (
    "hello",
    "inventory",
    "snapshot",
    "queue.list",
    "queue.groups",
    "queue.pick",
    "log.read",
    "log.search",
    "journal.read",
    "redirect.status",
    "flush.scan",
    "flush.log",
)
# Those that change an instance, and all that may be asked of the write user.
MESSAGE_CHANGES = (
    "message.hold",
    "message.release",
    "message.retry",
    "message.requeue",
    "message.expire",
    "message.delete",
)
FLUSH_CHANGES = (
    "redirect.set",
    "redirect.renew",
    "redirect.pause",
    "redirect.resume",
    "redirect.clear",
    "flush.retry",
)
RATE_CHANGES = ("rate.hold", "rate.release")
CHANGES = ("queue.run", "instance.reload", *MESSAGE_CHANGES, *FLUSH_CHANGES, *RATE_CHANGES)
WRITE_VERBS = (
    *CHANGES,
    "op.result",
    "audit.anchor",
    "write.check",
    "message.headers",
    "message.body",
    "flush.preflight",
)

MAX_REQUEST = 256 * 1024
REQUEST_WITHIN_S = 15
DEFAULT_DEADLINE_S = 45
MAX_DEADLINE_S = 300

MAX_REPLY = 8 * 1024 * 1024
MAX_LINE = 64 * 1024
MAX_ROWS = 200_000
# Kept free for the end line, which must always fit.
END_ROOM = 4 * 1024

EXIT_REFUSED = 10
EXIT_LOCKED = 11
EXIT_FENCED = 12
EXIT_BAD_REQUEST = 13
EXIT_REPLAYED = 14
EXIT_DEADLINE = 20
EXIT_INTERNAL = 30

_REQ_ID = re.compile(r"\A[0-9a-zA-Z-]{8,64}\Z")
_OP_ID = re.compile(r"\A[0-9a-zA-Z-]{1,64}\Z")
_PLAN_HASH = re.compile(r"\A[0-9a-f]{64}\Z")
_KEYS = {"v", "req_id", "verb", "args", "deadline_s"}
_WRITE_KEYS = {"op_id", "fence", "expect", "dry_run"}
_MAX_FENCE = 2**53


class RelayctlError(Exception):
    """A request that ends without its rows. code and status: docs/relayctl.md, "Reply"."""

    code = "internal"
    status = EXIT_INTERNAL


class BadRequest(RelayctlError):
    code = "bad_request"
    status = EXIT_BAD_REQUEST


class Refused(RelayctlError):
    code = "refused"
    status = EXIT_REFUSED


class Locked(RelayctlError):
    """Another request has the instance; the text says which."""

    code = "locked"
    status = EXIT_LOCKED


class Fenced(RelayctlError):
    """A later claim than the request's was here already."""

    code = "fenced"
    status = EXIT_FENCED


class Replayed(RelayctlError):
    """The request's id was used for something else."""

    code = "replayed"
    status = EXIT_REPLAYED


class Unfinished(RelayctlError):
    """The same request began before and left no result: whether it had its effect is not known."""

    code = "unfinished"
    status = EXIT_DEADLINE


class DeadlineReached(RelayctlError):
    code = "deadline"
    status = EXIT_DEADLINE


class ReplyFull(Exception):
    """The reply has reached a cap: what was written stands, and the end line says truncated."""


class Request(NamedTuple):
    """A request whose envelope is sound; `args` are the verb's own to check. deadline_s: seconds from now.

    The others are for write verbs: the operation, its claim on the instance, the plan that was confirmed.
    """

    req_id: str
    verb: str
    args: dict[str, Any]
    deadline_s: float
    op_id: str | None = None
    fence: int | None = None
    plan_hash: str | None = None
    dry_run: bool = False


class Answer(NamedTuple):
    """What a verb has to say: rows, or lines, made as they are written, and more keys for the end line."""

    rows: Iterable[dict[str, Any] | bytes]
    end: dict[str, Any]


def read_request(fd: int) -> bytes:
    """Return all bytes up to end of file, or raise BadRequest: too long, or not there in time."""
    give_up_at = time.monotonic() + REQUEST_WITHIN_S
    received = b""
    while True:
        ready, _, _ = select.select([fd], [], [], max(0.0, give_up_at - time.monotonic()))
        if not ready:
            raise BadRequest(f"the request did not end within {REQUEST_WITHIN_S} s")
        chunk = os.read(fd, MAX_REQUEST)
        if not chunk:
            return received
        received += chunk
        if len(received) > MAX_REQUEST:
            raise BadRequest(f"the request is longer than {MAX_REQUEST} bytes")


def parse_request(text: bytes) -> Request:
    """Return the request in these bytes; raise BadRequest with what is wrong with it."""
    try:
        fields = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadRequest("the request is not a JSON document in UTF-8") from None
    if not isinstance(fields, dict):
        raise BadRequest("the request is not a JSON object")
    if fields.get("v") != PROTOCOL or type(fields["v"]) is not int:
        raise BadRequest(f"only version {PROTOCOL} of the protocol is spoken here")
    verb, req_id, args = fields.get("verb"), fields.get("req_id"), fields.get("args", {})
    if verb not in VERBS + WRITE_VERBS:
        raise BadRequest("unknown verb")
    refuse_unknown(fields, _KEYS | _WRITE_KEYS if verb in WRITE_VERBS else _KEYS)
    if not isinstance(req_id, str) or not _REQ_ID.match(req_id):
        raise BadRequest("req_id must be 8 to 64 of [0-9a-zA-Z-]")
    if not isinstance(args, dict):
        raise BadRequest("args is not an object")
    deadline_s = integer(fields, "deadline_s", 1, MAX_DEADLINE_S, DEFAULT_DEADLINE_S)
    request = Request(req_id, verb, args, deadline_s, *_write_fields(fields))
    if verb in CHANGES and not request.dry_run and (request.op_id is None or request.fence is None):
        raise BadRequest(f"{verb} needs op_id and fence")
    return request


def _write_fields(fields: dict[str, Any]) -> tuple[str | None, int | None, str | None, bool]:
    """Return op_id, fence, the plan's hash out of `expect`, and dry_run."""
    op_id, dry_run, expect = fields.get("op_id"), fields.get("dry_run", False), fields.get("expect", {})
    if op_id is not None and (not isinstance(op_id, str) or not _OP_ID.match(op_id)):
        raise BadRequest("op_id must be 1 to 64 of [0-9a-zA-Z-]")
    if type(dry_run) is not bool:
        raise BadRequest("dry_run must be true or false")
    if not isinstance(expect, dict):
        raise BadRequest("expect is not an object")
    refuse_unknown(expect, {"plan_hash"})
    plan_hash = expect.get("plan_hash")
    if plan_hash is not None and (not isinstance(plan_hash, str) or not _PLAN_HASH.match(plan_hash)):
        raise BadRequest("plan_hash must be 64 hexadecimal digits")
    fence = None if fields.get("fence") is None else integer(fields, "fence", 1, _MAX_FENCE, 1)
    return op_id, fence, plan_hash, dry_run


def refuse_unknown(fields: dict[str, Any], known: set[str]) -> None:
    """Raise BadRequest for a key that is not known: a misspelt filter must not widen an answer."""
    unknown = sorted(set(fields) - known)
    if unknown:
        raise BadRequest(f"unknown key {unknown[0][:40]!r}")


def integer(fields: dict[str, Any], key: str, least: int, most: int, default: int) -> int:
    """Return a whole number out of a request's fields; raise BadRequest where it is none or out of range."""
    value = fields.get(key, default)
    if type(value) is not int or not least <= value <= most:
        raise BadRequest(f"{key} must be a whole number from {least} to {most}")
    return value


def text(fields: dict[str, Any], key: str) -> str | None:
    """Return an optional text out of a request's fields, at most 512 characters."""
    value = fields.get(key)
    if value is not None and (not isinstance(value, str) or len(value) > 512):
        raise BadRequest(f"{key} must be text of at most 512 characters")
    return value


def flag(fields: dict[str, Any], key: str) -> bool:
    """Return an optional true or false out of a request's fields; raise BadRequest for anything else."""
    value = fields.get(key, False)
    if type(value) is not bool:
        raise BadRequest(f"{key} must be true or false")
    return value


# What a verb that takes long is given, to say how many it has read so far.
Tell = Callable[[int], None]


class Reply:
    """Writes a reply line by line, at once, and stops at the caps.

    A reader that has gone away raises BrokenPipeError out of any method.
    """

    def __init__(self, fd: int) -> None:
        self.rows = 0
        self.truncated = False
        self.begun = False
        self.ended = False
        self._fd = fd
        self._written = 0

    def header(self, fields: dict[str, Any]) -> None:
        self.begun = True
        self._write(encode_line(fields))

    def row(self, fields: dict[str, Any] | bytes) -> None:
        """Write a row, or the line it has become; raise ReplyFull, with nothing written, over a cap."""
        line = fields if isinstance(fields, bytes) else encode_line(fields)
        over = len(line) > MAX_LINE or self._written + len(line) > MAX_REPLY - END_ROOM
        if over or self.rows >= MAX_ROWS:
            self.truncated = True
            raise ReplyFull
        self._write(line)
        self.rows += 1

    def end(self, **more: Any) -> None:
        self._write(encode_line({"end": True, "rows": self.rows, "truncated": self.truncated, **more}))
        self.ended = True

    def _write(self, line: bytes) -> None:
        self._written += len(line)
        view = memoryview(line)
        while view:
            view = view[os.write(self._fd, view) :]


def encode_line(fields: Any) -> bytes:
    """Return a row, or a part of one, as an ASCII line: whatever texts it holds, it ends only once."""
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"


def condition(code: str, what: str, detail: str) -> dict[str, str]:
    """Return a condition of a row: docs/relayctl.md lists the codes."""
    return {"code": code, "what": what, "detail": printable(detail, 300)}
