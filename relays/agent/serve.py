"""One request served: read it, check it, write the reply, end with the status the contract gives."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from relays.agent import VERSION, postfix, system
from relays.agent.archive import own_sha256
from relays.agent.deadline import Deadline
from relays.agent.doors import Caller, caller
from relays.agent.protocol import (
    PROTOCOL,
    WRITE_VERBS,
    Answer,
    DeadlineReached,
    RelayctlError,
    Reply,
    ReplyFull,
    Request,
    Tell,
    parse_request,
    read_request,
    refuse_unknown,
)
from relays.domain.text import printable

_READER_GONE = 1
# How often a verb that takes long says how far it is.
_TELL_EVERY_S = 1.0


def serve(stdin: int, stdout: int) -> int:
    """Answer the request on one file descriptor on the other; return the exit status."""
    reply = Reply(stdout)
    try:
        return _answer(stdin, reply)
    except BrokenPipeError:
        return _READER_GONE


def _answer(stdin: int, reply: Reply) -> int:
    request, who = None, caller()
    try:
        request = parse_request(read_request(stdin))
        who.check(request.verb)
        deadline = Deadline(request.deadline_s)
        deadline.arm()
        tell = _Telling(request, reply)
        answer = _rows(request, who, deadline, tell)
        tell.begin()
        _write_rows(reply, answer)
    except RelayctlError as error:
        return _end_with(reply, request, _recorded(request, who, error))
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the console must be told
        return _end_with(reply, request, _recorded(request, who, _internal(error)))
    return 0


class _Telling:
    """Says in a row, while an answer is being made, how many messages were read for it."""

    def __init__(self, request: Request, reply: Reply) -> None:
        self._request = request
        self._reply = reply
        self._next_at = time.monotonic() + _TELL_EVERY_S

    def __call__(self, messages: int) -> None:
        if time.monotonic() >= self._next_at:
            self.begin()
            self._reply.row({"kind": "progress", "messages": messages})
            self._next_at = time.monotonic() + _TELL_EVERY_S

    def begin(self) -> None:
        """Begin the reply, unless it is begun."""
        if not self._reply.begun:
            self._reply.header(_header(self._request, ok=True))


def _rows(request: Request, who: Caller, deadline: Deadline, tell: Tell) -> Answer:
    if request.verb in _LONG_VERBS:
        return _LONG_VERBS[request.verb](request.args, deadline, tell)
    if request.verb not in WRITE_VERBS:
        return _VERBS[request.verb](request.args, deadline)
    # Imported here: a poll, which is most of what is asked, starts without it.
    from relays.agent import write  # noqa: PLC0415

    return write.answer(request, who, deadline)


def _recorded(request: Request | None, who: Caller, error: RelayctlError) -> RelayctlError:
    """Return the error once it stands in the journal, if this was a request to change something."""
    if not who.is_root or (request is None and not who.at_write_door):
        return error
    if request is not None and request.verb not in WRITE_VERBS and not who.at_write_door:
        return error
    from relays.agent import write  # noqa: PLC0415

    try:
        write.record(request, who, error)
    except (OSError, RelayctlError) as failure:
        return type(error)(f"{error} (this could not be written down: {failure})")
    return error


def _internal(error: Exception) -> RelayctlError:
    return RelayctlError(f"{type(error).__name__}: {error}")


def _write_rows(reply: Reply, answer: Answer) -> None:
    try:
        for row in answer.rows:
            reply.row(row)
    except ReplyFull:
        reply.end()
    else:
        reply.end(**answer.end)


def _end_with(reply: Reply, request: Request | None, error: RelayctlError) -> int:
    """End a reply with an error: in its header, or in the end line where the header is out already."""
    if reply.ended:
        return error.status
    told = {"error": {"code": error.code, "message": printable(str(error), 300)}}
    if reply.begun:
        reply.truncated = True
        reply.end(**told)
    else:
        reply.truncated = isinstance(error, DeadlineReached)
        reply.header({**_header(request, ok=False), **told})
        reply.end()
    return error.status


def _header(request: Request | None, *, ok: bool) -> dict[str, Any]:
    return {
        "v": PROTOCOL,
        "req_id": request.req_id if request else None,
        "verb": request.verb if request else None,
        "ok": ok,
        "relayctl": VERSION,
        "sha256": own_sha256(),
        "boot_id": system.boot_id(),
        "now": round(time.time(), 3),
        "postfix": postfix.version() if ok else None,
    }


def _hello(args: dict[str, Any], _deadline: Deadline) -> Answer:
    refuse_unknown(args, set())
    return Answer([], {})


def _of(module: str) -> Callable[..., Answer]:
    """Return a verb that is imported when it is asked for: in relayctl.pyz each import is a compilation."""

    def answer(*asked: object) -> Answer:
        answered: Answer = importlib.import_module(f"relays.agent.{module}").answer(*asked)
        return answered

    return answer


_VERBS: dict[str, Callable[[dict[str, Any], Deadline], Answer]] = {
    "hello": _hello,
    "inventory": _of("inventory"),
    "snapshot": _of("snapshot"),
    "log.read": _of("log_read"),
    "log.search": _of("log_search"),
    "journal.read": _of("journal"),
    "redirect.status": _of("redirect_status"),
    "flush.scan": _of("flush_scan"),
    "flush.log": _of("flush_log"),
}
# Those that read a whole queue, and say how far they are.
_LONG_VERBS: dict[str, Callable[[dict[str, Any], Deadline, Tell], Answer]] = {
    "queue.list": _of("listing"),
    "queue.groups": _of("grouping"),
    "queue.pick": _of("picking"),
}
