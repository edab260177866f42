"""Publishing by dynamic update (RFC 2136): BIND, Knot, PowerDNS, or the primary in front of an NSD."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update
from dns.domain.records import Change, RecordSet
from dns.domain.weights import is_slot
from dns.lookup import WITHIN_S, Reading, Server, connected, read_name
from dns.publishing import Moved
from relays.remote.errors import Refused, RemoteError

ALGORITHMS = ("hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1")
_MOVED = {dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN}


class BadKey(Refused):
    """The server does not accept our TSIG key; nothing was done."""


class WrongSecret(BadKey):
    """It knows the key, with another secret."""


class UnknownKey(BadKey):
    """It knows no key of that name."""


class WrongAlgorithm(BadKey):
    """It knows the key for another algorithm."""


class WrongClock(BadKey):
    """Its clock and ours are too far apart."""


class Unproven(RemoteError):
    """Its answer is not signed: what it says cannot be trusted, and what it did is not known."""


@dataclass(frozen=True, slots=True)
class Key:
    """A TSIG key. secret: base64."""

    name: str
    algorithm: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rfc2136:
    """A zone whose primary takes updates that are signed with a key.

    also: hosts that are looked at even where nothing points to them.
    """

    primary: Server
    zone: str
    key: Key
    within_s: float = WITHIN_S
    also: tuple[str, ...] = ()

    def read(self, name: str) -> Reading:
        """Return what the primary serves at a relay name."""
        also = [host for host in self.also if is_slot(host, name)]
        return read_name(self.primary, zone=self.zone, name=name, also=also, within_s=self.within_s)

    def write(self, change: Change) -> None:
        """Send one update, which the server makes only where everything still is as it was read."""
        try:
            update = self._of(change)
        except dns.exception.DNSException as error:
            raise Refused(f"No update can be made of these records, and none was sent: {error}.") from error
        self._send(update)

    def check(self, name: str) -> None:
        """Have the server delete what is not there: it says whether it would take a change of this name."""
        update = self._update()
        update.absent(f"_relay-fleet-check.{name}.")
        update.delete(f"_relay-fleet-check.{name}.", "A")
        self._send(update)

    def _of(self, change: Change) -> dns.update.UpdateMessage:
        """Return the update that makes a change. Raises DNSException for what is no record or no name."""
        update = self._update()
        for served in change.now:
            # With a TTL of 0, as RFC 2136 has it: BIND takes no other.
            update.present(f"{served.name}.", _rdataset(served, ttl=0))
        for name, kind in change.absent:
            update.absent(f"{name}.", kind)
        for gone in change.remove:
            update.delete(f"{gone.name}.", gone.type)
        for wanted in change.put:
            update.replace(f"{wanted.name}.", _rdataset(wanted, ttl=wanted.ttl))
        return update

    def _update(self) -> dns.update.UpdateMessage:
        return dns.update.UpdateMessage(f"{self.zone}.")

    def _send(self, update: dns.update.UpdateMessage) -> None:
        rcode = self._rcode(update)
        if rcode in _MOVED:
            raise Moved(f"{self.primary} serves something else than was read: nothing was changed.")
        if rcode in (dns.rcode.REFUSED, dns.rcode.NOTAUTH, dns.rcode.NOTZONE, dns.rcode.NOTIMP):
            raise Refused(
                f"{self.primary} refuses updates of {self.zone} with the key {self.key.name} "
                f"({dns.rcode.to_text(rcode)}): nothing was changed."
            )
        if rcode != dns.rcode.NOERROR:
            raise RemoteError(f"{self.primary} answered the update with {dns.rcode.to_text(rcode)}.")

    def _rcode(self, message: dns.message.Message) -> dns.rcode.Rcode:
        try:
            return self._exchange(message, self.key.algorithm)
        except dns.tsig.PeerBadSignature as error:
            raise WrongSecret(f"{self.primary} knows the key {self.key.name} with another secret.") from error
        except dns.tsig.PeerBadTime as error:
            raise WrongClock(
                f"The clock of {self.primary} and ours are more than 5 minutes apart: set both by NTP."
            ) from error
        except dns.exception.DNSException as error:
            # A key that it does not know, or its answer to that without a signature.
            raise self._what_is_wrong(error) from error

    def _exchange(self, message: dns.message.Message, algorithm: str) -> dns.rcode.Rcode:
        try:
            ring = dns.tsigkeyring.from_text({self.key.name: (algorithm, self.key.secret)})
        except ValueError as error:
            raise BadKey(f"The secret of the key {self.key.name} is not base64.") from error
        message.use_tsig(ring, algorithm=dns.name.from_text(algorithm))
        with connected(self.primary, time.monotonic() + self.within_s) as ask:
            return ask(message).rcode()

    def _what_is_wrong(self, error: Exception) -> RemoteError:
        """Find out by harmless questions why a signed message was not accepted."""
        for algorithm in (self.key.algorithm, *ALGORITHMS):
            found = self._try(lambda algorithm=algorithm: self._exchange(self._question(), algorithm))  # type: ignore[misc]
            if found is None or isinstance(found, dns.tsig.PeerBadSignature):
                if algorithm == self.key.algorithm:
                    break
                return WrongAlgorithm(
                    f"{self.primary} has the key {self.key.name} for {algorithm}, not {self.key.algorithm}."
                )
        if not isinstance(error, dns.tsig.PeerError):
            return Unproven(
                f"{self.primary} answers without a signature, as PowerDNS does where the key "
                f"{self.key.name} has another name or secret there, or the clocks are apart: see its log."
            )
        return UnknownKey(f"{self.primary} knows no key {self.key.name} for {self.key.algorithm}.")

    def _question(self) -> dns.message.Message:
        return dns.message.make_query(f"{self.zone}.", "SOA")

    @staticmethod
    def _try(exchange: Callable[[], dns.rcode.Rcode]) -> Exception | None:
        try:
            exchange()
        except (dns.exception.DNSException, RemoteError) as error:
            return error
        return None


def _rdataset(item: RecordSet, *, ttl: int) -> dns.rdataset.Rdataset:
    return dns.rdataset.from_text("IN", item.type, ttl, *item.values)
