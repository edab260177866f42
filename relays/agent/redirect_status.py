"""The verb `redirect.status`: whether each instance is onboarded for flushes, and what redirect is on."""

from __future__ import annotations

import os
from typing import Any

from relays.agent import drain, lease, postfix
from relays.agent.deadline import Deadline
from relays.agent.protocol import Answer, refuse_unknown
from relays.domain.text import printable

_MAX_DOMAINS = 200


def answer(args: dict[str, Any], _deadline: Deadline) -> Answer:
    """Return a row for each instance; raise BadRequest for any argument."""
    refuse_unknown(args, set())
    guarded = lease.published()
    rows = [_row(place, guarded) for place in postfix.places()]
    return Answer(rows, {"guard_age_s": None if guarded is None else round(guarded["age_s"], 1)})


def _row(place: postfix.Place, guarded: dict[str, Any] | None) -> dict[str, Any]:
    """Tell what the read user sees: the map itself, and of the lease what the guard published."""
    try:
        found = drain.facts(place.config_dir)
        lacking = drain.problems(place.name, place.config_dir, found)
        fast_flush, maps = drain.fast_flush(found), found.settings["transport_maps"]
    except postfix.Misconfigured as error:
        lacking, fast_flush, maps = [f"misconfigured: {error}"], False, ""
    current = lease.seen(place.name, guarded)
    return {
        "kind": "redirect",
        "instance": place.name,
        "onboarded": not lacking,
        "problems": [printable(text, 300) for text in lacking],
        "fast_flush": fast_flush,
        "transport_maps": printable(maps, 1_000),
        "was_onboarded": os.path.exists(drain.map_path(place.name)),
        **current,
        "domains": current["domains"][:_MAX_DOMAINS],
        "domains_total": len(current["domains"]),
    }
