"""Zones and relay names: added, imported as they are served, and checked against what was published."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from dns.domain.lasting import served_to
from dns.domain.records import RecordSet, plain, same
from dns.domain.weights import NotOurs, Rendering, Served, is_slot, read_back
from dns.lookup import Reading, Server, read_everywhere, read_name
from dns.models import Method, PublishedState, RelayName, Weight, Zone
from dns.publishing import Publisher
from dns.publishing.powerdns import PowerDns
from dns.publishing.rfc2136 import ALGORITHMS, Key, Rfc2136
from relays.domain.addresses import BadAddress, check_host
from relays.domain.text import printable
from relays.models import Operation, Origin, Provider, RelayNameLock
from relays.remote.errors import RemoteError
from relays.services import audit
from relays.services.audit import Actor, Subject
from relays.services.sealing import CannotUnseal, seal, unseal

# More changes than these are not made within a TTL.
_VERSIONS = 50
_NAME = re.compile(r"\A(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62}\.)+[a-z0-9-]{1,63}\Z")
_KEY_NAME = re.compile(r"\A(?=.{1,253}\Z)(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?\Z")
_SECRET = re.compile(r"\A[!-~]{1,500}\Z")
_SERVER = re.compile(r"\A(?:\[(?P<v6>[0-9a-fA-F:]+)\]|(?P<v4>[0-9.]+))(?::(?P<port>\d{1,5}))?\Z")


def parse_server(text: str) -> Server:
    """Return the server of "192.0.2.53:5300", "[2001:db8::53]:53" or an address. Raises ValidationError.

    An address and no name: what a name leads to may change between a check and the use.
    """
    found = _SERVER.match(text.strip())
    address = (found["v6"] or found["v4"]) if found else text.strip()
    port = int(found["port"] or 53) if found else 53
    if not 0 < port < 65536:
        raise ValidationError(f"{port} is not a port.")
    try:
        # As it is always written: to the system's resolver "127.1" and "2130706433" are addresses, too.
        return Server(str(ip_address(address)), port)
    except ValueError as error:
        raise ValidationError(f"{text[:60]!r} is not the address of a name server.") from error


def servers_of(zone: Zone) -> list[Server]:
    """Return all authoritative servers of a zone."""
    return [parse_server(text) for text in zone.servers]


def publisher_of(zone: Zone, *, also: Iterable[str] = ()) -> Publisher | None:
    """Return how the zone is written, None where people do that. Raises CannotUnseal.

    also: hosts that it reads even where nothing points to them.
    """
    if zone.method == Method.RFC2136:
        key = Key(zone.tsig_name, zone.tsig_algorithm, unseal(zone.sealed_secret))
        return Rfc2136(parse_server(zone.primary), zone.name, key, also=tuple(also))
    if zone.method == Method.POWERDNS:
        return PowerDns(zone.api_url, unseal(zone.sealed_secret), zone.name, zone.api_server_id)
    return None


def read_primary(relay_name: RelayName, *, also: Iterable[str] = ()) -> Reading:
    """Return what is served where changes are made. Raises RemoteError.

    Hosts that were written before or that are named in `also` are read even where nothing points to them:
    some outlast a change, and would stand in the way of the next.
    """
    zone, name = relay_name.zone, relay_name.name
    newest = relay_name.published.first() if relay_name.pk else None
    written = {RecordSet.from_json(item).name for item in newest.records} if newest else set()
    looked_at = sorted(host for host in {*also, *written} if is_slot(host, name))
    publisher = publisher_of(zone, also=looked_at)
    if publisher is not None:
        return publisher.read(name)
    return read_name(servers_of(zone)[0], zone=zone.name, name=name, also=looked_at)


def held_by_resolvers(relay_name: RelayName, *, now: datetime) -> list[list[RecordSet]]:
    """Return the versions of a relay name that a resolver may hold: the newest, and those of a TTL ago.

    And the one before the newest as long as a name server may still serve it.
    """
    states = list(relay_name.published.all()[:_VERSIONS])
    held = states[:1] + [
        older
        for place, (newer, older) in enumerate(pairwise(states))
        if newer.effective_at > now or (place == 0 and relay_name.drift)
    ]
    return [[RecordSet.from_json(item) for item in state.records] for state in held]


def zone_save(  # noqa: PLR0913 - keyword-only, each a setting
    *,
    name: str,
    method: str,
    servers: Sequence[str],
    allowed_names: Sequence[str],
    actor: Actor,
    primary: str = "",
    tsig_name: str = "",
    tsig_algorithm: str = "hmac-sha256",
    api_url: str = "",
    api_server_id: str = "localhost",
    secret: str | None = None,
    origins: Iterable[Origin] | None = None,
) -> Zone:
    """Add a zone, or give one that is there these settings; without a secret or origins it keeps its own.

    A secret that is kept goes where it went before: with another way of writing or another API it is to be
    given again. Raises ValidationError.
    """
    zone = Zone.objects.filter(name=plain(name)).first() or Zone(name=_checked_name(name))
    before = _settings(zone) if zone.pk else {}
    _refuse_secret(zone, method, api_url.strip(), secret)
    zone.method, zone.primary = method, primary.strip() or (servers[0] if servers else "")
    zone.servers = [str(parse_server(text)) for text in servers]
    zone.allowed_names = [_checked_name(one) for one in allowed_names]
    zone.tsig_name, zone.tsig_algorithm = tsig_name.strip(), tsig_algorithm
    zone.api_url, zone.api_server_id = api_url.strip(), api_server_id
    if secret is not None:
        zone.sealed_secret = seal(secret.strip())
    _check_zone(zone)
    with transaction.atomic():
        zone.save()
        if origins is not None:
            zone.origins.set(origins)
        after = _settings(zone)
        details = {
            "before": {name: value for name, value in before.items() if value != after[name]},
            "after": {name: value for name, value in after.items() if value != before.get(name)},
            "secret": "kept" if secret is None else "given",
        }
        _audit(actor, "zone.changed", _subject_of_zone(zone), details)
    return zone


def _settings(zone: Zone) -> dict[str, object]:
    """Return a zone's settings as the audit trail tells them: all but the secret."""
    names = ("method", "primary", "servers", "allowed_names", "tsig_name", "tsig_algorithm", "api_url")
    found = {name: getattr(zone, name) for name in names}
    return found | {"origins": sorted(origin.name for origin in zone.origins.all())}


def _refuse_secret(zone: Zone, method: str, api_url: str, secret: str | None) -> None:
    if secret is None:
        moved = zone.pk and zone.sealed_secret and (zone.method, zone.api_url) != (method, api_url)
        if moved and method != Method.MANUAL:
            raise ValidationError("Give the secret again: what is written to, or how, is another one now.")
        return
    if not _SECRET.match(secret.strip()):
        raise ValidationError("A secret is 1 to 500 printable characters without a blank.")
    if method == Method.RFC2136:
        try:
            base64.b64decode(secret.strip(), validate=True)
        except binascii.Error as error:
            raise ValidationError("A TSIG key's secret is base64.") from error


def zone_remove(*, zone: Zone, actor: Actor) -> None:
    """Forget a zone and its relay names with their history; what its servers serve stays as it is.

    Raises ValidationError while an operation changes one of the names.
    """
    with transaction.atomic():
        for row in zone.relay_names.all():
            _refuse_while_changed(row)
        _audit(actor, "zone.removed", _subject_of_zone(zone), {"relay_names": zone.relay_names.count()})
        zone.relay_names.all().delete()
        zone.delete()


def relay_name_import(  # noqa: PLR0913 - keyword-only, each a setting
    *,
    zone: Zone,
    name: str,
    actor: Actor,
    provider: Provider | None = None,
    rendering: str = "",
    ttl: int = 600,
) -> RelayName:
    """Take a relay name over as it is served now: that is its first state.

    Raises ValidationError where it is no name of the zone or serves no addresses, and RemoteError.
    """
    name = _checked_name(name)
    if not name.endswith(f".{zone.name}"):
        raise ValidationError(f"{name} is not in the zone {zone.name}.")
    relay_name = RelayName(zone=zone, name=name, provider=provider, ttl=ttl)
    reading, served = _served(relay_name)
    relay_name.rendering = Rendering(rendering) if rendering else served.rendering
    relay_name.served, relay_name.served_at = _as_json(reading.records), timezone.now()
    with transaction.atomic():
        relay_name.save()
        for address, parts in sorted(served.parts.items()):
            Weight.objects.create(relay_name=relay_name, address=address, weight=parts)
        remember(relay_name, reading, wanted={**served.parts}, at=timezone.now(), old_ttl=0)
        _audit(actor, "relay_name.imported", subject_of(relay_name), {"parts": dict(served.parts)})
    check_relay_name(relay_name=relay_name)
    return relay_name


def relay_name_accept(*, relay_name: RelayName, actor: Actor) -> RelayName:
    """Take what is served now for what is wanted: a change of somebody else's that is to stay.

    Addresses that are new here are not warm until somebody says so. Raises ValidationError while an
    operation changes the name or where it serves no addresses, and RemoteError.
    """
    reading, served = _served(relay_name)
    with transaction.atomic():
        _refuse_while_changed(relay_name)
        relay_name.weights.exclude(address__in=served.parts).update(is_on=False)
        for address, parts in sorted(served.parts.items()):
            fields = {"weight": parts, "is_on": True}
            Weight.objects.update_or_create(
                relay_name=relay_name,
                address=address,
                defaults=fields,
                create_defaults={**fields, "is_warm": False},
            )
        before = relay_name.published.first()
        remember(
            relay_name,
            reading,
            wanted={**served.parts},
            at=timezone.now(),
            # Nobody knows when it was changed: resolvers may hold what was there before for its whole TTL.
            old_ttl=longest_ttl(RecordSet.from_json(item) for item in before.records) if before else 0,
        )
        _audit(actor, "relay_name.accepted", subject_of(relay_name), {"parts": dict(served.parts)})
    check_relay_name(relay_name=relay_name)
    return relay_name


def longest_ttl(records: Iterable[RecordSet]) -> int:
    """Return for how many seconds resolvers may hold any of these."""
    return max((item.ttl for item in records), default=0)


def remember(  # noqa: PLR0913 - keyword-only, each a setting
    relay_name: RelayName,
    reading: Reading,
    *,
    wanted: Mapping[str, int],
    at: datetime,
    old_ttl: int,
    operation: Operation | None = None,
) -> PublishedState:
    """Write what is served from now on, in the caller's transaction; once for each operation."""
    ours = reading.ours(relay_name.name)
    fields = {
        "relay_name": relay_name,
        "at": at,
        "effective_at": at + timedelta(seconds=old_ttl),
        "serial": reading.serial,
        "records": _as_json(ours),
        "parts": dict(read_back(relay_name.name, reading.records).parts),
        "wanted": dict(wanted),
    }
    if operation is None:
        return PublishedState.objects.create(**fields)
    return PublishedState.objects.get_or_create(operation=operation, defaults=fields)[0]


def check_relay_name(*, relay_name: RelayName) -> dict[str, str]:
    """Compare what every server serves with what was published last; return and store what is wrong.

    By server: what it serves instead, or why it cannot be told.
    """
    zone = relay_name.zone
    last = relay_name.published.first()
    wanted = [RecordSet.from_json(item) for item in last.records] if last else []
    answers = read_everywhere(servers_of(zone), zone=zone.name, name=relay_name.name)
    drift = {
        str(server): wrong
        for server, answer in answers.items()
        if (wrong := what_is_wrong(relay_name, answer, wanted))
    }
    found = next((answer for answer in answers.values() if isinstance(answer, Reading)), None)
    relay_name.drift, relay_name.checked_at = drift, timezone.now()
    fields = ["drift", "checked_at"]
    if found is not None:
        relay_name.served, relay_name.served_at = _as_json(found.records), timezone.now()
        fields += ["served", "served_at"]
    relay_name.save(update_fields=fields)
    return drift


def check_relay_names() -> None:
    """Check every relay name that no operation is about to change."""
    busy = RelayNameLock.objects.values("relay_name")
    for row in RelayName.objects.exclude(name__in=busy).select_related("zone"):
        check_relay_name(relay_name=row)


def what_is_wrong(relay_name: RelayName, answer: Reading | RemoteError, wanted: Sequence[RecordSet]) -> str:
    """Say how a server's answer is not what is wanted; "" where it is."""
    if isinstance(answer, RemoteError):
        return printable(str(answer), 300)
    if any(item.type == "LUA" for item in wanted):
        return _wrong_draw(relay_name, answer, wanted)
    if same(served_to(relay_name.name, answer.ours(relay_name.name)), served_to(relay_name.name, wanted)):
        return ""
    try:
        parts = read_back(relay_name.name, answer.records).parts
    except NotOurs as error:
        return printable(str(error), 300)
    served = ", ".join(f"{address} {count}" for address, count in sorted(parts.items()))
    return f"serves {served} at serial {answer.serial}"


def doctor(*, zone: Zone) -> dict[str, str]:
    """Try to read, to update (changing nothing) and to verify; by question, "" or what is wrong."""
    name = (zone.allowed_names or [zone.name])[0]
    answers = read_everywhere(servers_of(zone), zone=zone.name, name=name)
    found = {f"read {server}": _error(answer) for server, answer in answers.items()}
    found["update"] = _what_forbids_updates(zone, name)
    found["same serial everywhere"] = _what_forbids_verifying(list(answers.values()))
    return found


def _what_forbids_verifying(answers: Sequence[Reading | RemoteError]) -> str:
    serials = [answer.serial for answer in answers if isinstance(answer, Reading)]
    if len(serials) < len(answers):
        return f"{len(answers) - len(serials)} of {len(answers)} servers cannot be read"
    return "" if len(set(serials)) < 2 else f"serials {sorted(set(serials))}"


def _what_forbids_updates(zone: Zone, name: str) -> str:
    try:
        publisher = publisher_of(zone)
        if publisher is not None:
            publisher.check(name)
    except (RemoteError, CannotUnseal) as error:
        return printable(str(error), 300)
    return ""


def subject_of(relay_name: RelayName) -> Subject:
    """Return a relay name as what an audit event is about."""
    return Subject("relay_name", str(relay_name.pk), relay_name.name)


def _subject_of_zone(zone: Zone) -> Subject:
    return Subject("zone", str(zone.pk), zone.name)


def _served(relay_name: RelayName) -> tuple[Reading, Served]:
    """Read the primary. Raises RemoteError, and ValidationError where no weights express what it serves."""
    reading = read_primary(relay_name)
    try:
        return reading, read_back(relay_name.name, reading.records)
    except NotOurs as error:
        raise ValidationError(str(error)) from error


def _refuse_while_changed(relay_name: RelayName) -> None:
    if RelayNameLock.objects.filter(relay_name=relay_name.name).exists():
        raise ValidationError(f"An operation changes {relay_name.name}: wait for its end.")


def _error(answer: Reading | RemoteError) -> str:
    return "" if isinstance(answer, Reading) else printable(str(answer), 300)


def _wrong_draw(relay_name: RelayName, answer: Reading, wanted: Sequence[RecordSet]) -> str:
    """A question gets the draw and not the record: it must be one of its addresses."""
    drawn = {value for item in answer.records if item.type in ("A", "AAAA") for value in item.values}
    if any(item.type == "LUA" for item in answer.records):
        return "" if same(answer.ours(relay_name.name), wanted) else "serves another LUA record"
    if drawn and drawn <= read_back(relay_name.name, wanted).parts.keys():
        return ""
    return f"draws {', '.join(sorted(drawn)) or 'nothing'}"


def _check_zone(zone: Zone) -> None:
    if zone.method not in Method.values:
        raise ValidationError(f"A zone is written by {', '.join(Method.values)}.")
    if not zone.servers:
        raise ValidationError("Name every authoritative server: each is verified.")
    for server in zone.servers:
        _check_server(server)
    if zone.method == Method.RFC2136:
        _check_server(zone.primary)
        if zone.tsig_algorithm not in ALGORITHMS:
            raise ValidationError(f"A TSIG key's algorithm is one of {', '.join(ALGORITHMS)}.")
    if zone.method != Method.MANUAL and not zone.sealed_secret:
        raise ValidationError("A secret is needed: the TSIG key's or the API's.")
    if zone.method == Method.RFC2136 and not _KEY_NAME.match(zone.tsig_name):
        raise ValidationError("A TSIG key's name is a domain name: letters, digits, hyphens and dots.")
    if zone.method == Method.POWERDNS:
        _check_api(zone.api_url)
    foreign = [one for one in zone.allowed_names if one != zone.name and not one.endswith(f".{zone.name}")]
    if foreign:
        raise ValidationError(f"{foreign[0]} is not in the zone {zone.name}.")


def _check_server(text: str) -> None:
    """Refuse what no name server can have; whoever connects looks again."""
    try:
        check_host(parse_server(text).address)
    except BadAddress as error:
        raise ValidationError(str(error)) from error


def _check_api(url: str) -> None:
    try:
        place = urlsplit(url)
        check_host(place.hostname or "")
        port = place.port
    except ValueError as error:
        raise ValidationError(f"The API's address: {error}") from error
    if not re.match(r"\Ahttps?://[^/@?#\s]+\Z", url) or port == 0:
        raise ValidationError("The API's address is http://HOST:PORT or https://HOST:PORT.")


def _checked_name(name: str) -> str:
    name = plain(name.strip())
    if not _NAME.match(name):
        raise ValidationError(f"{name[:60]!r} is not a domain name.")
    return name


def _as_json(records: Sequence[RecordSet]) -> list[list[object]]:
    return [item.as_json() for item in records]


def _audit(actor: Actor, action: str, subject: Subject, details: Mapping[str, object]) -> None:
    audit.record(actor=actor, action=action, phase="succeeded", subject=subject, details=details)
