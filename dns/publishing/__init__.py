"""The ways to publish: each reads what the primary serves, and writes one guarded change."""

from typing import Protocol

from dns.domain.records import Change
from dns.lookup import Reading
from relays.remote.errors import Refused


class Moved(Refused):
    """What is served is not what was read: somebody else changed it, and nothing was written."""


class Publisher(Protocol):
    """How a zone is written."""

    def read(self, name: str) -> Reading:
        """Return what the primary has of a relay name. Raises RemoteError."""

    def write(self, change: Change) -> None:
        """Make a change, all of it or nothing of it.

        Raises Moved and Refused where nothing was done, any other RemoteError where that is not known.
        """

    def check(self, name: str) -> None:
        """Tell whether write() would be allowed, changing nothing. Raises RemoteError."""
