"""Takes a test fleet down when the test run that started it ends, however it ends.

The run holds the other end of standard input; the kernel closes it with the run.
"""

import sys
import time

from fleet.rehearsal import Fleet
from fleet.rehearsal.errors import RehearsalError

_TRIES_S = 60


def take_down(name: str) -> None:
    """Take the fleet down; again where it was still coming up, or its processes were slow to end."""
    until = time.monotonic() + _TRIES_S
    while True:
        try:
            return Fleet(name).down()
        except RehearsalError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


if __name__ == "__main__":
    sys.stdin.read()
    take_down(sys.argv[1])
