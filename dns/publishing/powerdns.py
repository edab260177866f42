"""Publishing by the HTTP API of PowerDNS: read, compare, patch. It knows no prerequisites."""

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from dns.domain.records import TYPES, Change, RecordSet, plain
from dns.domain.weights import is_slot
from dns.lookup import WITHIN_S, BadAnswer, Reading
from dns.publishing import Moved
from relays.remote.dialling import dial
from relays.remote.errors import Refused, RemoteError, Unreachable

_MOST_BYTES = 16 * 1024 * 1024
_CHUNK = 64 * 1024


class WrongApiKey(Refused):
    """The API does not accept our key; nothing was done."""


@dataclass(frozen=True, slots=True)
class PowerDns:
    """A zone on a PowerDNS server with its API on. url: "http://192.0.2.53:8081"."""

    url: str
    api_key: str = field(repr=False)
    zone: str
    server_id: str = "localhost"
    within_s: float = WITHIN_S

    def read(self, name: str) -> Reading:
        """Return what the zone holds at a relay name; foreign hosts that it points to are not looked up."""
        name = plain(name)
        answer = self._request("GET")
        try:
            records = [
                RecordSet.of(
                    item["name"], item["type"], item["ttl"],
                    [record["content"] for record in item["records"] if not record["disabled"]],
                )
                for item in answer["rrsets"]
                if item["type"] in TYPES
            ]  # fmt: skip
            serial = int(answer["serial"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadAnswer(f"The API at {self.url} answers something else than a zone.") from error
        here = [item for item in records if item.values and (item.name == name or is_slot(item.name, name))]
        targets = {plain(value.split(" ")[-1]) for item in here if item.type == "MX" for value in item.values}
        here += [item for item in records if item.name in targets and item not in here]
        return Reading(serial, tuple(sorted(here)))

    def write(self, change: Change) -> None:
        """Patch the zone, where it still is as it was read: the operation's lock keeps our others out."""
        touched = {item.name for item in (*change.now, *change.put)}
        name = min(touched, key=len)
        if self.read(name).ours(name) != change.now:
            raise Moved(f"{self.url} serves something else than was read: nothing was changed.")
        patch = [_set(gone, "DELETE") for gone in change.remove] + [
            _set(new, "REPLACE") for new in change.put
        ]
        self._request("PATCH", {"rrsets": patch})

    def check(self, name: str) -> None:
        """Have the server delete what is not there."""
        nothing = RecordSet.of(f"_relay-fleet-check.{plain(name)}", "A", 60, [])
        self._request("PATCH", {"rrsets": [_set(nothing, "DELETE")]})

    def _request(self, method: str, body: Any = None) -> Any:
        """Ask once, following no redirect, and take no more than a zone may have."""
        url = urlsplit(self.url)
        kind = {"http": _Plain, "https": _Encrypted}.get(url.scheme)
        if kind is None or not url.hostname:
            raise Refused(f"{self.url[:80]!r} is not the address of an API.")
        until = time.monotonic() + self.within_s
        connection = kind(url.hostname, url.port, timeout=self.within_s)
        path = f"{url.path.rstrip('/')}/api/v1/servers/{quote(self.server_id, safe='')}"
        try:
            with _ended(connection, self.within_s):
                connection.request(
                    method,
                    f"{path}/zones/{quote(plain(self.zone), safe='')}.",
                    body=None if body is None else json.dumps(body),
                    headers={"X-API-Key": self.api_key, "Content-Type": "application/json"},
                )
                answer = connection.getresponse()
                text = _read(answer, until)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"The API at {self.url} did not answer: {error}.") from error
        finally:
            connection.close()
        return self._taken(answer.status, text)

    def _taken(self, status: int, text: bytes) -> Any:
        if status in (401, 403):
            raise WrongApiKey(f"The API at {self.url} does not accept our key ({status}).")
        if status in (404, 422, 400):
            raise Refused(f"The API at {self.url} refuses ({status}): {_reason(text)}")
        if status not in (200, 204):
            raise RemoteError(f"The API at {self.url} answered {status}.")
        try:
            return json.loads(text) if text else {}
        except ValueError as error:
            raise BadAnswer(f"The API at {self.url} answers something else than JSON.") from error


class _Plain(http.client.HTTPConnection):
    """A connection to where a machine of ours can be. link: its socket, also once the answer alone has it."""

    link: socket.socket | None = None

    def connect(self) -> None:
        """Dial."""
        self.link = self.sock = dial(self.host, self.port, timeout_s=self.timeout or WITHIN_S)


class _Encrypted(_Plain):
    """The same by TLS, whose certificate must be for the name."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        """Dial, then have the server prove that it is who was named."""
        super().connect()
        self.link = self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


@contextmanager
def _ended(connection: _Plain, within_s: float) -> Iterator[None]:
    """End the connection when the time is over: a socket's own timeout begins anew with each byte."""

    def end() -> None:
        if connection.link is not None:
            with suppress(OSError):
                # Below TLS, which must not be taken apart while another thread reads.
                socket.socket.shutdown(connection.link, socket.SHUT_RDWR)

    timer = threading.Timer(within_s, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read(answer: http.client.HTTPResponse, until: float) -> bytes:
    text = bytearray()
    while chunk := answer.read(_CHUNK):
        text += chunk
        if len(text) > _MOST_BYTES:
            raise BadAnswer("The zone is larger than 16 MiB: write it by RFC 2136.")
    # Where no length was told, the end of a connection that we ended looks like the answer's.
    if time.monotonic() > until:
        raise TimeoutError("it took too long")
    return bytes(text)


def _reason(text: bytes) -> str:
    try:
        return str(json.loads(text)["error"])[:200]
    except (ValueError, KeyError, TypeError):
        return "it does not say why"


def _set(item: RecordSet, changetype: str) -> dict[str, Any]:
    return {
        "name": f"{item.name}.",
        "type": item.type,
        "ttl": item.ttl,
        "changetype": changetype,
        "records": [{"content": value, "disabled": False} for value in item.values],
    }
