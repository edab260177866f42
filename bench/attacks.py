"""Hostile requests to relayctl and hostile forms to the pages: none may break anything (acceptance test 60).

Requests are asked in two ways: by the ten thousand in one process that may run no program, and on a host with
real Postfix instances, where strace tells every program that is executed. What was done is added to a results
file, so that a run which was ended goes on where it was (--resume). Lines of logs are another bench: fuzz.
"""

import json
import logging
import os
import random
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from bench.figures import Figure, arguments, report
from tests.agent.sandbox import Sandbox
from tests.hostile_requests import answer_all
from tests.traced_relayctl import fuzz, make_host

REQUESTS, TRACED, FORMS = 100_000, 100_000, 50_000
_AT_ONCE = {"requests": 10_000, "traced": 500, "forms": 500}
# What relayctl runs to look at Postfix.
_LOOKING = {"postconf", "postmulti", "postqueue", "journalctl", "postfix"}


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--traced", type=int, default=TRACED, help="requests to a host, under strace")
    parser.add_argument("--forms", type=int, default=FORMS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("var/attacks.json"))
    parser.add_argument("--resume", action="store_true", help="go on with what is kept there")
    options = parser.parse_args()
    done = begin(options.results, options.seed, resume=options.resume)

    def keep() -> None:
        options.results.write_text(json.dumps(done, indent=1))
        counts = ", ".join(f"{done[what]:,} {what}" for what in _AT_ONCE)
        print(f"{counts}; {len(done['wrong']) + len(done['failed'])} wrong", file=sys.stderr, flush=True)

    while done["requests"] < options.requests:
        some_requests(done)
        keep()
    if done["forms"] < options.forms:
        with tempfile.TemporaryDirectory(prefix="fleet-attacks-") as folder:
            prepare_pages(folder)
            while done["forms"] < options.forms:
                some_forms(done)
                keep()
    if done["traced"] < options.traced:
        with tempfile.TemporaryDirectory() as folder, Sandbox(Path(folder) / "host") as host:
            make_host(host)
            while done["traced"] < options.traced:
                some_traced(done, host)
                keep()
    return report(figures(done, options), as_json=options.json)


def begin(results: Path, seed: int, *, resume: bool) -> dict[str, Any]:
    """Return what was done with this seed, or nothing yet."""
    results.parent.mkdir(parents=True, exist_ok=True)
    nothing: dict[str, Any] = {"seed": seed, "requests": 0, "traced": 0, "forms": 0}
    nothing |= {"wrong": [], "commands": [], "failed": [], "ran": {}, "changed": 0}
    if resume and results.exists():
        kept: dict[str, Any] = json.loads(results.read_text())
        if kept.get("seed") == seed:
            return kept
    return nothing


def figures(done: dict[str, Any], wanted: Namespace) -> list[Figure]:
    """Return what the results file says, beside its limits."""
    for wrong in (*done["wrong"], *done["failed"]):
        print(wrong, file=sys.stderr)
    unexpected = set(done["commands"]) - _LOOKING
    return [
        Figure("requests to relayctl", done["requests"], "", at_least=wanted.requests),
        Figure("requests to a host, under strace", done["traced"], "", at_least=wanted.traced),
        Figure("programs that those executed", sum(done["ran"].values()), ""),
        Figure("answers that broke, and programs that may not run", len(done["wrong"]), "", at_most=0),
        Figure("kinds of programs asked for that it may not run", len(unexpected), "", at_most=0),
        Figure("forms", done["forms"], "", at_least=wanted.forms),
        Figure("changes that those made", done["changed"], ""),
        Figure("pages that broke", len(done["failed"]), "", at_most=0),
    ]


def some_requests(done: dict[str, Any]) -> None:
    """Ask relayctl, as nobody, and note what is wrong with its answers."""
    found = answer_all(_AT_ONCE["requests"], f"{done['seed']} {done['requests']}")
    done["requests"] += _AT_ONCE["requests"]
    done["wrong"] = (done["wrong"] + found["wrong"])[:20]
    done["commands"] = sorted({*done["commands"], *found["commands"]})


def some_traced(done: dict[str, Any], host: Sandbox) -> None:
    """Ask both doors of a host in turn, and note whatever is executed that may not be."""
    door = ("read", "write")[done["traced"] // _AT_ONCE["traced"] % 2]
    found = fuzz(host, door, _AT_ONCE["traced"], f"{done['seed']} {done['traced']}")
    done["traced"] += _AT_ONCE["traced"]
    done["wrong"] = (done["wrong"] + found.wrong)[:20]
    done["ran"] = dict(Counter(done["ran"]) + found.programs)


def prepare_pages(folder: str) -> None:
    """Set Django up with a database of its own in this folder."""
    os.environ |= {
        "FLEET_DATA": folder,
        "DJANGO_SETTINGS_MODULE": "fleet.settings",
        "FLEET_LOG_LEVEL": "CRITICAL",
    }
    import django  # noqa: PLC0415  (after the environment is set)

    django.setup()
    from django.conf import settings  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from django.test.utils import setup_test_environment  # noqa: PLC0415

    setup_test_environment()
    logging.disable(logging.CRITICAL)
    # Files as they lie in static/: collectstatic has not run.
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": plain}
    call_command("migrate", verbosity=0)


def some_forms(done: dict[str, Any]) -> None:
    """Send forms to all pages, and note those that break.

    All of it is undone at the end: pages of a fleet that grows with every form would take ever longer.
    """
    from django.db import transaction  # noqa: PLC0415

    from relays.models import AuditEvent  # noqa: PLC0415
    from tests.hostile_forms import make_world, send  # noqa: PLC0415

    dice = random.Random(f"{done['seed']} {done['forms']}")
    with transaction.atomic():
        world = make_world()
        before = AuditEvent.objects.count()
        for _ in range(_AT_ONCE["forms"]):
            if broken := send(world, dice):
                done["failed"] = [*done["failed"], broken][:20]
        done["changed"] += AuditEvent.objects.filter(phase="succeeded").count() - before
        transaction.set_rollback(True)
    done["forms"] += _AT_ONCE["forms"]


if __name__ == "__main__":
    sys.exit(main())
