"""The tables of counts, by span, and adding to them: the same plain SQL on SQLite and PostgreSQL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import add
from typing import Any

from relays.domain.maillog.tables import DELAY_BOUNDS
from relays.services.statements import Row, run

BUCKET_S = 300
HOUR_S = 3600
DAY_S = 24 * HOUR_S

# As far as PostgreSQL's integers reach, where counting stops: a host that lies may spoil its figures and a
# provider's, but must not make other hosts' counting fail.
MAX_COUNT = 2**31 - 1
_MAX_SIZE = 2**63 - 1

OUTCOMES = ("sent", "deferred", "suspended", "bounced", "expired", "handed_over", "softbounce")
DELAYS = tuple(f"delay_{place:02}" for place in range(len(DELAY_BOUNDS) + 1))
OUTCOME_COUNTS = (*OUTCOMES, *DELAYS, "size_bytes", "throttled", "blocked")
# Longer spans leave out the last two: what a reply means may change with the rules.
_LONG_COUNTS = OUTCOME_COUNTS[:-2]
CLIENT_COUNTS = ("messages", "denied")
REPLY_COUNTS = ("deferred", "suspended", "bounced", "softbounce")

# A key begins with instance and start of the span; counts stand in the order of their level's columns.
Counts = Mapping[tuple[Any, ...], list[int]]


@dataclass(frozen=True, slots=True)
class Level:
    """A table of counts: its key columns, with their types, and its counts, with how far each goes."""

    table: str
    keys: Mapping[str, str]
    limits: Mapping[str, int]

    def add(self, counts: Counts) -> None:
        """Add counts to the table's rows, in the order of their keys: no two workers can lock crosswise.

        What counts have beyond the table's columns is left out.
        """
        limits = self.limits.values()
        rows: list[Row] = [(*key, *map(min, added, limits)) for key, added in sorted(counts.items())]
        run(self._statement(), {**self.keys, **{name: self._type(name) for name in self.limits}}, rows)

    def _statement(self) -> str:
        names = [*self.keys, *self.limits]
        added = ", ".join(
            f"{name} = CASE WHEN old.{name} > {limit} - excluded.{name} THEN {limit}"
            f" ELSE old.{name} + excluded.{name} END"
            for name, limit in self.limits.items()
        )
        return (
            f"INSERT INTO {self.table} AS old ({', '.join(names)})"
            f" SELECT {', '.join(f'{{{name}}}' for name in names)} {{source}} WHERE true"
            f" ON CONFLICT ({', '.join(self.keys)}) DO UPDATE SET {added}"
        )

    def _type(self, name: str) -> str:
        return "integer" if self.limits[name] == MAX_COUNT else "bigint"


def add_outcomes(counts: Counts, *, spans: Iterable[int] = (BUCKET_S, HOUR_S, DAY_S)) -> None:
    """Add (instance, time, provider) counts of OUTCOME_COUNTS to these spans, of instances and of providers.

    The rows of providers come last: every host writes them, and a transaction holds them until its end.
    """
    chosen = sorted(spans)
    for span_s in chosen:
        _INSTANCES[span_s].add(summed(counts, span_s))
    for span_s in chosen:
        if span_s in _PROVIDERS:
            _PROVIDERS[span_s].add(_without_instance(summed(counts, span_s)))


def add_domains(counts: Counts) -> None:
    """Add (instance, time, recipient domain) counts of OUTCOMES to hours and days."""
    for span_s, level in _DOMAINS.items():
        level.add(summed(counts, span_s))


def add_replies(counts: Counts) -> None:
    """Add (instance, time, provider, digest) counts of REPLY_COUNTS to hours and days."""
    for span_s, level in _REPLIES.items():
        level.add(summed(counts, span_s))


def add_totals(*, domains: Counts, replies: Counts) -> None:
    """Add the counts that add_domains and add_replies took to the totals of all instances.

    Every host writes these rows: like those of providers they come last.
    """
    for level, counts in ((_FLEET_DOMAINS, domains), (_PROVIDER_REPLIES, replies)):
        for span_s, table in level.items():
            table.add(_without_instance(summed(counts, span_s)))


def add_accepted(counts: Counts) -> None:
    """Add (instance, time, client) counts of CLIENT_COUNTS to all spans."""
    for span_s, level in _ACCEPTED.items():
        level.add(summed(counts, span_s))


def summed(counts: Counts, span_s: int) -> dict[tuple[Any, ...], list[int]]:
    """Return counts by the spans of this length that their times fall in."""
    return _added_up(((key[0], key[1] - key[1] % span_s, *key[2:]), row) for key, row in counts.items())


def _without_instance(counts: Counts) -> dict[tuple[Any, ...], list[int]]:
    return _added_up((key[1:], row) for key, row in counts.items())


def _added_up(rows: Iterable[tuple[tuple[Any, ...], list[int]]]) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = {}
    for key, row in rows:
        known = found.get(key)
        found[key] = row if known is None else list(map(add, known, row))
    return found


def _limits(names: Iterable[str]) -> dict[str, int]:
    return {name: _MAX_SIZE if name == "size_bytes" else MAX_COUNT for name in names}


_OF_INSTANCE = {"instance_id": "bigint", "ts": "integer", "provider_id": "bigint"}
_OF_PROVIDER = {"ts": "integer", "provider_id": "bigint"}
_OF_DOMAIN = {"instance_id": "bigint", "ts": "integer", "domain_id": "bigint"}
_OF_REPLY = _OF_INSTANCE | {"cluster_id": "text"}
_OF_FLEET_DOMAIN = {"ts": "integer", "domain_id": "bigint"}
_OF_PROVIDER_REPLY = _OF_PROVIDER | {"cluster_id": "text"}
_OF_CLIENT = {"instance_id": "bigint", "ts": "integer", "client_id": "bigint"}

_INSTANCES = {
    BUCKET_S: Level("relays_outcomes", _OF_INSTANCE, _limits(OUTCOME_COUNTS)),
    HOUR_S: Level("relays_outcomeshour", _OF_INSTANCE, _limits(_LONG_COUNTS)),
    DAY_S: Level("relays_outcomesday", _OF_INSTANCE, _limits(_LONG_COUNTS)),
}
_PROVIDERS = {
    HOUR_S: Level("relays_provideroutcomeshour", _OF_PROVIDER, _limits(_LONG_COUNTS)),
    DAY_S: Level("relays_provideroutcomesday", _OF_PROVIDER, _limits(_LONG_COUNTS)),
}
_DOMAINS = {
    HOUR_S: Level("relays_domainoutcomeshour", _OF_DOMAIN, _limits(OUTCOMES)),
    DAY_S: Level("relays_domainoutcomesday", _OF_DOMAIN, _limits(OUTCOMES)),
}
_REPLIES = {
    HOUR_S: Level("relays_replycountshour", _OF_REPLY, _limits(REPLY_COUNTS)),
    DAY_S: Level("relays_replycountsday", _OF_REPLY, _limits(REPLY_COUNTS)),
}
_FLEET_DOMAINS = {
    HOUR_S: Level("relays_fleetdomainoutcomeshour", _OF_FLEET_DOMAIN, _limits(OUTCOMES)),
    DAY_S: Level("relays_fleetdomainoutcomesday", _OF_FLEET_DOMAIN, _limits(OUTCOMES)),
}
_PROVIDER_REPLIES = {
    HOUR_S: Level("relays_providerreplycountshour", _OF_PROVIDER_REPLY, _limits(REPLY_COUNTS)),
    DAY_S: Level("relays_providerreplycountsday", _OF_PROVIDER_REPLY, _limits(REPLY_COUNTS)),
}
_ACCEPTED = {
    BUCKET_S: Level("relays_accepted", _OF_CLIENT, _limits(CLIENT_COUNTS)),
    HOUR_S: Level("relays_acceptedhour", _OF_CLIENT, _limits(CLIENT_COUNTS)),
    DAY_S: Level("relays_acceptedday", _OF_CLIENT, _limits(CLIENT_COUNTS)),
}
