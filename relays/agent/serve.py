"""One request served: read it, check it, write the reply, end with the status the contract gives."""

from __future__ import annotations

import hashlib
import importlib
import time
from collections.abc import Callable
from typing import Any

from relays.agent import VERSION, postfix, system
from relays.agent.archive import own_bytes
from relays.agent.deadline import Deadline
from relays.agent.protocol import (
    PROTOCOL,
    Answer,
    DeadlineReached,
    RelayctlError,
    Reply,
    ReplyFull,
    Request,
    parse_request,
    read_request,
    refuse_unknown,
)
from relays.domain.text import printable

_READER_GONE = 1


def serve(stdin: int, stdout: int) -> int:
    """Answer the request on one file descriptor on the other; return the exit status."""
    reply = Reply(stdout)
    try:
        return _answer(stdin, reply)
    except BrokenPipeError:
        return _READER_GONE


def _answer(stdin: int, reply: Reply) -> int:
    request = None
    try:
        request = parse_request(read_request(stdin))
        answer = _VERBS[request.verb](request.args, Deadline(request.deadline_s))
        reply.header(_header(request, ok=True))
        _write_rows(reply, answer)
    except RelayctlError as error:
        return _end_with(reply, request, error)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the console must be told
        return _end_with(reply, request, RelayctlError(f"{type(error).__name__}: {error}"))
    return 0


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
        "sha256": _own_sha256(),
        "boot_id": system.boot_id(),
        "now": round(time.time(), 3),
        "postfix": postfix.version() if ok else None,
    }


def _own_sha256() -> str | None:
    content = own_bytes()
    return None if content is None else hashlib.sha256(content).hexdigest()


def _hello(args: dict[str, Any], _deadline: Deadline) -> Answer:
    refuse_unknown(args, set())
    return Answer([], {})


def _of(module: str) -> Callable[[dict[str, Any], Deadline], Answer]:
    """Return a verb that is imported when it is asked for: in relayctl.pyz each import is a compilation."""

    def answer(args: dict[str, Any], deadline: Deadline) -> Answer:
        answered: Answer = importlib.import_module(f"relays.agent.{module}").answer(args, deadline)
        return answered

    return answer


_VERBS: dict[str, Callable[[dict[str, Any], Deadline], Answer]] = {
    "hello": _hello,
    "inventory": _of("inventory"),
    "snapshot": _of("snapshot"),
    "queue.list": _of("listing"),
    "log.read": _of("log_read"),
}
