"""`manage.py fleet`: the matrix on a terminal, or as JSON (docs/commands.md)."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

import orjson
from django.core.management.base import BaseCommand
from django.utils import timezone

from relays.domain.words import count, span
from relays.selectors.report import fleet_report

_COLUMNS = ("provider", "instance", "host", "state", "deferred", "active", "oldest", "as of", "address")
_NUMBERS = {"deferred", "active"}


class Command(BaseCommand):
    """Prints what the console knows; it asks no host."""

    help = "Print the fleet matrix: every instance with its queue counts, their age and its state."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare --json."""
        parser.add_argument("--json", action="store_true", help="for programs; keys: docs/commands.md")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report."""
        report = fleet_report(timezone.now())
        if options["json"]:
            self.stdout.write(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        else:
            self.stdout.write("\n".join(_text(report)))


def _text(report: dict[str, Any]) -> list[str]:
    """Return the report as lines: hosts that give no fresh figures, then a table of the instances."""
    troubled = [
        f"{host['name']}: {host['state'].replace('_', ' ')} {host['error']}".rstrip()
        for host in report["hosts"]
        if host["state"] != "fresh"
    ]
    at = datetime.fromisoformat(report["at"])
    if not report["instances"]:
        return [*troubled, "No instance is known yet."]
    return [*troubled, *_table([_COLUMNS, *(_line(row, at) for row in report["instances"])])]


def _line(row: dict[str, Any], at: datetime) -> tuple[str, ...]:
    oldest = row["oldest_s"]
    return (
        row["provider"] or "-",
        row["name"],
        row["host"],
        row["state"],
        count(row["queues"]["deferred"]),
        count(row["queues"]["active"]),
        "" if oldest is None else span(oldest),
        _age(row["sampled_at"], at),
        row["address"] or "",
    )


def _age(sampled_at: str | None, at: datetime) -> str:
    if sampled_at is None:
        return "never"
    return f"{span((at - datetime.fromisoformat(sampled_at)).total_seconds())} ago"


def _table(lines: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    return ["  ".join(_padded(line, widths)).rstrip() for line in lines]


def _padded(line: tuple[str, ...], widths: list[int]) -> list[str]:
    return [
        text.rjust(width) if column in _NUMBERS else text.ljust(width)
        for column, text, width in zip(_COLUMNS, line, widths, strict=True)
    ]
