"""When what is done must have ended, by the monotonic clock."""

from __future__ import annotations

import signal
import time
from types import FrameType

from relays.agent.protocol import DeadlineReached

# After the deadline: time for the end line, should the reader be slow to take it.
_GRACE_S = 5


class Deadline:
    """So many seconds from now. Nothing ends by it that does not ask, unless it is armed."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def arm(self) -> None:
        """End whatever runs then by raising DeadlineReached, and the process itself a little later.

        For a process that ends with its request: nothing takes the alarm back.
        """
        signal.signal(signal.SIGALRM, self._reached)
        signal.setitimer(signal.ITIMER_REAL, self.remaining_s())

    def remaining_s(self) -> float:
        """Return the seconds that are left, negative once it has passed."""
        return self._at - time.monotonic()

    def end_by_kill(self) -> None:
        """Let the deadline end this process outright from now on, a little late; a lost connection does not.

        An error that may come up anywhere must not come between an effect and its record.
        """
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(0.0, self.remaining_s()) + _GRACE_S)
        for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(ignored, _pass)

    @staticmethod
    def _reached(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_GRACE_S)
        raise DeadlineReached("the deadline was reached")


def _pass(_signal: int, _frame: FrameType | None) -> None:
    # Not SIG_IGN: what we start would inherit that.
    pass
