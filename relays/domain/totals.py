"""What logs told in all: by instance, provider, enhanced code and reply; memory does not grow with them."""

from collections.abc import Callable, Collection, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import TypeVar

from relays.domain.maillog.tables import OTHER, OTHER_DIGEST, Counts, Reply
from relays.domain.providers import ProviderTable, provider_of_instance

# Recipients, but for accepted: messages. A deferred one is counted whether or not it was tried.
COUNTED = ("sent", "deferred", "bounced", "expired", "handed_over", "softbounce", "accepted")
SUSPENDED = "suspended"

# What is beyond these is counted under OTHER.
MAX_INSTANCES = 10_000
MAX_DOMAINS = 50_000
MAX_CODES = 2_000
MAX_REPLIES = 5_000
SAMPLES = 5

_Value = TypeVar("_Value")
# By the names of COUNTED.
Sums = dict[str, int]


@dataclass(slots=True)
class Heard:
    """Replies of one cluster: how many, to what outcomes, and the domain that the first one was about."""

    reply: Reply
    domain: str
    outcomes: Sums = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How often it was heard."""
        return sum(self.outcomes.values())


@dataclass(slots=True)
class Totals:
    """Sums of Counts; add() takes those of one log after the other.

    Instances are by whatever name the counts have. suspended: those of the deferred that were not tried.
    first, last: seconds since 1970.
    """

    lines: int = 0
    unrecognized: int = 0
    # Those of them that are whole lines of other programs.
    foreign: int = 0
    samples: list[str] = field(default_factory=list)
    first: int | None = None
    last: int | None = None
    instances: dict[str, Sums] = field(default_factory=dict)
    suspended: dict[str, int] = field(default_factory=dict)
    domains: dict[str, Sums] = field(default_factory=dict)
    mx: dict[str, str] = field(default_factory=dict)
    dsn: dict[str, int] = field(default_factory=dict)
    replies: dict[str, Heard] = field(default_factory=dict)

    def add(self, counts: Counts) -> None:
        """Add what a log, or the next part of it, told."""
        self.lines += counts.lines
        self.unrecognized += counts.unrecognized
        self.foreign += counts.foreign
        self.samples += counts.unrecognized_samples[: SAMPLES - len(self.samples)]
        self.first = min((time for time in (self.first, counts.first) if time is not None), default=None)
        self.last = max((time for time in (self.last, counts.last) if time is not None), default=None)
        for (_, instance, domain, outcome, dsn, digest), (number, _) in counts.rows.items():
            self._add_row(instance, domain, outcome, dsn, number)
            if digest:
                self._add_reply(digest, domain, outcome, number, counts.replies)
        for (_, instance, _), number in counts.accepted.items():
            _slot(self.instances, instance, MAX_INSTANCES, _no_mail)["accepted"] += number
        self.mx.update((domain, host) for domain, host in counts.mx.items() if domain in self.domains)

    def _add_row(self, instance: str, domain: str, outcome: str, dsn: str, number: int) -> None:
        counted = "deferred" if outcome == SUSPENDED else outcome
        _slot(self.instances, instance, MAX_INSTANCES, _no_mail)[counted] += number
        _slot(self.domains, domain, MAX_DOMAINS, _no_mail)[counted] += number
        if outcome == SUSPENDED:
            _add(self.suspended, instance, MAX_INSTANCES, number)
        if dsn:
            _add(self.dsn, dsn, MAX_CODES, number)

    def _add_reply(
        self, digest: str, domain: str, outcome: str, number: int, replies: dict[str, Reply]
    ) -> None:
        reply = replies.get(digest)
        if digest not in self.replies and (reply is None or len(self.replies) >= MAX_REPLIES):
            digest, reply = OTHER_DIGEST, None
        heard = self.replies.setdefault(digest, Heard(reply or Reply(OTHER, "", None, "", 0, 0), domain))
        heard.outcomes[outcome] = heard.outcomes.get(outcome, 0) + number
        if reply:
            heard.reply.first = min(heard.reply.first, reply.first)
            heard.reply.last = max(heard.reply.last, reply.last)

    def by_instance(self, name_of: Callable[[str], str]) -> dict[str, Sums]:
        """Return the instances' sums by the names that `name_of` gives them, in their order."""
        named: dict[str, Sums] = {}
        for instance, sums in self.instances.items():
            _join(named.setdefault(name_of(instance), _no_mail()), sums)
        return dict(sorted(named.items()))

    def by_provider(
        self, table: ProviderTable[str], slugs: Collection[str], instances: dict[str, Sums]
    ) -> dict[str, Sums]:
        """Return sums by provider: of the recipients' for outcomes, of the instance's for what it accepted.

        instances: as by_instance returns them. What belongs to no provider is left out.
        """
        found: dict[str | None, Sums] = {}
        for domain, sums in self.domains.items():
            _join(found.setdefault(table.of_domain(domain, self.mx.get(domain, "")), _no_mail()), sums)
        for instance, sums in instances.items():
            slug = provider_of_instance(instance, slugs)
            found.setdefault(slug, _no_mail())["accepted"] += sums["accepted"]
        return dict(sorted((slug, sums) for slug, sums in found.items() if slug is not None))

    def heard(self) -> Iterator[tuple[str, Heard]]:
        """Return the replies by digest, the commonest first."""
        yield from sorted(self.replies.items(), key=lambda item: (-item[1].count, item[0]))


def _no_mail() -> Sums:
    return dict.fromkeys(COUNTED, 0)


def _slot(table: MutableMapping[str, _Value], key: str, limit: int, make: Callable[[], _Value]) -> _Value:
    if key not in table:
        key = key if len(table) < limit else OTHER
        if key not in table:
            table[key] = make()
    return table[key]


def _add(table: dict[str, int], key: str, limit: int, number: int) -> None:
    key = key if key in table or len(table) < limit else OTHER
    table[key] = table.get(key, 0) + number


def _join(into: Sums, sums: Sums) -> None:
    for name, number in sums.items():
        into[name] += number
