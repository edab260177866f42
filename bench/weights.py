"""Shares on a rehearsal fleet: what real origins behind a real resolver do with published weights.

12,000 messages by `mx`, `lua` and `equal` with the origin's connection cache off, and runs with it on.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Figure, arguments, report

if TYPE_CHECKING:
    from dns.selectors.shares import ShareRow
    from tests.share_trial import ShareTrial

OLD, NEW = "msn-a", "msn-c"
FIVE_TO_ONE = {OLD: 5, NEW: 1}
MESSAGES = 12_000
# Of the issue, in points; chance alone stays within 1.36 of 4 standard errors.
MX_WITHIN = 1.5
BUCKET_S = 300
CACHED_RUNS, CACHED_MESSAGES = 6, 1_200


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of each rendering")
    parser.add_argument("--lua-s", type=int, default=BUCKET_S, help="seconds over which lua's are sent")
    options = parser.parse_args()
    with ExitStack() as stack:
        by_rfc2136, by_api = _trials(stack)
        figures = []
        for part in (
            mx(by_rfc2136, "BIND", options.messages),
            mx(by_api, "PowerDNS, a caching resolver", options.messages),
            lua(by_api, options.messages, options.lua_s),
            equal(by_api, options.messages),
            cached(by_rfc2136),
        ):
            for figure in part:
                print(f"{figure.name}: {figure.value:.3f} {figure.unit}", file=sys.stderr)
                figures.append(figure)
    return report(figures, as_json=options.json)


def mx(trial: "ShareTrial", where: str, messages: int) -> Iterator[Figure]:
    """Send with the connection cache off, each message by a draw of its own."""
    trial.origin.set(smtp_connection_cache_on_demand="no")
    trial.publish(FIVE_TO_ONE, rendering="mx")
    counted = trial.send(messages)
    rows = trial.shares()
    off = 100 * abs(rows[NEW].seen.share - 1 / 6)
    yield Figure(f"mx 5:1, {where}: the new address gets", 100 * rows[NEW].seen.share, "%")
    yield Figure(f"mx 5:1, {where}: off by", off, "points", at_most=MX_WITHIN)
    yield Figure(f"mx 5:1, {where}: page and logs differ by", _difference(rows, counted), "", at_most=0)


def lua(trial: "ShareTrial", messages: int, within_s: int) -> Iterator[Figure]:
    """Send over whole buckets with TTL 1: a draw a second at most."""
    from dns.domain.observed import standard_error  # noqa: PLC0415

    trial.publish(FIVE_TO_ONE, rendering="lua", ttl=1)
    # A bucket is told to have as many draws as it has seconds.
    time.sleep(BUCKET_S - time.time() % BUCKET_S)
    counted = trial.send(messages, per_s=messages / within_s)
    rows = trial.shares()
    new = rows[NEW]
    errors = abs(new.seen.share - 1 / 6) / standard_error(1 / 6, new.seen.draws)
    yield Figure("lua 5:1, TTL 1: the new address gets", 100 * new.seen.share, "%")
    yield Figure("lua 5:1: draws as the page states them", new.seen.draws, "")
    yield Figure("lua 5:1: off by standard errors", errors, "", at_most=4)
    yield Figure("lua 5:1: page and logs differ by", _difference(rows, counted), "", at_most=0)


def equal(trial: "ShareTrial", messages: int) -> Iterator[Figure]:
    """Ask for 5:1 where only halves exist."""
    operation = trial.publish(FIVE_TO_ONE, rendering="equal")
    said = "each address gets 50.0 %, whatever its weight" in " ".join(operation.plan["notes"])
    counted = trial.send(messages)
    rows = trial.shares()
    yield Figure("equal: says 50 % beforehand", said, "", at_least=1)
    yield Figure("equal: the new address gets", 100 * rows[NEW].seen.share, "%")
    off = 100 * abs(rows[NEW].seen.share - 0.5)
    yield Figure("equal: off by", off, "points", at_most=400 * (0.25 / messages) ** 0.5)
    yield Figure("equal: page and logs differ by", _difference(rows, counted), "", at_most=0)


def cached(trial: "ShareTrial") -> Iterator[Figure]:
    """Send backlogs with the connection cache on: connections are drawn, and the page names the skew."""
    trial.origin.set(smtp_connection_cache_on_demand="yes")
    named, skewed, wrong, farthest = 0, 0, 0, 0.0
    for run in range(CACHED_RUNS):
        # What mx() published is published still.
        trial.begin()
        counted = trial.send(CACHED_MESSAGES)
        rows = trial.shares()
        wrong += _difference(rows, counted)
        off = abs(rows[NEW].seen.share - 1 / 6)
        farthest = max(farthest, 100 * off)
        beyond = off > 4 * (1 / 6 * 5 / 6 / CACHED_MESSAGES) ** 0.5 + 1 / CACHED_MESSAGES
        skewed += beyond
        named += any("smtp_connection_cache_on_demand" in cause for cause in rows[NEW].causes)
        print(f"cache on, run {run + 1}: {100 * rows[NEW].seen.share:.1f} %", file=sys.stderr)
    yield Figure(f"cache on, {CACHED_RUNS} runs: farthest off", farthest, "points")
    yield Figure("cache on: runs beyond chance", skewed, "", at_least=1)
    yield Figure("cache on: of those named", named, "", at_least=skewed)
    yield Figure("cache on: page and logs differ by", wrong, "", at_most=0)


def _difference(rows: "dict[str, ShareRow]", counted: dict[str, int]) -> int:
    return sum(abs(rows[name].seen.messages - number) for name, number in counted.items())


def _trials(stack: ExitStack) -> tuple["ShareTrial", "ShareTrial"]:
    """Bring a fleet up, registered in a console's database of its own; return a trial for each zone."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-weights-")))
    os.environ |= {"FLEET_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "fleet.settings"}
    # All of these know Django, whose settings are read from the environment above.
    from fleet.rehearsal import Fleet, register, spec  # noqa: PLC0415
    from relays.remote import ssh  # noqa: PLC0415
    from tests.share_trial import ShareTrial  # noqa: PLC0415

    fleet = Fleet(f"w{os.getpid()}")
    read_key, write_key = register.prepare(fleet)
    stack.callback(fleet.down)
    stack.callback(ssh.close_all)
    fleet.up(read_key=read_key, write_key=write_key)
    register.register(fleet)
    bind, powerdns = (ShareTrial(fleet, zone) for zone in spec.ZONES)
    return bind, powerdns


if __name__ == "__main__":
    sys.exit(main())
