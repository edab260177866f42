"""Postfix asked through its own programs: which instances there are, their settings, their queues."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from relays.agent import children, system

_ASK_S = 10.0
# postqueue writes as it reads: this long without a byte means that it, or showq(8) behind it, hangs.
_QUEUE_IDLE_S = 10.0

# What postqueue(1) and the library below it say, on standard error, when they cannot list a queue.
_COMPLAINTS = (
    ("not_listed", re.compile(r"unauthorized configuration directory name")),
    ("stopped", re.compile(r"mail system is down", re.IGNORECASE)),
    ("not_readable", re.compile(r"is not allowed to view the mail queue|Permission denied")),
    (
        "misconfigured",
        re.compile(
            r"no local interface found|open \S+/main\.cf|main\.cf, line|bad (?:numeric|string|boolean) "
            r"|config(?:uration)? (?:variable|parameter)|parameter \S+: (?:bad|unknown|missing)"
            r"|host name|host not found|unsupported (?:dictionary|map)|compatibility_level",
        ),
    ),
)


class Place(NamedTuple):
    """An instance as far as its configuration directory tells: enough to ask for its settings."""

    name: str
    config_dir: str


class QueueFailure(Exception):
    """A queue could not be listed. code: a condition of docs/relayctl.md."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Misconfigured(Exception):
    """postconf could not read an instance's configuration; the text is what it said."""


def version() -> str | None:
    """Return Postfix's version, None where postconf cannot be run."""
    try:
        result, text = children.output(
            [children.find_program("postconf"), "-dh", "mail_version"], timeout_s=_ASK_S
        )
    except (children.NotInstalled, children.TimedOut, OSError):
        return None
    return text.strip()[:40] or None if result.status == 0 else None


def places() -> list[Place]:
    """Return the host's instances: those that Postfix lists, and others in /etc.

    Of the others, where Postfix lists any beside the default one, only those that run: the rest are copies
    that somebody put aside. Nor is a default one counted that is there for its list alone.
    """
    listed = _listed_by_postmulti() or _listed_in_main_cf()
    found = [directory for directory in _found_in_etc() if directory not in listed]
    if len(listed) > 1:
        found = _running_on_their_own(found, listed)
        listed = listed[_only_lists_others(listed[0]) :]
    named: dict[str, Place] = {}
    for directory in [*listed, *found]:
        name = _name_of(directory)
        if name in named:
            name = os.path.basename(directory)[:63]
        named.setdefault(name, Place(name, directory))
    return list(named.values())


def _only_lists_others(default: str) -> bool:
    """Tell whether the default instance is switched off, as MULTI_INSTANCE_README has it for a mere list."""
    try:
        settings = parameters(default, ["multi_instance_enable", "queue_directory"])
    except Misconfigured:
        return False
    return settings["multi_instance_enable"] == "no" and is_running(settings["queue_directory"]) is False


def _running_on_their_own(directories: list[str], listed: list[str]) -> list[str]:
    """Return those whose master runs on a queue that no listed instance has."""
    if not directories:
        return []
    taken = {_queue_directory(directory) for directory in listed}
    running = []
    for directory in directories:
        queue = _queue_directory(directory)
        if queue and queue not in taken and is_running(queue):
            taken.add(queue)
            running.append(directory)
    return running


def _queue_directory(config_dir: str) -> str:
    try:
        return parameters(config_dir, ["queue_directory"])["queue_directory"]
    except Misconfigured:
        return ""


def _listed_by_postmulti() -> list[str]:
    """One broken main.cf makes postmulti refuse to list any: then the list is empty."""
    try:
        result, text = children.output([children.find_program("postmulti"), "-l"], timeout_s=_ASK_S)
    except (children.NotInstalled, children.TimedOut):
        return []
    if result.status != 0:
        return []
    return [line.split()[-1] for line in text.splitlines() if len(line.split()) == 4]


def _listed_in_main_cf() -> list[str]:
    default = _default_config_dir()
    try:
        listed = parameters(default, ["multi_instance_directories"])["multi_instance_directories"]
    except Misconfigured:
        return []
    directories = re.split(r"[\s,]+", listed.strip())
    return [default, *directories] if listed.strip() else []


def _found_in_etc() -> list[str]:
    main_cfs = [path for path in glob.glob("/etc/postfix*/main.cf") if os.path.isfile(path)]
    return sorted(os.path.dirname(path) for path in main_cfs)


def _default_config_dir() -> str:
    try:
        postconf = children.find_program("postconf")
        result, text = children.output([postconf, "-dh", "config_directory"], timeout_s=_ASK_S)
    except (children.NotInstalled, children.TimedOut):
        return "/etc/postfix"
    return text.strip() if result.status == 0 and text.startswith("/") else "/etc/postfix"


def _name_of(directory: str) -> str:
    try:
        name = parameters(directory, ["multi_instance_name"])["multi_instance_name"]
    except Misconfigured:
        name = ""
    name = name or os.path.basename(directory.rstrip("/"))
    if name == "postfix":
        return "default"
    return name.removeprefix("postfix-")[:63]


def parameters(config_dir: str, names: list[str]) -> dict[str, str]:
    """Return these settings of an instance, expanded; "" for one that this Postfix does not know.

    Raises Misconfigured.
    """
    text = _postconf(["-xc", config_dir, *names])
    found = dict.fromkeys(names, "")
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() in found:
            found[name.strip()] = value.strip()
    return found


def service_overrides(config_dir: str) -> dict[tuple[str, str], str]:
    """Return master.cf's `-o` settings as {(service, parameter): value}, of unix services, expanded."""
    overrides = {}
    for line in _postconf(["-xPc", config_dir]).splitlines():
        left, equals, value = line.partition("=")
        parts = left.strip().split("/")
        if equals and len(parts) == 3 and parts[1] == "unix":
            overrides[parts[0], parts[2]] = value.strip()
    return overrides


def _postconf(arguments: list[str]) -> str:
    try:
        result, text = children.output([children.find_program("postconf"), *arguments], timeout_s=_ASK_S)
    except children.TimedOut:
        raise Misconfigured(f"postconf did not end within {_ASK_S:.0f} s") from None
    except (children.NotInstalled, OSError) as error:
        raise Misconfigured(str(error)) from None
    if result.status != 0:
        raise Misconfigured(_complaint(result.stderr) or f"postconf ended with status {result.status}")
    return text


def is_running(queue_directory: str) -> bool | None:
    """Tell whether an instance's master(8) runs: it holds its pid file locked as long as it lives."""
    return system.is_locked(os.path.join(queue_directory, "pid/master.pid"))


def list_queue(config_dir: str, *, timeout_s: float, take: Callable[[bytes], None]) -> None:
    """Hand an instance's `postqueue -j` to `take`; raise QueueFailure where it is not the whole queue."""
    try:
        arguments = [children.find_program("postqueue"), "-c", config_dir, "-j"]
        result = children.run(arguments, timeout_s=timeout_s, idle_s=_QUEUE_IDLE_S, take=take)
    except children.TimedOut:
        raise QueueFailure(
            "timed_out", f"postqueue was ended after {timeout_s:.0f} s, or {_QUEUE_IDLE_S:.0f} s idle"
        ) from None
    except (children.NotInstalled, OSError) as error:
        raise QueueFailure("failed", str(error)) from None
    if result.status != 0:
        raise QueueFailure(_condition_of(result), _complaint(result.stderr) or f"status {result.status}")


def _condition_of(result: children.Result) -> str:
    for code, pattern in _COMPLAINTS:
        if pattern.search(result.stderr):
            return code
    return "failed"


def _complaint(stderr: str) -> str:
    """Return the gravest line of what a Postfix program said: the fatal one, else the last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    fatal = [line for line in lines if ": fatal: " in line]
    return " ".join((fatal or lines)[-1:])
