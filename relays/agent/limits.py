"""What root lets the console change on this host, and how often: /etc/relay-fleet/limits.json."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from relays.agent.protocol import Refused
from relays.agent.trusted import refuse_untrusted

PATH = "/etc/relay-fleet/limits.json"
_MAX_BYTES = 64 * 1024


class Limits(NamedTuple):
    """The caps of the write path. Each default is safe; a file of root's may change it: docs/hosts.md."""

    queue_run: bool = True
    instance_reload: bool = True
    # A run of the whole deferred queue makes Postfix try every destination again, also the sick ones.
    queue_run_every_s: int = 300
    domain_runs_in_5_min: int = 20
    # A reload starts qmgr(8) anew, which takes the active queue apart.
    reload_every_s: int = 60
    flush: bool = True
    # Each puts a map in place and reloads, and reloads again when it is given back.
    redirects_in_an_hour: int = 60
    flush_retries_in_5_min: int = 120
    # Each changes main.cf and reloads.
    rate_hold: bool = True
    rate_changes_in_an_hour: int = 12
    # One delivery in an hour is as slow as the console may make an instance.
    rate_delay_most_s: int = 3_600
    journal_max_mb: int = 256
    # Hold, release, requeue and retry of single messages: each can be taken back or does no harm.
    messages: bool = True
    # What is deleted or sent back is gone: off until root says otherwise.
    delete: bool = False
    expire: bool = False
    removals_a_day: int = 10_000
    # What people write to each other: nobody's to read until root says otherwise.
    bodies: bool = False


_RANGES = {
    "queue_run_every_s": (60, 86_400),
    "domain_runs_in_5_min": (1, 300),
    "reload_every_s": (10, 86_400),
    "redirects_in_an_hour": (1, 3_600),
    "flush_retries_in_5_min": (1, 10_000),
    "rate_changes_in_an_hour": (1, 3_600),
    "rate_delay_most_s": (1, 86_400),
    "journal_max_mb": (1, 65_536),
    "removals_a_day": (1, 10_000_000),
}


def load() -> Limits:
    """Return the host's limits, the defaults where there is no file.

    Raises Refused for a file that somebody else could have written, or that says anything not understood:
    a cap that is misspelt must not be none.
    """
    if not os.path.lexists(PATH):
        return Limits()
    try:
        refuse_untrusted(PATH)
        with open(PATH, "rb") as file:
            fields = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{PATH} cannot be read: {error}") from None
    if not isinstance(fields, dict):
        raise Refused(f"{PATH} is not a JSON object")
    for key, value in fields.items():
        _check(key, value)
    return Limits(**fields)


def _check(key: str, value: object) -> None:
    if key not in Limits._fields:
        raise Refused(f"{PATH} has a key that is not known: {key[:40]!r}")
    if key not in _RANGES:
        if type(value) is not bool:
            raise Refused(f"{PATH}: {key} must be true or false")
        return
    least, most = _RANGES[key]
    if type(value) is not int or not least <= value <= most:
        raise Refused(f"{PATH}: {key} must be a whole number from {least} to {most}")
