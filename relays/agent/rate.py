"""The verbs of a held rate: one delivery at most in so many seconds by the service that sends to providers.

It is Postfix's own smtp_transport_rate_delay, which qmgr(8) keeps for the one service `smtp` of master.cf
(postconf(5), Postfix 3.1): the drain of a flush is another service and goes on at its own pace. What main.cf
had before is kept in /var/lib/relay-fleet/instances/NAME/rate.json, written before main.cf is changed.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, NamedTuple

from relays.agent import actions, children, drain, exclusive, lease, postfix, redirect
from relays.agent.actions import Action
from relays.agent.deadline import Deadline
from relays.agent.exclusive import Pace
from relays.agent.limits import Limits
from relays.agent.manifest import sync_directory, write_file
from relays.agent.protocol import BadRequest, Refused, integer, refuse_unknown

SETTING = "smtp_transport_rate_delay"
# A day: what is slower than one delivery a day is no rate.
MOST_S = 86_400
_HOUR_S = 3_600
_ASK_S = 10
_MAX_BYTES = 64 * 1024
_MODE = 0o600


class Held(NamedTuple):
    """A rate that relayctl has set, or was about to.

    before: what comes back when it is released, as main.cf had it; None for no line. found: what main.cf had
    when this was kept, which is another hold's value where one followed another.
    """

    delay_s: int
    before: str | None
    found: str | None
    op_id: str
    set_at: float

    @property
    def value(self) -> str:
        """What main.cf has for it."""
        return f"{self.delay_s}s"

    def is_ours(self, now: str | None) -> bool:
        """Tell whether main.cf has what we set, or what we found: the change may have died before it."""
        return now in (self.value, self.found)


def plan_hold(place: postfix.Place, args: dict[str, Any], limits: Limits, _deadline: Deadline) -> Action:
    """Plan that deliveries are at least so many seconds apart, until rate.release."""
    refuse_unknown(args, {"instance", "delay_s"})
    if "delay_s" not in args:
        raise BadRequest("args.delay_s is missing")
    delay_s = integer(args, "delay_s", 1, MOST_S, 1)
    if not limits.rate_hold:
        raise Refused("rate.hold is switched off in this host's limits")
    if delay_s > limits.rate_delay_most_s:
        raise Refused(
            f"a delay of {delay_s} s is more than this host's limits allow: {limits.rate_delay_most_s}"
        )
    facts = _facts(place)
    held, now = load(place.name), written(place)
    # A value that somebody set over ours is theirs, and comes back when the rate is released.
    before = held.before if held is not None and held.is_ours(now) else now
    command = _postconf(place, "-e", f"{SETTING}={delay_s}s")

    def effect(op_id: str, _fence: int, deadline: Deadline) -> dict[str, Any]:
        try:
            _save(place.name, Held(delay_s, before, now, op_id, round(time.time(), 3)))
        except OSError as error:
            return actions.failed(command, f"what is set now could not be kept: {error}")
        return _changed(place, command, deadline)

    told = {"written": now or "", "before": before or ""}
    return Action(command, {}, {**facts, **told}, _pace(limits), effect, noted={"before": before})


def plan_release(place: postfix.Place, args: dict[str, Any], limits: Limits, _deadline: Deadline) -> Action:
    """Plan that main.cf gets back what it had before. What somebody else set meanwhile stays."""
    refuse_unknown(args, {"instance"})
    facts = _facts(place)
    held, now = load(place.name), written(place)
    before = held.before if held else None
    command = _postconf(place, *(["-X", SETTING] if before is None else ["-e", f"{SETTING}={before}"]))

    def effect(_op_id: str, _fence: int, deadline: Deadline) -> dict[str, Any]:
        if held is None:
            return actions.done([], "no rate is held")
        if not held.is_ours(now):
            _forget(place.name)
            return actions.done([], f"left as somebody has set it: {SETTING} = {now or '(none)'}")
        outcome = _changed(place, command, deadline)
        if outcome["ok"]:
            _forget(place.name)
        return outcome

    told = {"written": now or "", "held": held.value if held else ""}
    return Action(command, {}, {**facts, **told}, _pace(limits), effect, noted={"before": now})


PLANNERS: dict[str, actions.Planner] = {"rate.hold": plan_hold, "rate.release": plan_release}


def load(instance: str) -> Held | None:
    """Return the rate that relayctl holds an instance to, None for none. Raises Refused for a damaged one."""
    try:
        with open(_path(instance), "rb") as file:
            fields = json.loads(file.read(_MAX_BYTES))
        before, found = (None if fields[name] is None else str(fields[name]) for name in ("before", "found"))
        return Held(
            delay_s=int(fields["delay_s"]),
            before=before,
            found=found,
            op_id=str(fields["op_id"]),
            set_at=float(fields["set_at"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(f"{_path(instance)} is damaged: {error}") from None


def written(place: postfix.Place) -> str | None:
    """Return the setting as main.cf has it, its own references kept; None where it has no such line."""
    try:
        result, text = children.output(_postconf(place, "-n", SETTING), timeout_s=_ASK_S)
    except (children.TimedOut, OSError) as error:
        raise Refused(f"misconfigured: {error}") from None
    if result.status != 0:
        raise Refused(f"misconfigured: {result.stderr.strip()[:300]}")
    name, equals, value = text.partition("=")
    return value.strip() if equals and name.strip() == SETTING else None


def _facts(place: postfix.Place) -> dict[str, str]:
    """Return what a rate rests on. Raises Refused where it would hold nothing, or a redirect is on."""
    facts = actions.facts(place, "default_transport", SETTING)
    try:
        overrides = postfix.service_overrides(place.config_dir)
        sends = bool(drain.master_line(place.config_dir, "smtp"))
    except postfix.Misconfigured as error:
        raise Refused(f"misconfigured: {error}") from None
    if not sends or facts["default_transport"].partition(":")[0] != "smtp":
        raise Refused(
            f"mail for providers does not go by the service smtp here, but by {facts['default_transport']}"
        )
    if ("qmgr", SETTING) in overrides:
        raise Refused(f"master.cf sets {SETTING} for qmgr, which main.cf does not change")
    if not facts[SETTING]:
        raise Refused("this Postfix has no transport_rate_delay: it came with 3.1")
    current = lease.described(place.name)
    if current["to"] is not None or current["op_id"] is not None:
        raise Refused(
            f"{place.name} is redirected to {current['to']}: a flush runs, which a reload would disturb"
        )
    return facts


def _changed(place: postfix.Place, command: list[str], deadline: Deadline) -> dict[str, Any]:
    """Change main.cf and have it read; return what came of both as one result, the command's first."""
    outcome = actions.run(command, deadline)
    if not outcome["ok"]:
        return outcome
    try:
        reloaded = redirect.reload(place, deadline)
    except postfix.Misconfigured as error:
        return actions.failed(command, str(error))
    output = "\n".join(filter(None, (outcome["output"], reloaded["output"])))
    return {**reloaded, "output": output, "took_ms": outcome["took_ms"] + reloaded["took_ms"]}


def _postconf(place: postfix.Place, *arguments: str) -> list[str]:
    return [actions.program("postconf"), "-c", place.config_dir, *arguments]


def _pace(limits: Limits) -> Pace:
    return Pace("a change of the rate", limits.rate_changes_in_an_hour, _HOUR_S)


def _save(instance: str, held: Held) -> None:
    write_file(_path(instance), json.dumps(held._asdict()).encode() + b"\n", _MODE)


def _forget(instance: str) -> None:
    os.unlink(_path(instance))
    sync_directory(os.path.dirname(_path(instance)))


def _path(instance: str) -> str:
    return os.path.join(exclusive.DIRECTORY, instance, "rate.json")
