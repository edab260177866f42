"""The command line: `python -m fleet.rehearsal COMMAND`, which `./run fleet COMMAND` calls."""

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from fleet.rehearsal import requirements, rules, spec, status, story
from fleet.rehearsal.errors import RehearsalError
from fleet.rehearsal.fleet import LOGS, Fleet, default_story


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; what cannot be done is one line on standard error."""
    chosen = _parser().parse_args(arguments)
    # A terminated `up` cleans up like an interrupted one.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        requirements.check()
        run: Callable[[argparse.Namespace], int] = chosen.run
        return run(chosen)
    except (RehearsalError, subprocess.SubprocessError, OSError) as error:
        print(f"fleet: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130


def _terminate(_number: int, _frame: Any) -> None:
    raise SystemExit(143)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _fleet(chosen: argparse.Namespace) -> Fleet:
    return Fleet(chosen.name, state=chosen.state, say=_say)


def _up(chosen: argparse.Namespace) -> int:
    began = time.monotonic()
    fleet = Fleet(chosen.name, state=chosen.state, logs=chosen.logs, say=_say)
    read_key, write_key = (None, None) if chosen.no_register else _registry().prepare(fleet)
    burst = story.FIRST_BURST if chosen.rate else 0
    fleet.up(
        rules=default_story(), rate_per_s=chosen.rate, burst=burst, read_key=read_key, write_key=write_key
    )
    if not chosen.no_register:
        _register(fleet)
    for host in fleet.hosts.values():
        names = ", ".join(instance.name for instance in host.instances)
        _say(f"  {host.name:<10} ssh {host.ssh_address}:{host.ssh_port}  {names}")
    took_s = time.monotonic() - began
    _say(f"the rehearsal fleet '{fleet.name}' is up after {took_s:.1f} s: msn throttles msn-a")
    return 0


def _register(fleet: Fleet) -> None:
    try:
        _registry().register(fleet)
    except BaseException:
        fleet.down()
        raise
    _say("registered its hosts, keys pinned, and its relay names in the console's database")


def _registry() -> ModuleType:
    """Return the module that knows Django, which only these commands pay for."""
    return importlib.import_module("fleet.rehearsal.register")


def _down(chosen: argparse.Namespace) -> int:
    fleet = _fleet(chosen)
    fleet.down()
    if chosen.forget:
        _say(f"removed {_registry().forget(fleet)} hosts from the console's database")
    _say(f"nothing of the rehearsal fleet '{chosen.name}' is left")
    return 0


def _status(chosen: argparse.Namespace) -> int:
    facts = status.collect(_fleet(chosen).attach())
    _say(json.dumps(facts, indent=2) if chosen.json else status.as_text(facts))
    return 0


def _provider(chosen: argparse.Namespace) -> int:
    fleet = _fleet(chosen).attach()
    if chosen.verb == "set":
        fleet.provider.set_rule(
            chosen.action,
            provider=chosen.provider,
            source=chosen.source,
            domain=chosen.domain,
            share=chosen.share,
            wait_s=chosen.wait,
            text=chosen.text,
        )
    elif chosen.verb == "clear":
        fleet.provider.clear(provider=chosen.provider, source=chosen.source)
    shown = {"rules": fleet.provider.rules(), "counters": fleet.provider.counters()}
    _say(json.dumps(shown, indent=2) if chosen.json else _rules_text(shown))
    return 0


def _rules_text(shown: dict[str, Any]) -> str:
    lines = [
        f"{rule['action']:<17} provider {rule['provider']:<8} source {rule['source']:<12}"
        f" domain {rule['domain']:<20} share {rule['share']:g}"
        for rule in shown["rules"]
    ]
    return "\n".join(lines) or "no rules: every provider takes all mail"


def _traffic(chosen: argparse.Namespace) -> int:
    fleet = _fleet(chosen).attach()
    if chosen.verb == "rate":
        shown = fleet.traffic("rate", per_s=chosen.number)
    elif chosen.verb == "burst":
        shown = fleet.traffic("burst", messages=int(chosen.number))
    else:
        shown = fleet.traffic(chosen.verb)
    _say(json.dumps(shown, indent=2))
    return 0


def _exec(chosen: argparse.Namespace) -> int:
    namespace = _fleet(chosen).attach().host(chosen.host).namespace
    argv = [word for index, word in enumerate(chosen.argv) if index or word != "--"]
    command = namespace.command(*(argv or ["/bin/bash"]))
    os.execv(command[0], command)  # noqa: S606


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="demo", help="which fleet (demo)")
    common.add_argument("--state", type=Path, help="its state folder (/run/fleet-rehearsal/NAME)")
    parser = argparse.ArgumentParser(prog="./run fleet", description="Real Postfix hosts to rehearse on.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", parents=[common], help="bring a fleet up; one of this name goes first")
    up.add_argument("--logs", choices=LOGS, default=LOGS[0], help="who writes the mail logs (rsyslog)")
    up.add_argument("--rate", type=float, default=story.RATE_PER_S, help="messages a second; 0: none")
    up.add_argument("--no-register", action="store_true", help="leave the console's database alone")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", parents=[common], help="remove a fleet and all that it left")
    down.add_argument(
        "--forget", action="store_true", help="remove its hosts from the console's database too"
    )
    down.set_defaults(run=_down)

    shown = commands.add_parser("status", parents=[common], help="hosts, queues, providers, name servers")
    shown.add_argument("--json", action="store_true")
    shown.set_defaults(run=_status)

    _add_provider(commands.add_parser("provider", help="how the mail providers answer"), common)
    _add_traffic(commands.add_parser("traffic", help="the origins' bulk mail"), common)

    inside = commands.add_parser("exec", parents=[common], help="run a command on a host as root")
    inside.add_argument("host")
    inside.add_argument("argv", nargs=argparse.REMAINDER, help="-- COMMAND ...; a shell without")
    inside.set_defaults(run=_exec)
    return parser


def _add_provider(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, dest="verb", metavar="VERB")
    slugs = [provider.slug for provider in spec.PROVIDERS]
    actions = "; ".join(f"{name}: {action.explanation}" for name, action in rules.ACTIONS.items())
    change = verbs.add_parser("set", parents=[common], help="set a rule", epilog=actions)
    change.add_argument("provider", choices=[*slugs, rules.ANY])
    change.add_argument("action", choices=rules.ACTIONS, metavar="ACTION", help=", ".join(rules.ACTIONS))
    change.add_argument("--source", default=rules.ANY, help="an instance, or an address (all)")
    change.add_argument("--domain", default=rules.ANY, help="a recipient domain (all)")
    change.add_argument("--share", type=float, default=1.0, help="part of the recipients, 0 to 1 (1)")
    change.add_argument("--wait", type=float, default=20.0, help="seconds, for greylist and slow (20)")
    change.add_argument("--text", default="", help="another reply, with its code")
    clear = verbs.add_parser("clear", parents=[common], help="forget rules")
    clear.add_argument("provider", nargs="?", choices=[*slugs, rules.ANY], default=rules.ANY)
    clear.add_argument("--source", default=rules.ANY)
    show = verbs.add_parser("show", parents=[common], help="rules and counters")
    for verb in (change, clear, show):
        verb.add_argument("--json", action="store_true")
        verb.set_defaults(run=_provider)


def _add_traffic(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, dest="verb", metavar="VERB")
    for name, number in (("start", ""), ("stop", ""), ("show", ""), ("rate", "PER_S"), ("burst", "MESSAGES")):
        verb = verbs.add_parser(name, parents=[common])
        if number:
            verb.add_argument("number", type=float, metavar=number)
        verb.set_defaults(run=_traffic)
