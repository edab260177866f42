"""Random requests to relayctl, seeded: tests ask some, `./run bench attacks` many."""

import json
import os
import random
import sys
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

_VALUES: list[Any] = [
    "msn-a",
    "msn-a;id",
    "../etc",
    "msn-a\n",
    "ALL",
    "-d",
    "A" * 5_000,
    "m\u0455n-a",
    "\uff11\uff12",
    "msn-a\0",
    "hotmail.com\n* drain:[9.9.9.9]",
    "\u202emoc.live",
    "",
    " ",
    "\ud800",
    0,
    -1,
    2**63,
    10**30,
    1.5,
    float("nan"),
    True,
    None,
    [],
    {},
    ["ALL"],
    {"a": {"b": []}},
    ["4Xyz1J1Rz2zQ9"],
    "00000000-0000-0000-0000-000000000000",
]
_KEYS = [
    "instance",
    "instances",
    "domain",
    "ids",
    "limit",
    "cursor",
    "filter",
    "text",
    "since",
    "until",
    "top",
    "pick",
    "action",
    "seq",
    "head",
    "req_id_of",
    "plan_hash",
    "max_rows",
    "__proto__",
    "",
]
_VERBS = [
    "hello",
    "inventory",
    "snapshot",
    "queue.list",
    "queue.groups",
    "queue.pick",
    "log.read",
    "log.search",
    "journal.read",
    "queue.run",
    "instance.reload",
    "message.hold",
    "message.delete",
    "op.result",
    "audit.anchor",
    "write.check",
    "message.headers",
    "message.body",
    "sh",
    "",
    "queue.run\n",
    7,
    None,
]
_MODULES = (
    "inventory",
    "snapshot",
    "listing",
    "grouping",
    "picking",
    "log_read",
    "log_search",
    "journal",
    "write",
)
_NOBODY = 65534


def random_request(dice: random.Random) -> bytes:
    """Return a request that is a little wrong, very wrong, or no request at all."""
    fields: dict[str, Any] = {
        "v": 1,
        "req_id": "7b1ffaf5-3f1d-4a65-9b51-f7c1e2f7a001",
        "verb": dice.choice(_VERBS),
        "args": {dice.choice(_KEYS): dice.choice(_VALUES) for _ in range(dice.randrange(4))},
    }
    if dice.random() < 0.5:
        fields[dice.choice([*fields, "op_id", "fence", "dry_run", "plan_hash", "more"])] = dice.choice(
            _VALUES
        )
    if dice.random() < 0.1:
        del fields[dice.choice(list(fields))]
    text = bytearray(json.dumps(fields).encode())
    if dice.random() < 0.3:
        for _ in range(dice.randrange(1, 6)):
            text[dice.randrange(len(text))] = dice.randrange(256)
    if dice.random() < 0.05:
        text = bytearray(b"[" * dice.randrange(1, 100_000))
    return bytes(text[: dice.randrange(len(text))] if dice.random() < 0.1 else text)


# What a shell, an option's parser or a map would make something else of. Nothing may ever make the file.
CANARY = "/run/made-by-a-request"
_TURNED = [
    f";touch {CANARY}",
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"\ntouch {CANARY}\n",
    f"|touch {CANARY}",
    "\0",
    " -f",
    "\n* drain:[9.9.9.9]",
    "/../../../../etc/passwd",
]
_MESSAGE = {"domain": "hotmail.com", "limit": 5}
_PEER = {"address": "127.0.0.1", "port": 2526}
_READ: list[tuple[str, dict[str, Any]]] = [
    ("hello", {}),
    ("inventory", {}),
    ("snapshot", {"instances": ["msn-a"], "domains": 5, "replies": 5}),
    ("queue.list", {"instance": "msn-a", **_MESSAGE}),
    ("queue.groups", {"instance": "msn-a", "queues": ["deferred"], "limit": 5}),
    ("queue.pick", {"instance": "msn-a", "sender": "list@lists.example", "most": 100}),
    ("log.read", {"cursors": {"journal": {"v": 1, "journal": "s=a;i=1"}}, "fleet": [], "seconds": 1}),
    ("log.read", {"cursors": {"/var/log/postfix-msn-a.log": None}, "seconds": 1}),
    ("log.search", {"texts": ["to=<a@hotmail.com>"], "since": 1, "until": 2, "budget_ms": 50}),
    ("log.search", {"ids": ["4jWKWh04b5z1T1"], "limit": 5, "budget_ms": 50}),
    ("journal.read", {"limit": 5}),
    ("redirect.status", {}),
    ("flush.scan", {"instance": "msn-a", "domains": ["hotmail.com"], "counts_only": True}),
    ("flush.log", {"instance": "msn-a", "role": "source", "at_end": True}),
]
_CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("queue.run", {"instance": "msn-a", "domain": None}),
    ("queue.run", {"instance": "msn-a", "domain": "hotmail.com"}),
    ("instance.reload", {"instance": "msn-a"}),
    *(
        (f"message.{action}", {"instance": "msn-a", "items": "some"})
        for action in ("hold", "release", "retry", "requeue", "expire", "delete")
    ),
    ("redirect.set", {"instance": "msn-a", "to": _PEER, "domains": ["hotmail.com"], "lease_s": 60}),
    ("redirect.renew", {"instance": "msn-a", "lease_s": 60}),
    ("redirect.pause", {"instance": "msn-a"}),
    ("redirect.resume", {"instance": "msn-a"}),
    ("redirect.clear", {"instance": "msn-a"}),
    ("flush.retry", {"instance": "msn-a", "domains": ["hotmail.com"]}),
    ("flush.retry", {"instance": "msn-a", "ids": "some"}),
    ("rate.hold", {"instance": "msn-a", "delay_s": 20}),
    ("rate.release", {"instance": "msn-a"}),
]
_OTHER_WRITES: list[tuple[str, dict[str, Any]]] = [
    ("op.result", {"req_id": "request-000001", "instance": "msn-a"}),
    ("audit.anchor", {"seq": 1, "hash": "0" * 64}),
    ("write.check", {}),
    ("message.headers", {"instance": "msn-a", "id": "one"}),
    ("message.body", {"instance": "msn-a", "id": "one"}),
    ("flush.preflight", {"instance": "msn-a", "to": _PEER, "sender": "", "recipients": ["a@hotmail.com"]}),
]


def nearly_right_request(dice: random.Random, door: str, messages: list[Any]) -> bytes:
    """Return a request that a door takes, in half of all cases with something in it turned into an attack.

    door: `read` or `write`; messages: as `queue.pick` names them.
    """
    verb, args = dice.choice(_READ if door == "read" else [*_CHANGES, *_OTHER_WRITES])
    some = dice.sample(messages, min(len(messages), 2))
    fields: dict[str, Any] = {
        "v": 1,
        "req_id": f"request-{dice.getrandbits(64):016x}",
        "verb": verb,
        # A copy: what is turned in one request must not be wrong in all that follow.
        "args": deepcopy({**args, **_named(args, some)}),
    }
    if verb in dict(_CHANGES):
        fields |= {"op_id": "op-1", "fence": 1}
    if dice.random() < 0.5:
        _turn(dice, fields)
    return json.dumps(fields).encode()


def _named(args: dict[str, Any], some: list[Any]) -> dict[str, Any]:
    """Return the arguments that name messages which are there."""
    named = {"items": some, "ids": [item[0] for item in some], "id": some[0][0] if some else ""}
    return {key: value for key, value in named.items() if args.get(key) in ("some", "one")}


def _turn(dice: random.Random, fields: dict[str, Any]) -> None:
    """Replace, lengthen or take away something, however deep it lies."""
    place: Any = fields
    key: Any = dice.choice([*fields, "args", "args"])
    while isinstance(place[key], dict | list) and place[key] and dice.random() < 0.8:
        place = place[key]
        key = dice.choice(list(place) if isinstance(place, dict) else range(len(place)))
    if isinstance(place[key], str) and dice.random() < 0.7:
        place[key] = dice.choice(["", "-", "../"]) + place[key] + dice.choice(_TURNED)
    elif isinstance(place, dict) and dice.random() < 0.2:
        del place[key]
    else:
        place[key] = dice.choice(_VALUES)


def answer_all(count: int, seed: str) -> dict[str, Any]:
    """Have relayctl answer that many requests in a process of its own, as nobody; tell what went wrong.

    Returns answers by their code, and what was no complete reply. No program runs: one that would is counted.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "w") as told:
            json.dump(_answer_all(count, random.Random(seed)), told)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    _, status = os.waitpid(child, 0)
    if status != 0 or not text:
        return {"codes": {}, "commands": {}, "wrong": [f"the process ended with status {status}"]}
    found: dict[str, Any] = json.loads(text)
    return found


def _answer_all(count: int, dice: random.Random) -> dict[str, Any]:
    for module in _MODULES:
        __import__(f"relays.agent.{module}")
    from relays.agent import serve  # noqa: PLC0415

    # What nobody may not be able to read afterwards.
    "\u00e4".encode("idna")

    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)
    commands: Counter[str] = Counter()

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
            commands[Path(str(arguments[0])).name] += 1
            raise PermissionError(1, "no program runs here")

    sys.addaudithook(refuse)
    codes: Counter[str] = Counter()
    wrong: list[str] = []
    for _ in range(count):
        request = random_request(dice)
        ran = commands.total()
        code = _answered(serve.serve, request)
        codes[code] += 1
        # Without its programs relayctl cannot look at Postfix, which it tells as an internal error.
        if code.startswith("incomplete") or (code == "internal" and commands.total() == ran):
            wrong.append(f"{code}: {request[:300]!r}")
    return {"codes": codes, "commands": commands, "wrong": wrong[:20]}


def _answered(serve: Any, request: bytes) -> str:
    """Return "ok", the code of the error, or "incomplete"."""
    asked, answer = os.memfd_create("request"), os.memfd_create("answer")
    try:
        os.write(asked, request)
        os.lseek(asked, 0, os.SEEK_SET)
        serve(asked, answer)
        size = os.lseek(answer, 0, os.SEEK_CUR)
        lines = os.pread(answer, size, 0).splitlines()
        rows = [json.loads(line) for line in lines]
        if len(rows) < 2 or rows[-1].get("end") is not True:
            return "incomplete"
        error = rows[0].get("error") or rows[-1].get("error")
        return str(error["code"]) if error else "ok"
    except Exception as error:  # noqa: BLE001 - what is looked for
        return f"incomplete: {error!r}"
    finally:
        os.close(asked)
        os.close(answer)
