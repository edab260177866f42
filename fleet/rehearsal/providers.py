"""The providers as the outside sees them: switch their rules, read their counters and their record."""

import json
from dataclasses import asdict
from typing import Any

from fleet.rehearsal import control, spec
from fleet.rehearsal.errors import RehearsalError
from fleet.rehearsal.rules import ANY, Rule
from fleet.rehearsal.state import State


class ProviderControl:
    """A handle on the running providers of one fleet. `source` is an instance's name or an address."""

    def __init__(self, state: State, hosts: tuple[spec.HostSpec, ...]) -> None:
        self._state = state
        self._addresses = source_addresses(hosts)

    def set_rule(  # noqa: PLR0913
        self,
        action: str,
        *,
        provider: str = ANY,
        source: str = ANY,
        domain: str = ANY,
        share: float = 1.0,
        wait_s: float = 20.0,
        text: str = "",
    ) -> None:
        """Set the rule for a provider, source and domain; fleet.rehearsal.rules tells what each action does.

        Raises RehearsalError for what makes no rule.
        """
        if provider not in (ANY, *(each.slug for each in spec.PROVIDERS)):
            raise RehearsalError(
                f"no provider '{provider}': there are {', '.join(each.slug for each in spec.PROVIDERS)}"
            )
        try:
            rule = Rule(action, provider, self._address(source), domain, share, wait_s, text)
        except ValueError as error:
            raise RehearsalError(str(error)) from error
        control.ask(self._state.provider_socket, {"do": "set", **asdict(rule)})

    def clear(self, *, provider: str = ANY, source: str = ANY) -> None:
        """Forget the rules of a provider, of a source, or all."""
        request = {"do": "clear", "provider": provider, "source": self._address(source)}
        control.ask(self._state.provider_socket, request)

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules, `source` named by instance where one has that address."""
        return [self._named(rule) for rule in self._show()["rules"]]

    def counters(self) -> list[dict[str, Any]]:
        """Return connections, accepted recipients and refusals by code, for each provider and source."""
        return [self._named(counter) for counter in self._show()["counters"]]

    def accepted(self) -> list[dict[str, Any]]:
        """Return every recipient that a provider accepted, with message_id, source, helo and queued_as."""
        if not self._state.accepted.exists():
            return []
        return [json.loads(line) for line in self._state.accepted.read_text().splitlines()]

    def _show(self) -> dict[str, Any]:
        return control.ask(self._state.provider_socket, {"do": "show"})

    def _address(self, source: str) -> str:
        if source == ANY or source[:1].isdigit():
            return source
        try:
            return self._addresses[source]
        except KeyError:
            raise RehearsalError(f"no instance '{source}': there are {', '.join(self._addresses)}") from None

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        names = {address: name for name, address in self._addresses.items()}
        return {**row, "source": names.get(row["source"], row["source"])}


def source_addresses(hosts: tuple[spec.HostSpec, ...]) -> dict[str, str]:
    """Return the addresses of the instances by name; a host's `default` goes by the host's name."""
    return {
        host.name if instance.plain else instance.name: instance.address
        for host in hosts
        for instance in host.instances
    }
