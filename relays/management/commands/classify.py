"""`manage.py classify`: what replies mean, one a line on standard input."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from relays.domain.reasons import RuleTable, Verdict
from relays.domain.text import printable
from relays.services.reasons import rule_table, shipped_table

REPLY_SHOWN = 120


class Command(BaseCommand):
    help = "Say what replies mean: one reply a line on standard input, bare or as Postfix logs it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object a line: reason, hard, rule")
        parser.add_argument("--provider", default="", metavar="SLUG", help="whose servers said so")

    def handle(self, *args: Any, **options: Any) -> None:
        table = self._table()
        for line in sys.stdin.buffer:
            # Bytes that are no UTF-8 are part of a hostile text, and no reason to stop.
            reply = line.decode(errors="replace").rstrip("\r\n")
            verdict = table.classify(reply, provider=options["provider"])
            self.stdout.write(json.dumps(asdict(verdict)) if options["json"] else _columns(verdict, reply))

    def _table(self) -> RuleTable:
        try:
            return rule_table()
        except DatabaseError as error:
            self.stderr.write(f"Own rules cannot be read, only the shipped ones are used: {error}")
            return shipped_table()


def _columns(verdict: Verdict, reply: str) -> str:
    hard = "hard" if verdict.hard else "soft"
    return f"{verdict.reason:20} {hard}  {verdict.rule or '-':24} {printable(reply, REPLY_SHOWN)}"
