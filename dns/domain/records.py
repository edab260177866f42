"""Record sets as values, and the difference between what is served and what is wanted."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

# What may stand at a relay name and at the names under it; LUA is PowerDNS's own type.
TYPES = ("A", "AAAA", "CNAME", "LUA", "MX")


@dataclass(frozen=True, slots=True, order=True)
class RecordSet:
    """All records of one name and type: names in small letters without their last dot, values sorted."""

    name: str
    type: str
    ttl: int
    values: tuple[str, ...]

    @classmethod
    def of(cls, name: str, kind: str, ttl: int, values: Iterable[str]) -> Self:
        """Return a set; what is said twice counts once, as on every DNS server (RFC 2181, 5)."""
        return cls(plain(name), kind, ttl, tuple(sorted(set(values))))

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Self:
        """Return the set that as_json() gave."""
        name, kind, ttl, values = value
        return cls(name, kind, ttl, tuple(values))

    def as_json(self) -> list[Any]:
        """Return the set as it is stored."""
        return [self.name, self.type, self.ttl, list(self.values)]

    @property
    def key(self) -> tuple[str, str]:
        """What there is one set of."""
        return self.name, self.type

    @property
    def lines(self) -> list[str]:
        """Return its records as a zone file has them."""
        return [f"{self.name}. {self.ttl} IN {self.type} {value}" for value in self.values]


@dataclass(frozen=True, slots=True)
class Change:
    """One atomic update: every set of `now` must be there exactly, and no set of `absent`."""

    now: tuple[RecordSet, ...]
    absent: tuple[tuple[str, str], ...]
    remove: tuple[RecordSet, ...]
    put: tuple[RecordSet, ...]

    def __bool__(self) -> bool:
        return bool(self.remove or self.put)

    @property
    def lines(self) -> list[str]:
        """Return the difference, a record a line: "- ..." goes, "+ ..." comes."""
        gone = {line for old in self.remove for line in old.lines}
        gone |= {line for old in self.now for line in old.lines if old.key in {new.key for new in self.put}}
        come = {line for new in self.put for line in new.lines}
        return [f"- {line}" for line in sorted(gone - come)] + [f"+ {line}" for line in sorted(come - gone)]


def difference(now: Iterable[RecordSet], wanted: Iterable[RecordSet]) -> Change:
    """Return the update that makes what is served what is wanted; false where nothing is to be done."""
    has = {served.key: served for served in now}
    wants = {record_set.key: record_set for record_set in wanted}
    return Change(
        now=tuple(sorted(has.values())),
        absent=tuple(sorted(wants.keys() - has.keys())),
        remove=tuple(sorted(served for key, served in has.items() if key not in wants)),
        put=tuple(sorted(new for key, new in wants.items() if has.get(key) != new)),
    )


def same(one: Iterable[RecordSet], other: Iterable[RecordSet]) -> bool:
    """Tell whether two servers serve the same, their TTLs aside: a resolver's answer counts its down."""
    return {(*item.key, item.values) for item in one} == {(*item.key, item.values) for item in other}


def plain(name: str) -> str:
    """Return a name as we write it."""
    return name.lower().removesuffix(".")


def is_newer(serial: int, than: int) -> bool:
    """Compare two serials of a zone as RFC 1982 does: they wrap at 2**32."""
    return serial != than and (serial - than) % 2**32 < 2**31


def address_type(address: str) -> str:
    """Return A or AAAA. Raises ValueError."""
    return "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
