"""What has to outlast a change, for resolvers that still hold the records from before it.

Whoever holds MX records asks for the addresses of their hosts one by one, as each is forgotten. Where none of
them exists any more, Postfix takes the relay name for a dead one and bounces the mail.
"""

from collections.abc import Iterable, Sequence

from dns.domain.records import RecordSet, plain
from dns.domain.weights import is_slot


def hosts_to_keep(
    name: str, new: Sequence[RecordSet], *, now: Iterable[RecordSet], held: Iterable[Sequence[RecordSet]]
) -> tuple[RecordSet, ...]:
    """Return the host records of `now` that have to stay beside `new` until resolvers forget who named them.

    now: what is served at and under the relay name; held: each version of it that a resolver may hold. All of
    their hosts stay, also where another of them stays: a resolver that is told of a host's absence remembers
    that for the zone's negative TTL (RFC 2308), and bounces its mail when the host comes back before.
    """
    staying = {item.name for item in new}
    needed = {host for version in held for host in _exchangers(name, version) if is_slot(host, name)}
    return tuple(sorted(item for item in now if item.name in needed - staying))


def served_to(name: str, records: Sequence[RecordSet]) -> tuple[RecordSet, ...]:
    """Return the records without the hosts that nobody is led to any more."""
    led_to = {plain(name), *_exchangers(name, records)}
    return tuple(item for item in records if item.name in led_to)


def _exchangers(name: str, records: Sequence[RecordSet]) -> set[str]:
    values = [value for item in records if item.key == (plain(name), "MX") for value in item.values]
    return {plain(value.split(" ")[-1]) for value in values}
