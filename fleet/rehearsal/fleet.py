"""The rehearsal fleet: bring it up, find it again, take it down."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fleet.rehearsal import (
    bind,
    control,
    namespaces,
    network,
    powerdns,
    queuefiles,
    relayctl,
    requirements,
    spec,
    story,
    zones,
)
from fleet.rehearsal.core import Core
from fleet.rehearsal.errors import NotUp, RehearsalError
from fleet.rehearsal.host import Host
from fleet.rehearsal.namespaces import CORE
from fleet.rehearsal.postfix import Instance
from fleet.rehearsal.providers import ProviderControl, source_addresses
from fleet.rehearsal.rules import Rule
from fleet.rehearsal.state import State
from fleet.rehearsal.zones import Access

_CHECKOUT = Path(__file__).resolve().parents[2]
LOGS = ("rsyslog", "postlogd")
_WORKERS = 3


def _silent(_line: str) -> None:
    """Say nothing: what tests want."""


class Fleet:
    """One fleet, by name. `up` makes it, `attach` finds one that is up, `down` leaves nothing of it."""

    def __init__(  # noqa: PLR0913
        self,
        name: str = "demo",
        *,
        state: Path | None = None,
        hosts: tuple[spec.HostSpec, ...] = spec.HOSTS,
        origins: tuple[spec.HostSpec, ...] = spec.ORIGINS,
        logs: str = "rsyslog",
        say: Callable[[str], None] = _silent,
    ) -> None:
        if logs not in LOGS:
            raise RehearsalError(f"logs is '{logs}', must be one of {', '.join(LOGS)}")
        self.name = name
        self.state = State(name, state)
        self.logs = logs
        self.slot = 0
        self._core: Core | None = None
        self.access: Access | None = None
        self.hosts: dict[str, Host] = {}
        self.origins: dict[str, Host] = {}
        self.provider = ProviderControl(self.state, hosts)
        self._specs = hosts
        self._origin_specs = origins
        self._say = say

    @property
    def relay_names(self) -> list[str]:
        """The names of the relay hosts, whether or not they are up."""
        return [host.name for host in self._specs]

    def up(
        self,
        *,
        rules: list[Rule] | None = None,
        rate_per_s: float = 0.0,
        burst: int = 0,
        read_key: str | None = None,
        write_key: str | None = None,
    ) -> None:
        """Bring the fleet up; what is left of an earlier one of this name goes first.

        rules: how the providers answer from the start (all accept). rate_per_s: bulk mail from the origins.
        read_key, write_key: public keys that may read and change the hosts; for what is not given the fleet
        makes a pair, state.read_key and state.write_key.
        Raises RehearsalError, or whatever else went wrong, and leaves nothing behind then.
        """
        requirements.check()
        with self.state.locked():
            self._remove_remains()
            try:
                self._build(rules or [], rate_per_s, read_key, write_key)
            except BaseException:
                self._remove_remains()
                self.state.remove()
                raise
        if burst:
            self.traffic("burst", messages=burst)

    def down(self) -> None:
        """End every process of the fleet and remove its files; nothing happens where there is none."""
        requirements.check()
        if not self.state.folder.exists():
            return
        with self.state.locked():
            self._remove_remains()
            self.state.remove()

    def attach(self) -> "Fleet":
        """Find the fleet that is up. Raises NotUp where there is none, or only half of one."""
        facts, token = self.state.load(), self.state.token()
        core = namespaces.find(token).get(CORE) if token else None
        if facts is None or token is None or core is None:
            raise NotUp(f"no rehearsal fleet '{self.name}' is up (./run fleet up makes one)")
        self.logs = facts["logs"]
        self.access = Access(**facts["access"])
        self._specs = tuple(spec.host_from_json(host) for host in facts["hosts"])
        self._origin_specs = tuple(spec.host_from_json(host) for host in facts["origins"])
        self.provider = ProviderControl(self.state, self._specs)
        self._take(Core(core, token, facts["slot"], self.logs, self.state.folder))
        return self

    def host(self, name: str) -> Host:
        """Return a relay host or an origin. Raises RehearsalError for an unknown name."""
        known = {**self.hosts, **self.origins}
        if name not in known:
            raise RehearsalError(f"no host '{name}': there are {', '.join(known) or 'none'}")
        return known[name]

    def instance(self, name: str) -> Instance:
        """Return an instance by its name, or by its host's name for a plain /etc/postfix."""
        for host in (*self.hosts.values(), *self.origins.values()):
            for instance in host.instances:
                if name == (host.name if instance.spec.plain else instance.name):
                    return instance
        raise RehearsalError(f"no instance '{name}'")

    def forget_names(self) -> None:
        """Have the resolver forget what it has looked up, as its TTLs would in time. Raises NotUp."""
        if self._core is None:
            raise NotUp(f"no rehearsal fleet '{self.name}' is up (./run fleet up makes one)")
        bind.forget(self._core)

    def send(self, messages: int, *, domain: str, via: str) -> list[str]:
        """Hand messages for a domain straight to an instance; return the Message-IDs that it took."""
        request = {
            "do": "send",
            "address": self.instance(via).spec.address,
            "domain": domain,
            "messages": messages,
        }
        taken: list[str] = control.ask(self.state.traffic_socket, request, timeout_s=300)["message_ids"]
        return taken

    def fabricate(self, messages: int, *, domain: str, via: str, oldest_s: int = 0) -> list[str]:
        """Fill an instance's deferred queue within seconds and return the Message-IDs.

        One message is sent, and copied once it is deferred, so a rule must defer mail for the domain.
        oldest_s: the greatest age among the copies. Raises RehearsalError where the one is not deferred.
        """
        instance = self.instance(via)
        before = {message["queue_id"] for message in instance.postqueue()}
        first = self.send(1, domain=domain, via=via)

        def deferred() -> list[str]:
            return [
                message["queue_id"]
                for message in instance.postqueue()
                if message["queue_id"] not in before and message["queue_name"] == "deferred"
            ]

        namespaces.wait_until(lambda: bool(deferred()), f"{via} to defer a message to {domain}")
        return first + queuefiles.clone(instance, deferred()[0], messages - 1, oldest_s=oldest_s)

    def traffic(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Switch the origins' bulk mail: `start`, `stop`, `rate` (per_s), `burst` (messages), `show`."""
        return control.ask(self.state.traffic_socket, {"do": verb, **arguments})

    def _build(
        self, rules: list[Rule], rate_per_s: float, read_key: str | None, write_key: str | None
    ) -> None:
        self._say("starting the fleet's namespaces and network")
        core = self._start_core()
        self.access = zones.new_access()
        self._save(core)
        self._take(core)
        self._say(f"starting name servers, mail providers and {len(self._specs)} relay hosts")
        instances = [instance for host in self._specs for instance in host.instances]
        peers = [f"{each.name}={address}" for each in instances for address in each.addresses]
        keys = (read_key or self.state.new_read_key(), write_key or self.state.new_write_key())
        with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
            parts = [pool.submit(self._start_servers, core, self.access, rules, rate_per_s)]
            parts += [pool.submit(_create, host, *keys, peers) for host in self.hosts.values()]
            parts += [pool.submit(_create_origin, origin) for origin in self.origins.values()]
            for part in parts:
                part.result()
        if rate_per_s:
            self.traffic("start")

    def _start_core(self) -> Core:
        token = self.state.new_token()
        script = 'mkdir "$1" && mount -t tmpfs -o mode=755 tmpfs "$1" && shift && exec "$@"'
        shell = ("/bin/sh", "-c", script, CORE, f"{self.state.folder}/disks")
        namespace = namespaces.start(
            CORE,
            token=token,
            command=[*namespaces.UNSHARE, *shell, *namespaces.INIT],
            log=self.state.folder / "core.log",
        )
        return Core(namespace, token, network.make_core(namespace, token), self.logs, self.state.folder)

    def _start_servers(self, core: Core, access: Access, rules: list[Rule], rate_per_s: float) -> None:
        bind_zone, powerdns_zone = spec.ZONES
        bind.start(core, bind_zone, access=access, hosts=self._specs)
        powerdns.start(core, powerdns_zone, access=access, hosts=self._specs)
        provider = {
            "listen": {each.slug: each.address for each in spec.PROVIDERS},
            "accepted": str(self.state.accepted),
            "socket": str(self.state.provider_socket),
            "rules": [asdict(rule) for rule in rules],
        }
        traffic = {
            "origins": {each.name: each.instances[0].address for each in self._origin_specs},
            "socket": str(self.state.traffic_socket),
            "rate": rate_per_s,
            "running": False,
        }
        self._start_server(core, "provider", provider)
        self._start_server(core, "traffic", traffic)

    def _start_server(self, core: Core, name: str, configuration: dict[str, Any]) -> None:
        path, log = self.state.folder / f"{name}.json", self.state.folder / f"{name}.log"
        path.write_text(json.dumps(configuration))
        core.namespace.spawn(
            sys.executable,
            "-m",
            f"fleet.rehearsal.{name}",
            str(path),
            log=log,
            environment={"PYTHONPATH": str(_CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        namespaces.wait_until(Path(configuration["socket"]).exists, f"the {name} server", log=log)

    def _take(self, core: Core) -> None:
        """Name the hosts of a core, those that run with their namespaces."""
        self.slot, self._core = core.slot, core
        running = namespaces.find(core.token)
        self.hosts = {each.name: Host(each, core, running.get(each.name)) for each in self._specs}
        self.origins = {each.name: Host(each, core, running.get(each.name)) for each in self._origin_specs}

    def _save(self, core: Core) -> None:
        access = asdict(self.access) if self.access else None
        facts = {"slot": core.slot, "logs": self.logs, "access": access}
        specs = {"hosts": self._specs, "origins": self._origin_specs}
        self.state.save(facts | {kind: [asdict(host) for host in hosts] for kind, hosts in specs.items()})

    def _remove_remains(self) -> None:
        token = self.state.token()
        if token is not None:
            namespaces.destroy(token)
            network.part_machine(token)
        self.state.empty()
        self.hosts = {}
        self.origins = {}


def _create(host: Host, read_key: str, write_key: str, peers: list[str]) -> None:
    host.create()
    relayctl.install(host, read_key=read_key, write_key=write_key)
    relayctl.onboard(host, peers)
    host.start_mail()
    host.start_guard()
    host.open_ssh()


def _create_origin(origin: Host) -> None:
    origin.create()
    origin.start_mail()


def default_story(hosts: tuple[spec.HostSpec, ...] = spec.HOSTS) -> list[Rule]:
    """Return the rules of the demo's day."""
    return story.default_rules(source_addresses(hosts))
