"""The fleet's hosts in the console's database: the only module of the rehearsal fleet that knows Django."""

import ipaddress
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
django.setup()

from django.core.exceptions import ValidationError  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError  # noqa: E402

from fleet.rehearsal import host as rehearsal  # noqa: E402
from fleet.rehearsal import spec  # noqa: E402
from fleet.rehearsal.errors import RehearsalError  # noqa: E402
from fleet.rehearsal.fleet import Fleet  # noqa: E402
from relays.models import Host, Instance, Provider  # noqa: E402
from relays.remote import keys  # noqa: E402
from relays.services.collect import poll_host  # noqa: E402
from relays.services.hosts import host_accept_key, host_add, host_change, host_remove  # noqa: E402
from relays.services.instances import instance_match  # noqa: E402
from relays.services.providers import load_shipped  # noqa: E402

_OURS = ipaddress.ip_network(f"{spec.MANAGEMENT_NET}.0.0/16")


def prepare(fleet: Fleet) -> tuple[str, str]:
    """Make the database ready and return the console's public read key and write key.

    Raises RehearsalError where the database cannot be used, or a host of another kind has one of our names.
    """
    try:
        call_command("migrate", interactive=False, verbosity=0)
        load_shipped()
        for host in Host.objects.filter(name__in=fleet.relay_names):
            if not _is_ours(host):
                raise RehearsalError(
                    f"the database has a host {host.name} at {host.ssh_address}, which is not a rehearsal's: "
                    "set FLEET_DATA to another folder, or use --no-register"
                )
        return keys.read_public_key(), keys.write_public_key()
    except (DatabaseError, OSError) as error:
        raise RehearsalError(f"the console's database cannot be used: {error}") from error


def register(fleet: Fleet) -> None:
    """Add the fleet's hosts with their keys pinned, or give those that are there their new address and key.

    An instance whose name tells no provider is matched by hand. Raises RehearsalError.
    """
    try:
        for host in fleet.hosts.values():
            row = _add_or_change(host)
            _match_by_hand(row, host.spec)
    except (ValidationError, DatabaseError) as error:
        raise RehearsalError(f"the hosts could not be registered: {error}") from error


def forget(fleet: Fleet) -> int:
    """Remove the fleet's hosts, with their history, from the database; return how many."""
    try:
        ours = [host for host in Host.objects.filter(name__in=fleet.relay_names) if _is_ours(host)]
        for host in ours:
            host_remove(host=host)
    except DatabaseError as error:
        raise RehearsalError(f"the console's database cannot be used: {error}") from error
    return len(ours)


def _add_or_change(host: rehearsal.Host) -> Host:
    row = Host.objects.filter(name=host.name).first()
    if row is None:
        return host_add(
            name=host.name, ssh_address=host.ssh_address, ssh_port=host.ssh_port, host_key=host.host_key
        )
    host_accept_key(host=row, host_key=host.host_key)
    return host_change(host=row, ssh_address=host.ssh_address, ssh_port=host.ssh_port)


def _match_by_hand(row: Host, host_spec: spec.HostSpec) -> None:
    by_hand = [instance for instance in host_spec.instances if instance.plain]
    if not by_hand:
        return
    # Instances come from the inventory, so this one host is asked for it at once.
    poll_host(host_id=row.pk, force=True)
    for instance in by_hand:
        found = Instance.objects.filter(host=row, name=instance.name, removed_at=None).first()
        if found is not None:
            instance_match(instance=found, provider=Provider.objects.get(slug=instance.provider))


def _is_ours(host: Host) -> bool:
    try:
        return ipaddress.ip_address(host.ssh_address) in _OURS
    except ValueError:
        return False
