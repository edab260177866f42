"""Asking authoritative name servers what they serve: over TCP, each by its address, within a deadline."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.resolver
import dns.reversename
from dns.domain.records import RecordSet, plain
from dns.domain.weights import is_slot
from dns.rdtypes.ANY.TXT import TXT
from relays.remote.dialling import dial
from relays.remote.errors import RemoteError, Unreachable

WITHIN_S = 10.0
# Of a name that somebody else filled we read no more hosts than Postfix takes.
_MOST_HOSTS = 100
_READ_TRIES = 10


class BadAnswer(RemoteError):
    """An answer that cannot be taken for what the zone holds."""


class Lame(BadAnswer):
    """The server does not answer for the zone with authority."""


@dataclass(frozen=True, slots=True)
class Server:
    """An authoritative name server."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        if self.port == 53:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server serves at a relay name, the names under it and the hosts it points to, at one serial."""

    serial: int
    records: tuple[RecordSet, ...]

    def ours(self, name: str) -> tuple[RecordSet, ...]:
        """Return what is written of a relay name: not the hosts of others that it points to."""
        name = plain(name)
        return tuple(item for item in self.records if item.name == name or is_slot(item.name, name))


def read_name(
    server: Server, *, zone: str, name: str, also: Sequence[str] = (), within_s: float = WITHIN_S
) -> Reading:
    """Return what one server serves at a relay name.

    also: names under it that are looked at even where nothing points to them. Reads again where the zone
    changed meanwhile. Raises Unreachable, BadAnswer, Lame.
    """
    until = time.monotonic() + within_s
    with connected(server, until) as ask:
        serial = _serial(ask, server, zone)
        for _ in range(_READ_TRIES):
            records = _read(ask, server, plain(name), also)
            before, serial = serial, _serial(ask, server, zone)
            if serial == before:
                return Reading(serial, tuple(sorted(records)))
    raise BadAnswer(f"{server} changed {zone} {_READ_TRIES} times while it was read.")


def read_everywhere(
    servers: Sequence[Server], *, zone: str, name: str, within_s: float = WITHIN_S
) -> dict[Server, Reading | RemoteError]:
    """Ask all servers at the same time; an error stands where a server's answer would."""

    def read(server: Server) -> Reading | RemoteError:
        try:
            return read_name(server, zone=zone, name=name, within_s=within_s)
        except RemoteError as error:
            return error

    with ThreadPoolExecutor(max_workers=min(16, len(servers)) or 1) as pool:
        return dict(zip(servers, pool.map(read, servers), strict=True))


Ask = Callable[[dns.message.Message], dns.message.Message]


@contextmanager
def connected(server: Server, until: float) -> Iterator[Ask]:
    """Give a function that sends a message over one connection and returns the answer. Raises RemoteError."""
    try:
        link = dial(server.address, server.port, timeout_s=_left(until))
    except OSError as error:
        raise Unreachable(f"{server} takes no connection: {error.strerror or error}.") from error
    link.setblocking(False)

    def ask(message: dns.message.Message) -> dns.message.Message:
        try:
            answer = dns.query.tcp(message, server.address, timeout=_left(until), port=server.port, sock=link)
        except dns.exception.Timeout as error:
            raise Unreachable(f"{server} did not answer in time.") from error
        except (EOFError, OSError) as error:
            raise Unreachable(f"{server} closed the connection before it answered.") from error
        if answer.flags & dns.flags.TC:
            raise BadAnswer(f"{server} cut its answer short.")
        return answer

    with link:
        yield ask


def _left(until: float) -> float:
    return max(0.05, until - time.monotonic())


def _serial(ask: Ask, server: Server, zone: str) -> int:
    answer = _query(ask, server, plain(zone), "SOA")
    found = [item for item in answer.answer if item.rdtype == dns.rdatatype.SOA]
    if not found:
        raise Lame(f"{server} has no zone {zone}.")
    serial: int = found[0][0].serial
    return serial


def _read(ask: Ask, server: Server, name: str, also: Sequence[str]) -> list[RecordSet]:
    records = [item for kind in ("MX", "A", "AAAA") for item in _sets(ask, server, name, kind)]
    exchangers = [value.split(" ")[1] for item in records if item.type == "MX" for value in item.values]
    hosts = sorted({plain(host) for host in (*exchangers, *also)} - {name})
    if len(hosts) > _MOST_HOSTS:
        raise BadAnswer(f"{server} names {len(hosts)} hosts for {name}, {_MOST_HOSTS} are read.")
    for host in hosts:
        for kind in ("A", "AAAA"):
            records += _sets(ask, server, host, kind, foreign=not host.endswith(f".{name}"))
    return list(dict.fromkeys(records))


def _sets(ask: Ask, server: Server, name: str, kind: str, *, foreign: bool = False) -> list[RecordSet]:
    """Return the sets that answer a question: an alias is one of another type than was asked for."""
    answer = _query(ask, server, name, kind, foreign=foreign)
    return [
        RecordSet.of(
            item.name.to_text(),
            dns.rdatatype.to_text(item.rdtype),
            item.ttl,
            [str(value).lower() if kind == "MX" else str(value) for value in item],
        )
        for item in answer.answer
        if plain(item.name.to_text()) == name and item.rdtype in _WANTED
    ]


_WANTED = (dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.MX, dns.rdatatype.CNAME)


def _query(ask: Ask, server: Server, name: str, kind: str, *, foreign: bool = False) -> dns.message.Message:
    question = dns.message.make_query(f"{name}.", kind)
    question.flags &= ~dns.flags.RD
    try:
        answer = ask(question)
    except dns.exception.DNSException as error:
        raise BadAnswer(f"{server} answered with something else than DNS: {error}.") from error
    if foreign and (answer.rcode() != dns.rcode.NOERROR or not answer.flags & dns.flags.AA):
        # A host of another zone: what it has is not this server's to say.
        answer.answer.clear()
        return answer
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise Lame(f"{server} answers {dns.rcode.to_text(answer.rcode())} for {name}.")
    if not answer.flags & dns.flags.AA:
        raise Lame(f"{server} answers for {name} without authority.")
    return answer


@dataclass(frozen=True, slots=True)
class Found:
    """What a resolver answered: values, none where there are none, and for how long it holds them yet."""

    values: tuple[str, ...]
    ttl: int = 0


def resolve(name: str, kind: str, *, resolver: Server | None = None, within_s: float = 3.0) -> Found:
    """Ask a resolver, the machine's own where none is given. Raises Unreachable."""
    try:
        ask = _resolver(resolver)
        answer = ask.resolve(name, kind, tcp=True, lifetime=within_s, raise_on_no_answer=False, search=False)
    except dns.resolver.NXDOMAIN:
        return Found(())
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise Unreachable(f"{name} could not be looked up: {error}") from error
    if answer.rrset is None:
        return Found(())
    return Found(tuple(sorted(map(_value, answer))), answer.rrset.ttl)


def _value(item: dns.rdata.Rdata) -> str:
    """Return a record as text: the strings of a TXT record in one (RFC 7208, section 3.3)."""
    if isinstance(item, TXT):
        return b"".join(item.strings).decode("ascii", "replace")
    return item.to_text().removesuffix(".")


def pointer_name(address: str) -> str:
    """Return the name under which an address's PTR record is."""
    return str(dns.reversename.from_address(address))


def listed_name(address: str, block_list: str) -> str:
    """Return the name under which a block list has an address, if it has it (RFC 5782)."""
    labels = dns.reversename.from_address(address).labels[:-3]
    return f"{b'.'.join(labels).decode()}.{block_list}"


def _resolver(server: Server | None) -> dns.resolver.Resolver:
    if server is None:
        return dns.resolver.Resolver()
    own = dns.resolver.Resolver(configure=False)
    own.nameservers, own.port = [server.address], server.port
    return own
