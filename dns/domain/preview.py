"""What weights would publish, told before anybody asks a name server."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dns.domain.lasting import hosts_to_keep
from dns.domain.records import RecordSet, difference
from dns.domain.safety import Pool, find_unsafe
from dns.domain.weights import CannotRender, NotOurs, Rendering, percent, read_back, render


@dataclass(frozen=True, slots=True)
class PreviewShare:
    """An address with the share that is wanted and the one that the records would give it, in percent."""

    address: str
    wanted: str
    published: str


@dataclass(frozen=True, slots=True)
class Preview:
    """Shares, the records that would come ("+ ...") and go ("- ..."), notes, and why it would be refused.

    overridable: refusals that an override with a reason lets pass.
    """

    shares: tuple[PreviewShare, ...] = ()
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    overridable: tuple[str, ...] = ()
    error: str = ""


def preview(  # noqa: PLR0913 - keyword-only, each a fact
    name: str,
    pool: Pool,
    *,
    rendering: Rendering,
    ttl: int,
    now: Sequence[RecordSet],
    held: Sequence[Sequence[RecordSet]],
    allowed: Sequence[str],
) -> Preview:
    """Return what a relay name would serve with a pool's weights.

    now: what was served when somebody looked last; held: the versions that resolvers may hold; allowed: the
    zone's names that we may touch.
    """
    try:
        rendered = render(name, pool.weights, rendering=rendering, ttl=ttl)
    except CannotRender as error:
        return Preview(refusals=(str(error),))
    unsafe = find_unsafe(pool, served=_served(name, now), records=rendered.records, ttl=ttl, allowed=allowed)
    kept = hosts_to_keep(name, rendered.records, now=now, held=held)
    shares = tuple(
        PreviewShare(address, percent(rendered.wanted[address]), percent(share))
        for address, share in sorted(rendered.published.items())
    )
    return Preview(
        shares=shares,
        lines=tuple(difference(now, {*rendered.records, *kept}).lines),
        notes=rendered.notes,
        refusals=tuple(str(one) for one in unsafe if not one.overridable),
        overridable=tuple(str(one) for one in unsafe if one.overridable),
        error=percent(rendered.error) if rendered.error else "",
    )


def _served(name: str, records: Sequence[RecordSet]) -> Collection[str]:
    try:
        return read_back(name, records).parts.keys()
    except NotOurs:
        return ()
