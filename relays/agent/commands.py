"""Root's commands, on the host itself only: `install`, `uninstall` and `guard`."""

from __future__ import annotations

import argparse
import os
import sys

from relays.agent import children, corrupt, guard
from relays.agent.install import install, uninstall
from relays.agent.protocol import EXIT_INTERNAL, EXIT_REFUSED, Refused


def run(arguments: list[str], program: bytes | None) -> int:
    """Run a command; return its exit status. program: relayctl.pyz's own bytes, None from a source tree."""
    options = _options(arguments)
    try:
        _refuse_unless_root_here()
        if options.command == "guard":
            return guard.run(options.every)
        if options.command == "install":
            return install(options, program)
        return uninstall(options)
    except (Refused, children.NotInstalled, children.TimedOut) as error:
        print(f"relayctl: refused: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        print(f"relayctl: stopped half-way: {error}; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERNAL


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
    for command in (installing, uninstalling):
        command.add_argument("--yes", action="store_true", help="do it; without this it is only listed")
        command.add_argument("--json", action="store_true")
    guarding = commands.add_parser("guard", help="count corrupt messages for the console to read")
    guarding.add_argument(
        "--every", type=_interval, metavar="SECONDS", help="go on, for a host that systemd does not run"
    )
    return parser.parse_args(arguments)


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
