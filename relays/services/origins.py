"""Origins: which list server each client address is."""

from collections.abc import Collection, Iterable, Sequence
from ipaddress import ip_address

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from relays.domain.addresses import BadAddress, normalise_address
from relays.domain.words import visible
from relays.models import Address, Client, Origin
from relays.services.audit import SYSTEM, Actor, Subject, record_change


def origin_add(*, name: str, addresses: Iterable[str], actor: Actor = SYSTEM) -> Origin:
    """Add an origin that is known by these client addresses; clients seen already keep their counts.

    Raises django's ValidationError, keyed by field: `name`, `addresses`.
    """
    return _save(Origin(), name, addresses, actor)


def origin_change(*, origin: Origin, name: str, addresses: Iterable[str], actor: Actor = SYSTEM) -> Origin:
    """Make an origin have this name and exactly these addresses; those it loses wait for adoption.

    Raises django's ValidationError, keyed by field: `name`, `addresses`.
    """
    return _save(origin, name, addresses, actor)


def origin_remove(*, origin: Origin, actor: Actor = SYSTEM) -> None:
    """Forget an origin; what its clients handed over stays counted, and they wait for adoption."""
    with transaction.atomic():
        _record(origin, "origin.remove", actor, _told(origin), None)
        _let_go(origin.clients.values_list("pk", flat=True))
        origin.delete()


def clients_adopt(*, origin: Origin, clients: Collection[Client], actor: Actor = SYSTEM) -> None:
    """Let an origin claim clients that no origin has, or that are its own already.

    Raises django's ValidationError for the fleet's own clients and for those of another origin; then
    nothing is changed.
    """
    with transaction.atomic():
        before = _told(origin)
        _claim(origin, [client.ip for client in clients])
        _record(origin, "origin.change", actor, before, _told(origin))


def suggested_name(client: Client) -> str:
    """Return what an origin made of this client is called: as the relay's resolver named it, or its IP."""
    named = client.name not in ("", "unknown") and client.name == client.name.strip()
    return client.name if named and client.name.isprintable() else client.ip


def _save(origin: Origin, name: str, addresses: Iterable[str], actor: Actor) -> Origin:
    before = _told(origin) if origin.pk else None
    origin.name = name.strip()
    if not origin.name.isprintable():
        raise ValidationError({"name": "Give a name of characters that can be seen."})
    origin.full_clean()
    wanted = _normalised(addresses)
    if not wanted:
        raise ValidationError({"addresses": "Give at least one client address."})
    try:
        with transaction.atomic():
            origin.save()
            _let_go(origin.clients.exclude(ip__in=wanted).values_list("pk", flat=True))
            _claim(origin, wanted)
            _record(origin, "origin.change" if before else "origin.add", actor, before, _told(origin))
    except IntegrityError as error:
        # Somebody else took the name between the check and the writing.
        raise ValidationError({"name": "Another origin has this name."}) from error
    return origin


def _record(
    origin: Origin,
    action: str,
    actor: Actor,
    before: dict[str, object] | None,
    after: dict[str, object] | None,
) -> None:
    subject = Subject(type="origin", id=str(origin.pk), name=origin.name)
    record_change(actor=actor, action=action, subject=subject, before=before, after=after)


def _told(origin: Origin) -> dict[str, object]:
    return {"name": origin.name, "addresses": sorted(origin.clients.values_list("ip", flat=True))}


def _normalised(addresses: Iterable[str]) -> list[str]:
    try:
        return list(dict.fromkeys(normalise_address(text) for text in addresses))
    except BadAddress as error:
        raise ValidationError({"addresses": str(error)}) from error


def _claim(origin: Origin, addresses: Sequence[str]) -> None:
    """Make the addresses the origin's clients. Call it inside a transaction."""
    for address in addresses:
        _refuse_own(address)
        client, _ = Client.objects.get_or_create(ip=address)
        Client.objects.filter(pk=client.pk, origin=None).update(origin=origin)
        client.refresh_from_db()
        if client.origin != origin:
            raise ValidationError({"addresses": f"{address} belongs to the origin {client.origin}."})


def _refuse_own(address: str) -> None:
    """Raise ValidationError for an address of the fleet itself: mail from there was handed over in it."""
    if ip_address(address).is_unspecified:
        raise ValidationError({"addresses": f"{address} is nobody's address."})
    if ip_address(address).is_loopback:
        raise ValidationError({"addresses": f"{address} is every host's own address, no origin's."})
    own = (
        Address.objects.filter(ip=address, instance__removed_at=None).select_related("instance__host").first()
    )
    if own is not None:
        whose = f"{visible(own.instance.name)} on {own.instance.host.name}"
        raise ValidationError({"addresses": f"{address} is the address of {whose}, no origin's."})


def _let_go(clients: Iterable[int]) -> None:
    """Take clients from their origin; one that no relay has seen has nothing to be kept for."""
    chosen = Client.objects.filter(pk__in=list(clients))
    chosen.filter(last_seen_at=None).delete()
    chosen.update(origin=None)
