"""What a ramp does on a day: advance, hold, step back or take the address out, and the figures that say why.

Pure: the evidence of the day before comes in, a verdict goes out. Nothing advances on data that is missing,
however good the rest looks, and missed days are never caught up by a larger step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple, Self

from dns.domain.schedule import Step


class Decision(StrEnum):
    """What is done about a ramp on one of its dates."""

    START = "start"
    ADVANCE = "advance"
    FINISH = "finish"
    HOLD = "hold"
    STEP_BACK = "step_back"
    TAKE_OUT = "take_out"


class BadGuardrails(ValueError):
    """Guard rails that cannot be; the text says which."""


@dataclass(frozen=True, slots=True)
class Guardrails:
    """What a day must show before the next step. Shares are between 0 and 1.

    Where the defaults come from is RAILS' to say: the page shows it beside each.
    """

    min_sent_share: float = 0.70
    min_sent: int = 20
    max_bounce_share: float = 0.03
    max_deferral_share: float = 0.10
    max_refusal_share: float = 0.005
    max_oldest_s: int = 30 * 60
    min_coverage: float = 0.95
    emergency_share: float = 0.05
    emergency_min: int = 20
    max_clock_skew_s: int = 300

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Return guard rails from {name: number}; what is left out has its default. Raises BadGuardrails."""
        if not isinstance(value, dict):
            raise BadGuardrails("Guard rails are an object of numbers.")
        known: dict[str, Any] = {field.name: field.default for field in fields(cls)}
        for name, number in value.items():
            if name not in known:
                raise BadGuardrails(f"There is no guard rail {name[:40]!r}.")
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < 1e9:
                raise BadGuardrails(f"{name} must be a number, 0 or more.")
            if isinstance(known[name], float) and number > 1:
                raise BadGuardrails(f"{name} is a share: at most 1.")
        kept = {name: type(known[name])(number) for name, number in value.items()}
        return cls(**kept)

    def as_json(self) -> dict[str, float]:
        """Return the guard rails as they are stored."""
        return asdict(self)


# Name of the guard rail: what it says, and where its default comes from.
RAILS = {
    "min_sent_share": (
        "sent of what the step meant",
        "SparkPost advances after 90 %; lists send less evenly",
    ),
    "min_sent": ("sent at all", "fewer say nothing about an address"),
    "max_bounce_share": ("bounced", "Amazon SES: healthy below 2 %, review from 5 %; Braze 3 to 5 %"),
    "max_deferral_share": ("deferred", "no provider publishes one; chosen"),
    "max_refusal_share": ("refused as throttled or blocked", "no provider publishes one; chosen"),
    "max_oldest_s": ("age of the oldest in the queue", "chosen: half an hour, as the state 'slow'"),
    "min_coverage": ("of the day's log read", "chosen: what is not read is not known to be good"),
    "emergency_share": ("refused as blocked within 15 minutes", "chosen"),
    "emergency_min": ("tried within 15 minutes for that to count", "as for the states of the matrix"),
    "max_clock_skew_s": ("clock against the hosts' clocks", "TSIG's own tolerance (RFC 8945: 300 s)"),
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one date of an address under one relay name.

    coverage: part of the date's log that was read, 0 to 1; sent, deferred, bounced: recipients; throttled,
    blocked: those of the deferred and bounced that were refused so; meant: messages that the step meant the
    address to carry; oldest_s: in the queue at the end, None where it is not known; listed: block lists that
    name the address; clock_skew_s: the console's clock against the hosts', None where no host answered.
    """

    day: date
    coverage: float
    sent: int
    deferred: int
    bounced: int
    throttled: int
    blocked: int
    meant: int
    oldest_s: int | None
    listed: tuple[str, ...] = ()
    clock_skew_s: float | None = None

    @property
    def tried(self) -> int:
        """What shares are of."""
        return self.sent + self.deferred + self.bounced

    def share(self, part: int) -> float:
        """Return a part of what was tried."""
        return part / self.tried if self.tried else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the evidence as it is stored."""
        return {**asdict(self), "day": self.day.isoformat(), "listed": list(self.listed)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, the step from now on (an index, None for an address that is out), and why."""

    decision: Decision
    step: int | None
    why: tuple[str, ...]


class Before(NamedTuple):
    """How a ramp stood.

    step: index of its step, None while the address is out; failed: holds for bad signs in a row; idle: dates
    in a row on which nothing was sent, since it last stepped back, without the one that is seen now; missed:
    dates without a decision since; taken_out: the date on which a guard took the address out last.
    """

    step: int | None
    failed: int = 0
    idle: int = 0
    missed: int = 0
    taken_out: date | None = None


IDLE_DATES = 7
_FAILED_BEFORE_STEPPING_BACK = 2
_ASK_AFTER_MISSED = 2


def decide(before: Before, seen: Evidence | None, *, steps: Sequence[Step], rails: Guardrails) -> Verdict:
    """Return what to do on a date by what the date before showed; seen: None where nothing is known of it."""
    if seen is None:
        return _hold(before, ["Nothing is known of the date before."])
    if doubt := _doubt(seen, rails):
        return _hold(before, [doubt])
    if before.step is None:
        return _back_in(before, seen, rails)
    return _go_on(before, before.step, seen, steps=len(steps), rails=rails)


def _go_on(before: Before, step: int, seen: Evidence, *, steps: int, rails: Guardrails) -> Verdict:
    """Decide by what is known: what endangers the address first, then what makes a step premature."""
    if _is_blocked(seen, rails):
        return Verdict(
            Decision.TAKE_OUT, None, (_share_text("blocked", seen, seen.blocked, rails.emergency_share),)
        )
    if outdated := _outdated(before, seen):
        return _hold(before, [outdated])
    # The date that was just seen is one of them, or ends them.
    idle = 0 if seen.sent else before.idle + 1
    if idle >= IDLE_DATES:
        silence = f"Nothing was sent on {idle} dates in a row."
        return Verdict(Decision.STEP_BACK, max(0, step - 2), (silence,))
    if bad := list(bad_signs(seen, rails)):
        return _bad_day(before, step, bad)
    if few := _too_few(seen, rails):
        return _hold(before, [few])
    return _onward(step, seen, steps)


def _outdated(before: Before, seen: Evidence) -> str:
    """Say why a date's figures are no reason to go anywhere any more; "" where they are."""
    if before.taken_out is not None and seen.day < before.taken_out:
        return f"It was taken out on {before.taken_out}: what was before says nothing any more."
    if before.missed >= _ASK_AFTER_MISSED:
        return f"No decision was made on {before.missed} dates: look before it goes on."
    return ""


def _onward(step: int, seen: Evidence, steps: int) -> Verdict:
    good = f"{seen.sent:,} sent of {seen.meant:,} meant, {100 * seen.share(seen.deferred):.1f} % deferred."
    if step + 1 >= steps:
        return Verdict(Decision.FINISH, step, (good,))
    return Verdict(Decision.ADVANCE, step + 1, (good,))


def _bad_day(before: Before, step: int, bad: list[str]) -> Verdict:
    if before.failed + 1 < _FAILED_BEFORE_STEPPING_BACK:
        return _hold(before, bad)
    if step == 0:
        return _hold(before, [*bad, "It is on its first day: there is none to step back to."])
    return Verdict(Decision.STEP_BACK, step - 1, (*bad, "For the second date in a row."))


def _back_in(before: Before, seen: Evidence, rails: Guardrails) -> Verdict:
    """An address that was taken out comes back to its first step after a date without a bad sign."""
    if before.taken_out is not None and seen.day <= before.taken_out:
        return _hold(before, [f"It was taken out on {before.taken_out}: no whole date has gone by since."])
    if bad := list(bad_signs(seen, rails)):
        return Verdict(Decision.HOLD, None, tuple(bad))
    return Verdict(Decision.START, 0, ("A date without a bad sign has gone by since it was taken out.",))


def _hold(before: Before, why: Sequence[str]) -> Verdict:
    return Verdict(Decision.HOLD, before.step, tuple(why))


def is_bad(verdict: Verdict, seen: Evidence | None, rails: Guardrails) -> bool:
    """Whether a verdict holds for bad signs, and not for want of data or of mail: those alone add up."""
    if verdict.decision is not Decision.HOLD or seen is None or seen.coverage < rails.min_coverage:
        return False
    return any(bad_signs(seen, rails))


def bad_signs(seen: Evidence, rails: Guardrails) -> Iterator[str]:
    """Yield the guard rails that a date broke, with its figures. Too few tries break none but the lists'."""
    if seen.listed:
        yield f"Listed on {', '.join(seen.listed)}."
    if seen.tried < rails.min_sent:
        return
    for name, part, most in (
        ("bounced", seen.bounced, rails.max_bounce_share),
        ("deferred", seen.deferred, rails.max_deferral_share),
        ("refused as throttled or blocked", seen.throttled + seen.blocked, rails.max_refusal_share),
    ):
        if seen.share(part) >= most:
            yield _share_text(name, seen, part, most)
    if seen.oldest_s is not None and seen.oldest_s > rails.max_oldest_s:
        waits, limit = seen.oldest_s // 60, rails.max_oldest_s // 60
        yield f"The oldest message waits for {waits:,} min, the limit is {limit:,}."


def is_emergency(*, tried: int, blocked: int, rails: Guardrails) -> bool:
    """Whether the last 15 minutes are reason enough to take the address out at once. Recipients."""
    return tried >= max(1, rails.emergency_min) and blocked / tried > rails.emergency_share


def _is_blocked(seen: Evidence, rails: Guardrails) -> bool:
    return is_emergency(tried=seen.tried, blocked=seen.blocked, rails=rails)


def _too_few(seen: Evidence, rails: Guardrails) -> str:
    if seen.sent < rails.min_sent:
        return f"Only {seen.sent:,} were sent; fewer than {rails.min_sent:,} say nothing about an address."
    if seen.sent < rails.min_sent_share * seen.meant:
        return (
            f"{seen.sent:,} were sent of {seen.meant:,} that the step meant;"
            f" it takes {100 * rails.min_sent_share:g} %."
        )
    return ""


def _doubt(seen: Evidence, rails: Guardrails) -> str:
    """Say why a date's figures prove nothing; "" where they do."""
    if seen.coverage < rails.min_coverage:
        return (
            f"Only {100 * seen.coverage:.0f} % of the log of {seen.day} was read: what is missing may be bad."
        )
    if seen.clock_skew_s is not None and abs(seen.clock_skew_s) > rails.max_clock_skew_s:
        return f"The console's clock and the hosts' differ by {abs(seen.clock_skew_s):,.0f} s."
    return ""


def _share_text(name: str, seen: Evidence, part: int, most: float) -> str:
    return (
        f"{100 * seen.share(part):.1f} % {name} ({part:,} of {seen.tried:,}), the limit is {100 * most:g} %."
    )
