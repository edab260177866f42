"""Root's commands, on the host itself only: `install`, `uninstall`, `onboard`, `peers` and `guard`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from relays.agent import children, corrupt, guard, onboard
from relays.agent.install import install, uninstall
from relays.agent.protocol import EXIT_INTERNAL, EXIT_REFUSED, Refused


def run(arguments: list[str], program: bytes | None) -> int:
    """Run a command; return its exit status. program: relayctl.pyz's own bytes, None from a source tree."""
    options = _options(arguments)
    try:
        _refuse_unless_root_here()
        if options.command == "guard":
            return guard.run(options.every, options.only)
        if options.command == "install":
            return install(options, program)
        return _OTHERS[options.command](options)
    except (Refused, children.NotInstalled, children.TimedOut) as error:
        print(f"relayctl: refused: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        print(f"relayctl: stopped half-way: {error}; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERNAL


_OTHERS: dict[str, Callable[[argparse.Namespace], int]] = {
    "uninstall": uninstall,
    "onboard": onboard.onboard,
    "peers": onboard.manage_peers,
}


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="relayctl.pyz")
    commands = parser.add_subparsers(dest="command", required=True)
    installing = commands.add_parser("install", help="let the console read this host's queues")
    installing.add_argument("--read-key", required=True, metavar="'ssh-ed25519 AAAA...'")
    installing.add_argument(
        "--write-key", default="", metavar="'ssh-ed25519 AAAA...'", help="let it also change what it may"
    )
    installing.add_argument(
        "--from", dest="sources", default="", metavar="ADDR[,ADDR]", help="where it connects from"
    )
    installing.add_argument("--overwrite", action="store_true", help="also files that were changed by hand")
    uninstalling = commands.add_parser("uninstall", help="remove what install made")
    onboarding = _onboarding(commands)
    for command in (installing, uninstalling, onboarding):
        command.add_argument("--yes", action="store_true", help="do it; without this it is only listed")
        command.add_argument("--json", action="store_true")
    guarding = commands.add_parser("guard", help="end redirects that must not go on, count corrupt messages")
    guarding.add_argument(
        "--every", type=_interval, metavar="SECONDS", help="go on, for a host that systemd does not run"
    )
    guarding.add_argument("--only", choices=list(guard.PARTS), help="not the other part")
    return parser.parse_args(arguments)


def _onboarding(commands: Any) -> argparse.ArgumentParser:
    """Add the commands that let mail be moved from and to the instances of this host."""
    onboarding: argparse.ArgumentParser = commands.add_parser(
        "onboard", help="give instances what a flush needs: the drain and the redirect map"
    )
    onboarding.add_argument("instances", nargs="*", metavar="INSTANCE", help="all of the host's without any")
    onboarding.add_argument("--maxproc", type=_processes, default=20, help="of the drain (default 20)")
    onboarding.add_argument(
        "--fast-flush",
        default="static:all",
        metavar="DOMAINS",
        help="fast_flush_domains (default static:all)",
    )
    onboarding.add_argument(
        "--undo", action="store_true", help="give main.cf and master.cf back as they were"
    )
    managing = commands.add_parser("peers", help="the targets that a flush may name")
    actions = managing.add_subparsers(dest="action", required=True)
    for action in ("add", "remove", "list"):
        parser = actions.add_parser(action)
        parser.add_argument("--json", action="store_true")
        if action != "list":
            parser.add_argument("addresses", nargs="+", metavar="[NAME=]ADDRESS[:PORT]")
    return onboarding


def _processes(text: str) -> int:
    """Return maxproc: each process that is killed may have handed a message over twice."""
    if not 1 <= int(text) <= 200:
        raise argparse.ArgumentTypeError("must be 1 to 200")
    return int(text)


def _interval(text: str) -> float:
    """Return the seconds between two rounds; one that is lost must not make the count too old."""
    most = corrupt.MAX_AGE_S / 2
    if not 1 <= float(text) <= most:
        raise argparse.ArgumentTypeError(f"must be 1 to {most:.0f} seconds")
    return float(text)


def _refuse_unless_root_here() -> None:
    """The console holds no way to root: what a key can reach must change nothing here."""
    if "SSH_ORIGINAL_COMMAND" in os.environ:
        raise Refused("not over a forced command")
    if os.geteuid() != 0:
        raise Refused("only root may run it; nothing was changed")
