"""Random requests to relayctl and random forms to the pages: none may break anything (acceptance test 60).

What was done is added to a results file, so that a run which was ended goes on where it was (--resume). Lines
of logs are another bench: fuzz.
"""

import json
import logging
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.figures import Figure, arguments, report
from tests.hostile_requests import answer_all

REQUESTS, FORMS = 100_000, 50_000
_AT_ONCE = {"requests": 10_000, "forms": 500}
# What relayctl runs to look at Postfix.
_LOOKING = {"postconf", "postmulti", "postqueue", "journalctl", "postfix"}


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--forms", type=int, default=FORMS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("var/attacks.json"))
    parser.add_argument("--resume", action="store_true", help="go on with what is kept there")
    options = parser.parse_args()
    done = begin(options.results, resume=options.resume)

    def keep() -> None:
        options.results.write_text(json.dumps(done, indent=1))
        print(f"{done['requests']:,} requests, {done['forms']:,} forms", file=sys.stderr)

    while done["requests"] < options.requests:
        some_requests(done, options.seed)
        keep()
    if done["forms"] < options.forms:
        pages = Pages()
        while done["forms"] < options.forms:
            pages.some_forms(done, options.seed)
            keep()
    return report(figures(done, options.requests, options.forms), as_json=options.json)


def begin(results: Path, *, resume: bool) -> dict[str, Any]:
    """Return what was done before, or nothing yet."""
    results.parent.mkdir(parents=True, exist_ok=True)
    if resume and results.exists():
        kept: dict[str, Any] = json.loads(results.read_text())
        return kept
    return {"requests": 0, "forms": 0, "wrong": [], "commands": [], "failed": []}


def figures(done: dict[str, Any], requests: int, forms: int) -> list[Figure]:
    """Return what the results file says, beside its limits."""
    for wrong in (*done["wrong"], *done["failed"]):
        print(wrong, file=sys.stderr)
    unexpected = set(done["commands"]) - _LOOKING
    return [
        Figure("requests to relayctl", done["requests"], "", at_least=requests),
        Figure("answers that were not whole, or internal errors", len(done["wrong"]), "", at_most=0),
        Figure("programs that it may not run", len(unexpected), "", at_most=0),
        Figure("forms", done["forms"], "", at_least=forms),
        Figure("pages that broke", len(done["failed"]), "", at_most=0),
    ]


def some_requests(done: dict[str, Any], seed: int) -> None:
    """Ask relayctl, as nobody, and note what is wrong with its answers."""
    found = answer_all(_AT_ONCE["requests"], f"{seed} {done['requests']}")
    done["requests"] += _AT_ONCE["requests"]
    done["wrong"] = (done["wrong"] + found["wrong"])[:20]
    done["commands"] = sorted({*done["commands"], *found["commands"]})


class Pages:
    """The console's pages with a database of their own, and an administrator's browser."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fleet-attacks-")
        os.environ |= {
            "FLEET_DATA": self._folder.name,
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
        from tests.factories import host_make, instance_make  # noqa: PLC0415
        from tests.hostile_forms import place_of  # noqa: PLC0415
        from tests.people import browser_of  # noqa: PLC0415

        self._place = place_of(instance_make(host_make("rustin"), "msn-a"))
        self._browser = browser_of("anna", "administrator")
        self._browser.raise_request_exception = False

    def some_forms(self, done: dict[str, Any], seed: int) -> None:
        """Send forms to all pages, and note those that break."""
        from tests.hostile_forms import send  # noqa: PLC0415

        dice = random.Random(f"{seed} {done['forms']}")
        for _ in range(_AT_ONCE["forms"]):
            if broken := send(self._browser, self._place, dice):
                done["failed"] = [*done["failed"], broken][:20]
        done["forms"] += _AT_ONCE["forms"]


if __name__ == "__main__":
    sys.exit(main())
