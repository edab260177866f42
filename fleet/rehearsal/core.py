"""The core of a running fleet: what its hosts and servers need to know of it."""

from dataclasses import dataclass
from pathlib import Path

from fleet.rehearsal.namespaces import Namespace


@dataclass(frozen=True)
class Core:
    """The outermost namespaces of a fleet, with the facts that all its parts share.

    `logs` is `rsyslog` or `postlogd`; `folder` is the state folder.
    """

    namespace: Namespace
    token: str
    slot: int
    logs: str
    folder: Path

    @property
    def disks(self) -> Path:
        """Where the hosts' disks and the servers' data lie, as the core sees it: a memory disk of its own."""
        return self.folder / "disks"

    @property
    def disks_outside(self) -> Path:
        """The same folder as this process sees it."""
        return self.namespace.root / str(self.disks).lstrip("/")
