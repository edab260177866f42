"""The network of a fleet: a bridge for the hosts, addresses for the providers, one way in for the console.

The machine sees one interface (`fleet-SLOT`) and one /24 behind it. Both ends go with the core's namespace.
"""

import ipaddress
import json
import subprocess
from contextlib import suppress
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
    _give_up_early(core)
    slot = _take_slot(core, token)
    _ip(
        *(f"address add {management_address(slot, zone.octet)}/24 dev br0" for zone in spec.ZONES),
        "link set machine master br0 up",
        inside=core,
    )
    return slot


def part_machine(token: str) -> None:
    """Take the machine's interface of a fleet away, wherever one is left.

    The kernel does that when the fleet's network ends, but TCP may hold that for a minute after its last
    process: a connection to a host that is off is tried again before it is given up.
    """
    for link in _show("link", "show"):
        if link.get("ifalias") == token:
            with suppress(RehearsalError):
                _ip(f"link delete {link['ifname']}")
    if any(link.get("ifalias") == token for link in _show("link", "show")):
        raise RehearsalError(f"the interface of {token} cannot be removed")


def join_host(core: Namespace, host: Namespace, host_spec: spec.HostSpec, slot: int) -> None:
    """Give a host its interface, its addresses and its way out."""
    port = _port(host_spec)
    # The same at each boot, as of a real card: its neighbours remember it.
    card = f"02:00:c6:33:64:{host_spec.octet:02x}"
    _ip(
        f"link add {port} type veth peer name eth0 address {card} netns {host.pid}",
        f"link set {port} master br0 up",
        inside=core,
    )
    _give_up_early(host)
    own = [host_spec.address, *(instance.address for instance in host_spec.instances)]
    own6 = [address for instance in host_spec.instances for address in instance.addresses[1:]]
    _ip(
        "link set lo up",
        f"address add {management_address(slot, host_spec.octet)}/24 dev eth0",
        *(f"address add {address}/24 dev eth0" for address in own),
        # Without duplicate address detection: Postfix could not bind to it for a second or two.
        *(f"address add {address}/64 dev eth0 nodad" for address in own6),
        "link set eth0 up",
        f"route add default via {spec.GATEWAY}",
        inside=host,
    )


def part_host(core: Namespace, host_spec: spec.HostSpec) -> None:
    """Take a host's interface away, which the kernel would do a while after its end."""
    _ip(f"link delete {_port(host_spec)}", inside=core)


def _port(host_spec: spec.HostSpec) -> str:
    return f"h-{host_spec.name}"


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


def _give_up_early(inside: Namespace) -> None:
    """Let TCP forget at once what its process has left behind, so that the network ends with the fleet."""
    setting = "echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries"
    enter = ["/usr/bin/nsenter", "--target", str(inside.pid), "--net", "--", "/bin/sh", "-c", setting]
    subprocess.run(enter, check=True, timeout=20, env=CLEAN_ENVIRONMENT)  # noqa: S603


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
