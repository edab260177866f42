"""The commands `install` and `uninstall`: a plan first, then its steps.

What a crash leaves, the next install completes and uninstall removes: see manifest.py.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import ipaddress
import json
import os
from typing import NamedTuple

from relays.agent import children, exclusive, guard, items, journal, ops, sshd, sudo, systemd
from relays.agent.doors import WRITE_USER
from relays.agent.items import Directory, File, Item, Member, User
from relays.agent.manifest import Manifest, sha256_of
from relays.agent.protocol import Refused

READ_USER = "relay-read"
PROGRAM_DIR = "/usr/local/libexec/relay-fleet"
PROGRAM = f"{PROGRAM_DIR}/relayctl.pyz"
KEYS_DIR = "/etc/ssh/relay-fleet"
READ_KEYS = f"{KEYS_DIR}/{READ_USER}.keys"
WRITE_KEYS = f"{KEYS_DIR}/{WRITE_USER}.keys"
SNIPPET = "60-relay-fleet.conf"
WRITE_SNIPPET = "61-relay-fleet-write.conf"
# Debian's group for those who may read logs.
LOG_GROUP = "adm"

# Whoever can change what is in these could change what is put into them.
_PARENTS = ("/usr/local", "/etc", "/etc/ssh")
_KEY_TYPE = "ssh-ed25519"

_GUARD = f"{PROGRAM} guard --every 15"
_BY_HAND = f"no systemd runs this host: have an init script start, as root: {_GUARD}"
_BY_HAND_END = f"no systemd runs this host: take the guard out of its init script and end it: {_GUARD}"


class Step(NamedTuple):
    """A change that is wanted, in words, and the item that makes it."""

    words: str
    item: Item


def install(options: argparse.Namespace, program: bytes | None) -> int:
    """Plan, and with --yes apply. program: relayctl.pyz's own bytes, None from a source tree."""
    if program is None:
        raise Refused("only the built relayctl.pyz installs itself")
    manifest = Manifest.load()
    writes = bool(options.write_key) or manifest.find("file", sudo.RULE) is not None
    _check_host(writes=writes)
    wanted = _wanted(options, program, writes=writes)
    steps = plan(wanted, manifest)
    _show(options, [step.words for step in steps], _BY_HAND)
    if options.yes and steps:
        apply(steps, manifest)
    return 0


def _wanted(options: argparse.Namespace, program: bytes, *, writes: bool) -> list[Item]:
    """Return what shall be on the host. The doors come last: they open to what is behind them.

    writes: a write door is wanted, or there is one, whose rule must know the program.
    """
    key_line = authorized_key(options.read_key, options.sources, PROGRAM, option="--read-key")
    overwrite = options.overwrite
    return [
        Directory(os.path.dirname(PROGRAM_DIR)),
        Directory(PROGRAM_DIR),
        *(_meanwhile(program, overwrite=overwrite) if writes else []),
        File(PROGRAM, program, 0o755, overwrite=overwrite),
        User(READ_USER, home=PROGRAM_DIR),
        Member(READ_USER, LOG_GROUP),
        Directory(KEYS_DIR),
        File(READ_KEYS, key_line.encode(), 0o644, overwrite=overwrite),
        *(systemd.guard(PROGRAM, overwrite=overwrite) if systemd.runs_host() else []),
        Directory(sshd.SNIPPETS),
        sshd.Snippet(SNIPPET, READ_USER, READ_KEYS, PROGRAM, overwrite=overwrite),
        *(_behind_write_door(program, overwrite=overwrite) if writes else []),
        *(_write_door(options) if options.write_key else []),
    ]


def _meanwhile(program: bytes, *, overwrite: bool) -> list[Item]:
    """Return the rule that holds while the program is replaced: sudo takes the old one and the new one."""
    installed = items.read_regular(PROGRAM)
    if installed is None or installed == program or items.read_regular(sudo.RULE) is None:
        return []
    digests = [sha256_of(installed), sha256_of(program)]
    return [sudo.Rule(WRITE_USER, PROGRAM, digests, overwrite=overwrite)]


def _behind_write_door(program: bytes, *, overwrite: bool) -> list[Item]:
    """Return what the write verbs need: who runs them, what they write down, and where."""
    return [
        User(WRITE_USER, home=PROGRAM_DIR),
        Directory(ops.DIRECTORY, 0o700),
        Directory(exclusive.DIRECTORY, 0o700),
        # The group is inherited by the journal, so that the console can read it with the read key.
        Directory(journal.DIRECTORY, 0o2750, group=READ_USER),
        sudo.Rule(WRITE_USER, PROGRAM, [sha256_of(program)], overwrite=overwrite),
    ]


def _write_door(options: argparse.Namespace) -> list[Item]:
    command, overwrite = sudo.command(PROGRAM), options.overwrite
    key_line = authorized_key(options.write_key, options.sources, command, option="--write-key")
    return [
        File(WRITE_KEYS, key_line.encode(), 0o644, overwrite=overwrite),
        sshd.Snippet(WRITE_SNIPPET, WRITE_USER, WRITE_KEYS, command, overwrite=overwrite),
    ]


def authorized_key(public_key: str, sources: str, command: str, *, option: str) -> str:
    """Return the key's line for sshd; raise Refused for what is no ed25519 key, or no address."""
    words = public_key.split()
    if len(words) < 2 or words[0] != _KEY_TYPE or not _is_ed25519(words[1]):
        raise Refused(f"{option} must be a public key: ssh-ed25519 AAAA...")
    limits = ["restrict", f'command="{command}"']
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


def _check_host(*, writes: bool) -> None:
    for program in ("postconf", "postqueue"):
        try:
            children.find_program(program)
        except children.NotInstalled:
            raise Refused(f"this host has no Postfix: {program} was not found") from None
    for directory in _PARENTS:
        items.refuse_unsafe(directory)
    sshd.check_ready()
    if writes:
        sudo.check_ready()


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


def uninstall(options: argparse.Namespace) -> int:
    """List what was installed, and with --yes take it away."""
    manifest = Manifest.load()
    _show(options, [items.removal(record)[0] for record in reversed(manifest.records)], _BY_HAND_END)
    if options.yes:
        remove(manifest)
    return 0


def remove(manifest: Manifest) -> None:
    """Take away what the manifest names, last made first; it forgets each thing that is gone."""
    for record in reversed(list(manifest.records)):
        if items.removal(record)[1]:
            items.take_away(record)
            if sshd.is_snippet(record["key"]):
                sshd.reload()
            if systemd.is_unit(record["key"]):
                systemd.reload()
        manifest.records.remove(record)
        manifest.save()
    manifest.save()
    guard.withdraw()


def _show(options: argparse.Namespace, words: list[str], by_hand: str) -> None:
    """Tell what will be changed, or would be, before anything is; by_hand: what is left without systemd."""
    notes = [] if systemd.runs_host() else [by_hand]
    if options.json:
        told = {"command": options.command, "applied": options.yes, "changes": words, "notes": notes}
        print(json.dumps(told))
        return
    print(f"{'changing' if options.yes else 'would change'}:" if words else "nothing to change")
    for line in words:
        print(f"  {line}")
    if words and not options.yes:
        print("nothing was changed; --yes does it")
    for line in notes:
        print(line)
