"""What must not be published: each refusal has a name, and its text the figures."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dns.domain.records import RecordSet, plain
from dns.domain.weights import Rendering

TTL_RANGE = (60, 3600)
# One answer of lua holds a single address for all mail: the shorter it lasts, the truer the shares.
LUA_TTL_RANGE = (1, 3600)


class Unsafe(Exception):
    """A change that is refused. overridable: an override with a reason lets it pass."""

    overridable = False


class WouldBeEmpty(Unsafe):
    """No address would be left."""


class NoWarmAddress(Unsafe):
    """Only addresses that are still warming up would be left."""


class TooManyRemoved(Unsafe):
    """More than one address would go at a time."""

    overridable = True


class BadTtl(Unsafe):
    """A TTL that keeps mail from moving when it must, or asks the name servers all the time."""


class NameNotAllowed(Unsafe):
    """A name that the zone does not list as ours to write."""


class UnknownAddress(Unsafe):
    """An address of no instance."""

    overridable = True


@dataclass(frozen=True, slots=True)
class Pool:
    """The addresses of a relay name: what each weighs (0: out of DNS), which are warm, which are known."""

    weights: Mapping[str, int]
    warm: Collection[str]
    known: Collection[str]
    min_warm: int = 1

    @property
    def carrying(self) -> set[str]:
        """Return the addresses that would get mail."""
        return {address for address, weight in self.weights.items() if weight}


def find_unsafe(
    pool: Pool, *, served: Collection[str], records: Sequence[RecordSet], ttl: int, allowed: Sequence[str]
) -> list[Unsafe]:
    """Return every reason not to publish this, the absolute ones first.

    served: the addresses that get mail now; records: what would be written; allowed: the zone's names that
    we may touch, and with each the names under it.
    """
    found = [
        _empty(pool), _cold(pool), _ttl(ttl, records), _names(records, allowed), _removed(pool, served),
        _unknown(pool, served),
    ]  # fmt: skip
    return sorted((one for one in found if one), key=lambda one: one.overridable)


def ttl_range(rendering: Rendering) -> tuple[int, int]:
    """Return the least and the greatest TTL of a rendering, in seconds."""
    return LUA_TTL_RANGE if rendering is Rendering.LUA else TTL_RANGE


def may_touch(name: str, allowed: Sequence[str]) -> bool:
    """Tell whether a name is one of those, or under one."""
    name = plain(name)
    return any(name == plain(one) or name.endswith(f".{plain(one)}") for one in allowed)


def _empty(pool: Pool) -> Unsafe | None:
    return None if pool.carrying else WouldBeEmpty("No address would be left: all mail would stop.")


def _cold(pool: Pool) -> Unsafe | None:
    warm = len(pool.carrying & set(pool.warm))
    if not pool.carrying or warm >= pool.min_warm:
        return None
    return NoWarmAddress(
        f"{warm} of the {len(pool.carrying)} addresses that would be left are warm, at least {pool.min_warm} "
        "must be."
    )


def _removed(pool: Pool, served: Collection[str]) -> Unsafe | None:
    gone = sorted(set(served) - pool.carrying)
    if len(gone) <= 1:
        return None
    return TooManyRemoved(
        f"{len(gone)} of {len(served)} addresses would go at once ({', '.join(gone)}), one is allowed: "
        "an override with a reason is required."
    )


def _ttl(ttl: int, records: Iterable[RecordSet]) -> Unsafe | None:
    drawn = any(item.type == "LUA" for item in records)
    least, most = ttl_range(Rendering.LUA if drawn else Rendering.MX)
    return None if least <= ttl <= most else BadTtl(f"A TTL of {ttl} s is not between {least} and {most} s.")


def _names(records: Iterable[RecordSet], allowed: Sequence[str]) -> Unsafe | None:
    foreign = sorted({item.name for item in records if not may_touch(item.name, allowed)})
    if not foreign:
        return None
    return NameNotAllowed(
        f"{foreign[0]} is not among the names that we may write ({', '.join(allowed) or 'none'})."
    )


def _unknown(pool: Pool, served: Collection[str]) -> Unsafe | None:
    unknown = sorted(pool.carrying - set(served) - set(pool.known))
    if not unknown:
        return None
    return UnknownAddress(
        f"{', '.join(unknown)} would get mail, and no instance sends from there: "
        "an override with a reason is required."
    )
