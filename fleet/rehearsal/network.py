"""The network of a fleet: a bridge for the hosts, addresses for the providers, one way in for the console.

The machine sees one interface (`fleet-SLOT`) and one /24 behind it. Both ends go with the core's namespace.
"""

import ipaddress
import json
import subprocess
from typing import Any

from fleet.rehearsal import spec
from fleet.rehearsal.errors import RehearsalError
from fleet.rehearsal.namespaces import CLEAN_ENVIRONMENT, Namespace

_SLOTS = range(1, 251)


def management_address(slot: int, octet: int) -> str:
    """Return the address by which the machine, and so the console, reaches a host or a name server."""
    return f"{spec.MANAGEMENT_NET}.{slot}.{octet}"


def make_core(core: Namespace, token: str) -> int:
    """Make the bridge and the providers' addresses, and join the core to the machine; return the slot.

    The kernel refuses an interface name that is taken, so two fleets that come up together get two slots.
    Raises RehearsalError where no slot is free.
    """
    addresses = [provider.address for provider in spec.PROVIDERS] + [zone.address for zone in spec.ZONES]
    _ip(
        "link set lo up",
        *(f"address add {address}/32 dev lo" for address in addresses),
        "link add br0 type bridge",
        f"address add {spec.GATEWAY}/24 dev br0",
        "link set br0 up",
        inside=core,
    )
    slot = _take_slot(core, token)
    _ip(
        *(f"address add {management_address(slot, zone.octet)}/24 dev br0" for zone in spec.ZONES),
        "link set machine master br0 up",
        inside=core,
    )
    return slot


def is_joined(token: str) -> bool:
    """Tell whether the machine still has the interface of the fleet that bears the token."""
    return any(link.get("ifalias") == token for link in _show("link", "show"))


def join_host(core: Namespace, host: Namespace, host_spec: spec.HostSpec, slot: int) -> None:
    """Give a host its interface, its addresses and its way out."""
    port = f"h-{host_spec.name}"
    _ip(
        f"link add {port} type veth peer name eth0 netns {host.pid}",
        f"link set {port} master br0 up",
        inside=core,
    )
    own = [host_spec.address, *(instance.address for instance in host_spec.instances)]
    _ip(
        "link set lo up",
        f"address add {management_address(slot, host_spec.octet)}/24 dev eth0",
        *(f"address add {address}/24 dev eth0" for address in own),
        "link set eth0 up",
        f"route add default via {spec.GATEWAY}",
        inside=host,
    )


def change_route(host: Namespace, verb: str, route: str) -> None:
    """Run `ip route VERB ROUTE` on a host."""
    _ip(f"route {verb} {route}", inside=host)


def _take_slot(core: Namespace, token: str) -> int:
    taken = _machine_networks()
    for slot in _SLOTS:
        network = ipaddress.ip_network(f"{management_address(slot, 0)}/24")
        if any(network.overlaps(other) for other in taken):
            continue
        name = f"fleet-{slot}"
        try:
            _ip(f"link add {name} type veth peer name machine netns {core.pid}")
        except RehearsalError as error:
            if "File exists" in str(error):
                continue
            raise
        _ip(
            f"link set {name} alias {token}",
            f"address add {management_address(slot, 1)}/24 dev {name}",
            f"link set {name} up",
        )
        return slot
    raise RehearsalError(f"every /24 of {spec.MANAGEMENT_NET}.0.0/16 is in use on this machine")


def _machine_networks() -> list[ipaddress.IPv4Network]:
    destinations = [route["dst"] for route in _show("-4", "route", "show", "table", "all")]
    return [ipaddress.IPv4Network(dst) for dst in destinations if dst[:1].isdigit() and dst != "0.0.0.0/0"]


def _show(*arguments: str) -> list[dict[str, Any]]:
    """Return what ip(8) lists of the machine's own network."""
    listed = subprocess.run(  # noqa: S603
        ["/usr/sbin/ip", "-json", *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    rows: list[dict[str, Any]] = json.loads(listed.stdout or "[]")
    return rows


def _ip(*lines: str, inside: Namespace | None = None) -> None:
    """Run lines of ip(8) as one batch, in a namespace's network or the machine's.

    Only the network is entered: `netns PID` in a line counts PIDs as this process does.
    """
    enter = ["/usr/bin/nsenter", "--target", str(inside.pid), "--net", "--"] if inside else []
    done = subprocess.run(  # noqa: S603
        [*enter, "/usr/sbin/ip", "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        env=CLEAN_ENVIRONMENT,
    )
    if done.returncode != 0:
        raise RehearsalError(f"ip(8) refused one of {list(lines)}: {done.stderr.strip()}")
