"""The write verbs: what root does for the console, at most once, and written down before and after.

docs/relayctl.md, "The write path", is the contract; the order of the steps in _act() is what makes it hold.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from typing import Any

from relays.agent import (
    actions,
    exclusive,
    journal,
    limits,
    messages,
    ops,
    postfix,
    preflight,
    rate,
    redirect,
    system,
)
from relays.agent.actions import Action
from relays.agent.archive import own_sha256
from relays.agent.deadline import Deadline
from relays.agent.doors import Caller
from relays.agent.exclusive import Instance
from relays.agent.limits import Limits
from relays.agent.protocol import (
    CHANGES,
    EXIT_REFUSED,
    EXIT_REPLAYED,
    Answer,
    BadRequest,
    Refused,
    RelayctlError,
    Replayed,
    Request,
    Unfinished,
    integer,
    refuse_unknown,
)
from relays.agent.snapshot import chosen, names
from relays.agent.trusted import refuse_untrusted
from relays.domain.params import params_sha, sha256_of
from relays.domain.text import printable

# Less than this free, and nothing is begun: the record of it must fit whatever else grows meanwhile.
_ROOM_BYTES = 1 << 20
_ROOM_INODES = 16

_REQ_ID = re.compile(r"\A[0-9a-zA-Z-]{8,64}\Z")
_HASH = re.compile(r"\A[0-9a-f]{64}\Z")
_MAX_SEQ = 2**53


def answer(request: Request, caller: Caller, deadline: Deadline) -> Answer:
    """Do what a write verb asks and return its row. Raises RelayctlError; record() then writes it down."""
    os.umask(0o077)
    _refuse_unless_installed()
    if request.verb in CHANGES:
        return Answer([_change(request, caller, deadline)], {})
    return Answer(_OTHERS[request.verb](request, caller), {})


def record(request: Request | None, caller: Caller, error: RelayctlError) -> None:
    """Write an error into the journal: `failed` if it may follow the effect. Raises OSError and Refused.

    Whoever has the key must not fill the disk with what is refused.
    """
    _refuse_without_room_for_journal()
    told = {"code": error.code, "message": printable(str(error), 300)}
    event = "refused" if EXIT_REFUSED <= error.status <= EXIT_REPLAYED else "failed"
    journal.append(event, {**_told(request, caller), **told})


def _refuse_unless_installed() -> None:
    for directory in (ops.DIRECTORY, exclusive.DIRECTORY):
        try:
            refuse_untrusted(directory)
        except OSError as error:
            raise Refused(f"{directory}: {error.strerror}; run relayctl's install with --write-key") from None


def _change(request: Request, caller: Caller, deadline: Deadline) -> dict[str, Any]:
    """Plan a change, or make it; the plan of a dry run is made by the very steps that precede the change."""
    caps = limits.load()
    place = _place(request.args.get("instance"))
    instance = Instance(place.name)
    if request.dry_run:
        action = _planned(request, place, instance, caps, deadline)
        _refuse_without_room_for_journal()
        journal.append("planned", {**_told(request, caller), "command": action.command})
        return _plan_row(request, action)
    with instance.locked({"verb": request.verb, "req_id": request.req_id, "op_id": request.op_id}):
        known = ops.find(request.req_id)
        if known is not None:
            return _replayed(request, caller, known)
        action = _planned(request, place, instance, caps, deadline)
        actions.refuse_without_time(deadline)
        try:
            _refuse_without_room(caps)
        except Refused:
            if not action.always:
                raise
            _refuse_full_journal(caps)
            return _result_row(_act_without_room(request, caller, instance, action, deadline))
        return _result_row(_act(request, caller, instance, action, deadline))


def _place(name: Any) -> postfix.Place:
    """Return the host's own instance of this name: what a request says is never made a path."""
    (place,) = chosen(postfix.places(), names([name]))
    return place


def _replayed(request: Request, caller: Caller, known: ops.Entry) -> dict[str, Any]:
    """Answer a request that was here before from its entry, or raise Replayed or Unfinished."""
    if known["params_sha"] != _params_sha(request):
        raise Replayed(f"request {request.req_id} was here with other parameters")
    if known["state"] == "begun":
        raise Unfinished(f"request {request.req_id} was begun and left no result: nothing was done now")
    journal.append("repeated", _told(request, caller))
    return {**_result_row(known), "replayed": True}


def _planned(
    request: Request, place: postfix.Place, instance: Instance, caps: Limits, deadline: Deadline
) -> Action:
    """Return what is to be done, everything checked. Raises RelayctlError."""
    if request.fence is not None:
        instance.check_fence(request.fence)
    action = _PLANNERS[request.verb](place, request.args, caps, deadline)
    if request.plan_hash is not None and request.plan_hash != _plan_hash(request, action):
        raise Refused("the plan no longer holds: make it again and look at it")
    instance.check_pace(action.pace)
    return action


def _act(
    request: Request, caller: Caller, instance: Instance, action: Action, deadline: Deadline
) -> ops.Entry:
    """Write down that it begins, do it, and write down what came of it; killed anywhere, that is true."""
    deadline.end_by_kill()
    try:
        entry = _begun(request, caller, instance, action)
    except OSError as error:
        raise Refused(f"it could not be written down, so nothing was done: {error}") from None
    result = _effect(request, action, deadline)
    entry = ops.finish(entry, result)
    _append_ended(request, caller, result)
    return entry


def _act_without_room(
    request: Request, caller: Caller, instance: Instance, action: Action, deadline: Deadline
) -> ops.Entry:
    """Do what must always be possible, of which the journal alone will know. Sent again, it is done again."""
    assert request.fence is not None  # noqa: S101 - parse_request() refuses a change without
    deadline.end_by_kill()
    entry = {**_told(request, caller), "state": "done", "begun_at": round(time.time(), 3)}
    with contextlib.suppress(OSError):
        instance.raise_fence(request.fence)
    try:
        _append_begun(request, caller, action)
    except OSError as error:
        raise Refused(f"it could not be written down, so nothing was done: {error}") from None
    result = _effect(request, action, deadline)
    with contextlib.suppress(OSError):
        _append_ended(request, caller, result)
    return {**entry, "ended_at": round(time.time(), 3), "result": result}


def _effect(request: Request, action: Action, deadline: Deadline) -> dict[str, Any]:
    assert request.op_id is not None  # noqa: S101 - parse_request() refuses a change without
    assert request.fence is not None  # noqa: S101
    act = action.effect
    ended = act(request.op_id, request.fence, deadline) if act else actions.run(action.command, deadline)
    return {"counts": action.counts, **ended}


def _begun(request: Request, caller: Caller, instance: Instance, action: Action) -> ops.Entry:
    """Write down all that must be known before the effect; what op.result tells, the journal has told."""
    assert request.fence is not None  # noqa: S101 - parse_request() refuses a change without
    instance.raise_fence(request.fence)
    instance.note(action.pace)
    _append_begun(request, caller, action)
    return ops.begin({**_told(request, caller), "boot_id": system.boot_id()})


def _append_begun(request: Request, caller: Caller, action: Action) -> None:
    told = {**_told(request, caller), "command": action.command}
    journal.append("begun", {**told, **(action.noted or {})})


def _append_ended(request: Request, caller: Caller, result: dict[str, Any]) -> None:
    shown = {key: result[key] for key in ("ok", "exit_status", "timed_out", "took_ms")}
    journal.append("ended", {**_told(request, caller), **shown})


def _told(request: Request | None, caller: Caller) -> dict[str, Any]:
    """Return what every record says: who asked for what. No text in it has not been checked."""
    who = {"user": caller.user, "from": caller.address, "sha256": own_sha256()}
    if request is None:
        return {"req_id": None, "verb": None, **who}
    instance = request.args.get("instance")
    return {
        "req_id": request.req_id,
        "verb": request.verb,
        "instance": printable(instance, 63) if isinstance(instance, str) else None,
        "op_id": request.op_id,
        "fence": request.fence,
        "params_sha": _params_sha(request),
        **who,
    }


def _params_sha(request: Request) -> str:
    return params_sha(verb=request.verb, args=request.args, op_id=request.op_id)


def _plan_hash(request: Request, action: Action) -> str:
    # Counts move from second to second and are no part of what is agreed upon.
    return sha256_of([request.verb, request.args, action.command, action.facts])


def _plan_row(request: Request, action: Action) -> dict[str, Any]:
    return {
        "kind": "plan",
        "plan_hash": _plan_hash(request, action),
        "commands": [action.command],
        "counts": action.counts,
        "facts": action.facts,
    }


def _result_row(entry: ops.Entry) -> dict[str, Any]:
    shown = ("req_id", "verb", "instance", "state", "params_sha", "begun_at", "ended_at", "result")
    return {"kind": "result", **{key: entry.get(key) for key in shown}, "running": False, "replayed": False}


def _refuse_without_room(caps: Limits) -> None:
    """Raise Refused where what would be done could not be written down."""
    _refuse_full_journal(caps)
    for directory in (ops.DIRECTORY, journal.DIRECTORY):
        _refuse_full_disk(directory)
    ops.make_room()


def _refuse_without_room_for_journal() -> None:
    try:
        caps = limits.load()
    except Refused:
        caps = Limits()
    _refuse_full_journal(caps)
    _refuse_full_disk(journal.DIRECTORY)


def _refuse_full_journal(caps: Limits) -> None:
    if journal.size_bytes() > caps.journal_max_mb << 20:
        raise Refused(f"{journal.PATH} has reached {caps.journal_max_mb} MB: root must put it aside")


def _refuse_full_disk(directory: str) -> None:
    space = os.statvfs(directory)
    if space.f_bavail * space.f_frsize < _ROOM_BYTES or (space.f_files and space.f_favail < _ROOM_INODES):
        raise Refused(f"disk full: {directory} has no room to write down what would be done")


def _op_result(request: Request, caller: Caller) -> list[dict[str, Any]]:
    """Answer `op.result`: what became of a request. With a fence, nothing older can begin any more."""
    args = request.args
    refuse_unknown(args, {"req_id", "instance"})
    req_id = args.get("req_id")
    if not isinstance(req_id, str) or not _REQ_ID.match(req_id):
        raise BadRequest("args.req_id must be 8 to 64 of [0-9a-zA-Z-]")
    if request.fence is not None:
        return [_settled(request, caller, req_id, request.fence)]
    known = ops.find(req_id)
    if known is None:
        return [_absent(req_id, running=None)]
    running = known["state"] == "begun" and _is_running(known)
    # Read again: it may have come to its end between the two looks.
    return [{**_result_row(ops.find(req_id) or known), "running": running}]


def _settled(request: Request, caller: Caller, req_id: str, fence: int) -> dict[str, Any]:
    """Take the instance's lock and its fence, so that what is absent now stays so; a holder is told of."""
    instance = Instance(_place(request.args.get("instance")).name)
    holder = instance.holder()
    if holder is not None:
        known = ops.find(req_id)
        running = holder.get("req_id") in (req_id, None)
        return {**_result_row(known), "running": running} if known else _absent(req_id, running=True)
    with instance.locked({"verb": request.verb, "req_id": request.req_id, "op_id": request.op_id}):
        instance.check_fence(fence)
        if instance.fence() < fence:
            _refuse_without_room_for_journal()
            journal.append("fenced", _told(request, caller))
            instance.raise_fence(fence)
        known = ops.find(req_id)
    return _result_row(known) if known else _absent(req_id, running=False)


def _is_running(entry: ops.Entry) -> bool:
    holder = Instance(entry["instance"]).holder()
    return holder is not None and holder.get("req_id") in (entry["req_id"], None)


def _absent(req_id: str, *, running: bool | None) -> dict[str, Any]:
    return {"kind": "result", "req_id": req_id, "state": "absent", "running": running}


def _anchor(request: Request, caller: Caller) -> list[dict[str, Any]]:
    """Answer `audit.anchor`: put the head of the console's audit chain where the console cannot change it."""
    refuse_unknown(request.args, {"seq", "hash"})
    seq, head = integer(request.args, "seq", 1, _MAX_SEQ, 0), request.args.get("hash")
    if not isinstance(head, str) or not _HASH.match(head):
        raise BadRequest("hash must be 64 hexadecimal digits")
    _refuse_without_room(limits.load())
    journal.append("anchor", {**_told(request, caller), "seq": seq, "hash": head})
    return [{"kind": "anchor", "seq": seq, "hash": head}]


def _check(request: Request, _caller: Caller) -> list[dict[str, Any]]:
    """Answer `write.check`: whether a change could be made, and why not, of the host and of each instance."""
    refuse_unknown(request.args, set())
    try:
        caps = limits.load()
        problem = _problem(lambda: _refuse_without_room(caps))
    except Refused as error:
        caps, problem = Limits(), str(error)
    host = {
        "kind": "host",
        "limits": caps._asdict(),
        "journal_bytes": journal.size_bytes(),
        "problem": problem,
    }
    return [host, *map(_check_row, postfix.places())]


def _headers(request: Request, caller: Caller) -> list[dict[str, Any]]:
    """Answer `message.headers`: only once it is written down who reads them."""
    refuse_unknown(request.args, {"instance", "id"})
    place = _place(request.args.get("instance"))
    queue_id = messages.queue_id_of(request.args.get("id"))
    _refuse_without_room_for_journal()
    journal.append("read", {**_told(request, caller), "id": queue_id})
    return [messages.headers(place, queue_id)]


def _body(request: Request, caller: Caller) -> list[dict[str, Any]]:
    """Answer `message.body` where root allows it, and only once it is written down who reads it."""
    refuse_unknown(request.args, {"instance", "id"})
    place = _place(request.args.get("instance"))
    queue_id = messages.queue_id_of(request.args.get("id"))
    if not limits.load().bodies:
        raise Refused("message.body is switched off in this host's limits: bodies is false")
    _refuse_without_room_for_journal()
    journal.append("read", {**_told(request, caller), "id": queue_id})
    return messages.body(place, queue_id)


def _check_row(place: postfix.Place) -> dict[str, Any]:
    problem = _problem(lambda: actions.refuse_unless_trusted(place))
    return {"kind": "instance", "name": place.name, "fence": Instance(place.name).fence(), "problem": problem}


def _preflight(request: Request, _caller: Caller) -> list[dict[str, Any]]:
    """Answer `flush.preflight`: whether a flush to a peer could begin, and why not."""
    args = request.args
    refuse_unknown(args, {"instance", "to", "sender", "recipients"})
    return preflight.rows(_place(args.get("instance")), args)


def _problem(check: Callable[[], None]) -> str | None:
    try:
        check()
    except (Refused, OSError) as error:
        return printable(str(error), 300)
    return None


_OTHERS: dict[str, Callable[[Request, Caller], list[dict[str, Any]]]] = {
    "op.result": _op_result,
    "audit.anchor": _anchor,
    "write.check": _check,
    "message.headers": _headers,
    "message.body": _body,
    "flush.preflight": _preflight,
}
_PLANNERS: dict[str, actions.Planner] = {
    **actions.PLANNERS,
    **messages.PLANNERS,
    **redirect.PLANNERS,
    **rate.PLANNERS,
}
