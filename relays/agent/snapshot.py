"""The verb `snapshot`: every instance's queue, summed on the host, and the host's own load and space."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import Any

from relays.agent import corrupt, lease, postfix, system
from relays.agent.deadline import Deadline
from relays.agent.protocol import Answer, BadRequest, Refused, condition, integer, refuse_unknown
from relays.domain.queue import MAILDROP, MAX_LINE, QUEUES, QueueSummary

# Kept for each instance still to come, so that one that hangs does not take the others' time.
RESERVED_S = 2.0
# What of a row's 64 KiB the two tables may take.
_DOMAINS_BYTES = 40_000
_REPLIES_BYTES = 16_000

_NAME = re.compile(r"\A[0-9A-Za-z][0-9A-Za-z._-]{0,62}\Z")
_PARAMETERS = ["queue_directory", "message_size_limit", "queue_minfree"]
# smtpd(8) refuses mail when less than this many messages of the greatest size fit into the spool.
_ROOM_FOR_MESSAGES = 1.5


def answer(args: dict[str, Any], deadline: Deadline) -> Answer:
    """Return a row for each instance asked for, then the host's; raise BadRequest or Refused."""
    wanted = check(args)
    places = chosen(postfix.places(), wanted["instances"])
    return Answer(_rows(places, wanted["domains"], wanted["replies"], deadline), {})


def _rows(
    places: list[postfix.Place], domains: int, replies: int, deadline: Deadline
) -> Iterator[dict[str, Any]]:
    needs: dict[str, int] = {}
    for index, place in enumerate(places):
        budget_s = deadline.remaining_s() - RESERVED_S * (len(places) - index)
        yield instance_row(place, domains, replies, max(budget_s, 1.0), needs)
    yield host_row(needs)


def check(args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with their defaults, or raise BadRequest."""
    refuse_unknown(args, {"instances", "domains", "replies"})
    return {
        "instances": None if args.get("instances") is None else names(args["instances"]),
        "domains": integer(args, "domains", 0, 1000, 200),
        "replies": integer(args, "replies", 0, 100, 20),
    }


def names(value: Any) -> list[str]:
    """Return a list of instance names out of a request, or raise BadRequest."""
    if not isinstance(value, list) or not all(isinstance(name, str) and _NAME.match(name) for name in value):
        raise BadRequest("an instance is named by letters, digits and ._-")
    return value


def chosen(places: list[postfix.Place], wanted: list[str] | None) -> list[postfix.Place]:
    """Return the instances of these names, all for None; raise Refused for one that is not here."""
    if wanted is None:
        return places
    missing = sorted(set(wanted) - {place.name for place in places})
    if missing:
        raise Refused(f"no instance {missing[0]} on this host")
    return [place for place in places if place.name in wanted]


def instance_row(
    place: postfix.Place, domains: int, replies: int, budget_s: float, needs: dict[str, int]
) -> dict[str, Any]:
    """Return an instance's row. budget_s: seconds it may take; needs: the spool it lies on is added."""
    row = _empty_row(place)
    began = time.monotonic()
    summary = QueueSummary(now=row["sampled_at"], replies=replies > 0)
    try:
        settings = postfix.parameters(place.config_dir, _PARAMETERS)
        needs[settings["queue_directory"]] = _bytes_needed(settings)
        row["running"] = postfix.is_running(settings["queue_directory"])
        postfix.list_queue(place.config_dir, timeout_s=budget_s, take=summary.feed)
        summary.finish()
    except postfix.Misconfigured as error:
        row["conditions"].append(condition("misconfigured", "instance", str(error)))
    except postfix.QueueFailure as failure:
        what = "instance" if failure.code in {"stopped", "not_listed", "misconfigured"} else "queue"
        row["conditions"].append(condition(failure.code, what, failure.detail))
        if failure.code == "stopped":
            row["running"] = False
    else:
        _fill(row, summary, domains, replies)
        _count_corrupt(row, settings["queue_directory"])
    _add_redirect(row)
    row["took_ms"] = round(1000 * (time.monotonic() - began))
    return row


def _add_redirect(row: dict[str, Any]) -> None:
    """Tell of a redirect that is on; nothing is said where none is."""
    current = lease.mapped(row["name"])
    if current["to"] is not None or current["problem"]:
        current = lease.seen(row["name"], lease.published())
        row["redirect"] = {key: current[key] for key in ("to", "op_id", "left_s", "problem")}


def _empty_row(place: postfix.Place) -> dict[str, Any]:
    """Return the row of an instance of whose queue nothing is known."""
    return {
        "kind": "instance",
        "name": place.name,
        "config_dir": place.config_dir,
        "running": None,
        "sampled_at": round(time.time(), 3),
        "took_ms": 0,
        "queues": dict.fromkeys([*QUEUES, "corrupt"]),
        "maildrop": None,
        "oldest_s": None,
        "size_bytes": None,
        "domains": None,
        "replies": None,
        "conditions": [],
    }


def _bytes_needed(settings: dict[str, str]) -> int:
    """Return how many free bytes Postfix wants in its spool before it takes mail: queue_minfree(5)."""
    sizes = [int(settings[key]) for key in ("message_size_limit", "queue_minfree") if settings[key].isdigit()]
    return int(max([_ROOM_FOR_MESSAGES * size for size in sizes[:1]] + sizes[1:] + [0]))


def _fill(row: dict[str, Any], summary: QueueSummary, domains: int, replies: int) -> None:
    table = summary.domains(limit=domains, max_bytes=_DOMAINS_BYTES)
    texts = summary.replies(limit=replies, max_bytes=_REPLIES_BYTES)
    row["running"] = True
    row["queues"].update({queue: summary.counts[queue] for queue in QUEUES})
    row["maildrop"] = summary.counts[MAILDROP]
    row["oldest_s"] = summary.oldest_s
    row["size_bytes"] = summary.size_bytes
    row["domains"] = {
        "total": sum(count for _, count, _ in table.rows) + table.other,
        "distinct": table.distinct,
        "rows": table.rows,
        "other": [table.other, table.other_buckets],
    }
    row["replies"] = {
        "total": summary.deferred_recipients,
        "rows": [[text, count] for text, count, _ in texts.rows],
        "other": texts.other,
        "sampled": summary.sampled,
    }
    row["conditions"] += _reading_conditions(summary)


def _reading_conditions(summary: QueueSummary) -> list[dict[str, str]]:
    found = []
    if summary.unparsable:
        found.append(condition("unparsable", "queue", f"{summary.unparsable} lines were no queue entry"))
    if summary.oversized:
        detail = f"{summary.oversized} messages have too many recipients to list (over {MAX_LINE} bytes)"
        found.append(condition("truncated", "queue", detail))
    if summary.domains_pruned:
        detail = "too many domains to keep: the rarer ones are in `other`, and `distinct` is not exact"
        found.append(condition("truncated", "domains", detail))
    if summary.newcomers:
        detail = f"{summary.newcomers} messages arrived while it was read; others may have left or moved"
        found.append(condition("growing", "queue", detail))
    return found


def _count_corrupt(row: dict[str, Any], queue_directory: str) -> None:
    """Fill in the queue that postqueue(1) does not list."""
    try:
        row["queues"]["corrupt"] = corrupt.number(queue_directory)
    except corrupt.Unknown as error:
        row["conditions"].append(condition("not_readable", "corrupt", str(error)))


def host_row(needs: dict[str, int]) -> dict[str, Any]:
    """Return the host's row. needs: free bytes wanted, by queue directory."""
    spools = system.spools(list(needs))
    conditions = []
    for spool in spools:
        wanted = max(need for path, need in needs.items() if system.mount_point(path) == spool["path"])
        if spool["free_bytes"] < max(wanted, 1):
            detail = f"{spool['free_bytes']} bytes free, Postfix wants {wanted} before it takes mail"
            conditions.append(condition("disk_full", spool["path"], detail))
        elif spool["inodes"] and not spool["inodes_free"]:
            conditions.append(condition("disk_full", spool["path"], "no inode free"))
    return {
        "kind": "host",
        "load": system.load(),
        "cpus": os.cpu_count(),
        "spools": spools,
        "conditions": conditions,
    }
