"""Damaged lines by the million, read by both readers of logs: none raises, none takes long, and both agree.

The lines are those of tests/samples and, where they are, of the corpora beside the checkout. What was done is
kept in a file, so that a run which was ended goes on where it was (--resume).
"""

import json
import random
import sys
import time
from datetime import UTC
from pathlib import Path
from typing import Any

from bench.figures import Figure, arguments, report
from relays.domain.maillog.lines import parse
from relays.domain.maillog.stamps import Stamps
from tests.domain.maillog_cases import NOW, counted, mutated, parsed, recipients, samples

BATCH = 5_000
# CPU time of one line, and so much more than any line needs that a busy machine doesn't matter.
MOST_MS = 100

CORPORA = Path(__file__).parents[2] / "shared/data/corpora"


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--results", type=Path, default=Path("var/fuzz.json"), help="where to keep what was done"
    )
    parser.add_argument("--resume", action="store_true", help="go on with what is kept there")
    options = parser.parse_args()
    done = begin(options.results, options.seed, resume=options.resume)
    originals = [*samples(), *corpora()]
    while done["lines"] < options.lines:
        batch(originals, done)
        options.results.write_text(json.dumps(done, indent=1))
    for failure in done["failures"]:
        print(failure, file=sys.stderr)
    figures = [
        Figure("lines", done["lines"], "lines", at_least=options.lines),
        Figure("lines that raised, or were read in two ways", len(done["failures"]), "lines", at_most=0),
        Figure("the slowest line", done["slowest_ms"], "CPU ms", at_most=MOST_MS),
    ]
    return report(figures, as_json=options.json)


def begin(results: Path, seed: int, *, resume: bool) -> dict[str, Any]:
    """Return what was done with this seed, or nothing yet."""
    if resume and results.exists():
        kept: dict[str, Any] = json.loads(results.read_text())
        if kept["seed"] == seed:
            return kept
    results.parent.mkdir(parents=True, exist_ok=True)
    return {"seed": seed, "lines": 0, "slowest_ms": 0.0, "slowest": "", "failures": []}


def corpora() -> list[bytes]:
    """Return the lines of the public corpora that are text of logs, if they are there."""
    found = [path for path in sorted(CORPORA.rglob("*")) if path.suffix in (".log", ".jsonl")]
    return [line for path in found for line in path.read_bytes().split(b"\n") if line]


def batch(originals: list[bytes], done: dict[str, Any]) -> None:
    """Read the next lines: one by one for their time, and all together, cut anywhere, for their counts."""
    chance = random.Random(f"{done['seed']} {done['lines']}")
    lines = [mutated(originals, chance) for _ in range(BATCH)]
    stamps = Stamps(now=NOW, zone=UTC)
    for line in lines:
        started = time.thread_time()
        try:
            parse(line, stamps)
        except Exception as error:  # noqa: BLE001 (what is looked for)
            done["failures"].append(f"{error!r}: {line!r}")
        took = (time.thread_time() - started) * 1000
        if took > done["slowest_ms"]:
            done["slowest_ms"], done["slowest"] = took, repr(line[:2000])
    done["failures"] += disagreements(lines, chance)
    done["lines"] += BATCH


def disagreements(lines: list[bytes], chance: random.Random) -> list[str]:
    log = b"\n".join(lines) + b"\n"
    whole = counted(log)
    if whole.lines != len(lines) or counted(log, [chance.randrange(len(log)) for _ in range(40)]) != whole:
        return [f"a batch is counted otherwise when it is cut: {lines[0]!r} ..."]
    if recipients(whole) == parsed(lines):
        return []
    return [repr(line) for line in lines if recipients(counted(line)) != parsed([line])]


if __name__ == "__main__":
    sys.exit(main())
