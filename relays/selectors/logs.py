"""The log of an instance: how far it is counted, and what in it was not understood."""

from dataclasses import dataclass
from datetime import datetime

from relays.domain.words import size, visible
from relays.models import Instance, LogSource
from relays.selectors.figures import Clock, clock, moment
from relays.selectors.outcomes import LATE
from relays.selectors.states import words

JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class LogState:
    """A log of a host. Its lines may be those of several instances."""

    source: str
    until: Clock | None
    read: str
    behind: str
    lines: str
    unrecognized: str
    samples: list[str]
    condition: str
    condition_detail: str


def log_of(instance: Instance, now: datetime) -> LogState | None:
    """Return the state of the log that the instance's inventory names; None where none was read yet."""
    row = LogSource.objects.filter(host_id=instance.host_id, source=log_source(instance)).first()
    if row is None:
        return None
    return LogState(
        source=visible(row.source),
        until=clock(row.log_time, now, seconds=True),
        read=moment(row.read_at, now, stale=row.read_at is not None and now - row.read_at > LATE),
        behind=size(row.behind_bytes) if row.behind_bytes else "",
        lines=f"{row.lines:,}",
        unrecognized=f"{row.unrecognized:,}" if row.unrecognized else "",
        samples=[visible(str(sample)) for sample in row.samples],
        condition=words(row.condition),
        condition_detail=visible(row.condition_detail),
    )


def log_source(instance: Instance) -> str:
    """Return how LogSource calls the instance's log: the path of a file, or "journal"; "" for none known."""
    log = instance.inventory.get("log") or {}
    return str(log.get("path") or JOURNAL) if log else ""
