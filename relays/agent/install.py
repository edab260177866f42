"""The commands `install` and `uninstall`: a plan first, then its steps. Root's, on the host itself, only.

What a crash leaves, the next install completes and uninstall removes: see manifest.py.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import ipaddress
import json
import os
import sys
from typing import NamedTuple

from relays.agent import children, items, sshd
from relays.agent.items import Directory, File, Item, Member, User
from relays.agent.manifest import Manifest
from relays.agent.protocol import EXIT_INTERNAL, EXIT_REFUSED, Refused

READ_USER = "relay-read"
PROGRAM_DIR = "/usr/local/libexec/relay-fleet"
PROGRAM = f"{PROGRAM_DIR}/relayctl.pyz"
KEYS_DIR = "/etc/ssh/relay-fleet"
READ_KEYS = f"{KEYS_DIR}/{READ_USER}.keys"
SNIPPET = "60-relay-fleet.conf"
# Debian's group for those who may read logs.
LOG_GROUP = "adm"

# Whoever can change what is in these could change what is put into them.
_PARENTS = ("/usr/local", "/etc", "/etc/ssh")
_KEY_TYPE = "ssh-ed25519"


class Step(NamedTuple):
    """A change that is wanted, in words, and the item that makes it."""

    words: str
    item: Item


def run(arguments: list[str], program: bytes | None) -> int:
    """Run `install` or `uninstall`. program: relayctl.pyz's own bytes, None from a source tree."""
    options = _options(arguments)
    try:
        _refuse_unless_root_here()
        if options.command == "install":
            return _install(options, program)
        return _uninstall(options)
    except (Refused, children.NotInstalled, children.TimedOut) as error:
        print(f"relayctl: refused: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        print(f"relayctl: stopped half-way: {error}; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERNAL


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="relayctl.pyz")
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install", help="let the console read this host's queues")
    install.add_argument("--read-key", required=True, metavar="'ssh-ed25519 AAAA...'")
    install.add_argument(
        "--from", dest="sources", default="", metavar="ADDR[,ADDR]", help="where it connects from"
    )
    install.add_argument("--overwrite", action="store_true", help="also files that were changed by hand")
    uninstall = commands.add_parser("uninstall", help="remove what install made")
    for command in (install, uninstall):
        command.add_argument("--yes", action="store_true", help="do it; without this it is only listed")
        command.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def _refuse_unless_root_here() -> None:
    """The console holds no way to root: what a key can reach must not install anything."""
    if "SSH_ORIGINAL_COMMAND" in os.environ:
        raise Refused("not over a forced command")
    if os.geteuid() != 0:
        raise Refused("only root installs; nothing was changed")


def _install(options: argparse.Namespace, program: bytes | None) -> int:
    if program is None:
        raise Refused("only the built relayctl.pyz installs itself")
    wanted = _wanted(options, program)
    _check_host()
    manifest = Manifest.load()
    steps = plan(wanted, manifest)
    _show(options, [step.words for step in steps])
    if options.yes and steps:
        apply(steps, manifest)
    return 0


def _wanted(options: argparse.Namespace, program: bytes) -> list[Item]:
    """Return what shall be on the host. The snippet comes last: it opens the door to what is behind it."""
    key_line = authorized_key(options.read_key, options.sources)
    overwrite = options.overwrite
    return [
        Directory(os.path.dirname(PROGRAM_DIR)),
        Directory(PROGRAM_DIR),
        File(PROGRAM, program, 0o755, overwrite=overwrite),
        User(READ_USER, home=PROGRAM_DIR),
        Member(READ_USER, LOG_GROUP),
        Directory(KEYS_DIR),
        File(READ_KEYS, key_line.encode(), 0o644, overwrite=overwrite),
        Directory(sshd.SNIPPETS),
        sshd.Snippet(SNIPPET, READ_USER, READ_KEYS, PROGRAM, overwrite=overwrite),
    ]


def authorized_key(public_key: str, sources: str) -> str:
    """Return the key's line for sshd; raise Refused for what is no ed25519 key, or no address."""
    words = public_key.split()
    if len(words) < 2 or words[0] != _KEY_TYPE or not _is_ed25519(words[1]):
        raise Refused("--read-key must be a public key: ssh-ed25519 AAAA...")
    limits = ["restrict", f'command="{PROGRAM}"']
    if sources:
        limits.insert(1, f'from="{",".join(map(_network, sources.split(",")))}"')
    return f"{','.join(limits)} {_KEY_TYPE} {words[1]} relay-fleet\n"


def _is_ed25519(text: str) -> bool:
    """Tell whether this is the base64 of such a key: two strings with lengths, the second of 32 bytes."""
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(blob) == 51 and blob.startswith(b"\0\0\0\x0b" + _KEY_TYPE.encode() + b"\0\0\0\x20")


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise Refused(f"--from: {text.strip()!r} is no address or network") from None
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _check_host() -> None:
    for program in ("postconf", "postqueue"):
        try:
            children.find_program(program)
        except children.NotInstalled:
            raise Refused(f"this host has no Postfix: {program} was not found") from None
    for directory in _PARENTS:
        items.refuse_unsafe(directory)
    sshd.check_ready()


def plan(wanted: list[Item], manifest: Manifest) -> list[Step]:
    """Return the changes that are needed, in order; raise Refused where one must not be made."""
    changes = [(item.change(manifest), item) for item in wanted]
    return [Step(words, item) for words, item in changes if words is not None]


def apply(steps: list[Step], manifest: Manifest) -> None:
    """Make the changes. The manifest is written before the first, and once more after the last."""
    for step in steps:
        step.item.claim(manifest)
    manifest.save()
    for step in steps:
        step.item.apply()
    for step in steps:
        step.item.settle(manifest)
    manifest.save()


def _uninstall(options: argparse.Namespace) -> int:
    manifest = Manifest.load()
    _show(options, [items.removal(record)[0] for record in reversed(manifest.records)])
    if options.yes:
        remove(manifest)
    return 0


def remove(manifest: Manifest) -> None:
    """Take away what the manifest names, last made first; it forgets each thing that is gone."""
    for record in reversed(list(manifest.records)):
        if items.removal(record)[1]:
            items.take_away(record)
            if record["key"] == f"{sshd.SNIPPETS}/{SNIPPET}":
                sshd.reload()
        manifest.records.remove(record)
        manifest.save()
    manifest.save()


def _show(options: argparse.Namespace, words: list[str]) -> None:
    """Tell what will be changed, or would be, before anything is."""
    if options.json:
        print(json.dumps({"command": options.command, "applied": options.yes, "changes": words}))
        return
    print(f"{'changing' if options.yes else 'would change'}:" if words else "nothing to change")
    for line in words:
        print(f"  {line}")
    if words and not options.yes:
        print("nothing was changed; --yes does it")
