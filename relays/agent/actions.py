"""What the write path can do to an instance: each action is planned from its arguments, then run."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from relays.agent import children, postfix
from relays.agent.deadline import Deadline
from relays.agent.exclusive import Pace
from relays.agent.limits import Limits
from relays.agent.protocol import BadRequest, Refused, refuse_unknown, text
from relays.agent.trusted import refuse_untrusted
from relays.domain.queue import MAX_LINE, domain_of, parse_entry
from relays.domain.text import printable

# How long one command may take, and what is kept of the request's time for counting and for the record.
COMMAND_S = 30.0
_COUNT_S = 20.0
KEPT_S = 5.0
_MAX_OUTPUT = 2048
_FIVE_MINUTES_S = 300

# An A-label domain: letters, digits, hyphens inside; never a leading "-" for a program to take as an option.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"\A(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")


# Does what a single command does not; from operation, fence and deadline to a result as run() has it.
Effect = Callable[[str, int, Deadline], dict[str, Any]]


class Action(NamedTuple):
    """What will be done. counts: messages, null where they could not be counted; facts: what it rests on.

    effect: None where running the command is all there is to it. always: done also where only the journal has
    room for it; done twice it must do no harm. noted: what the journal keeps beside the command.
    """

    command: list[str]
    counts: dict[str, int | None]
    facts: dict[str, str]
    pace: Pace
    effect: Effect | None = None
    always: bool = False
    noted: dict[str, str | None] | None = None


Planner = Callable[[postfix.Place, dict[str, Any], Limits, Deadline], Action]


def queue_run(place: postfix.Place, args: dict[str, Any], limits: Limits, deadline: Deadline) -> Action:
    """Plan Postfix's own flush: of the whole deferred queue, or of the mail for one domain (postqueue(1))."""
    refuse_unknown(args, {"instance", "domain"})
    domain = text(args, "domain")
    if domain is not None and not is_domain(domain):
        raise BadRequest("domain must be a domain name in lower case with A-labels")
    if not limits.queue_run:
        raise Refused("queue.run is switched off in this host's limits")
    found = facts(place, *([] if domain is None else ["fast_flush_domains"]))
    what = ["-f"] if domain is None else ["-s", domain]
    pace = (
        Pace("a queue run of everything", 1, limits.queue_run_every_s)
        if domain is None
        else Pace("a queue run of one domain", limits.domain_runs_in_5_min, _FIVE_MINUTES_S)
    )
    command = [program("postqueue"), "-c", place.config_dir, *what]
    return Action(command, _count(place, domain, deadline), found, pace)


def instance_reload(
    place: postfix.Place, args: dict[str, Any], limits: Limits, _deadline: Deadline
) -> Action:
    """Plan `postfix reload`: master(8) reads its configuration, and its daemons start anew when they can."""
    refuse_unknown(args, {"instance"})
    if not limits.instance_reload:
        raise Refused("instance.reload is switched off in this host's limits")
    found = facts(place)
    for name in ("main.cf", "master.cf"):
        found[name] = _sha256_of_file(os.path.join(place.config_dir, name))
    command = [program("postfix"), "-c", place.config_dir, "reload"]
    return Action(command, {}, found, Pace("a reload", 1, limits.reload_every_s))


PLANNERS: dict[str, Planner] = {"queue.run": queue_run, "instance.reload": instance_reload}


def is_domain(value: str) -> bool:
    """Tell whether this is a domain name in lower case with A-labels."""
    return _DOMAIN.match(value) is not None


def done(command: list[str], output: str) -> dict[str, Any]:
    """Return the result of what was done without a command, or needed none."""
    return {**_nothing_yet(command), "ok": True, "exit_status": 0, "output": _shown(output)}


def failed(command: list[str], output: str) -> dict[str, Any]:
    """Return the result of what could not be done."""
    return {**_nothing_yet(command), "output": _shown(output)}


def _nothing_yet(command: list[str]) -> dict[str, Any]:
    return {
        "ok": False,
        "command": command,
        "exit_status": None,
        "timed_out": False,
        "output": "",
        "took_ms": 0,
    }


def run(command: list[str], deadline: Deadline, *, stdin: bytes = b"") -> dict[str, Any]:
    """Run an action's command; return what came of it, whatever that is: docs/relayctl.md, `result`."""
    began = time.monotonic()
    result = _nothing_yet(command)
    timeout_s = max(1.0, min(COMMAND_S, deadline.remaining_s() - KEPT_S))
    try:
        ended, output = children.output(command, timeout_s=timeout_s, max_bytes=4 * _MAX_OUTPUT, stdin=stdin)
        result.update(ok=ended.status == 0, exit_status=ended.status, output=_shown(output + ended.stderr))
    except children.TimedOut:
        result.update(timed_out=True, output=f"it did not end within {timeout_s:.0f} s and was killed")
    except OSError as error:
        result.update(output=_shown(str(error)))
    result["took_ms"] = round(1000 * (time.monotonic() - began))
    return result


def refuse_without_time(deadline: Deadline) -> None:
    """Raise Refused where what is left of the deadline is not enough to act and to write it down."""
    if deadline.remaining_s() < 2 * KEPT_S:
        raise Refused(
            f"{max(0.0, deadline.remaining_s()):.0f} s are left of the deadline: too little to begin"
        )


def _shown(output: str) -> str:
    return "\n".join(printable(line, _MAX_OUTPUT) for line in output.strip().splitlines())[:_MAX_OUTPUT]


def program(name: str) -> str:
    """Return the path of a program of Postfix's. Raises Refused."""
    try:
        return children.find_program(name)
    except children.NotInstalled as error:
        raise Refused(str(error)) from None


def facts(place: postfix.Place, *more: str) -> dict[str, str]:
    """Return what an instance is; raise Refused where root may not trust it, or it does not run."""
    refuse_unless_trusted(place)
    try:
        settings = postfix.parameters(place.config_dir, ["queue_directory", "multi_instance_name", *more])
    except postfix.Misconfigured as error:
        raise Refused(f"misconfigured: {error}") from None
    if postfix.is_running(settings["queue_directory"]) is False:
        raise Refused(f"stopped: {place.name} is not running")
    return {"config_dir": place.config_dir, **settings}


def refuse_unless_trusted(place: postfix.Place) -> None:
    """Raise Refused where anybody but root could change the configuration that root is about to follow."""
    for name in ("main.cf", "master.cf"):
        path = os.path.join(place.config_dir, name)
        try:
            refuse_untrusted(path)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from None


def _sha256_of_file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _count(place: postfix.Place, domain: str | None, deadline: Deadline) -> dict[str, int | None]:
    """Count deferred messages, and those among them that the run is about."""
    counter = _Counter(domain)
    budget_s = max(1.0, min(_COUNT_S, deadline.remaining_s() - 3 * KEPT_S))
    try:
        postfix.list_queue(place.config_dir, timeout_s=budget_s, take=counter.feed)
    except postfix.QueueFailure as failure:
        if failure.code != "timed_out":
            raise Refused(f"{failure.code}: {failure.detail}") from None
        return {"deferred": None, "messages": None}
    return {"deferred": counter.deferred, "messages": counter.messages}


class _Counter:
    """Counts the deferred messages of `postqueue -j`, fed chunk by chunk: all, and those for a domain."""

    def __init__(self, domain: str | None) -> None:
        self.deferred = 0
        self.messages = 0
        self._domain = domain
        self._tail = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        # What is longer is a message with more recipients than are looked at.
        self._tail = self._tail[: MAX_LINE + 1]
        for line in filter(_is_deferred, lines):
            self.deferred += 1
            self.messages += self._domain is None or self._has_domain(line)

    def _has_domain(self, line: bytes) -> bool:
        entry = parse_entry(line)
        return entry is not None and any(domain_of(item.address) == self._domain for item in entry.recipients)


def _is_deferred(line: bytes) -> bool:
    return line.startswith(b'{"queue_name": "deferred"')
