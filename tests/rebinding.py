"""A small internet in namespaces of its own, with a name server that answers the same question in two ways.

As a program (in `unshare --net --mount`) it has every client of the console connect four times to each name,
and writes what each try said, which addresses were really dialled, and how many questions the name server
got. The name server is a double: no real one alternates an answer so that each test sees both.
"""

import datetime
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from itertools import cycle
from pathlib import Path
from typing import Any

from dns.publishing.powerdns import PowerDns
from fleet.sign_on_session import SignOnSession
from relays.remote import ssh

GOOD = "192.0.2.1"
# Where a name leads at every second question.
SWINGING = {
    "metadata.example": "169.254.169.254",
    "loopback.example": "127.0.0.1",
    "alibaba.example": "100.100.100.200",
    "everywhere.example": "0.0.0.0",
    "disguised.example": "::ffff:169.254.169.254",
    "six.example": "fd00:ec2::254",
}
HTTP, HTTPS = 8081, 8443
TRIES = 4
_CHECKOUT = Path(__file__).parents[1]


def tell() -> dict[str, Any]:
    """Return what `main` writes, from a process in namespaces of its own."""
    ran = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.rebinding"],
        # A proxy of this machine's is not to be found in there.
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        check=True,
        stdout=subprocess.PIPE,
        timeout=120,
        cwd=_CHECKOUT,
    )
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def main() -> None:
    """Have each client try each name."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = _certificate(Path(folder), [*SWINGING, "localhost"])
        os.environ |= {"SSL_CERT_FILE": str(certificate), "REQUESTS_CA_BUNDLE": str(certificate)}
        _make_net()
        place = _Place(certificate)
        clients: dict[str, Callable[[str], object]] = {
            "ssh": lambda name: ssh.probe(name, HTTP),
            "powerdns": lambda name: _read_zone(f"http://{name}:{HTTP}"),
            "powerdns by TLS": lambda name: _read_zone(f"https://{name}:{HTTPS}"),
            "sign-on": lambda name: _sign_on(name, "/zone"),
        }
        found = {
            what: {name: place.tried(client, name) for name in (*SWINGING, "localhost", "other.example")}
            for what, client in clients.items()
        }
        found["sign-on, redirected"] = {
            path: place.tried(lambda name, path=path: _sign_on(name, f"/to{path}"), "localhost")  # type: ignore[misc]
            for path in ("/file", "/metadata", "/plain")
        }
        found["powerdns, redirected"] = {
            "/metadata": place.tried(lambda name: _read_zone(f"http://{name}:{HTTP}", "moved"), "localhost")
        }
    json.dump(found, sys.stdout)


def _read_zone(url: str, zone: str = "example.org") -> object:
    return PowerDns(url, "key", zone).read("a.example.org")


def _sign_on(name: str, path: str) -> object:
    session = SignOnSession(issuer=f"https://{name}")
    return session.request("GET", f"https://{name}:{HTTPS}{path}", withhold_token=True).json()


class _Place:
    """The name server, and one program that listens on every address."""

    def __init__(self, certificate: Path) -> None:
        self._dialled: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._start(_Questions(("127.0.0.1", 53), self._asked))
        self._start(_Listening(HTTP, self._dialled))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        self._start(_Listening(HTTPS, self._dialled, tls))

    def tried(self, client: Callable[[str], object], name: str) -> dict[str, Any]:
        """Return what a client said at each try, with what was dialled and asked meanwhile."""
        self._dialled.clear()
        self._asked.clear()
        said = []
        for _ in range(TRIES):
            try:
                client(name)
                said.append("")
            except Exception as error:  # noqa: BLE001 - it is told
                said.append(f"{type(error).__name__}: {error}")
        return {"said": said, "dialled": dict(self._dialled), "asked": self._asked[name]}

    @staticmethod
    def _start(server: socketserver.BaseServer) -> None:
        threading.Thread(target=server.serve_forever, daemon=True).start()


class _Questions(socketserver.ThreadingUDPServer):
    """Answers A and AAAA: at every second question of its kind, the address that nobody may be led to."""

    def __init__(self, at: tuple[str, int], asked: Counter[str]) -> None:
        super().__init__(at, _Question)
        self.asked = asked
        self.answers = {
            (name, kind): cycle([[GOOD] if kind == 1 else [], [bad] if _type(bad) == kind else []])
            for name, bad in SWINGING.items()
            for kind in (1, 28)
        } | {("other.example", 1): cycle([[GOOD]])}


class _Question(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode().lower())
            at += 1 + data[at]
        name, kind = ".".join(labels), int.from_bytes(data[at + 1 : at + 3], "big")
        assert isinstance(self.server, _Questions)
        self.server.asked[name] += kind == 1
        answers = next(self.server.answers.get((name, kind), iter([[]])))
        body = b"".join(
            b"\xc0\x0c" + data[at + 1 : at + 5] + bytes(4) + len(packed).to_bytes(2, "big") + packed
            for packed in (ip_address(text).packed for text in answers)
        )
        head = data[:2] + b"\x85\x80\x00\x01" + len(answers).to_bytes(2, "big") + bytes(4)
        sock.sendto(head + data[12 : at + 5] + body, self.client_address)


class _Listening(ThreadingHTTPServer):
    """Notes which address was dialled, then answers as an empty zone, or with a redirect."""

    def __init__(self, port: int, dialled: Counter[str], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("0.0.0.0", port), _Request)
        self.dialled, self.tls = dialled, tls

    def get_request(self) -> tuple[socket.socket, Any]:
        link, peer = super().get_request()
        self.dialled[link.getsockname()[0]] += 1
        link.settimeout(5)
        return (self.tls.wrap_socket(link, server_side=True) if self.tls else link), peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is nothing to tell."""


class _Request(BaseHTTPRequestHandler):
    _REDIRECTS = {
        "/to/file": "file:///etc/passwd",
        "/to/metadata": f"https://169.254.169.254:{HTTPS}/zone",
        "/to/plain": f"http://{GOOD}:{HTTP}/zone",
        "/api/v1/servers/localhost/zones/moved.": f"http://169.254.169.254:{HTTP}/zone",
    }

    def do_GET(self) -> None:
        body = json.dumps({"serial": 1, "rrsets": []}).encode()
        place = self._REDIRECTS.get(self.path)
        self.send_response(302 if place else 200)
        if place:
            self.send_header("Location", place)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *told: object) -> None:
        """Stay silent."""


def _type(address: str) -> int:
    return 28 if ":" in address else 1


def _make_net() -> None:
    """Give the namespace its addresses, and an /etc in which names are looked up here."""
    for command in (
        "ip link set lo up",
        *(f"ip address add {one}/32 dev lo" for one in (GOOD, "169.254.169.254", "100.100.100.200")),
        "mount --make-rprivate /",
        "mount -t tmpfs tmpfs /etc",
    ):
        subprocess.run(command.split(), check=True)
    Path("/etc/hosts").write_text("127.0.0.1 localhost\n")
    Path("/etc/nsswitch.conf").write_text("hosts: files dns\n")
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")


def _certificate(folder: Path, names: list[str]) -> Path:
    """Return a file with a key and a certificate for these names, which its reader trusts."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "of a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


if __name__ == "__main__":
    main()
