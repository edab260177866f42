"""Reading a host's logs on, piece by piece, each stored with its cursor before the next is asked for."""

import logging
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from django.db import DatabaseError
from django.utils import timezone

from relays.models import Address, Host, LogSource
from relays.remote import relayctl
from relays.remote.errors import RemoteError
from relays.remote.relayctl import LogReading
from relays.remote.ssh import Limits, Target
from relays.services.outcomes import log_sources, note_unread, store_log

logger = logging.getLogger(__name__)

# A host that is far behind catches up over several polls, so that its thread is soon free for others: no
# piece is begun after so long, and relayctl reads none for longer than this.
PIECES_S, PIECE_S = 5, 5
PIECE_BYTES = 32 << 20
# A request holds 64 KiB; addresses beyond this leave no room for the cursors.
_PEERS_ROOM = 40_000


@dataclass(frozen=True, slots=True)
class LogPoll:
    """What a poll brought of one log, and what is left of it (None: not known); condition: why not all."""

    source: str
    lines: int
    unrecognized: int
    behind_bytes: int | None
    condition: str


@dataclass(slots=True)
class _Brought:
    lines: int = 0
    unrecognized: int = 0


def read_logs(*, host: Host, target: Target, limits: Limits) -> tuple[LogPoll, ...]:
    """Read what was written to the host's logs, as far as a poll may go; return what each brought.

    A failure is named at the logs and raises nothing: the queues of the poll are known without them.
    """
    brought: dict[str, _Brought] = defaultdict(_Brought)
    cursors: dict[str, str] = {}
    try:
        cursors |= {log.source: log.cursor for log in log_sources(host=host)}
        _read_pieces(host, target, limits, cursors, brought)
        return _told(host, cursors, brought)
    except RemoteError as error:
        note_unread(host=host, code=error.code, detail=str(error))
        return _told(host, cursors, brought)
    except DatabaseError as error:
        logger.exception("Storing the logs of %s failed", host.name)
        with suppress(DatabaseError):
            note_unread(host=host, code="not_stored", detail=f"The console's database refused it: {error}")
        return ()


def _read_pieces(
    host: Host, target: Target, limits: Limits, cursors: dict[str, str], brought: dict[str, _Brought]
) -> None:
    peers = _peers()
    until = time.monotonic() + PIECES_S
    while cursors:
        at = timezone.now()
        piece = relayctl.log_read(
            target, limits, cursors=cursors, fleet=peers, max_bytes=PIECE_BYTES, seconds=PIECE_S
        )
        if not _store(host, piece, cursors, brought, at=at) or time.monotonic() >= until:
            return


def _store(
    host: Host, piece: LogReading, cursors: dict[str, str], brought: dict[str, _Brought], *, at: datetime
) -> bool:
    """Store a piece of each log and move the cursors; return whether there is more to be read at once."""
    more = False
    for source in piece.sources:
        was = cursors.get(source.source)
        if was is None:
            # An instance came, or logs elsewhere, since the last inventory: the next poll asks for a new one.
            Host.objects.filter(pk=host.pk).update(inventory_at=None)
            continue
        if not store_log(host=host, source=source, cursor_was=was, at=at, clock_skew_s=piece.clock_skew_s):
            # Another poll of this host is reading on.
            return False
        if source.cursor not in ("", was):
            cursors[source.source] = source.cursor
            brought[source.source].lines += source.lines
            brought[source.source].unrecognized += source.unrecognized
            more = more or source.behind_bytes != 0
    return more


def _peers() -> list[str]:
    """Return the addresses of the fleet's instances: mail that goes there is handed over, not sent."""
    ips = Address.objects.filter(instance__removed_at=None).order_by("ip").values_list("ip", flat=True)
    told = list(ips.distinct())
    # As JSON: quotes and a comma.
    ends = list(accumulate(len(ip) + 3 for ip in told))
    room = bisect_right(ends, _PEERS_ROOM)
    if room < len(told):
        logger.warning("%s addresses of the fleet are not told to its hosts: no room", len(told) - room)
    return told[:room]


def _told(host: Host, sources: Collection[str], brought: Mapping[str, _Brought]) -> tuple[LogPoll, ...]:
    nothing = _Brought()
    return tuple(
        LogPoll(
            log.source,
            brought.get(log.source, nothing).lines,
            brought.get(log.source, nothing).unrecognized,
            log.behind_bytes,
            log.condition,
        )
        for log in LogSource.objects.filter(host=host, source__in=list(sources))
    )
