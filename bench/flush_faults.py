"""Flushes under kills, cuts and stops: nothing is lost, what goes twice is listed, no redirect is left.

Each run defers messages, flushes them through a console with its real processes under a lease of 30 s, and
harms what runs meanwhile. What came of it is added to a results file (--resume goes on with it).
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import faults, flushing
from bench.faults import Rehearsal
from bench.figures import Figure

_NOTHING_YET: dict[str, Any] = {
    "runs": 0,
    "messages": 0,
    "faults": {},
    "ended": {},
    "lost": [],
    "twice": 0,
    "unlisted": [],
    "bounced": 0,
    "redirects_left": 0,
    "stuck": 0,
}
_LEASE_S = 30
_ENDS_WITHIN_S = 300
_DOMAIN = flushing.MOVED_DOMAINS[0]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what --faults takes."""
    parser.add_argument("--faults", action="store_true", help="flushes under random faults instead")
    parser.add_argument("--runs", type=int, default=50, help="go on until the results have so many")
    parser.add_argument("--run-messages", type=int, default=2_000, help="of each run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("var/flush-faults.json"))
    parser.add_argument("--resume", action="store_true", help="go on with what is kept there")


def settings() -> dict[str, str]:
    """Return what the console's environment needs for it."""
    return {"FLEET_FLUSH_LEASE_S": str(_LEASE_S)}


def run(rehearsal: Rehearsal, options: argparse.Namespace) -> list[Figure]:
    """Flush under faults until the results have enough; return what they say."""
    kept = json.loads(options.results.read_text()) if options.resume and options.results.exists() else {}
    done: dict[str, Any] = json.loads(json.dumps(_NOTHING_YET)) | kept
    options.results.parent.mkdir(parents=True, exist_ok=True)
    # A resumed run must not repeat the faults of the one before.
    chance = random.Random(f"{options.seed} {done['runs']}")
    flushing.quiet(rehearsal)
    while done["runs"] < options.runs:
        one_run(rehearsal, chance, done, options.run_messages)
        options.results.write_text(json.dumps(done, indent=1))
        print(f"{done['runs']} runs, {done['messages']} messages, {done['faults']}", file=sys.stderr)
    return figures(done, options.runs)


def figures(done: dict[str, Any], runs: int) -> list[Figure]:
    """Return what the results file says, beside its limits."""
    return [
        *(Figure(f"faults: {name}", number, "") for name, number in sorted(done["faults"].items())),
        *(Figure(f"flushes that ended {name}", number, "") for name, number in sorted(done["ended"].items())),
        Figure("runs", done["runs"], "", at_least=runs),
        Figure("messages", done["messages"], ""),
        Figure("messages that are lost", len(done["lost"]), "", at_most=0),
        Figure("messages that bounced", done["bounced"], "", at_most=0),
        Figure("messages that went twice", done["twice"], ""),
        Figure("of these not listed", len(done["unlisted"]), "", at_most=0),
        Figure("redirects that were left", done["redirects_left"], "", at_most=0),
        Figure("flushes that were stuck", done["stuck"], "", at_most=0),
    ]


def one_run(rehearsal: Rehearsal, chance: random.Random, done: dict[str, Any], messages: int) -> None:
    """Defer, flush, harm, heal, wait for the end, let all mail out, and count."""
    sent = flushing.deferred(rehearsal, {_DOMAIN: messages})[_DOMAIN]
    operation = flushing.confirmed((_DOMAIN,))
    for _ in range(chance.randint(1, 4)):
        time.sleep(chance.uniform(0, 4))
        name = chance.choice(sorted(FAULTS))
        if FAULTS[name](rehearsal, chance):
            done["faults"][name] = done["faults"].get(name, 0) + 1
    heal(rehearsal)
    give_up_at = time.monotonic() + _ENDS_WITHIN_S
    while flushing.is_live(operation) and time.monotonic() < give_up_at:
        time.sleep(flushing.STEP_S)
    done["stuck"] += operation.is_live
    done["ended"][operation.state] = done["ended"].get(operation.state, 0) + 1
    done["redirects_left"] += flushing.redirect_lines(rehearsal) > 0
    let_out(rehearsal)
    count(rehearsal, operation, sent, done)


def heal(rehearsal: Rehearsal) -> None:
    """Start again what was killed, as whoever looks after it would."""
    for name in (flushing.SOURCE, flushing.TARGET):
        instance = rehearsal.fleet.instance(name)
        if not instance.running():
            instance.postfix("start", check=False)


def let_out(rehearsal: Rehearsal) -> None:
    """Have the providers take everything, so that what is not there afterwards is lost."""
    rehearsal.fleet.provider.clear()
    for name in (flushing.SOURCE, flushing.TARGET):
        instance = rehearsal.fleet.instance(name)

        def empty(instance: Any = instance) -> bool:
            instance.postfix("flush", check=False)
            return not any(instance.counts().values())

        flushing.wait_until(empty, f"{name} to send all")
    flushing.quiet(rehearsal)


def count(rehearsal: Rehearsal, operation: Any, sent: list[str], done: dict[str, Any]) -> None:
    """Hold the providers' own record beside the receipt."""
    from relays.services.flush_rows import duplicates  # noqa: PLC0415

    times = flushing.arrived(rehearsal, sent)
    twice = {message_id for message_id, n in times.items() if n > 1}
    listed = {found.message_id.strip("<>") for found in duplicates(operation.flush)}
    done["runs"] += 1
    done["messages"] += len(sent)
    done["lost"] += sorted(set(sent) - set(times))
    done["twice"] += len(twice)
    done["unlisted"] += sorted(twice - listed)
    done["bounced"] += operation.flush.account.get("bounced_by_drain", 0)


def kill_source_children(rehearsal: Rehearsal, _chance: random.Random) -> bool:
    return _kill(rehearsal, flushing.SOURCE, "smtp")


def kill_target_children(rehearsal: Rehearsal, _chance: random.Random) -> bool:
    return _kill(rehearsal, flushing.TARGET, "smtpd")


def kill_target(rehearsal: Rehearsal, chance: random.Random) -> bool:
    """Kill the target's master and children, and start it a little later."""
    pids = _family(rehearsal, flushing.TARGET)
    if pids:
        _kill_all(pids)
        time.sleep(chance.uniform(0, 3))
        heal(rehearsal)
    return bool(pids)


def reload_source(rehearsal: Rehearsal, _chance: random.Random) -> bool:
    rehearsal.fleet.instance(flushing.SOURCE).postfix("reload", check=False)
    return True


def _kill(rehearsal: Rehearsal, name: str, program: str) -> bool:
    pids = [pid for pid in _family(rehearsal, name) if _is(pid, program)]
    _kill_all(pids)
    return bool(pids)


def _kill_all(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)


def _is(pid: int, program: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == program
    except OSError:
        return False


def _family(rehearsal: Rehearsal, name: str) -> list[int]:
    """Return the process ids of an instance's master and its children, as this machine numbers them."""
    ours = Path(rehearsal.fleet.host(flushing.HOST).namespace.root)
    return [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and _works_in(folder, f"/var/spool/postfix-{name}", ours)
    ]


def _works_in(process: Path, spool: str, root: Path) -> bool:
    try:
        return str((process / "cwd").readlink()) == spool and (process / "root").samefile(root)
    except OSError:
        return False


FAULTS: dict[str, Callable[[Rehearsal, random.Random], bool]] = {
    "worker killed": faults.kill_worker,
    "relayctl killed": faults.kill_relayctl,
    "SSH cut": faults.kill_sshd,
    "broker emptied": faults.empty_broker,
    "source's clients killed": kill_source_children,
    "target's servers killed": kill_target_children,
    "target killed": kill_target,
    "source reloaded": reload_source,
}
