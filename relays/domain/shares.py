"""Outcomes as shares: what counts as a failure, and when a share may be told at all."""

from typing import NamedTuple

# Of fewer than this a share misleads: five messages are not "20 %".
MIN_FOR_SHARE = 50

# A domain's failure share rose when it is at least so many points and so many times what it was before,
# with so many failures.
ROSE_POINTS = 0.10
ROSE_TIMES = 2
MIN_FAILURES = 10


class Outcome(NamedTuple):
    """Recipients by outcome, as relays/models/outcome.py counts them: `suspended` is part of `deferred`."""

    sent: int = 0
    deferred: int = 0
    suspended: int = 0
    bounced: int = 0
    expired: int = 0
    handed_over: int = 0
    softbounce: int = 0

    @property
    def failures(self) -> int:
        """Lines that tell of no delivery."""
        return self.deferred + self.bounced + self.expired + self.softbounce

    @property
    def lines(self) -> int:
        """All that a share is of: what was sent or failed. Mail handed over is told by its next hop."""
        return self.sent + self.failures

    @property
    def deferral_share(self) -> float | None:
        """Deferred, suspended among them; None below the minimum."""
        return share(self.deferred, self.lines)

    @property
    def returned(self) -> int:
        """What went back to its sender for good: bounced, or expired in the queue."""
        return self.bounced + self.expired

    @property
    def bounce_share(self) -> float | None:
        """Returned; None below the minimum."""
        return share(self.returned, self.lines)

    @property
    def failure_share(self) -> float | None:
        """All failures; None below the minimum."""
        return share(self.failures, self.lines)


def share(part: int, whole: int) -> float | None:
    """Return part / whole; None where the whole is too small for a share to mean anything."""
    return part / whole if whole >= MIN_FOR_SHARE else None


def percent(value: float | None) -> str:
    """Return a share in percent, with one decimal near either end; "" for none that may be told."""
    if value is None:
        return ""
    if 0 < value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1:
        return "> 99.9 %"
    # 99.6 % must not read as all of it.
    digits = 1 if 0 < value < 0.0995 or 0.99 <= value < 1 else 0
    return f"{100 * value:.{digits}f} %"


def rose(now: Outcome, before: Outcome) -> bool:
    """Whether a failure share rose: both spans have enough to tell, and the difference is no chance."""
    if now.failures < MIN_FAILURES or now.failure_share is None or before.failure_share is None:
        return False
    return (
        now.failure_share - before.failure_share >= ROSE_POINTS
        and now.failure_share >= ROSE_TIMES * before.failure_share
    )
