"""BIND: the resolver of the fleet, the root of its names, and the primary of one zone of relay names.

Its root zone is its own, so no question leaves the fleet; the other relay zone it looks up at PowerDNS, as
a resolver does.
"""

from fleet.rehearsal import network, spec, zones
from fleet.rehearsal.core import Core
from fleet.rehearsal.namespaces import wait_until
from fleet.rehearsal.zones import Access, Hosts

_CONFIGURATION = """\
options {{
    directory "{folder}";
    listen-on {{ {listen} }};
    pid-file none;
    lock-file none;
    session-keyfile none;
    recursion yes;
    allow-query {{ any; }};
    allow-recursion {{ any; }};
    dnssec-validation no;
    empty-zones-enable no;
    notify no;
}};
include "{folder}/key.conf";
controls {{ inet 127.0.0.1 port 953 allow {{ 127.0.0.1; }} keys {{ "{key.key_name}"; }}; }};
zone "." {{ type primary; file "root.zone"; }};
zone "{zone}" {{
    type primary;
    file "relay.zone";
    allow-update {{ key "{key.key_name}"; }};
    allow-transfer {{ key "{key.key_name}"; }};
}};
"""


_KEY = 'key "{key.key_name}" {{ algorithm {key.algorithm}; secret "{key.secret}"; }};\n'


def start(core: Core, zone: spec.Zone, *, access: Access, hosts: Hosts) -> None:
    """Configure and start BIND. Raises DidNotStart, with what it said, where it does not load its zones."""
    folder = core.disks_outside / "bind"
    folder.mkdir()
    (folder / "root.zone").write_text(zones.as_text(zones.root_records(hosts)))
    (folder / "relay.zone").write_text(zones.as_text(zones.relay_records(zone, hosts)))
    (folder / "key.conf").write_text(_KEY.format(key=access))
    configuration = _CONFIGURATION.format(
        folder=core.disks / "bind",
        listen=f"{zone.address}; {network.management_address(core.slot, zone.octet)};",
        key=access,
        zone=zone.name,
    )
    (folder / "named.conf").write_text(configuration)
    log = core.folder / "named.log"
    core.namespace.spawn(
        "/usr/sbin/named", "-g", "-4", "-n", "1", "-c", f"{core.disks}/bind/named.conf", log=log
    )
    # Its own word: a port that is open may still answer SERVFAIL.
    wait_until(lambda: "all zones loaded" in log.read_text(errors="replace"), "BIND", log=log)


def forget(core: Core) -> None:
    """Have the resolver forget what it has looked up."""
    core.namespace.run("/usr/sbin/rndc", "-k", f"{core.disks}/bind/key.conf", "-s", "127.0.0.1", "flush")
