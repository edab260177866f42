"""The fleet's hosts, origins and relay names in the console's database.

The only module of the rehearsal fleet that knows Django.
"""

import ipaddress
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
django.setup()

from django.core.exceptions import ValidationError  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError  # noqa: E402

from dns.domain.weights import Rendering  # noqa: E402
from dns.models import Method, RelayName, Zone  # noqa: E402
from dns.services.zones import relay_name_accept, relay_name_import, zone_remove, zone_save  # noqa: E402
from fleet.rehearsal import host as rehearsal  # noqa: E402
from fleet.rehearsal import network, origins, powerdns, spec  # noqa: E402
from fleet.rehearsal.errors import RehearsalError  # noqa: E402
from fleet.rehearsal.fleet import Fleet  # noqa: E402
from fleet.rehearsal.zones import TTL  # noqa: E402
from relays.models import Client, Host, Instance, Origin, Provider  # noqa: E402
from relays.remote import keys  # noqa: E402
from relays.remote.errors import RemoteError  # noqa: E402
from relays.services.audit import SYSTEM  # noqa: E402
from relays.services.collect import poll_host  # noqa: E402
from relays.services.hosts import host_accept_key, host_add, host_change, host_remove  # noqa: E402
from relays.services.instances import instance_match  # noqa: E402
from relays.services.origins import origin_add, origin_remove  # noqa: E402
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
        for zone in _zones():
            if not _is_our_zone(zone):
                raise RehearsalError(
                    f"the database has a zone {zone.name} on {zone.primary}, which is not a rehearsal's: "
                    "set FLEET_DATA to another folder, or use --no-register"
                )
        return keys.read_public_key(), keys.write_public_key()
    except (DatabaseError, OSError) as error:
        raise RehearsalError(f"the console's database cannot be used: {error}") from error


def register(fleet: Fleet) -> None:
    """Add the fleet's hosts with their keys pinned, or give those that are there their new address and key.

    An instance whose name tells no provider is matched by hand. Its origins and zones are added likewise, and
    each relay name is taken over as it is served. Raises RehearsalError.
    """
    try:
        for host in fleet.hosts.values():
            row = _add_or_change(host)
            _match_by_hand(row, host.spec)
        for zone in spec.ZONES:
            _add_names(_add_zone(fleet, zone, _add_origin(fleet.host(zone.origin).spec)), zone)
    except (ValidationError, DatabaseError, RemoteError) as error:
        raise RehearsalError(f"the fleet could not be registered: {error}") from error


def forget(fleet: Fleet) -> int:
    """Remove the fleet's hosts, with their history, from the database; return how many."""
    try:
        ours = [host for host in Host.objects.filter(name__in=fleet.relay_names) if _is_ours(host)]
        for zone in [zone for zone in _zones() if _is_our_zone(zone)]:
            named = list(zone.origins.all())
            zone_remove(zone=zone, actor=SYSTEM)
            for origin in named:
                origin_remove(origin=origin, actor=SYSTEM)
        for host in ours:
            host_remove(host=host)
    except (ValidationError, DatabaseError) as error:
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


def _add_origin(origin: spec.HostSpec) -> Origin:
    address = origin.instances[0].address
    known = Client.objects.filter(ip=address).exclude(origin=None).select_related("origin").first()
    if known is not None and known.origin is not None:
        return known.origin
    return origin_add(name=origin.name, addresses=[address])


def _add_zone(fleet: Fleet, zone: spec.Zone, origin: Origin) -> Zone:
    """Add a zone, or give one of an earlier fleet its new address and secret: they are new at each up."""
    if fleet.access is None:
        raise RehearsalError("the fleet is not up")
    where = network.management_address(fleet.slot, zone.octet)
    is_bind = zone.server == "bind"
    return zone_save(
        name=zone.name,
        method=Method.RFC2136 if is_bind else Method.POWERDNS,
        servers=[where],
        primary=where,
        allowed_names=[zone.name],
        tsig_name=fleet.access.key_name if is_bind else "",
        tsig_algorithm=fleet.access.algorithm,
        api_url="" if is_bind else f"http://{where}:{powerdns.API_PORT}",
        secret=fleet.access.secret if is_bind else fleet.access.api_key,
        origins=[origin],
        actor=SYSTEM,
    )


def _add_names(row: Zone, zone: spec.Zone) -> None:
    """Take the zone's relay names over; a new fleet's take the place of an earlier one's."""
    rendering = Rendering.MX if zone.server == "bind" else Rendering.LUA
    for slug in sorted({instance.provider for host in spec.HOSTS for instance in host.instances}):
        name = origins.relay_name(slug, zone)
        known = RelayName.objects.filter(name=name).first()
        if known is not None:
            relay_name_accept(relay_name=known, actor=SYSTEM)
            continue
        provider = Provider.objects.filter(slug=slug).first()
        relay_name_import(zone=row, name=name, provider=provider, rendering=rendering, ttl=TTL, actor=SYSTEM)


def _zones() -> list[Zone]:
    return list(Zone.objects.filter(name__in=[zone.name for zone in spec.ZONES]))


def _is_our_zone(zone: Zone) -> bool:
    return _is_in_ours(zone.primary)


def _is_ours(host: Host) -> bool:
    return _is_in_ours(host.ssh_address)


def _is_in_ours(address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in _OURS
    except ValueError:
        return False
