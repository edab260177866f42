"""`manage.py dns …`: zones and relay names, added and checked (docs/weights.md)."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dns.domain.weights import Rendering
from dns.models import Method, RelayName, Zone
from dns.services import zones
from dns.services.relay_names import relay_name_change
from relays.models import Origin, Provider
from relays.remote.errors import RemoteError
from relays.services.audit import shell_actor


class Command(BaseCommand):
    """A secret is read from a file, never from the command line."""

    help = "Add zones and relay names, and check what name servers serve."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def action(name: str, run: Callable[..., None], text: str) -> ArgumentParser:
            added = actions.add_parser(name, help=text, description=text)
            added.set_defaults(run=run)
            return added

        zone = action("zone", self._zone, "Add a zone, or change its settings.")
        zone.add_argument("name", metavar="ZONE")
        zone.add_argument("--method", choices=Method.values, default=Method.RFC2136.value)
        zone.add_argument(
            "--server", dest="servers", action="append", required=True, metavar="ADDRESS[:PORT]"
        )
        zone.add_argument("--allow", dest="allowed_names", action="append", required=True, metavar="NAME")
        zone.add_argument(
            "--primary", default="", metavar="ADDRESS[:PORT]", help="the first server if left out"
        )
        zone.add_argument("--tsig-name", default="")
        zone.add_argument("--tsig-algorithm", default="hmac-sha256")
        zone.add_argument("--api-url", default="", metavar="http://HOST:PORT")
        zone.add_argument(
            "--origin",
            dest="origins",
            action="append",
            metavar="NAME",
            help="who hands mail to its relay names; every origin if left out",
        )
        zone.add_argument("--secret-file", metavar="FILE", help="the TSIG secret or the API key")
        name = action("name", self._name, "Take over a relay name as it is served now.")
        name.add_argument("name", metavar="NAME")
        name.add_argument("--zone", required=True)
        name.add_argument("--provider", default="")
        name.add_argument("--rendering", choices=[one.value for one in Rendering], default="")
        name.add_argument("--ttl", type=int, help="in seconds; 600 for a name that is not known yet")
        check = action(
            "check", self._check, "Try every zone, and compare what is served with what was published."
        )
        check.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action; what a service refuses is the command's error."""
        try:
            options["run"](options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except (RemoteError, OSError) as error:
            raise CommandError(str(error)) from error

    def _zone(self, options: dict[str, Any]) -> None:
        taken = (
            "name",
            "method",
            "servers",
            "allowed_names",
            "primary",
            "tsig_name",
            "tsig_algorithm",
            "api_url",
        )
        secret = Path(options["secret_file"]).read_text() if options["secret_file"] else None
        settings = {key: options[key] for key in taken}
        origins = _origins(options["origins"])
        zone = zones.zone_save(**settings, secret=secret, origins=origins, actor=shell_actor())
        self.stdout.write(f"{zone.name} is written by {zone.get_method_display()}.")

    def _name(self, options: dict[str, Any]) -> None:
        zone = Zone.objects.filter(name=options["zone"]).first()
        provider = Provider.objects.filter(slug=options["provider"]).first()
        if zone is None or (options["provider"] and provider is None):
            raise CommandError("There is no such zone or provider.")
        if (known := RelayName.objects.filter(name=options["name"]).first()) is not None:
            found = self._taken_over_again(known, provider, options)
        else:
            found = self._taken_over(zone, provider, options)
        told = ", ".join(f"{row.address} {row.weight}" for row in found.weights.filter(is_on=True))
        self.stdout.write(f"{found.name} serves {told}.")

    @staticmethod
    def _taken_over_again(known: RelayName, provider: Provider | None, options: dict[str, Any]) -> RelayName:
        found = zones.relay_name_accept(relay_name=known, actor=shell_actor())
        return relay_name_change(
            relay_name=found,
            rendering=options["rendering"] or found.rendering,
            ttl=options["ttl"] or found.ttl,
            min_warm=found.min_warm,
            warm=found.weights.filter(is_warm=True).values_list("address", flat=True),
            provider=provider or found.provider,
            actor=shell_actor(),
        )

    @staticmethod
    def _taken_over(zone: Zone, provider: Provider | None, options: dict[str, Any]) -> RelayName:
        return zones.relay_name_import(
            zone=zone,
            name=options["name"],
            provider=provider,
            rendering=options["rendering"],
            ttl=options["ttl"] or 600,
            actor=shell_actor(),
        )

    def _check(self, options: dict[str, Any]) -> None:
        found = {
            "zones": {zone.name: zones.doctor(zone=zone) for zone in Zone.objects.all()},
            "relay_names": {
                row.name: zones.check_relay_name(relay_name=row)
                for row in RelayName.objects.select_related("zone")
            },
        }
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=1))
        else:
            self._tell(found)
        if any(wrong for answers in found.values() for one in answers.values() for wrong in one.values()):
            raise SystemExit(1)

    def _tell(self, found: dict[str, dict[str, dict[str, str]]]) -> None:
        for zone, answers in found["zones"].items():
            for question, wrong in answers.items():
                self.stdout.write(f"{zone}: {question}: {wrong or 'ok'}")
        for name, drift in found["relay_names"].items():
            self.stdout.write(f"{name}: {'as published' if not drift else ''}".rstrip())
            for server, wrong in drift.items():
                self.stdout.write(f"  {server}: {wrong}")


def _origins(names: list[str] | None) -> list[Origin] | None:
    if names is None:
        return None
    found = list(Origin.objects.filter(name__in=names))
    if missing := sorted(set(names) - {origin.name for origin in found}):
        raise CommandError(f"There is no origin {missing[0][:80]}.")
    return found
