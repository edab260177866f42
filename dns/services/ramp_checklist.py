"""What should hold before an address is brought up: each item met, not met, or not known from here."""

from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ValidationError

from dns.domain import spf
from dns.domain.records import address_type
from dns.lookup import Found, listed_name, pointer_name, resolve
from dns.models import RAMPS_LIVE, Ramp, RelayName, Weight
from dns.services.zones import parse_server
from relays.domain.health import State
from relays.domain.text import printable
from relays.models import Address, Instance
from relays.remote.errors import RemoteError

# A resolver tells what is left of a TTL: below this a record was not meant to last for a day.
_SHORT_TTL_S = 3600
# Whoever owns the reverse zone may write as many PTR records as they like.
_MOST_NAMES = 5
# Each is asked with somebody waiting.
_MOST_ASKED, _WITHIN_S = 8, 1.5


@dataclass(frozen=True, slots=True)
class Item:
    """One item. met: None where it is not known from here; is_needed: a ramp is refused without it."""

    title: str
    met: bool | None
    text: str
    is_needed: bool = False

    @property
    def word(self) -> str:
        """For the eye."""
        return {True: "met", False: "not met", None: "not known"}[self.met]


def checklist(relay_name: RelayName, address: str) -> list[Item]:
    """Return the items for an address under a relay name. It asks a resolver: not within a transaction."""
    instance = _instance(address)
    return [
        *needed(relay_name, address),
        *([_has_provider(relay_name, instance), _runs(instance)] if instance else []),
        _is_served_as_published(relay_name),
        _names_agree(address),
        *([_helo_leads_back(instance, address)] if instance else []),
        _spf_covers(address),
        _is_on_no_list(address),
        Item("Doctor is green", None, "on the host's page, under Doctor"),
    ]


def needed(relay_name: RelayName, address: str) -> list[Item]:
    """Return the items without which nothing begins; these are in the database."""
    return [
        _is_free(relay_name, address),
        _has_instance(_instance(address), address),
        _others_are_warm(relay_name, address),
    ]


def _instance(address: str) -> Instance | None:
    found = Address.objects.filter(ip=address, instance__removed_at=None)
    row = found.select_related("instance__host", "instance__state", "instance__provider").first()
    return row.instance if row else None


def _is_free(relay_name: RelayName, address: str) -> Item:
    live = Ramp.objects.filter(relay_name=relay_name, address=address, state__in=RAMPS_LIVE).first()
    text = f"Ramp {live.pk} brings it up already." if live else "No other ramp brings it up."
    return Item("One ramp", live is None, text, is_needed=True)


def _has_instance(instance: Instance | None, address: str) -> Item:
    text = f"{instance.name} on {instance.host.name}" if instance else f"No instance sends from {address}."
    return Item("An instance sends from it", instance is not None, text, is_needed=True)


def _others_are_warm(relay_name: RelayName, address: str) -> Item:
    warm = Weight.objects.filter(relay_name=relay_name, is_on=True, is_warm=True).exclude(address=address)
    number, least = warm.count(), max(1, relay_name.min_warm)
    text = f"{number} of {least} that always stay published"
    return Item("Warm addresses beside it", number >= least, text, is_needed=True)


def _has_provider(relay_name: RelayName, instance: Instance) -> Item:
    title = "Carries this provider's mail"
    if relay_name.provider is None or instance.provider is None:
        return Item(title, None, "The relay name or the instance belongs to no provider.")
    met = relay_name.provider == instance.provider
    return Item(title, met, f"The name is for {relay_name.provider}, the instance for {instance.provider}.")


def _runs(instance: Instance) -> Item:
    state = getattr(instance, "state", None)
    if state is None or state.state == State.UNKNOWN:
        return Item("Postfix runs", None, "Its queue was not read yet.")
    return Item("Postfix runs", state.state != State.STOPPED, f"Its state is {state.state}.")


def _is_served_as_published(relay_name: RelayName) -> Item:
    title = "Every name server serves the name as published"
    if relay_name.served_at is None:
        return Item(title, None, "They were not asked yet.")
    wrong = ", ".join(sorted(relay_name.drift))
    return Item(title, not wrong, wrong or "As the newest check found.")


def _names_agree(address: str) -> Item:
    """Whether the address has a name that has the address."""
    title = "PTR and forward name agree"
    try:
        names = _resolved(pointer_name(address), "PTR").values[:_MOST_NAMES]
        agreeing = [name for name in names if address in _addresses_of(name, address).values]
    except (RemoteError, ValidationError) as error:
        return Item(title, None, printable(str(error), 200))
    if not names:
        return Item(title, False, f"{address} has no PTR record.")
    told = printable(", ".join(agreeing or names), 200)
    return Item(title, bool(agreeing), told if agreeing else f"{told} does not have {address}.")


def _helo_leads_back(instance: Instance, address: str) -> Item:
    """Whether the name that the instance greets with has the address, and how lasting that is meant."""
    title, name = "HELO name has the address", instance.helo_name
    if not name:
        return Item(title, None, "The inventory does not tell its HELO name.")
    try:
        found = _addresses_of(name, address)
    except (RemoteError, ValidationError) as error:
        return Item(title, None, printable(str(error), 200))
    if address not in found.values:
        served = ", ".join(found.values) or "no address"
        return Item(title, False, printable(f"{name} has {served}.", 200))
    short = (
        "" if found.ttl > _SHORT_TTL_S else f", of which {found.ttl:,} s are left: 86400 is good for a host"
    )
    return Item(title, True, printable(f"{name}{short}", 200))


def _addresses_of(name: str, like: str) -> Found:
    return _resolved(name, address_type(like))


def _resolved(name: str, kind: str, within_s: float = 3.0) -> Found:
    """Ask the resolver of the settings, or the machine's. Raises RemoteError, and ValidationError."""
    resolver = parse_server(settings.RESOLVER) if settings.RESOLVER else None
    return resolve(name, kind, resolver=resolver, within_s=within_s)


def _spf_covers(address: str) -> Item:
    """Whether the SPF records of the sender domains that the settings name pass the address."""
    title = "SPF of the sender domains covers it"
    if not settings.SENDER_DOMAINS:
        kind = "ip4" if address_type(address) == "A" else "ip6"
        look = f"name the sender domains in FLEET_SENDER_DOMAINS, or dig TXT of each: {kind}:{address}"
        return Item(title, None, look)
    results = {domain: _spf_of(domain, address) for domain in settings.SENDER_DOMAINS[:_MOST_ASKED]}
    told = ", ".join(f"{domain}: {result or 'not known'}" for domain, result in results.items())
    if any(result not in {"", spf.Result.PASS} for result in results.values()):
        return Item(title, False, printable(told, 300))
    return Item(title, True if all(results.values()) else None, printable(told, 300))


def _spf_of(domain: str, address: str) -> str:
    """Return the result, "" where it is not known."""
    try:
        return spf.check(domain, address, lambda name, kind: _resolved(name, kind, _WITHIN_S).values)
    except (RemoteError, ValidationError, spf.Unclear, ValueError):
        return ""


def _is_on_no_list(address: str) -> Item:
    """Whether the block lists that the settings name have the address."""
    title = "On no block list"
    if not settings.BLOCK_LISTS:
        return Item(title, None, "name lists in FLEET_BLOCK_LISTS, or ask those that the provider reads")
    answers = {zone: _is_listed(address, zone) for zone in settings.BLOCK_LISTS[:_MOST_ASKED]}
    on, silent = ([zone for zone, found in answers.items() if found is kind] for kind in (True, None))
    if on:
        return Item(title, False, f"On {', '.join(on)}.")
    if silent:
        return Item(title, None, f"No answer of use from {', '.join(silent)}.")
    return Item(title, True, f"{', '.join(answers)} say so.")


def _is_listed(address: str, zone: str) -> bool | None:
    """Return whether a block list has an address, None where its answer does not tell.

    An address of 127.0.0.0/8 says yes (RFC 5782), but 127.255.255.x is an error (Spamhaus: a resolver that
    may not ask), and any other is no list's.
    """
    try:
        values = _resolved(listed_name(address, zone), "A", _WITHIN_S).values
    except (RemoteError, ValidationError):
        return None
    if any(value.startswith("127.") and not value.startswith("127.255.255.") for value in values):
        return True
    return None if values else False
