"""Ramps over 20 zones and ten years each: schedulers away or doubled, clocks that jump, data that is missing.

What is measured is that no promise breaks: one decision a date, 18 hours between two, and a step only after
a date on which mail was sent and of which everything is known. --resume adds to a results file.
"""

import json
import sys
import time
from pathlib import Path

from bench.figures import Figure, arguments, report
from tests.domain.ramp_world import ZONES, world

RESULTS = Path("var/bench/ramps.json")
# The date that Apia skipped lies in the first.
FIRST_YEARS = (2011, 2020)


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--years", type=int, default=10, help="of each zone")
    parser.add_argument("--resume", action="store_true", help="add to what earlier runs found")
    options = parser.parse_args()
    totals = _totals() if options.resume else {"years": 0, "decisions": 0, "steps": 0}
    began = time.process_time()
    for number, zone in enumerate(ZONES):
        year = FIRST_YEARS[(options.seed + number) % 2] if zone != "Pacific/Apia" else 2011
        lived = world(zone, seed=options.seed, year=year, years=options.years)
        totals["years"] += options.years
        totals["decisions"] += len(lived.decisions)
        totals["steps"] += lived.advances
        print(f"{zone}: {len(lived.decisions):,} decisions, {lived.advances:,} steps", file=sys.stderr)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(totals))
    took = time.process_time() - began
    # A broken promise raises: whoever gets here has none.
    return report(
        [
            Figure("zones", len(ZONES), "", at_least=20),
            Figure("years lived through, in all runs", totals["years"], "", at_least=200),
            Figure("decisions", totals["decisions"], ""),
            Figure("steps", totals["steps"], ""),
            Figure("broken promises", 0, "", at_most=0),
            Figure("took", took, "s"),
        ],
        as_json=options.json,
    )


def _totals() -> dict[str, int]:
    return (
        dict(json.loads(RESULTS.read_text()))
        if RESULTS.exists()
        else {"years": 0, "decisions": 0, "steps": 0}
    )


if __name__ == "__main__":
    sys.exit(main())
