"""`manage.py mailstats import`: the totals of the operator's old script, for hosts that only have that."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import is_naive, make_aware

from relays.domain.mailstats import BadStats, DayTotals, parse
from relays.services.mailstats import import_totals

# Four lines for each of 500 instances are far less.
MAX_BYTES = 1 << 20


class Command(BaseCommand):
    help = "Import lines such as postfix-msn-a:sent:620; importing them again adds nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verb = verbs.add_parser("import", help="totals of one UTC day of a host")
        verb.add_argument("file", metavar="FILE", help="the script's output; - for standard input")
        verb.add_argument("--host", required=True)
        when = verb.add_mutually_exclusive_group(required=True)
        when.add_argument(
            "--day", type=_day, metavar="DATE", help="totals of all of that UTC day: 2026-11-20"
        )
        when.add_argument(
            "--at",
            type=_moment,
            metavar="TIME",
            help="they are of its UTC day, up to then: 2026-11-20T14:05Z",
        )
        verb.add_argument("--new", action="store_true", help="make the host and instances that are missing")
        verb.add_argument("--json", action="store_true", help="one JSON object, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        totals = _read(options["file"])
        day: date | None = options["day"]
        at = options["at"] if day is None else datetime.combine(day, time(), UTC)
        try:
            imported = import_totals(
                host=options["host"], totals=totals, at=at, whole_day=day is not None, make=options["new"]
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if options["json"]:
            self.stdout.write(json.dumps({"host": options["host"], "at": at.isoformat(), **asdict(imported)}))
        else:
            self.stdout.write(
                f"{options['host']}, {imported.instances} instances: {imported.sent:,} sent,"
                f" {imported.deferred:,} deferred, {imported.bounced:,} bounced that are new"
            )


def _read(path: str) -> dict[str, DayTotals]:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise CommandError(f"{path} is longer than {MAX_BYTES:,} bytes: it is not the script's output.")
    try:
        return parse(data.decode(errors="backslashreplace").splitlines())
    except BadStats as error:
        raise CommandError(f"{path}: {error}") from error


def _day(text: str) -> date:
    day = parse_date(text)
    if day is None:
        raise ValueError(text)
    return day


def _moment(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None:
        raise ValueError(text)
    return make_aware(moment) if is_naive(moment) else moment
