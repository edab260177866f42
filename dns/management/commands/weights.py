"""`manage.py weights …`: a relay name's weights, shown, planned and changed (docs/weights.md)."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dns.models import RelayName
from dns.selectors.shares import share_rows
from dns.services.weights import WeightsApply
from relays.management.operating import run_to_its_end, user_named
from relays.models import Operation
from relays.models.operation import OperationState
from relays.remote.errors import RemoteError
from relays.services import operations
from relays.services.audit import shell_actor
from relays.services.kinds import PlanRefused
from relays.services.operations import NotAllowed


class Command(BaseCommand):
    """Without --set it shows; with --set it plans, asks, and writes."""

    help = "Show or change the weights of a relay name's addresses."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="msn.smtp.example.org")
        parser.add_argument(
            "--set", dest="weights", action="append", default=[], metavar="ADDRESS=W", help="0: out of DNS"
        )
        parser.add_argument("--plan", action="store_true", help="only say what would be done")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--reason", default="", help="why: it stands in the audit trail")
        parser.add_argument("--override", action="store_true", help="let what an override may pass pass")
        parser.add_argument(
            "--user", metavar="NAME", default="", help="whose permissions and name it carries"
        )
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        """Show, or act; what is refused is the command's error."""
        relay_name = RelayName.objects.filter(name=options["name"].lower().removesuffix(".")).first()
        if relay_name is None:
            raise CommandError(f"There is no relay name {options['name'][:80]}.")
        try:
            if options["weights"]:
                self._change(relay_name, options)
            else:
                self._show(relay_name, options)
        except (PlanRefused, NotAllowed, RemoteError) as error:
            raise CommandError(str(error)) from error

    def _show(self, relay_name: RelayName, options: dict[str, Any]) -> None:
        rows = share_rows(relay_name)
        if options["json"]:
            addresses = [row.as_json() for row in rows]
            document = {"name": relay_name.name, "addresses": addresses, "drift": relay_name.drift}
            self.stdout.write(json.dumps(document, indent=1))
            return
        for row in rows:
            self.stdout.write(
                f"{row.address:40} weight {row.weight:>6}  wanted {row.wanted}  published {row.published}  "
                f"observed {row.observed}"
            )
        for why in {row.unknown for row in rows if row.unknown}:
            self.stdout.write(f"What is observed is not known: {why}")
        for server, wrong in sorted(relay_name.drift.items()):
            self.stdout.write(f"{server}: {wrong}")

    def _change(self, relay_name: RelayName, options: dict[str, Any]) -> None:
        user = user_named(options["user"])
        operation = operations.plan_relay_name(
            kind=WeightsApply.name,
            relay_name=relay_name.name,
            params={"weights": _parsed(options["weights"]), "override": options["override"]},
            user=user,
            actor=shell_actor(),
        )
        if not options["json"]:
            self._tell(operation)
        if not options["plan"]:
            if not options["yes"] and input("Type yes to do it: ").strip() != "yes":
                raise CommandError("Nothing was done.")
            operations.confirm(
                operation=operation,
                plan_hash=operation.plan_hash,
                user=user,
                actor=shell_actor(),
                reason=options["reason"],
            )
            run_to_its_end(operation)
        operation.refresh_from_db()
        if options["json"]:
            document = {"operation": operation.pk, "state": operation.state, "outcome": operation.outcome}
            self.stdout.write(json.dumps({**document, "plan": operation.plan}, indent=1))
        elif not options["plan"]:
            told = f"operation {operation.pk}: {operation.get_state_display()}: {operation.outcome}"
            self.stdout.write(told)
        if not options["plan"] and operation.state != OperationState.DONE:
            raise SystemExit(1)

    def _tell(self, operation: Operation) -> None:
        self.stdout.write(operation.plan["summary"])
        for words in operation.plan["commands"]:
            self.stdout.write("  " + " ".join(words))
        for note in operation.plan["notes"]:
            self.stdout.write(f"  {note}")


def _parsed(given: list[str]) -> dict[str, int]:
    """Return {address: weight} of "ADDRESS=W" each. Raises CommandError."""
    weights: dict[str, int] = {}
    for text in given:
        address, _, weight = text.rpartition("=")
        if not address or not weight.isdecimal():
            raise CommandError(f"{text[:60]!r} is not ADDRESS=WEIGHT.")
        weights[address] = int(weight)
    return weights
