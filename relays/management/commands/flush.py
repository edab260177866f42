"""`manage.py flush …`: move deferred mail from one instance to another (docs/flush.md)."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relays.domain.words import visible
from relays.management.operating import instance_named, run_to_its_end, user_named
from relays.models import Flush, Instance, Operation
from relays.models.operation import OperationState
from relays.remote.errors import RemoteError
from relays.selectors.instances import newest_snapshot
from relays.services import operations
from relays.services.audit import shell_actor
from relays.services.flushes import EVERYTHING, MAX_DOMAINS
from relays.services.kinds import PlanRefused
from relays.services.operations import NotAllowed


class Command(BaseCommand):
    help = "Move deferred mail to another instance, under a redirect that ends by itself."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", metavar="SOURCE", help="INSTANCE or HOST/INSTANCE")
        parser.add_argument("target", metavar="TARGET", help="INSTANCE or HOST/INSTANCE")
        parser.add_argument(
            "--domain", action="append", default=[], help="recipient domain, again for more; all without it"
        )
        parser.add_argument(
            "--rate",
            type=int,
            default=0,
            metavar="N",
            help="at most so many messages a minute; 0: all at once",
        )
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--plan", action="store_true", help="only say what would be done")
        how.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--reason", default="", help="why, for the audit trail; needed but for --plan")
        parser.add_argument("--ticket", default="", help="for the audit trail")
        parser.add_argument("--user", default="", help="who answers for it; needs that user's permission")
        parser.add_argument("--wait", action="store_true", help="until the receipt; status 1 if not all went")
        parser.add_argument("--json", action="store_true", help="for programs; keys: docs/commands.md")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["plan"] and not options["reason"].strip():
            raise CommandError("Say why with --reason: it stands in the audit trail.")
        if options["json"] and not (options["plan"] or options["yes"]):
            raise CommandError("With --json nothing is asked: give --plan or --yes.")
        source, target = instance_named(options["source"]), instance_named(options["target"])
        try:
            self._flush(source, target, user_named(options["user"]), options)
        except (PlanRefused, NotAllowed, RemoteError) as error:
            raise CommandError(str(error)) from error

    def _flush(self, source: Instance, target: Instance, user: User, options: dict[str, Any]) -> None:
        operation = operations.plan(
            kind="flush",
            instance=source,
            params={
                "target": target.pk,
                "domains": options["domain"] or _everything(source),
                "rate": options["rate"],
            },
            user=user,
            actor=shell_actor(),
        )
        if not options["json"]:
            self._show_plan(operation)
        if not options["plan"]:
            self._confirm(operation, user, options)
            if options["wait"]:
                run_to_its_end(operation)
        self._tell(operation, as_json=options["json"])
        if options["wait"] and not options["plan"] and operation.state != OperationState.DONE:
            raise SystemExit(1)

    def _confirm(self, operation: Operation, user: User, options: dict[str, Any]) -> None:
        if not options["yes"] and input("Type yes to do it: ").strip() != "yes":
            raise CommandError("Nothing was done.")
        operations.confirm(
            operation=operation,
            plan_hash=operation.plan_hash,
            user=user,
            actor=shell_actor(),
            reason=options["reason"],
            ticket=options["ticket"],
            typed_name=operation.instance_name,
        )
        operation.refresh_from_db()

    def _show_plan(self, operation: Operation) -> None:
        self.stdout.write(visible(operation.plan["summary"]))
        for words in operation.plan["commands"]:
            self.stdout.write(f"    {visible(' '.join(words))}")
        for note in operation.plan["notes"]:
            self.stdout.write(f"  {visible(note)}")

    def _tell(self, operation: Operation, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(_described(operation), indent=1))
        elif operation.state != OperationState.PLANNED:
            told = f": {operation.outcome}" if operation.outcome else ""
            self.stdout.write(f"Flush {operation.pk}: {operation.get_state_display()}{visible(told)}")


def _everything(source: Instance) -> list[str]:
    """Return all that a queue has: each domain by name, so that it is tried alone, and what else there is."""
    table = newest_snapshot(source)[1].get("domains") or {"rows": []}
    named = [row[0] for row in table["rows"] if "." in row[0]]
    return [*named[: MAX_DOMAINS - 1], EVERYTHING]


def _described(operation: Operation) -> dict[str, Any]:
    flush = Flush.objects.filter(pk=operation.pk).first()
    return {
        "operation": operation.pk,
        "source": operation.instance_name,
        "domains": operation.params["domains"],
        "rate": flush.rate if flush else operation.params.get("rate", 0),
        "state": operation.state,
        "outcome": operation.outcome,
        "plan": operation.plan,
        "stage": flush.state if flush else None,
        "account": flush.account if flush else None,
    }
