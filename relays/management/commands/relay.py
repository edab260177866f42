"""`manage.py relay …`: hosts and their instances from the command line."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from relays.domain.freshness import host_state
from relays.models import Host, Instance, Provider
from relays.models.host import PollOutcome
from relays.remote import keys
from relays.remote.errors import RemoteError
from relays.services import doctor, hosts, instances
from relays.services.audit import shell_actor
from relays.services.collect import Poll, interval_s, poll_host

_MARKS = {True: "ok  ", False: "FAIL", None: "?   "}


class Command(BaseCommand):
    help = "List, add, examine, match and remove relay hosts."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def action(name: str, run: Callable[..., None], text: str, *words: str) -> ArgumentParser:
            added = actions.add_parser(name, help=text, description=text)
            added.set_defaults(run=run)
            for word in words:
                added.add_argument(word.lower(), metavar=word)
            return added

        listing = action("list", self._list, "List hosts with their instances.")
        listing.add_argument("--json", action="store_true")

        add = action("add", self._add, "Add a host: shows the key it offers, and asks.", "HOST")
        add.add_argument("--name", help="what to call it; the first label of HOST without it")
        add.add_argument("--port", type=int, default=22)
        add.add_argument("--user", default="relay-read")
        _accepting(add)

        accept = action("accept-key", self._accept_key, "Pin the key that a host offers now.", "HOST")
        _accepting(accept)

        examine = action("doctor", self._doctor, "Try every precondition. Status 1 when one does not hold.")
        examine.add_argument("hosts", nargs="*", metavar="HOST")
        examine.add_argument("--json", action="store_true")

        remove = action("remove", self._remove, "Forget a host and the history of its instances.", "HOST")
        remove.add_argument("--yes", action="store_true", help="do not ask")

        match = action(
            "match", self._match, "Say by hand whose mail an instance carries.", "HOST", "INSTANCE"
        )
        match.add_argument("provider", metavar="PROVIDER", help="a provider's slug, `none`, or `by-name`")

        key = action("key", self._key, "Show the console's public key and how to install relayctl.")
        key.add_argument("host", nargs="?", metavar="HOST", help="a name or address, for the exact commands")
        key.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            options["run"](options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except RemoteError as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        described = [_describe(host) for host in Host.objects.prefetch_related("instances__provider")]
        if options["json"]:
            self.stdout.write(json.dumps({"hosts": described}, indent=1))
            return
        for host in described:
            names = ", ".join(f"{i['name']} ({i['provider'] or 'no provider'})" for i in host["instances"])
            self.stdout.write(f"{host['name']}: {host['state']}: {names or 'no instances yet'}")
            if host["error"]:
                self.stdout.write(f"  {host['error']}")
        if not described:
            self.stdout.write("No hosts yet: manage.py relay add HOST")

    def _add(self, options: dict[str, Any]) -> None:
        address, port = options["host"], options["port"]
        offered = hosts.probe(ssh_address=address, ssh_port=port)
        self._agree(f"{address} port {port}", offered, options)
        host = hosts.host_add(
            name=options["name"] or _short_name(address),
            ssh_address=address,
            ssh_port=port,
            ssh_user=options["user"],
            host_key=offered,
            actor=shell_actor(),
        )
        self._report(host, poll_host(host_id=host.pk, force=True))

    def _report(self, host: Host, poll: Poll | None) -> None:
        if poll is None or poll.outcome == PollOutcome.COMPLETE:
            self.stdout.write(f"{host.name} is added, with its key pinned.")
            for instance in host.instances.filter(removed_at=None):
                self.stdout.write(f"  {instance.name}: {instance.provider or 'no provider yet'}")
            return
        self.stdout.write(f"{host.name} is added, but its first poll says: {poll.error}")
        if poll.outcome in (PollOutcome.REFUSED, PollOutcome.INCOMPATIBLE):
            self.stdout.write("If relayctl is not there yet, run as somebody who may log in as root:")
            self._commands(host.ssh_address)

    def _accept_key(self, options: dict[str, Any]) -> None:
        host = _host(options["host"])
        offered = hosts.probe(ssh_address=host.ssh_address, ssh_port=host.ssh_port)
        if offered == host.host_key:
            self.stdout.write(f"{host.name} offers the key that is pinned.")
            return
        if host.host_key:
            self.stdout.write(f"Pinned until now: {keys.fingerprint(host.host_key)}")
        self._agree(host.name, offered, options)
        hosts.host_accept_key(host=host, host_key=offered, actor=shell_actor())
        self.stdout.write(f"The new key of {host.name} is pinned.")

    def _doctor(self, options: dict[str, Any]) -> None:
        chosen = [_host(name) for name in options["hosts"]] or list(Host.objects.all())
        found = {host.name: doctor.examine(host) for host in chosen}
        if options["json"]:
            report = {name: [asdict(check) for check in checks] for name, checks in found.items()}
            self.stdout.write(json.dumps({"hosts": report}, indent=1))
        for name, checks in [] if options["json"] else found.items():
            self.stdout.write(name)
            for check in checks:
                self.stdout.write(f"  {_MARKS[check.ok]} {check.title}: {check.detail}")
                if check.ok is False and check.remedy:
                    self.stdout.write(f"       {check.remedy}")
        if any(check.ok is False for checks in found.values() for check in checks):
            raise SystemExit(1)

    def _remove(self, options: dict[str, Any]) -> None:
        host = _host(options["host"])
        if not options["yes"]:
            self._ask(f"Forget {host.name} and the history of {host.instances.count()} instances?")
        hosts.host_remove(host=host, actor=shell_actor())
        self.stdout.write(f"{options['host']} is forgotten. relayctl is still installed there.")

    def _match(self, options: dict[str, Any]) -> None:
        host = _host(options["host"])
        instance = Instance.objects.filter(host=host, name=options["instance"], removed_at=None).first()
        if instance is None:
            raise CommandError(f"{host.name} has no instance {options['instance']}.")
        if options["provider"] == "by-name":
            instances.instance_match_by_name(instance=instance, actor=shell_actor())
        else:
            instances.instance_match(
                instance=instance, provider=_provider(options["provider"]), actor=shell_actor()
            )
        self.stdout.write(f"{instance.name} on {host.name}: {instance.provider or 'no provider'}")

    def _key(self, options: dict[str, Any]) -> None:
        known = Host.objects.filter(name=options["host"] or "").first()
        address = known.ssh_address if known else options["host"] or "HOST"
        if options["json"]:
            commands = doctor.install_commands(ssh_address=address)
            public = {"read_key": keys.read_public_key(), "write_key": keys.write_public_key()}
            self.stdout.write(json.dumps({**public, "install": commands}, indent=1))
            return
        self.stdout.write(keys.read_public_key())
        self.stdout.write(keys.write_public_key())
        self._commands(address)

    def _commands(self, address: str) -> None:
        for command in doctor.install_commands(ssh_address=address):
            self.stdout.write(f"  {command}")

    def _agree(self, where: str, offered: str, options: dict[str, Any]) -> None:
        """Show the fingerprint and go on only with an administrator's word. Raises CommandError."""
        shown = keys.fingerprint(offered)
        self.stdout.write(f"{where} offers {offered.partition(' ')[0]} {shown}")
        if options["fingerprint"] is not None:
            if options["fingerprint"] != shown:
                raise CommandError("That is not the fingerprint given: nothing was pinned.")
        elif not options["yes"]:
            self._ask("Is this the host's fingerprint, as you know it from the host itself?")

    def _ask(self, question: str) -> None:
        try:
            answer = input(f"{question} [yes/no] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() != "yes":
            raise CommandError("Not confirmed: nothing was changed.")


def _accepting(parser: ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--fingerprint", help="SHA256:…: accept this key only, without asking")
    how.add_argument("--yes", action="store_true", help="accept whatever is offered")


def _short_name(address: str) -> str:
    label = address.partition(".")[0]
    is_ip = ":" in address or label.isdecimal()
    return address.replace(".", "-").replace(":", "-") if is_ip else label


def _host(name: str) -> Host:
    host = Host.objects.filter(name=name).first()
    if host is None:
        raise CommandError(f"No such host: {name}.")
    return host


def _provider(slug: str) -> Provider | None:
    if slug == "none":
        return None
    provider = Provider.objects.filter(slug=slug).first()
    if provider is None:
        raise CommandError(f"No such provider: {slug}.")
    return provider


def _describe(host: Host) -> dict[str, Any]:
    state = host_state(host.last_outcome, host.last_success_at, timezone.now(), interval_s(host))
    return {
        "name": host.name,
        "address": host.ssh_address,
        "port": host.ssh_port,
        "user": host.ssh_user,
        "fingerprint": keys.fingerprint(host.host_key) if host.host_key else None,
        "enabled": host.enabled,
        "state": state.value,
        "error": host.last_error,
        "last_success_at": host.last_success_at.isoformat() if host.last_success_at else None,
        "instances": [
            {"name": i.name, "provider": i.provider.slug if i.provider else None}
            for i in host.instances.all()
            if i.removed_at is None
        ],
    }
