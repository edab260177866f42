"""What the write path does to single messages: hold, release, retry, requeue, expire, delete.

A message is named by its id, its arrival and what its sender comes to; all three are compared with the queue
right before anything is done, and what is not that very message is left alone. postsuper(1) is given ids on
its standard input, each checked to be one, so that neither ALL nor "-" nor an option can be among them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from relays.agent import children, postfix
from relays.agent.actions import KEPT_S, Action, facts, program, run
from relays.agent.deadline import Deadline
from relays.agent.exclusive import Pace
from relays.agent.limits import Limits
from relays.agent.protocol import BadRequest, Refused, refuse_unknown
from relays.agent.queue_read import read_place
from relays.domain.matching import is_long, sender_check
from relays.domain.queue import Entry

MOST = 1000
_LOOK_S = 30.0
_DAY_S = 86_400
_FIVE_MINUTES_S = 300
# So many messages in 5 minutes are a flood whatever is done to them.
_PACE = 200_000
_MAX_HEADERS = 9_000
MAX_BODY = 256 * 1024
# As JSON a character takes 6 bytes at most, or 12 outside the first plane: such a row fits a line.
_BODY_A_ROW = 4_096

_QUEUE_ID = re.compile(r"\A[0-9A-Za-z]{6,31}\Z")
_CHECK = re.compile(r"\A[0-9a-f]{16}\Z")
_LIFETIMES = ("maximal_queue_lifetime", "bounce_queue_lifetime")
_LIFETIME = re.compile(r"\A([0-9]{1,9})([smhdw]?)\Z")
_UNITS = {"": 86_400, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

# Why a message was left alone: not there any more; there, but another; in a queue that this verb does not
# touch; done before; and for what was tried in vain.
GONE, MISMATCHED, ELSEWHERE, ALREADY, FAILED = "gone", "mismatched", "elsewhere", "already", "failed"

if TYPE_CHECKING:
    Ids = list[str]
    # What the commands did, as actions.run() tells it, and the ids that were not tried, or in vain.
    # An instance's settings by name, "config_dir" among them.
    Settings = dict[str, str]
    Ran = tuple[list[dict[str, Any]], Ids]


class Item(NamedTuple):
    """A message as a request names it."""

    queue_id: str
    arrival: int
    check: str


class _Verb(NamedTuple):
    """How a verb acts. queues: on which; done: where a message then is that it was done to."""

    queues: tuple[str, ...]
    act: Callable[[Settings, Ids, Deadline], Ran]
    done: Callable[[str | None], bool]
    needs: str
    removes: bool = False
    already: str = ""


def queue_id_of(value: Any) -> str:
    """Return a queue id out of a request; raise BadRequest for what is none."""
    if not isinstance(value, str) or not _QUEUE_ID.match(value):
        raise BadRequest("a queue id is 6 to 31 letters and digits")
    return value


def plan(
    verb: str, place: postfix.Place, args: dict[str, Any], limits: Limits, _deadline: Deadline
) -> Action:
    """Plan one of the verbs for at most 1,000 messages."""
    refuse_unknown(args, {"instance", "items"})
    items, how = _items(args.get("items")), _VERBS[verb]
    if not getattr(limits, how.needs):
        raise Refused(f"{verb} is switched off in this host's limits: {how.needs} is false")
    if how.removes and any(not is_long(item.queue_id) for item in items):
        raise Refused(
            "a short queue id may be another message's by now: set enable_long_queue_ids = yes, and wait "
            "until the messages that came before have left"
        )
    found = facts(place, "enable_long_queue_ids", *_LIFETIMES)
    pace = (
        Pace("messages deleted or expired", limits.removals_a_day, _DAY_S, len(items))
        if how.removes
        else Pace(verb, _PACE, _FIVE_MINUTES_S, len(items))
    )

    def effect(_op_id: str, _fence: int, deadline: Deadline) -> dict[str, Any]:
        return _act(place, found, items, how, deadline)

    return Action(_shown(verb, place), {"messages": len(items)}, found, pace, effect)


def _items(value: Any) -> list[Item]:
    if not isinstance(value, list) or not 0 < len(value) <= MOST:
        raise BadRequest(f"items must be a list of 1 to {MOST}")
    items = [_item(each) for each in value]
    if len({item.queue_id for item in items}) != len(items):
        raise BadRequest("an id is among the items twice")
    return items


def _item(value: Any) -> Item:
    if not isinstance(value, list) or len(value) != 3:
        raise BadRequest("an item is [id, arrival, check]")
    queue_id, arrival, check = value
    if type(arrival) is not int or not isinstance(check, str) or not _CHECK.match(check):
        raise BadRequest("an item is [id, arrival, check]")
    return Item(queue_id_of(queue_id), arrival, check)


def _act(
    place: postfix.Place, settings: Settings, items: list[Item], how: _Verb, deadline: Deadline
) -> dict[str, Any]:
    """Look, act on what is still that message, look again; return the result with what was left, and why."""
    began = time.monotonic()
    try:
        left = _left_alone(place, items, how, deadline)
    except Refused as error:
        return _result([], {item.queue_id: FAILED for item in items}, began, items, str(error))
    ids = [item.queue_id for item in items if item.queue_id not in left]
    ran, in_vain = how.act(settings, ids, deadline) if ids else ([], [])
    where = places_of(settings["queue_directory"], set(ids))
    left.update({queue_id: FAILED for queue_id in ids if not how.done(where.get(queue_id))})
    left.update(dict.fromkeys(in_vain, FAILED))
    return _result(ran, left, began, items)


def _left_alone(place: postfix.Place, items: list[Item], how: _Verb, deadline: Deadline) -> dict[str, str]:
    """Return why each message is to be left alone that is."""
    there: dict[str, Entry] = {}

    def take(entry: Entry) -> None:
        there[entry.queue_id] = entry

    wanted = frozenset(item.queue_id.encode() for item in items)
    budget_s = max(1.0, min(_LOOK_S, deadline.remaining_s() - 3 * KEPT_S))
    read_place(place, budget_s, take, only=wanted)
    found = {item.queue_id: _why_not(item, there.get(item.queue_id), how) for item in items}
    return {queue_id: why for queue_id, why in found.items() if why}


def _why_not(item: Item, entry: Entry | None, how: _Verb) -> str:
    if entry is None:
        return GONE
    if (entry.arrival, sender_check(entry.sender)) != (item.arrival, item.check):
        return MISMATCHED
    if entry.queue in how.queues:
        return ""
    return ALREADY if entry.queue == how.already else ELSEWHERE


def _result(
    ran: list[dict[str, Any]], left: dict[str, str], began: float, items: list[Item], error: str = ""
) -> dict[str, Any]:
    """Return what came of it, as docs/relayctl.md has it."""
    worst = next((each for each in ran if not each["ok"]), ran[-1] if ran else None)
    result = (
        dict(worst) if worst else {"ok": not error, "command": [], "exit_status": None, "timed_out": False}
    )
    output = "\n".join(dict.fromkeys(each["output"] for each in ran if each["output"])) or error
    counts: dict[str, int] = {"messages": len(items), "acted": len(items) - len(left)}
    by_reason: dict[str, list[str]] = {}
    for queue_id, why in left.items():
        by_reason.setdefault(why, []).append(queue_id)
    counts.update({why: len(ids) for why, ids in by_reason.items()})
    took_ms = round(1000 * (time.monotonic() - began))
    return {**result, "output": output[:2048], "took_ms": took_ms, "counts": counts, "left": by_reason}


def places_of(queue_directory: str, ids: set[str]) -> dict[str, str]:
    """Return in which queue each of these messages lies, of those that lie in one."""
    return {
        name: queue
        for queue in ("incoming", "active", "deferred", "hold")
        for name, _ in _files(os.path.join(queue_directory, queue), ids)
    }


def _files(folder: str, ids: set[str]) -> list[tuple[str, str]]:
    """Return (id, path) of these messages below a queue's folder, whatever depth it is hashed to."""
    found = []
    for at, _, names in os.walk(folder):
        found += [(name, os.path.join(at, name)) for name in names if name in ids]
    return found


def _postsuper(*options: str) -> Callable[[Settings, Ids, Deadline], Ran]:
    def act(settings: Settings, ids: Ids, deadline: Deadline) -> Ran:
        return [_with_ids(settings, ids, deadline, options)], []

    return act


def _with_ids(settings: Settings, ids: Ids, deadline: Deadline, options: tuple[str, ...]) -> dict[str, Any]:
    command = [program("postsuper"), "-c", settings["config_dir"], *options]
    return run(command, deadline, stdin="".join(f"{queue_id}\n" for queue_id in ids).encode("ascii"))


def _release(settings: Settings, ids: Ids, deadline: Deadline) -> Ran:
    """Release; requeue what was held so long that its lifetime would end it at the first failure."""
    long_held = _long_held(settings, ids)
    short_held = [queue_id for queue_id in ids if queue_id not in long_held]
    ran = []
    if short_held:
        ran.append(_with_ids(settings, short_held, deadline, ("-H", "-", "hold")))
    if long_held:
        ran.append(_with_ids(settings, sorted(long_held), deadline, ("-r", "-", "hold")))
    return ran, []


def _long_held(settings: Settings, ids: Ids) -> set[str]:
    """Return those that were held for more than half of the shorter queue lifetime.

    The change time of a held message is when it was moved there: nothing writes to it after that.
    """
    since = time.time() - min(_seconds(settings[name]) for name in _LIFETIMES) / 2
    held = _files(os.path.join(settings["queue_directory"], "hold"), set(ids))
    return {queue_id for queue_id, path in held if _changed_at(path) < since}


def _seconds(text: str) -> int:
    match = _LIFETIME.match(text)
    # What is not understood counts as nothing: then all is requeued, which only costs a new id.
    return int(match[1]) * _UNITS[match[2]] if match else 0


def _changed_at(path: str) -> float:
    try:
        return os.lstat(path).st_ctime
    except FileNotFoundError:
        return time.time()


def _retry(settings: Settings, ids: Ids, deadline: Deadline) -> Ran:
    """Have each tried now: postqueue(1) takes one id a call."""
    ran, in_vain = [], []
    for queue_id in ids:
        if deadline.remaining_s() < 2 * KEPT_S:
            in_vain.append(queue_id)
            continue
        ran.append(run([program("postqueue"), "-c", settings["config_dir"], "-i", queue_id], deadline))
        if not ran[-1]["ok"]:
            in_vain.append(queue_id)
    return ran, in_vain


def _shown(verb: str, place: postfix.Place) -> list[str]:
    """Return the command that is run, as a plan shows it."""
    name, *options = _COMMANDS[verb]
    return [program(name), "-c", place.config_dir, *options]


_COMMANDS = {
    "message.hold": ("postsuper", "-h", "-", "incoming", "deferred"),
    "message.release": ("postsuper", "-H", "-", "hold"),
    "message.retry": ("postqueue", "-i", "ID"),
    "message.requeue": ("postsuper", "-r", "-", "deferred", "hold"),
    "message.expire": ("postsuper", "-f", "-", "deferred", "hold"),
    "message.delete": ("postsuper", "-d", "-", "hold"),
}
# What is active is being delivered: taken away then, it could be delivered and be there again.
_VERBS = {
    "message.hold": _Verb(
        ("incoming", "deferred"),
        _postsuper(*_COMMANDS["message.hold"][1:]),
        lambda queue: queue == "hold",
        "messages",
        already="hold",
    ),
    "message.release": _Verb(("hold",), _release, lambda queue: queue != "hold", "messages"),
    "message.retry": _Verb(("deferred",), _retry, lambda _queue: True, "messages"),
    "message.requeue": _Verb(
        ("deferred", "hold"),
        _postsuper(*_COMMANDS["message.requeue"][1:]),
        lambda queue: queue not in ("deferred", "hold"),
        "messages",
    ),
    "message.expire": _Verb(
        ("deferred", "hold"),
        _postsuper(*_COMMANDS["message.expire"][1:]),
        lambda queue: queue != "hold",
        "expire",
        removes=True,
    ),
    # Only what is on hold: whoever deletes holds first, and has the time to think again.
    "message.delete": _Verb(
        ("hold",),
        _postsuper(*_COMMANDS["message.delete"][1:]),
        lambda queue: queue is None,
        "delete",
        removes=True,
    ),
}


def _planner(verb: str) -> Callable[[postfix.Place, dict[str, Any], Limits, Deadline], Action]:
    return lambda place, args, limits, deadline: plan(verb, place, args, limits, deadline)


PLANNERS = {verb: _planner(verb) for verb in _VERBS}


def headers(place: postfix.Place, queue_id: str) -> dict[str, Any]:
    """Return a message's headers as postcat(1) has them, without its body; raise Refused."""
    text = _postcat(place, queue_id, "-h", 4 * _MAX_HEADERS).decode("utf-8", "replace")
    cut = len(text) > _MAX_HEADERS
    return {"kind": "headers", "id": queue_id, "text": text[:_MAX_HEADERS], "cut": cut}


def body(place: postfix.Place, queue_id: str) -> list[dict[str, Any]]:
    """Return the first MAX_BODY bytes of a message's body, as they were sent, in rows; raise Refused.

    What is no UTF-8 in it is replaced: this is to be looked at, never to be a copy.
    """
    # postcat begins with the empty line after the headers.
    received = _postcat(place, queue_id, "-b", MAX_BODY + 2).removeprefix(b"\n")
    text = received[:MAX_BODY].decode("utf-8", "replace")
    parts = [text[at : at + _BODY_A_ROW] for at in range(0, len(text), _BODY_A_ROW)] or [""]
    cut = len(received) > MAX_BODY
    return [{"kind": "body", "id": queue_id, "text": part, "cut": cut} for part in parts]


def _postcat(place: postfix.Place, queue_id: str, option: str, max_bytes: int) -> bytes:
    """Return the first bytes of what postcat(1) shows of a message; raise Refused."""
    received = bytearray()

    def take(chunk: bytes) -> None:
        received.extend(chunk[: max_bytes - len(received)])

    arguments = [program("postcat"), "-c", place.config_dir, option, "-q", queue_id]
    try:
        result = children.run(arguments, timeout_s=KEPT_S, idle_s=KEPT_S, take=take)
    except children.TimedOut:
        raise Refused("postcat did not end in time") from None
    if result.status != 0:
        raise Refused(f"message {queue_id} is not in the queue: {result.stderr.strip()[:200]}")
    return bytes(received)
