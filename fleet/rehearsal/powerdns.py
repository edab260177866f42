"""PowerDNS: the primary of one zone of relay names, with its API, LUA records and RFC 2136 updates on."""

import sqlite3
from pathlib import Path

from fleet.rehearsal import network, spec, zones
from fleet.rehearsal.core import Core
from fleet.rehearsal.namespaces import wait_until
from fleet.rehearsal.zones import Access, Hosts

API_PORT = 8081
SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")


def start(core: Core, zone: spec.Zone, *, access: Access, hosts: Hosts) -> None:
    """Configure and start PowerDNS. Raises DidNotStart, with what it said, where it does not serve."""
    folder = core.disks_outside / "powerdns"
    folder.mkdir()
    settings = _settings(core, zone, access)
    (folder / "pdns.conf").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (folder / "zones.sqlite3").write_bytes(_database(zone, access, hosts))
    log = core.folder / "pdns.log"
    core.namespace.spawn("/usr/sbin/pdns_server", f"--config-dir={core.disks}/powerdns", log=log)
    wait_until(lambda: "Done launching threads" in log.read_text(errors="replace"), "PowerDNS", log=log)


def _settings(core: Core, zone: spec.Zone, access: Access) -> dict[str, str]:
    managed = network.management_address(core.slot, zone.octet)
    return {
        "launch": "gsqlite3",
        "gsqlite3-database": f"{core.disks}/powerdns/zones.sqlite3",
        "local-address": f"{zone.address},{managed}",
        "socket-dir": f"{core.disks}/powerdns",
        "api": "yes",
        "api-key": access.api_key,
        "webserver": "yes",
        "webserver-address": managed,
        "webserver-port": str(API_PORT),
        "webserver-allow-from": f"{spec.MANAGEMENT_NET}.0.0/16",
        "enable-lua-records": "yes",
        "dnsupdate": "yes",
        "allow-dnsupdate-from": "0.0.0.0/0",
        # Otherwise a zone made later is refused for up to 300 s.
        "zone-cache-refresh-interval": "0",
        "guardian": "no",
        "daemon": "no",
        "write-pid": "no",
    }


def _database(zone: spec.Zone, access: Access, hosts: Hosts) -> bytes:
    # Made in memory: SQLite resolves the links in a path, and /proc/PID/root leads it outside.
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA.read_text())
    connection.execute("INSERT INTO domains (id, name, type) VALUES (1, ?, 'NATIVE')", [zone.name])
    connection.executemany(
        "INSERT INTO records (domain_id, name, type, content, ttl, auth) VALUES (1, ?, ?, ?, ?, 1)",
        [
            # The database has names without their last dot.
            (name, kind, content.replace(". ", " ").removesuffix("."), zones.TTL)
            for name, kind, content in zones.relay_records(zone, hosts)
        ],
    )
    connection.execute(
        "INSERT INTO tsigkeys (name, algorithm, secret) VALUES (?, ?, ?)",
        [access.key_name, access.algorithm, access.secret],
    )
    connection.executemany(
        "INSERT INTO domainmetadata (domain_id, kind, content) VALUES (1, ?, ?)",
        [
            ("TSIG-ALLOW-DNSUPDATE", access.key_name),
            ("TSIG-ALLOW-AXFR", access.key_name),
            ("SOA-EDIT-API", "INCREASE"),
            ("SOA-EDIT-DNSUPDATE", "INCREASE"),
        ],
    )
    connection.commit()
    return connection.serialize()
