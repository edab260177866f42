"""What the verbs that read one queue have in common: the instance, the filter, and every message in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relays.agent import postfix
from relays.agent.deadline import Deadline
from relays.agent.protocol import BadRequest, Refused, refuse_unknown
from relays.agent.snapshot import RESERVED_S, chosen, names
from relays.domain.filters import ARGS, BadFilter, QueueFilter, from_args
from relays.domain.matching import Lines
from relays.domain.queue import Entry


def filter_of(args: dict[str, Any], *others: str) -> QueueFilter:
    """Return the filter of a request, which may have `instance` and these other keys; raise BadRequest."""
    refuse_unknown(args, {"instance", *ARGS, *others})
    try:
        return from_args(args)
    except BadFilter as error:
        raise BadRequest(str(error)) from None


def read(args: dict[str, Any], deadline: Deadline, take: Callable[[Entry], None]) -> Lines:
    """Hand every message of the instance that is asked for to `take`; raise BadRequest or Refused.

    The result says how many lines could not be read.
    """
    (place,) = chosen(postfix.places(), names([args.get("instance")]))
    budget_s = max(1.0, deadline.remaining_s() - RESERVED_S)
    return read_place(place, budget_s, take)


def read_place(
    place: postfix.Place,
    budget_s: float,
    take: Callable[[Entry], None],
    *,
    only: frozenset[bytes] | None = None,
) -> Lines:
    """Hand every message of an instance, or of these ids, to `take` within so many seconds; raise Refused."""
    lines = Lines(take, only=only)
    try:
        postfix.list_queue(place.config_dir, timeout_s=budget_s, take=lines.feed)
    except postfix.QueueFailure as failure:
        raise Refused(f"{failure.code}: {failure.detail}") from None
    lines.finish()
    return lines
