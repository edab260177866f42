"""The commands `onboard` and `peers`: what an instance needs before mail is moved from it. Root's, here only.

An instance is changed once, by Postfix's own postconf(1), and what it was before is kept: `--undo` gives it
back. A setting that somebody changes afterwards is shown as drift and never written over.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import time
from typing import Any, NamedTuple

from relays.agent import children, drain, items, lease, peers, postfix, redirect
from relays.agent.deadline import Deadline
from relays.agent.drain import Facts
from relays.agent.manifest import sha256_of, write_file
from relays.agent.protocol import Refused

KEPT = "/var/lib/relay-fleet/onboarded"
_FILES = ("main.cf", "master.cf")


class Change(NamedTuple):
    """A change to make: in words, and the arguments of postconf(1) behind `-c DIRECTORY`."""

    words: str
    arguments: list[str]


def onboard(options: argparse.Namespace) -> int:
    """List what the instances lack, or with --undo what they get back, and with --yes do it."""
    places = _chosen(options.instances)
    told = []
    for place in places:
        changes = _undone(place) if options.undo else _lacking(place, options)
        told += [f"{place.name}: {words}" for words in changes]
    _show(options, told, "" if options.undo else _note())
    if options.yes:
        for place in places:
            _undo(place) if options.undo else _apply(place, options)
    return 0


def manage_peers(options: argparse.Namespace) -> int:
    """Add, remove or list the targets that the console may name."""
    known = peers.load()
    if options.action == "list":
        print(json.dumps([peer._asdict() for peer in known]) if options.json else "\n".join(map(str, known)))
        return 0
    named = [peers.parse(text) for text in options.addresses]
    places = {(peer.address, peer.port) for peer in named}
    kept = [peer for peer in known if (peer.address, peer.port) not in places]
    peers.save(kept if options.action == "remove" else kept + named)
    return 0


def _chosen(names: list[str]) -> list[postfix.Place]:
    here = {place.name: place for place in postfix.places()}
    unknown = [name for name in names if name not in here]
    if unknown:
        raise Refused(f"there is no instance {unknown[0]!r} here: {', '.join(here)}")
    return [here[name] for name in names] or list(here.values())


def _lacking(place: postfix.Place, options: argparse.Namespace) -> list[str]:
    try:
        found = drain.facts(place.config_dir)
        files = (
            []
            if os.path.isfile(drain.map_path(place.name))
            else [f"make {drain.map_path(place.name)}, empty"]
        )
        words = files + [change.words for change in _changes(place, found, options)]
        return words or (["reload it: its onboarding was interrupted"] if _is_under_way(place) else [])
    except postfix.Misconfigured as error:
        raise Refused(f"{place.name} is misconfigured: {error}") from None


def _changes(place: postfix.Place, found: Facts, options: argparse.Namespace) -> list[Change]:
    """Return what postconf(1) has to change, in order: the service before the map that may name it."""
    return [
        *_service_changes(place, found, options),
        *_map_changes(place, found),
        *_setting(found, "enable_long_queue_ids", "yes"),
        *([] if drain.fast_flush(found) else _setting(found, "fast_flush_domains", options.fast_flush)),
    ]


def _service_changes(place: postfix.Place, found: Facts, options: argparse.Namespace) -> list[Change]:
    if not (found.bind_addresses or found.bind_addresses6):
        raise Refused(
            f"{place.name} sends from no address of its own: set smtp_bind_address for its service smtp"
        )
    smtp, name = drain.master_line(place.config_dir, "smtp"), f"{drain.SERVICE}/unix"
    changes = []
    if not drain.has_drain(place.config_dir):
        private, unprivileged, chroot = smtp[2:5] if len(smtp) >= 8 else ("-", "-", "n")
        line = f"{name}={drain.SERVICE} unix {private} {unprivileged} {chroot} - {options.maxproc} smtp"
        changes.append(Change(f"master.cf: add the service {line.partition('=')[2]}", ["-M", line]))
    wanted = {**_like_smtp(place), **drain.drain_settings(found)}
    for parameter, value in wanted.items():
        if found.drain.get(parameter) != value:
            pair = f"{name}/{parameter}={value}"
            changes.append(Change(f"master.cf: {drain.SERVICE} -o {parameter}={value}", ["-P", pair]))
    return changes


def _like_smtp(place: postfix.Place) -> dict[str, str]:
    """Return what the service smtp has of its own: the drain greets and encrypts alike."""
    overrides = postfix.service_overrides(place.config_dir).items()
    return {
        name: value for (service, name), value in overrides if service == "smtp" and name != "syslog_name"
    }


def _map_changes(place: postfix.Place, found: Facts) -> list[Change]:
    name = drain.map_name(place.name)
    raw = _raw(place.config_dir, "transport_maps")
    others = [word for word in raw.replace(",", " ").split() if word != name]
    if found.settings["transport_maps"].replace(",", " ").split()[:1] == [name]:
        return []
    value = ", ".join([name, *others])
    return [Change(f"main.cf: transport_maps = {value}", ["-e", f"transport_maps={value}"])]


def _setting(found: Facts, name: str, value: str) -> list[Change]:
    if found.settings[name] == value:
        return []
    return [Change(f"main.cf: {name} = {value}", ["-e", f"{name}={value}"])]


def _raw(config_dir: str, name: str) -> str:
    """Return a setting as it is written, its own references to other settings kept."""
    result, text = children.output([children.find_program("postconf"), "-hc", config_dir, name], timeout_s=10)
    if result.status != 0:
        raise postfix.Misconfigured(result.stderr.strip())
    return text.strip()


def _apply(place: postfix.Place, options: argparse.Namespace) -> None:
    """Make the changes. What was there is kept before the first, and what came of them after the last."""
    for directory in (os.path.dirname(drain.DIRECTORY), drain.DIRECTORY, KEPT):
        items.Directory(directory).apply()
        items.refuse_unsafe(directory)
    if not os.path.isfile(drain.map_path(place.name)):
        write_file(drain.map_path(place.name), drain.map_text(None).encode(), 0o644)
    found = drain.facts(place.config_dir)
    changes = _changes(place, found, options)
    if not changes and not _is_under_way(place):
        return
    kept = _kept(place) or {"before": _contents(place), "at": round(time.time(), 3), "after": {}}
    _keep(place, {**kept, "complete": False})
    for arguments in _at_once(changes):
        items.command("postconf", "-c", place.config_dir, *arguments)
    kept["after"] = _digests(place)
    _keep(place, {**kept, "complete": False})
    _reload(place, found.settings["queue_directory"])
    _keep(place, {**kept, "complete": True})


def _is_under_way(place: postfix.Place) -> bool:
    """Tell whether an onboarding began and has not come to its end."""
    kept = _kept(place)
    return kept is not None and not kept.get("complete", bool(kept["after"]))


def _at_once(changes: list[Change]) -> list[list[str]]:
    """Return postconf's arguments, a call for each kind; main.cf last, which is slow to read when new."""
    kinds = {kind: [c.arguments[1] for c in changes if c.arguments[0] == kind] for kind in ("-M", "-P", "-e")}
    return [[kind, *values] for kind, values in kinds.items() if values]


def _undone(place: postfix.Place) -> list[str]:
    kept = _kept(place)
    if kept is None:
        return []
    by_hand = _changed_by_hand(place, kept)
    words = [f"give back {name} as it was" for name in _FILES if name not in by_hand]
    words += [
        f"keep {name}: it was changed since; take the lines of the drain out by hand" for name in by_hand
    ]
    return [*words, f"remove {drain.map_path(place.name)}"] if not by_hand else words


def _undo(place: postfix.Place) -> None:
    kept = _kept(place)
    if kept is None:
        return
    if lease.described(place.name)["to"] is not None:
        redirect.give_back(place, Deadline(60))
    by_hand = _changed_by_hand(place, kept)
    queue_directory = postfix.parameters(place.config_dir, ["queue_directory"])["queue_directory"]
    for name in _FILES:
        if name not in by_hand:
            path = os.path.join(place.config_dir, name)
            write_file(path, base64.b64decode(kept["before"][name]), os.stat(path).st_mode & 0o777)
    if by_hand:
        return
    _reload(place, queue_directory)
    # Only now: a Postfix that still names the map refuses mail without it.
    os.unlink(drain.map_path(place.name))
    os.unlink(_kept_path(place))


def _changed_by_hand(place: postfix.Place, kept: dict[str, Any]) -> list[str]:
    now = _digests(place)
    return [name for name in _FILES if kept["after"].get(name) != now[name]]


def _contents(place: postfix.Place) -> dict[str, str]:
    found = {}
    for name in _FILES:
        with open(os.path.join(place.config_dir, name), "rb") as file:
            found[name] = base64.b64encode(file.read()).decode()
    return found


def _digests(place: postfix.Place) -> dict[str, str]:
    return {name: sha256_of(base64.b64decode(text)) for name, text in _contents(place).items()}


def _kept_path(place: postfix.Place) -> str:
    return os.path.join(KEPT, f"{place.name}.json")


def _kept(place: postfix.Place) -> dict[str, Any] | None:
    try:
        with open(_kept_path(place), "rb") as file:
            kept: dict[str, Any] = json.loads(file.read())
    except FileNotFoundError:
        return None
    return kept


def _keep(place: postfix.Place, kept: dict[str, Any]) -> None:
    write_file(_kept_path(place), json.dumps(kept).encode(), 0o600)


def _reload(place: postfix.Place, queue_directory: str) -> None:
    if postfix.is_running(queue_directory):
        items.command("postfix", "-c", place.config_dir, "reload")


def _note() -> str:
    guarded = lease.published()
    if guarded is not None and guarded["age_s"] <= lease.MAX_GUARD_AGE_S:
        return ""
    return "no guard looks at redirects on this host: without one none is put on (docs/hosts.md)"


def _show(options: argparse.Namespace, words: list[str], note: str) -> None:
    if options.json:
        notes = [note] if note else []
        print(json.dumps({"command": "onboard", "applied": options.yes, "changes": words, "notes": notes}))
        return
    print(f"{'changing' if options.yes else 'would change'}:" if words else "nothing to change")
    for line in words:
        print(f"  {line}")
    if words and not options.yes:
        print("nothing was changed; --yes does it")
    if note:
        print(note)
