"""What should hold before an address is brought up: each item met, not met, or not known from here."""

from dataclasses import dataclass

from dns.models import RAMPS_LIVE, Ramp, RelayName, Weight
from relays.domain.health import State
from relays.models import Address, Instance


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
    """Return the items for an address under a relay name, those first without which nothing begins."""
    found = Address.objects.filter(ip=address, instance__removed_at=None)
    row = found.select_related("instance__host", "instance__state", "instance__provider").first()
    instance = row.instance if row else None
    items = [
        _is_free(relay_name, address),
        _has_instance(instance, address),
        _others_are_warm(relay_name, address),
        *([_has_provider(relay_name, instance), _runs(instance)] if instance else []),
        _is_served_as_published(relay_name),
        *_by_hand(address, instance),
    ]
    return sorted(items, key=lambda item: not item.is_needed)


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


def _by_hand(address: str, instance: Instance | None) -> list[Item]:
    """Return what only a look at the outer DNS and the host tells, with how to look."""
    name = instance.helo_name if instance else "its HELO name"
    return [
        Item("PTR and forward name agree", None, f"dig -x {address}, and the A record of what it says"),
        Item("HELO name has the address", None, f"dig {name or 'its HELO name'}"),
        Item("SPF of the sender domains covers it", None, f"dig TXT of each sender domain: ip4:{address}"),
        Item("On no block list", None, "ask the lists that the provider reads"),
        Item("Doctor is green", None, "on the host's page, under Doctor"),
    ]
