"""What is up: hosts, instances with their queues, providers, name servers; as data and as text."""

from dataclasses import asdict
from typing import Any

from fleet.rehearsal import network, powerdns, spec
from fleet.rehearsal.errors import RehearsalError
from fleet.rehearsal.fleet import Fleet
from fleet.rehearsal.host import Host
from fleet.rehearsal.postfix import Instance


def collect(fleet: Fleet) -> dict[str, Any]:
    """Return the state of a fleet that is up; what does not answer is null, with the reason in `errors`."""
    errors: list[str] = []
    hosts = [_host(host, errors) for host in (*fleet.hosts.values(), *fleet.origins.values())]
    counters: list[dict[str, Any]] | None = None
    traffic: dict[str, Any] | None = None
    try:
        counters = fleet.provider.counters()
        traffic = fleet.traffic("show")
    except RehearsalError as error:
        errors.append(str(error))
    return {
        "name": fleet.name,
        "slot": fleet.slot,
        "logs": fleet.logs,
        "state": str(fleet.state.folder),
        "hosts": hosts,
        "providers": counters,
        "traffic": traffic,
        "dns": _dns(fleet),
        "errors": errors,
    }


def as_text(status: dict[str, Any]) -> str:
    """Return the status as lines for people."""
    lines = [f"Fleet {status['name']}: logs by {status['logs']}, state in {status['state']}"]
    for host in status["hosts"]:
        where = f"ssh {host['ssh_address']}:{host['ssh_port']}" if host["ssh_address"] else "origin"
        lines.append(f"\n{host['name']:<10} {where}" + ("" if host["up"] else "  OFF"))
        lines += [
            f"  {instance['name']:<10} {instance['address']:<15} {_queues(instance['queues'])}"
            for instance in host["instances"]
        ]
    lines.append("")
    for counter in status["providers"] or []:
        replies = ", ".join(f"{number} x {code}" for code, number in counter["replies"].items())
        lines.append(
            f"{counter['provider']:<8} from {counter['source']:<15} {counter['connections']:>6} connections,"
            f" {counter['accepted']:>6} accepted{', ' if replies else ''}{replies}"
        )
    if status["traffic"]:
        traffic = status["traffic"]
        running = f"{traffic['per_s']:g} messages a second" if traffic["running"] else "stopped"
        lines.append(f"\nbulk mail: {running}, {sum(traffic['sent'].values())} sent so far")
    lines += [
        f"{server['server']:<9} {server['address']}:53 is the primary of {server['zone']}"
        for server in status["dns"]["zones"]
    ]
    lines += [f"error: {error}" for error in status["errors"]]
    return "\n".join(lines)


def _host(host: Host, errors: list[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": host.name,
        "origin": host.spec.origin,
        "up": host.is_up,
        "ssh_address": None if host.spec.origin else host.ssh_address,
        "ssh_port": None if host.spec.origin else host.ssh_port,
        "host_key": host.host_key if host.is_up and not host.spec.origin else None,
        "instances": [],
    }
    if host.is_up:
        facts["instances"] = [_instance(instance, errors) for instance in host.instances]
    return facts


def _instance(instance: Instance, errors: list[str]) -> dict[str, Any]:
    queues: dict[str, int] | None = None
    try:
        queues = instance.counts()
    except RehearsalError as error:
        errors.append(f"{instance.host_name}/{instance.name}: {error}")
    return {
        "name": instance.name,
        "provider": instance.spec.provider,
        "address": instance.spec.address,
        "config_dir": instance.config_dir,
        "queues": queues,
    }


def _dns(fleet: Fleet) -> dict[str, Any]:
    zones = [
        {
            "zone": zone.name,
            "server": zone.server,
            "address": network.management_address(fleet.slot, zone.octet),
        }
        for zone in spec.ZONES
    ]
    api = network.management_address(fleet.slot, spec.ZONES[1].octet)
    key = asdict(fleet.access) if fleet.access else None
    return {"zones": zones, "powerdns_api": f"http://{api}:{powerdns.API_PORT}", "access": key}


def _queues(queues: dict[str, int] | None) -> str:
    if queues is None:
        return "queue cannot be read"
    return "  ".join(f"{name} {number}" for name, number in queues.items())
