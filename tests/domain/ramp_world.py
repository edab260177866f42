"""Years of a ramp in an unkind world: schedulers away or doubled, clocks that jump, data that is missing."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from dns.domain.ramp import Before, Decision, Evidence, Guardrails, Verdict, decide, is_bad
from dns.domain.ramp_days import SPACING, Decided, LocalDays, due, missed
from dns.domain.schedule import Step

# Skipped dates and hours, half-hour changes, changes at midnight, days of 23 to 25 hours, and none at all.
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "America/St_Johns",
    "Asia/Tehran",
    "Europe/Dublin",
    "Africa/Cairo",
    "Asia/Gaza",
    "America/Havana",
    "Asia/Beirut",
    "Pacific/Kwajalein",
    "Antarctica/Troll",
    "America/Santiago",
    "Asia/Pyongyang",
    "UTC",
]
RAILS = Guardrails()
_STEP = Step(0.5, None)
_SCAN = timedelta(minutes=20)


@dataclass
class World:
    """A ramp without an end, scanned for years. Faults: with none of them every sending day is a step."""

    zone: str
    begins: datetime
    years: float
    seed: int
    kind: bool = False
    decisions: list[tuple[Decided, Verdict, Evidence | None]] = field(default_factory=list)
    sending: set[date] = field(default_factory=set)
    known: set[date] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} {self.zone}")
        self.days = LocalDays(ZoneInfo(self.zone))
        self.start = self.days.date_of(self.begins)

    def run(self) -> "World":
        """Live through all of it."""
        for real, clock in self._scans():
            for _ in range(1 if self.kind else self.chance.choice((1, 1, 2))):
                self._scan(real, clock)
        return self

    def _scans(self) -> Iterator[tuple[datetime, datetime]]:
        """Yield when a scheduler looks, by the true clock and by its own."""
        real, offset = self.begins, timedelta()
        end = self.begins + timedelta(days=365.25 * self.years)
        while real < end:
            yield real, real + offset
            real += _SCAN
            if not self.kind and self.chance.random() < 1 / 2_000:
                real += timedelta(hours=self.chance.choice((1, 5, 20, 30, 50, 100, 220)))
            if not self.kind and self.chance.random() < 1 / 2_000:
                offset = timedelta(
                    minutes=self.chance.choice((0, 0, 0, 0, -4, 4, 90, -90, 1_500, -1_500, 10_000))
                )

    def _scan(self, real: datetime, clock: datetime) -> None:
        last = self.decisions[-1][0] if self.decisions else None
        today = due(self.days, clock, start=self.start, last=last)
        if today is None:
            return
        if last is None:
            self.decisions.append((Decided(today, clock), Verdict(Decision.START, 0, ()), None))
            return
        seen = self._evidence(today - timedelta(days=1), real, clock)
        verdict = decide(self._before(last, today), seen, steps=[_STEP] * 10_000, rails=RAILS)
        self.decisions.append((Decided(today, clock), verdict, seen))

    def _evidence(self, day: date, real: datetime, clock: datetime) -> Evidence | None:
        """Return what the logs tell of a date. A date that is not over yet by the true clock is not known."""
        fate = random.Random(f"{self.seed} {self.zone} {day}").random()
        whole = self.days.span(day)
        if not self.kind and fate < 0.05:
            return None
        passed = (
            (min(real, whole.end) - whole.start) / (whole.end - whole.start) if whole.end > whole.start else 1
        )
        sends = self.kind or fate > 0.3
        if sends:
            self.sending.add(day)
        if passed >= 1:
            self.known.add(day)
        return Evidence(
            day, max(0.0, passed), sent=500 if sends else 0, deferred=10 if sends else 0, bounced=0,
            throttled=0, blocked=0, meant=500, oldest_s=60, clock_skew_s=(clock - real).total_seconds(),
        )  # fmt: skip

    def _before(self, last: Decided, today: date) -> Before:
        """Return how it stands, from the decisions alone, as the service does from its rows."""
        failed = idle = 0
        for _, verdict, seen in reversed(self.decisions[-30:]):
            if verdict.decision is Decision.STEP_BACK:
                break
            if seen is None or seen.sent or idle < 0:
                break
            idle += 1
        for _, verdict, seen in reversed(self.decisions[-5:]):
            if not is_bad(verdict, seen, RAILS):
                break
            failed += 1
        return Before(self.decisions[-1][1].step, failed, idle, missed(last.date, today))

    def check(self) -> None:
        """Raise AssertionError where the world broke a promise."""
        made = [decided for decided, _, _ in self.decisions]
        assert len({decided.date for decided in made}) == len(made), "two decisions for one date"
        for one, other in pairwise(made):
            assert other.date > one.date
            assert other.at - one.at >= SPACING, f"{one} and {other}"
        for (_, before, _), (decided, verdict, seen) in pairwise(self.decisions):
            assert before.step is not None and verdict.step is not None
            assert verdict.step - before.step <= 1, f"more than one step on {decided.date}"
            if verdict.step > before.step:
                assert seen is not None and seen.day in self.known & self.sending, f"{decided.date}: {seen}"
                assert abs(seen.clock_skew_s or 0) <= RAILS.max_clock_skew_s

    @property
    def advances(self) -> int:
        """How often it went a step on."""
        return sum(verdict.decision is Decision.ADVANCE for _, verdict, _ in self.decisions)


def world(zone: str, *, seed: int, year: int, years: float, kind: bool = False) -> World:
    """Return a world that has been lived through and kept its promises."""
    lived = World(zone, datetime(year, 1, 1, tzinfo=UTC), years, seed, kind).run()
    lived.check()
    return lived
