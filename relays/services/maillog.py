"""Reading log files offline, as relayctl reads them on a host; nothing is stored."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

from django.db import DatabaseError, connection

from relays.domain.maillog.counts import Counter, name_by_convention
from relays.domain.providers import ProviderTable
from relays.domain.reasons import RuleTable
from relays.domain.totals import Totals
from relays.models import Address, Instance, Provider, ProviderDomain, ProviderMxSuffix
from relays.services import logfiles, reasons
from relays.services.providers import shipped_table

# Counts are summed up after so many bytes: few enough to keep them small, enough to make it rare.
SUMMED_EVERY = 4 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """What tells whose mail a line is about.

    source: "database", or "shipped" where there is none. names: instances by syslog_name, where that is not
    the usual one. fleet: addresses of the fleet's instances.
    """

    source: str
    providers: ProviderTable[str]
    slugs: frozenset[str]
    rules: RuleTable
    names: Mapping[str, str] = field(default_factory=dict)
    fleet: frozenset[str] = frozenset()

    def instance(self, syslog_name: str) -> str:
        """Return the name of the instance that logs so."""
        return self.names.get(syslog_name) or name_by_convention(syslog_name)


def known() -> Known:
    """Return what the console's database knows, else what it is shipped with."""
    database = connection.settings_dict
    if database["ENGINE"].endswith("sqlite3") and not Path(database["NAME"]).exists():
        return _shipped()  # connecting would make an empty one
    try:
        slugs = frozenset(Provider.objects.values_list("slug", flat=True))
        return _from_database(slugs) if slugs else _shipped()
    except DatabaseError:
        return _shipped()


def _shipped() -> Known:
    table = shipped_table()
    slugs = frozenset({*table.domains.values(), table.catch_all or ""})
    return Known("shipped", table, slugs, reasons.shipped_table())


def _from_database(slugs: frozenset[str]) -> Known:
    table = ProviderTable(
        domains=dict(ProviderDomain.objects.values_list("domain", "provider__slug")),
        mx_suffixes=dict(ProviderMxSuffix.objects.values_list("suffix", "provider__slug")),
        catch_all=Provider.objects.filter(catch_all=True).values_list("slug", flat=True).first(),
    )
    present = Instance.objects.filter(removed_at=None).exclude(syslog_name="")
    names: dict[str, set[str]] = {}
    for syslog_name, name in present.values_list("syslog_name", "name"):
        names.setdefault(syslog_name, set()).add(name)
    return Known(
        source="database",
        providers=table,
        slugs=slugs,
        rules=reasons.rule_table(),
        # A syslog_name that means different instances on different hosts tells none of them.
        names={syslog_name: found.pop() for syslog_name, found in names.items() if len(found) == 1},
        fleet=frozenset(Address.objects.filter(instance__removed_at=None).values_list("ip", flat=True)),
    )


def count_files(
    paths: Sequence[str],
    *,
    fleet: frozenset[str] = frozenset(),
    year: int | None = None,
    zone: tzinfo | None = None,
    read: Callable[[int], None] = lambda octets: None,
) -> Totals:
    """Count what the files tell, one after the other as one log; instances are by their syslog_name.

    year: the latest that stamps without one are of; without it, the latest before the newest file was
    written. zone: of stamps that tell none; None: this machine's. read: is told now and then how many bytes
    are read of all. Raises logfiles.Unreadable.
    """
    totals = Totals()
    counter = Counter(_AsLogged(), fleet, now=_written(paths, year, zone), zone=zone)
    waiting = 0
    for piece in _whole(paths, read):
        counter.feed(piece)
        waiting += len(piece)
        if waiting >= SUMMED_EVERY:
            totals.add(counter.take())
            waiting = 0
    totals.add(counter.finish())
    return totals


def _whole(paths: Sequence[str], read: Callable[[int], None]) -> Iterator[bytes]:
    """Return the bytes of all files; each begins a line, wherever the one before it ended."""
    before = 0
    for path in paths:
        last = b"\n"
        for piece, octets in logfiles.pieces(path):
            yield piece
            read(before + octets)
            last = piece[-1:]
        if last != b"\n":
            yield b"\n"
        before += logfiles.size_of(path) or 0


def _written(paths: Sequence[str], year: int | None, zone: tzinfo | None) -> float:
    """Return when the log was written, as Stamps wants it: a stamp may lie up to a day after it."""
    if year is not None:
        return (datetime(year + 1, 1, 1, tzinfo=zone) - timedelta(days=1, seconds=1)).timestamp()
    if logfiles.STANDARD_INPUT in paths:
        return time.time()
    return max(Path(path).stat().st_mtime for path in paths)


class _AsLogged(Mapping[str, str]):
    """Takes every syslog_name for an instance's name, less what a service of master.cf adds to it."""

    def __getitem__(self, syslog_name: str) -> str:
        if "/" in syslog_name:
            raise KeyError(syslog_name)
        return syslog_name

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
