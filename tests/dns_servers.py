"""BIND, Knot and PowerDNS for tests, each the primary of one zone that takes updates."""

import contextlib
import socket
import sqlite3
from pathlib import Path

from tests.servers import Argv, Server, free_port

ZONE = "smtp.example.org"
KEY, SECRET, ALGORITHM = "fleet-key", "c2VjcmV0IG9mIHRoZSB0ZXN0cyBhbG9uZSwgMzIgYnl0ZXM=", "hmac-sha256"
API_KEY = "api-key-of-the-tests"
_RECORDS = (
    (ZONE, "SOA", f"ns.{ZONE}. hostmaster.{ZONE}. {{serial}} 3600 600 86400 60"),
    (ZONE, "NS", f"ns.{ZONE}."),
    (f"ns.{ZONE}", "A", "127.0.0.1"),
)


class NameServer(Server):
    """A primary of ZONE. serial: of its zone when it first starts."""

    user = "root"

    def __init__(self, *, serial: int = 1) -> None:
        super().__init__()
        self.serial = serial

    def start(self) -> None:
        """Make its files on the first start."""
        if not (self.folder / "made").exists():
            self.make_files()
            (self.folder / "made").touch()
        super().start()

    def make_files(self) -> None:
        """Write its configuration and the zone."""
        raise NotImplementedError

    def zone_text(self) -> str:
        """Return the zone as it is at first."""
        return "".join(
            f"{name}. 60 IN {kind} {value.format(serial=self.serial)}\n" for name, kind, value in _RECORDS
        )

    def answers(self) -> bool:
        """Ask for the SOA: a port that is open may still answer SERVFAIL."""
        question = b"\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"
        question += b"".join(bytes([len(label)]) + label.encode() for label in ZONE.split(".")) + b"\x00"
        question += b"\x00\x06\x00\x01"
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as asking:
            asking.settimeout(0.5)
            asking.sendto(question, ("127.0.0.1", self.port))
            answer = asking.recv(512)
            return answer[3] & 0x0F == 0 and answer[7] > 0
        return False


class Bind(NameServer):
    """Debian's BIND 9."""

    def make_files(self) -> None:
        """Give the key the relay names, and nothing else."""
        (self.folder / "zone").write_text(self.zone_text())
        (self.folder / "named.conf").write_text(
            f"""
options {{ directory "{self.folder}"; listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file none; lock-file none; session-keyfile none; recursion no; notify no; dnssec-validation no; }};
controls {{ }};
key "{KEY}" {{ algorithm {ALGORITHM}; secret "{SECRET}"; }};
zone "{ZONE}" {{ type primary; file "zone"; update-policy {{ grant {KEY} subdomain msn.{ZONE} ANY;
  grant {KEY} subdomain gmail.{ZONE} ANY; }}; }};
"""
        )

    def argv(self) -> Argv:
        """Return named's command."""
        return ["/usr/sbin/named", "-g", "-4", "-n", "1", "-c", self.folder / "named.conf"]


class Knot(NameServer):
    """Debian's Knot."""

    def start(self) -> None:
        """Remove what a killed one left: in its own PID namespace the number it wrote is its next one's."""
        (self.folder / "knot.pid").unlink(missing_ok=True)
        super().start()

    def make_files(self) -> None:
        """Let the key update the whole zone."""
        (self.folder / "zone").write_text(self.zone_text())
        (self.folder / "knot.conf").write_text(
            f"""
server:
    rundir: "{self.folder}"
    listen: 127.0.0.1@{self.port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{self.folder}"
key:
  - id: {KEY}
    algorithm: {ALGORITHM}
    secret: {SECRET}
acl:
  - id: update
    key: {KEY}
    action: update
zone:
  - domain: {ZONE}
    storage: "{self.folder}"
    file: zone
    acl: update
"""
        )

    def argv(self) -> Argv:
        """Return knotd's command."""
        return ["/usr/sbin/knotd", "-c", self.folder / "knot.conf"]


class PowerDnsServer(NameServer):
    """Debian's PowerDNS on SQLite: updates, its API and LUA records are on."""

    def __init__(self, *, serial: int = 1) -> None:
        super().__init__(serial=serial)
        self.api_port = free_port()

    @property
    def api_url(self) -> str:
        """Return where its API is."""
        return f"http://127.0.0.1:{self.api_port}"

    def make_files(self) -> None:
        """Make the database."""
        settings = {
            "launch": "gsqlite3",
            "gsqlite3-database": self.folder / "zones.sqlite3",
            "local-address": "127.0.0.1",
            "local-port": self.port,
            "socket-dir": self.folder,
            "api": "yes",
            "api-key": API_KEY,
            "webserver": "yes",
            "webserver-address": "127.0.0.1",
            "webserver-port": self.api_port,
            "enable-lua-records": "yes",
            "dnsupdate": "yes",
            "allow-dnsupdate-from": "127.0.0.0/8",
            "zone-cache-refresh-interval": "0",
            "cache-ttl": "0",
            "query-cache-ttl": "0",
            "negquery-cache-ttl": "0",
            "guardian": "no",
            "daemon": "no",
            "write-pid": "no",
        }
        (self.folder / "pdns.conf").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        with contextlib.closing(sqlite3.connect(self.folder / "zones.sqlite3")) as database:
            database.executescript(
                Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql").read_text()
            )
            database.execute("INSERT INTO domains (id, name, type) VALUES (1, ?, 'NATIVE')", [ZONE])
            database.executemany(
                "INSERT INTO records (domain_id, name, type, content, ttl, auth) VALUES (1, ?, ?, ?, 60, 1)",
                [
                    (name, kind, value.format(serial=self.serial).replace(". ", " ").removesuffix("."))
                    for name, kind, value in _RECORDS
                ],
            )
            database.execute(
                "INSERT INTO tsigkeys (name, algorithm, secret) VALUES (?, ?, ?)", [KEY, ALGORITHM, SECRET]
            )
            database.executemany(
                "INSERT INTO domainmetadata (domain_id, kind, content) VALUES (1, ?, ?)",
                [
                    ("TSIG-ALLOW-DNSUPDATE", KEY),
                    ("SOA-EDIT-API", "INCREASE"),
                    ("SOA-EDIT-DNSUPDATE", "INCREASE"),
                ],
            )
            database.commit()

    def argv(self) -> Argv:
        """Return pdns_server's command."""
        return ["/usr/sbin/pdns_server", f"--config-dir={self.folder}"]
