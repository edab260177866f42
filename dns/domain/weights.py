"""Weights as records and back: what a relay name has to serve for its addresses to get their shares.

A server keeps one of two equal records, so repeating an address gives it nothing. Hence three renderings:

- `mx`: several names of equal preference, each with one address. Postfix takes each of them equally often.
  The addresses stand at the relay name too: for a nexthop in brackets, and for a resolver that remembers
  that there was no MX record. Without them mail would bounce there.
- `lua`: PowerDNS draws one address for each question.
- `equal`: an A record for each address; there are no other shares than 1/n.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import gcd

from dns.domain.records import RecordSet, address_type, plain

# Postfix takes 100 from a list, but the answer has to stay small: 1/32 is the smallest share of `mx`.
MAX_NAMES = 32
MAX_WEIGHT = 100_000
_PREFERENCE = 10
# One answer of `lua` holds for all mail until its TTL is over: more than this is lumpy.
LUA_MAX_TTL = 60
_SLOT = re.compile(r"w(\d{1,2})-")
_PICK = re.compile(r"\{\s*(\d{1,9})\s*,\s*['\\\"]+([0-9A-Fa-f.:]+)['\\\"]+\s*\}")


class Rendering(StrEnum):
    """How weights become records."""

    MX = "mx"
    LUA = "lua"
    EQUAL = "equal"


class CannotRender(ValueError):
    """Weights that no records express; the text has the figures."""


class NotOurs(ValueError):
    """Records that no weights express; the text says what stands there."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What to serve. Shares are of all mail for the relay name, 0 to 1, by address."""

    records: tuple[RecordSet, ...]
    wanted: Mapping[str, Fraction]
    published: Mapping[str, Fraction]
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> Fraction:
        """Return the greatest difference between a share that is wanted and the one that is published."""
        return max(abs(self.wanted[address] - self.published[address]) for address in self.wanted)


@dataclass(frozen=True, slots=True)
class Served:
    """What a server's records say: of how many equal parts each address has how many."""

    rendering: Rendering
    parts: Mapping[str, int]

    @property
    def shares(self) -> dict[str, Fraction]:
        """Return the shares that these records give."""
        return to_shares(self.parts)


def render(
    name: str, weights: Mapping[str, int], *, rendering: Rendering, ttl: int, proposed: bool = True
) -> Rendered:
    """Return the records that give each address its share.

    weights: by address, those of 0 are left out. proposed: whether notes say how to get a share that the
    rendering cannot give. Raises CannotRender where no address carries anything, or there are too many.
    """
    carrying = {_canonical(address): weight for address, weight in weights.items() if weight}
    if not carrying:
        raise CannotRender("No address would be left.")
    if min(carrying.values()) < 0 or max(carrying.values()) > MAX_WEIGHT:
        raise CannotRender(f"A weight is between 0 and {MAX_WEIGHT:,}.")
    wanted = to_shares(carrying)
    match rendering:
        case Rendering.MX:
            parts = best_parts(carrying)
            records = _mx_records(plain(name), parts, ttl)
        case Rendering.LUA:
            parts = _reduced(carrying)
            records = [_lua_record(plain(name), parts, min(ttl, LUA_MAX_TTL))]
        case Rendering.EQUAL:
            parts = dict.fromkeys(carrying, 1)
            records = _address_records(plain(name), parts, ttl)
    published = to_shares(parts)
    notes = _notes(rendering, wanted, published) if proposed else ()
    return Rendered(tuple(sorted(records)), wanted, published, notes)


def read_back(name: str, records: Iterable[RecordSet]) -> Served:
    """Return what records at and under a relay name say. Raises NotOurs where they are none of our kinds."""
    name = plain(name)
    sets = {item.key: item for item in records}
    here = {kind for owner, kind in sets if owner == name}
    if "CNAME" in here:
        raise NotOurs(f"{name} is an alias of {sets[name, 'CNAME'].values[0]}: its weights are that name's.")
    if "MX" in here:
        return Served(Rendering.MX, _read_mx(name, sets))
    if "LUA" in here:
        return Served(Rendering.LUA, _read_lua(sets[name, "LUA"].values))
    if here & {"A", "AAAA"}:
        found = [value for kind in ("A", "AAAA") if kind in here for value in sets[name, kind].values]
        return Served(Rendering.EQUAL, dict.fromkeys(found, 1))
    raise NotOurs(f"{name} has no address.")


def to_shares(weights: Mapping[str, int]) -> dict[str, Fraction]:
    """Return each address's part of the whole."""
    whole = sum(weights.values())
    return {address: Fraction(weight, whole) for address, weight in weights.items()}


def best_parts(weights: Mapping[str, int]) -> dict[str, int]:
    """Return how many of at most 32 names each address gets: the smallest error, with the fewest names.

    Every address that carries anything has one. Raises CannotRender for more than 32 addresses.
    """
    if len(weights) > MAX_NAMES:
        raise CannotRender(f"{len(weights)} addresses are more than the {MAX_NAMES} names that mx has.")
    whole = sum(weights.values())
    best: tuple[Fraction, dict[str, int]] | None = None
    for names in range(len(weights), MAX_NAMES + 1):
        parts = _shared_out(weights, whole, names)
        error = max(
            abs(Fraction(parts[address], names) - Fraction(weight, whole))
            for address, weight in weights.items()
        )
        if best is None or error < best[0]:
            best = error, parts
    assert best is not None  # noqa: S101 - the range is not empty
    return best[1]


def slot_name(name: str, address: str, number: int) -> str:
    """Return the number-th of an address's names under a relay name.

    It tells the address, so a resolver that holds an old list of names never meets a new address in it.
    """
    written = ipaddress.ip_address(address).exploded.replace(".", "-").replace(":", "-")
    return f"w{number}-{written}.{plain(name)}"


def is_slot(name: str, relay_name: str) -> bool:
    """Tell whether a name is one that slot_name() makes."""
    return plain(name).endswith(f".{plain(relay_name)}") and bool(_SLOT.match(plain(name)))


def _shared_out(weights: Mapping[str, int], whole: int, names: int) -> dict[str, int]:
    """Give each address one name, and each further one to whoever lacks most."""
    parts = dict.fromkeys(weights, 1)
    for _ in range(names - len(weights)):
        # In whole numbers: weight * names - parts * whole is what is lacking, times whole.
        neediest = max(
            parts, key=lambda address: (weights[address] * names - parts[address] * whole, address)
        )
        parts[neediest] += 1
    return parts


def _mx_records(name: str, parts: Mapping[str, int], ttl: int) -> list[RecordSet]:
    slots = {
        slot_name(name, address, number): address
        for address, count in parts.items()
        for number in range(1, count + 1)
    }
    hosts = [RecordSet.of(slot, address_type(address), ttl, [address]) for slot, address in slots.items()]
    exchangers = RecordSet.of(name, "MX", ttl, [f"{_PREFERENCE} {slot}." for slot in slots])
    return [exchangers, *hosts, *_address_records(name, parts, ttl)]


def _lua_record(name: str, parts: Mapping[str, int], ttl: int) -> RecordSet:
    kinds = {address_type(address) for address in parts}
    if len(kinds) > 1:
        raise CannotRender("lua draws from addresses of one family: IPv4 or IPv6.")
    picks = ", ".join(f"{{{weight}, '{address}'}}" for address, weight in sorted(parts.items()))
    return RecordSet.of(name, "LUA", ttl, [f'{kinds.pop()} "pickwrandom({{{picks}}})"'])


def _address_records(name: str, addresses: Iterable[str], ttl: int) -> list[RecordSet]:
    by_kind: dict[str, list[str]] = {}
    for address in addresses:
        by_kind.setdefault(address_type(address), []).append(address)
    return [RecordSet.of(name, kind, ttl, values) for kind, values in by_kind.items()]


def _read_mx(name: str, sets: Mapping[tuple[str, str], RecordSet]) -> dict[str, int]:
    """Count addresses as Postfix does: each address of each host of the best preference, equals included."""
    hosts: dict[int, list[str]] = {}
    for value in sets[name, "MX"].values:
        preference, _, host = value.partition(" ")
        hosts.setdefault(int(preference), []).append(plain(host))
    parts: Counter[str] = Counter()
    for host in hosts[min(hosts)]:
        for kind in ("A", "AAAA"):
            parts.update(sets[host, kind].values if (host, kind) in sets else ())
    if not parts:
        raise NotOurs(f"No host of the MX records of {name} has an address.")
    return dict(parts)


def _read_lua(values: Sequence[str]) -> dict[str, int]:
    picks = _PICK.findall(values[0]) if len(values) == 1 and "pickwrandom(" in values[0] else []
    parts: Counter[str] = Counter()
    for weight, address in picks:
        try:
            parts[_canonical(address)] += int(weight)
        except CannotRender as error:
            raise NotOurs(str(error)) from error
    if not +parts:
        raise NotOurs(f"A LUA record that is no pickwrandom: {values[0][:120]}")
    return dict(+parts)


def _reduced(weights: Mapping[str, int]) -> dict[str, int]:
    divisor = gcd(*weights.values())
    return {address: weight // divisor for address, weight in weights.items()}


def _canonical(address: str) -> str:
    if "%" in address:
        # A scope ("fe80::1%eth0") means something on one host alone: no record holds it.
        raise CannotRender(f"{address[:60]!r} has a scope, which no record can hold.")
    try:
        return str(ipaddress.ip_address(address.strip()))
    except ValueError as error:
        raise CannotRender(f"{address[:60]!r} is not an address.") from error


def _notes(
    rendering: Rendering, wanted: Mapping[str, Fraction], published: Mapping[str, Fraction]
) -> tuple[str, ...]:
    if rendering is Rendering.EQUAL and any(published[address] != wanted[address] for address in wanted):
        return (
            f"equal knows one share, 1/{len(wanted)}: each address gets {percent(Fraction(1, len(wanted)))}, "
            "whatever its weight. Choose mx or lua for weights.",
        )
    if rendering is not Rendering.MX:
        return ()
    small = [address for address, share in sorted(wanted.items()) if share < Fraction(1, MAX_NAMES)]
    return tuple(
        f"{address} is to get {percent(wanted[address])} and gets {percent(published[address])}: "
        f"the smallest share of mx is 1/{MAX_NAMES} = {percent(Fraction(1, MAX_NAMES))}. "
        "Limit it by a daily cap, or use lua."
        for address in small
    )


def percent(share: Fraction | float) -> str:
    """Return a share with one decimal."""
    return f"{float(share) * 100:.1f} %"
