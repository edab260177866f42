"""`manage.py origin …`: list servers and the client addresses they are known by (docs/commands.md)."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q
from django.utils import timezone

from relays.domain.addresses import BadAddress, normalise_address
from relays.domain.words import visible
from relays.models import Client, Origin
from relays.selectors.accepted import Volume, accepted
from relays.selectors.origins import unclaimed
from relays.services import origins
from relays.services.audit import shell_actor


class Command(BaseCommand):
    """Reads and changes the database only; no host is asked."""

    help = "List, add, change and remove origins, and adopt clients that no origin claims."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def action(name: str, run: Callable[..., None], text: str) -> ArgumentParser:
            added = actions.add_parser(name, help=text, description=text)
            added.set_defaults(run=run)
            added.add_argument("--json", action="store_true", help="for programs; keys: docs/commands.md")
            return added

        action("list", self._list, "List origins, and the clients that no origin claims.")
        add = action("add", self._add, "Add an origin that is known by these addresses.")
        change = action("change", self._change, "Give an origin exactly these addresses.")
        adopt = action("adopt", self._adopt, "Let an origin, made where there is none, claim seen clients.")
        remove = action("remove", self._remove, "Forget an origin; its clients wait for adoption.")
        for one in (add, change, adopt, remove):
            one.add_argument("name", metavar="NAME")
        for one in (add, change, adopt):
            one.add_argument("addresses", metavar="ADDRESS", nargs="+", help="an IPv4 or IPv6 address")
        change.add_argument("--name", dest="new_name", metavar="NEW", help="call it this from now on")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action; what a service refuses is the command's error."""
        try:
            options["run"](options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error

    def _list(self, options: dict[str, Any]) -> None:
        volumes = accepted("client_id", now=timezone.now())
        known = [_described(o, volumes) for o in Origin.objects.prefetch_related("clients")]
        waiting = [_client(client, volumes) for client in unclaimed()]
        if options["json"]:
            self._document({"origins": known, "unclaimed": waiting})
            return
        for origin in known:
            self.stdout.write(f"{visible(origin['name'])}: {_text(origin)}")
            self._clients(origin["clients"])
        if not known:
            self.stdout.write("No origins yet: manage.py origin add NAME ADDRESS...")
        if waiting:
            self.stdout.write("Clients that no origin claims: manage.py origin adopt NAME ADDRESS...")
            self._clients(waiting)

    def _clients(self, clients: list[dict[str, Any]]) -> None:
        for client in clients:
            self.stdout.write(f"  {client['ip']} {visible(client['name']) or 'unknown'}: {_text(client)}")

    def _add(self, options: dict[str, Any]) -> None:
        origin = origins.origin_add(name=options["name"], addresses=options["addresses"], actor=shell_actor())
        self._tell(origin, "is added", options)

    def _change(self, options: dict[str, Any]) -> None:
        origin = _origin(options["name"])
        name = options["new_name"] or origin.name
        origins.origin_change(origin=origin, name=name, addresses=options["addresses"], actor=shell_actor())
        self._tell(origin, "is changed", options)

    def _adopt(self, options: dict[str, Any]) -> None:
        clients = [_seen(address) for address in options["addresses"]]
        origin = Origin.objects.filter(name=options["name"]).first()
        if origin is None:
            origin = origins.origin_add(
                name=options["name"], addresses=[client.ip for client in clients], actor=shell_actor()
            )
        else:
            origins.clients_adopt(origin=origin, clients=clients, actor=shell_actor())
        self._tell(origin, "claims them", options)

    def _remove(self, options: dict[str, Any]) -> None:
        origin = _origin(options["name"])
        described = _described(origin, _volumes(origin))
        origins.origin_remove(origin=origin, actor=shell_actor())
        if options["json"]:
            self._document(described)
            return
        self.stdout.write(f"{visible(described['name'])} is forgotten; its clients wait for adoption.")

    def _tell(self, origin: Origin, what: str, options: dict[str, Any]) -> None:
        described = _described(origin, _volumes(origin))
        if options["json"]:
            self._document(described)
            return
        self.stdout.write(
            f"{visible(origin.name)} {what}: {', '.join(c['ip'] for c in described['clients'])}"
        )

    def _document(self, document: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(document, indent=1))


def _origin(name: str) -> Origin:
    origin = Origin.objects.filter(name=name).first()
    if origin is None:
        raise CommandError(f"No such origin: {name}.")
    return origin


def _seen(address: str) -> Client:
    try:
        client = Client.objects.filter(ip=normalise_address(address)).first()
    except BadAddress as error:
        raise CommandError(str(error)) from error
    if client is None:
        raise CommandError(
            f"No relay has accepted mail from {address}: "
            "`origin add` and `origin change` take addresses that were not seen yet."
        )
    return client


def _volumes(origin: Origin) -> dict[tuple[Any, ...], Volume]:
    return accepted("client_id", now=timezone.now(), where=Q(client__origin=origin))


def _described(origin: Origin, volumes: dict[tuple[Any, ...], Volume]) -> dict[str, Any]:
    clients = [_client(client, volumes) for client in origin.clients.all()]
    hour, day = (sum(client[f"accepted_{span}"] for client in clients) for span in ("hour", "day"))
    return {"name": origin.name, "accepted_hour": hour, "accepted_day": day, "clients": clients}


def _client(client: Client, volumes: dict[tuple[Any, ...], Volume]) -> dict[str, Any]:
    volume = volumes.get((client.pk,), Volume())
    return {
        "ip": client.ip,
        "name": client.name,
        "accepted_hour": volume.hour,
        "accepted_day": volume.day,
        "last_seen_at": client.last_seen_at.isoformat() if client.last_seen_at else None,
    }


def _text(counted: dict[str, Any]) -> str:
    return f"{counted['accepted_hour']:,} in the last hour, {counted['accepted_day']:,} in 24 h"
