"""The verbs of a redirect: put on under a lease, renewed, given back; and what it lets out, tried again.

Whatever dies in between, the guard (sweep) leaves what is true: a redirect with a lease that holds, or none.
docs/relayctl.md, "The flush", is the contract.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from relays.agent import actions, children, drain, lease, peers, postfix
from relays.agent.actions import Action
from relays.agent.deadline import Deadline
from relays.agent.drain import Redirect
from relays.agent.exclusive import Instance, Pace
from relays.agent.limits import Limits
from relays.agent.manifest import temporary, write_file
from relays.agent.protocol import BadRequest, Locked, Refused, RelayctlError, integer, refuse_unknown
from relays.domain.matching import is_long

MAX_DOMAINS = 1_000
MAX_IDS = 1_000
EVERYTHING = "*"
_HOUR_S = 3_600
_RELOAD_S = 30.0
_ASK_S = 20.0

Say = Callable[[str], None]


def plan_set(place: postfix.Place, args: dict[str, Any], limits: Limits, _deadline: Deadline) -> Action:
    """Plan a redirect: mail for these domains goes on to a peer, until the lease ends."""
    refuse_unknown(args, {"instance", "to", "domains", "lease_s"})
    peer = peers.find(args.get("to"))
    redirect = Redirect(domains_of(args.get("domains")), peer.address, peer.port)
    lease_s = integer(args, "lease_s", lease.LEAST_S, lease.MOST_S, 900)
    if not limits.flush:
        raise Refused("flush is switched off in this host's limits")
    facts = actions.facts(place, "transport_maps")
    _refuse_unless_ready(place)
    _refuse_while_redirected(place)
    to = f"[{peer.address}]:{peer.port}"

    def effect(op_id: str, fence: int, deadline: Deadline) -> dict[str, Any]:
        lease.save(place.name, lease.new(op_id=op_id, fence=fence, to=to, lease_s=lease_s))
        try:
            _put_on(place, redirect)
            return reload(place, deadline)
        except (OSError, Refused, postfix.Misconfigured) as error:
            _empty(place)
            lease.remove(place.name)
            return actions.failed(command, str(error))

    command = _reload_command(place)
    pace = Pace("a redirect", limits.redirects_in_an_hour, _HOUR_S)
    shown = {"redirect": drain.map_text(redirect), "to": str(peer), "lease_s": str(lease_s)}
    return Action(command, {}, {**facts, **shown}, pace, effect)


def plan_renew(place: postfix.Place, args: dict[str, Any], _limits: Limits, _deadline: Deadline) -> Action:
    """Plan that the redirect which is on goes on for so long from now."""
    refuse_unknown(args, {"instance", "lease_s"})
    lease_s = integer(args, "lease_s", lease.LEAST_S, lease.MOST_S, 900)
    actions.refuse_unless_trusted(place)
    if lease.described(place.name)["to"] is None:
        raise Refused("no redirect is on: there is nothing to renew")

    def effect(op_id: str, _fence: int, _deadline: Deadline) -> dict[str, Any]:
        if why := _not_held_by(place, op_id):
            return actions.failed([], why)
        held = lease.load(place.name)
        assert held is not None  # noqa: S101 - it is held, as was just seen under the lock
        lease.save(place.name, held._replace(expires_bt=lease.boottime() + lease_s))
        return actions.done([], f"it holds for {lease_s} s more")

    return Action([], {}, {"config_dir": place.config_dir}, Pace("a renewal", 100, 300), effect)


def plan_pause(place: postfix.Place, args: dict[str, Any], limits: Limits, _deadline: Deadline) -> Action:
    """Plan that the redirected mail waits here: nobody is asked to take it."""
    return _plan_turn(place, args, limits, paused=True)


def plan_resume(place: postfix.Place, args: dict[str, Any], limits: Limits, _deadline: Deadline) -> Action:
    """Plan that the redirected mail goes on to the peer again."""
    return _plan_turn(place, args, limits, paused=False)


def _plan_turn(place: postfix.Place, args: dict[str, Any], limits: Limits, *, paused: bool) -> Action:
    refuse_unknown(args, {"instance"})
    facts = actions.facts(place)
    if lease.described(place.name)["to"] is None:
        raise Refused("no redirect is on: there is nothing to pause")
    if paused and _has_service(place, drain.PAUSED_SERVICE):
        raise Refused(f"master.cf has a service {drain.PAUSED_SERVICE}, which must be none")

    def effect(op_id: str, _fence: int, deadline: Deadline) -> dict[str, Any]:
        if why := _not_held_by(place, op_id):
            return actions.failed(command, why)
        try:
            with open(drain.map_path(place.name), encoding="ascii") as file:
                redirect = drain.parse_map(file.read())
            assert redirect is not None  # noqa: S101 - a redirect is on, as was just seen under the lock
            if redirect.paused == paused:
                return reload(place, deadline)
            _put_on(place, redirect._replace(paused=paused))
            return reload(place, deadline)
        except (OSError, Refused, postfix.Misconfigured) as error:
            return actions.failed(command, str(error))

    command = _reload_command(place)
    return Action(command, {}, facts, Pace("a pause", limits.redirects_in_an_hour, _HOUR_S), effect)


def plan_clear(place: postfix.Place, args: dict[str, Any], _limits: Limits, _deadline: Deadline) -> Action:
    """Plan that an instance's mail goes its own way again. Not limited: that must always be possible."""
    refuse_unknown(args, {"instance"})
    actions.refuse_unless_trusted(place)

    def effect(_op_id: str, _fence: int, deadline: Deadline) -> dict[str, Any]:
        return give_back(place, deadline)

    facts = {"config_dir": place.config_dir}
    return Action(_reload_command(place), {}, facts, _UNLIMITED, effect, always=True)


def plan_retry(place: postfix.Place, args: dict[str, Any], limits: Limits, _deadline: Deadline) -> Action:
    """Plan that the deferred mail of redirected domains, or some messages, are tried now and nothing else."""
    refuse_unknown(args, {"instance", "domains", "ids"})
    domains = domains_of(args["domains"]) if "domains" in args else []
    ids = _ids(args.get("ids", []))
    if bool(domains) == bool(ids):
        raise BadRequest("one of domains and ids must be given")
    if not limits.flush:
        raise Refused("flush is switched off in this host's limits")
    facts = actions.facts(place, "fast_flush_domains")
    _refuse_unless_redirected(place, domains)
    postqueue = [actions.program("postqueue"), "-c", place.config_dir]
    commands = [[*postqueue, "-s", domain] for domain in domains] or [
        [*postqueue, "-i", item] for item in ids
    ]

    def effect(_op_id: str, _fence: int, deadline: Deadline) -> dict[str, Any]:
        return _each(commands, deadline)

    pace = Pace("a retry within a flush", limits.flush_retries_in_5_min, 300)
    return Action(commands[0], {"messages": None if domains else len(ids)}, facts, pace, effect)


_UNLIMITED = Pace("giving back", 1_000_000, 60)
PLANNERS: dict[str, actions.Planner] = {
    "redirect.set": plan_set,
    "redirect.renew": plan_renew,
    "redirect.pause": plan_pause,
    "redirect.resume": plan_resume,
    "redirect.clear": plan_clear,
    "flush.retry": plan_retry,
}


def sweep(say: Say) -> dict[str, Any]:
    """The guard's round: end redirects that must not go on; return what there is of each instance."""
    seen = {}
    for place in postfix.places():
        try:
            seen[place.name] = _swept(place, say)
        except (OSError, RelayctlError, postfix.Misconfigured) as error:
            say(f"{place.name}: its redirect cannot be looked at: {error}")
    return seen


def _swept(place: postfix.Place, say: Say) -> dict[str, Any]:
    current = lease.described(place.name)
    if not _must_end(place, current):
        return current
    instance = Instance(place.name)
    if instance.holder() is not None:
        # Whoever has it is putting the redirect on, or giving it back: the next round looks again.
        return current
    try:
        with instance.locked({"verb": "guard"}):
            current = lease.described(place.name)
            if _must_end(place, current):
                say(f"{place.name}: its redirect ends: {current['problem'] or 'its map is empty'}")
                outcome = give_back(place, Deadline(_RELOAD_S + 20))
                say(f"{place.name}: {outcome['output'] or 'given back'}")
    except Locked:
        pass
    return lease.described(place.name)


def _must_end(place: postfix.Place, current: dict[str, Any]) -> bool:
    """Whether a redirect is on without a lease that holds, or a lease is left of one that is not."""
    if current["problem"]:
        return True
    return current["to"] is None and current["op_id"] is not None


def give_back(place: postfix.Place, deadline: Deadline) -> dict[str, Any]:
    """Empty an instance's map and have it read; return what came of it. The lease goes when that is done.

    What cannot be done leaves the lease, so that the guard tries again.
    """
    command = _reload_command(place)
    if not os.path.lexists(drain.map_path(place.name)) and lease.described(place.name)["op_id"] is None:
        return actions.done(command, "no redirect is on")
    try:
        _empty(place)
        outcome = reload(place, deadline)
        if outcome["ok"]:
            lease.remove(place.name)
    except (OSError, postfix.Misconfigured) as error:
        return actions.failed(command, str(error))
    return outcome


def reload(place: postfix.Place, deadline: Deadline) -> dict[str, Any]:
    """Have a running instance read its map; one that is stopped reads it when it starts."""
    settings = postfix.parameters(place.config_dir, ["queue_directory"])
    command = _reload_command(place)
    if postfix.is_running(settings["queue_directory"]) is False:
        return actions.done(command, "it is not running: the map is read when it starts")
    return actions.run(command, deadline)


def _reload_command(place: postfix.Place) -> list[str]:
    return [actions.program("postfix"), "-c", place.config_dir, "reload"]


def _put_on(place: postfix.Place, redirect: Redirect) -> None:
    """Write the map beside, have Postfix itself read it, and put it in place in one step."""
    path = drain.map_path(place.name)
    beside = f"{temporary(path)}.new"
    content = drain.map_text(redirect).encode("ascii")
    _write(beside, content)
    try:
        ended, text = children.output(
            [actions.program("postmap"), "-c", place.config_dir, "-s", f"texthash:{beside}"], timeout_s=_ASK_S
        )
    except children.TimedOut:
        raise Refused(f"postmap did not end within {_ASK_S:.0f} s") from None
    finally:
        os.unlink(beside)
    read = {line.partition("\t")[0] for line in text.splitlines()}
    if ended.status != 0 or read != set(redirect.domains):
        raise Refused(f"postmap does not read the map as it was written: {ended.stderr.strip()[:300]}")
    _write(path, content)


def _empty(place: postfix.Place) -> None:
    path = drain.map_path(place.name)
    try:
        _write(path, drain.map_text(None).encode("ascii"))
    except OSError:
        # A disk that is full has no room for a new map, but the old one can be cut off where it lies.
        os.truncate(path, 0)
        _date_back(path)


def _write(path: str, content: bytes) -> None:
    """Replace a map in one step."""
    write_file(path, content, 0o644)
    _date_back(path)


def _date_back(path: str) -> None:
    # For what is younger than 2 s Postfix waits.
    past = time.time() - 60
    os.utime(path, (past, past))


def _refuse_unless_ready(place: postfix.Place) -> None:
    try:
        lacking = drain.problems(place.name, place.config_dir, drain.facts(place.config_dir))
    except postfix.Misconfigured as error:
        raise Refused(f"misconfigured: {error}") from None
    if lacking:
        raise Refused(
            f"{place.name} is not onboarded for flushes: {lacking[0]}; root runs `relayctl.pyz onboard`"
        )
    guarded = lease.published()
    if guarded is None or guarded["age_s"] > lease.MAX_GUARD_AGE_S:
        age = "was never heard of" if guarded is None else f"was last heard of {guarded['age_s']:.0f} s ago"
        raise Refused(f"the guard {age}: nothing would end the redirect if the console were gone")


def _refuse_while_redirected(place: postfix.Place) -> None:
    current = lease.described(place.name)
    if current["to"] is not None or current["op_id"] is not None:
        by = current["op_id"] or "nobody that is known"
        raise Refused(f"{place.name} is redirected to {current['to']} by {by}: that is given back first")


def _has_service(place: postfix.Place, service: str) -> bool:
    try:
        return bool(drain.master_line(place.config_dir, service))
    except postfix.Misconfigured as error:
        raise Refused(f"misconfigured: {error}") from None


def _not_held_by(place: postfix.Place, op_id: str) -> str:
    """Say why the redirect that is on is not this operation's to change; "" where it is."""
    current = lease.described(place.name)
    if current["problem"] or current["to"] is None or current["op_id"] is None:
        return f"it has ended: {current['problem'] or 'no redirect is on'}"
    return "" if current["op_id"] == op_id else f"it is the redirect of operation {current['op_id']}"


def _refuse_unless_redirected(place: postfix.Place, domains: list[str]) -> None:
    """What is tried without a redirect goes out from the very address that it shall leave."""
    current = lease.described(place.name)
    if current["to"] is None or current["problem"]:
        raise Refused(f"no redirect is on: {current['problem'] or 'it was given back'}")
    if current["paused"]:
        raise Refused("the redirect is paused: its mail waits here")
    others = [d for d in domains if d not in current["domains"] and EVERYTHING not in current["domains"]]
    if others:
        raise Refused(f"the redirect is not for {others[0]}")


def domains_of(value: Any) -> list[str]:
    """Return the domains of a request: A-labels in lower case, each once, "*" as it stands."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_DOMAINS:
        raise BadRequest(f"domains must be a list of 1 to {MAX_DOMAINS}")
    for domain in value:
        if domain != EVERYTHING and not (isinstance(domain, str) and actions.is_domain(domain)):
            raise BadRequest("domains must be domain names in lower case with A-labels")
    return sorted(set(value))


def _ids(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_IDS:
        raise BadRequest(f"ids must be a list of at most {MAX_IDS}")
    if not all(isinstance(item, str) and is_long(item) for item in value):
        raise BadRequest("ids must be long queue ids")
    return value


def _each(commands: list[list[str]], deadline: Deadline) -> dict[str, Any]:
    """Run commands one after the other as far as the time goes, and tell of all in one result."""
    began = time.monotonic()
    asked, outcome = 0, actions.done(commands[0], "")
    for command in commands:
        if deadline.remaining_s() < actions.KEPT_S:
            outcome = actions.failed(command, f"out of time after {asked} of {len(commands)}")
            break
        outcome = actions.run(command, deadline)
        if not outcome["ok"]:
            break
        asked += 1
    return {**outcome, "asked": asked, "took_ms": round(1000 * (time.monotonic() - began))}
