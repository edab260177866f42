"""`manage.py audit …`: verify the audit trail and export it."""

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime

from relays.management.progress import progress_bar
from relays.models import AuditEvent
from relays.selectors.audit_events import search
from relays.services.audit import shell_actor
from relays.services.audit_check import Verdict, verify
from relays.services.audit_export import FORMATS, export
from relays.services.journals import Compared, compare_all


class Command(BaseCommand):
    help = "Verify the audit trail, or export it."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        check = actions.add_parser(
            "verify", help="Find any changed, missing or cut-off event. Status 1 where there is one."
        )
        check.set_defaults(run=self._verify)
        check.add_argument("--json", action="store_true", help="one JSON object, for programs")
        check.add_argument(
            "--no-hosts",
            action="store_true",
            help="ask no host for its own journal of what was changed there",
        )

        out = actions.add_parser("export", help="Write events, oldest first, to standard output.")
        out.set_defaults(run=self._export)
        out.add_argument("--format", choices=FORMATS, default="jsonl")
        _filters(out)

    def handle(self, *args: Any, **options: Any) -> None:
        options["run"](options)

    def _verify(self, options: dict[str, Any]) -> None:
        compared = Compared() if options["no_hosts"] else compare_all()
        with progress_bar(sys.stderr, "events") as progress:
            verdict = verify(anchors=compared.anchors, progress=progress)
        show = _as_json if options["json"] else _as_text
        self.stdout.write(show(verdict, compared))
        if not verdict.holds or compared.differences:
            raise SystemExit(1)

    def _export(self, options: dict[str, Any]) -> None:
        for line in export(_chosen(options), options["format"], actor=shell_actor()):
            self.stdout.write(line, ending="")


def _filters(parser: ArgumentParser) -> None:
    parser.add_argument("--who", default="", help="a user's name")
    parser.add_argument("--what", default="", help="an action, or its beginning up to a dot")
    parser.add_argument("--instance", default="", help="an instance's or a host's name")
    parser.add_argument("--phase", default="")
    parser.add_argument("--since", help="ISO 8601; UTC unless it says otherwise")
    parser.add_argument("--until", help="ISO 8601; not included")


def _chosen(options: dict[str, Any]) -> QuerySet[AuditEvent]:
    return search(
        **{name: options[name] for name in ("who", "what", "instance", "phase")},
        since=_time(options["since"]),
        until=_time(options["until"]),
    )


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = parse_datetime(text) or datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is not a time as 2026-11-21T03:00:00Z.") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _as_json(verdict: Verdict, compared: Compared) -> str:
    document = {
        "holds": verdict.holds and not compared.differences,
        "events": verdict.events,
        "last": {"seq": verdict.last[0], "hash": verdict.last[1]},
        "breaks": [{"seq": found.seq, "what": found.what} for found in verdict.breaks],
        "breaks_not_listed": verdict.untold,
        "hosts": compared.hosts,
        "differences": [asdict(found) for found in compared.differences],
        "not_compared": compared.unasked,
    }
    return json.dumps(document, indent=1)


def _as_text(verdict: Verdict, compared: Compared) -> str:
    if verdict.holds:
        lines = [f"The trail holds: {verdict.events:,} events, the last with hash {verdict.last[1][:16]}."]
    else:
        lines = [f"The trail does NOT hold ({verdict.events:,} events read):"]
        lines += [f"  event {found.seq:,}: {found.what}" for found in verdict.breaks]
        lines += [f"  and {verdict.untold:,} more"] if verdict.untold else []
    lines += [f"{found.host}: {found.what} (request {found.req_id})" for found in compared.differences]
    if compared.hosts and not compared.differences:
        lines.append(f"The journals of {', '.join(compared.hosts)} have the same changes as the trail.")
    lines += [f"{host} could not be compared: {why}" for host, why in compared.unasked.items()]
    return "\n".join(lines)
