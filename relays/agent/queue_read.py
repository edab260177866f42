"""What the verbs that read one queue have in common: the instance, the filter, and every message in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relays.agent import postfix
from relays.agent.deadline import Deadline
from relays.agent.protocol import BadRequest, Refused, Tell, flag, refuse_unknown
from relays.agent.snapshot import RESERVED_S, chosen, names
from relays.domain.filters import ARGS, BadFilter, QueueFilter, from_args
from relays.domain.matching import Lines
from relays.domain.queue import Entry


def filter_of(args: dict[str, Any], *others: str) -> QueueFilter:
    """Return the filter of a request, which may have two keys more and these; raise BadRequest."""
    refuse_unknown(args, {"instance", "progress", *ARGS, *others})
    try:
        return from_args(args)
    except BadFilter as error:
        raise BadRequest(str(error)) from None


def read(args: dict[str, Any], deadline: Deadline, take: Callable[[Entry], None], tell: Tell) -> Lines:
    """Hand every message of the instance that is asked for to `take`; raise BadRequest or Refused.

    The result says how many lines could not be read. Where `progress` is asked for, `tell` is given how many
    messages were read so far, now and then.
    """
    telling = tell if flag(args, "progress") else None
    (place,) = chosen(postfix.places(), names([args.get("instance")]))
    budget_s = max(1.0, deadline.remaining_s() - RESERVED_S)
    return read_place(place, budget_s, take, tell=telling)


def read_place(
    place: postfix.Place,
    budget_s: float,
    take: Callable[[Entry], None],
    *,
    only: frozenset[bytes] | None = None,
    tell: Tell | None = None,
) -> Lines:
    """Hand every message of an instance, or of these ids, to `take` within so many seconds; raise Refused."""
    lines = Lines(take, only=only)

    def feed(chunk: bytes) -> None:
        lines.feed(chunk)
        if tell is not None:
            tell(lines.seen)

    try:
        postfix.list_queue(place.config_dir, timeout_s=budget_s, take=feed)
    except postfix.QueueFailure as failure:
        raise Refused(f"{failure.code}: {failure.detail}") from None
    lines.finish()
    return lines
