"""A log followed from a cursor: each full line handed over once, through rotation, copying and truncation.

docs/relayctl.md, "log.read", tells the rules; docs/decisions/0062-following-logs.md tells why they are so.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from relays.agent.log_files import LogFile, NotALog, NotDecompressed, Rotated, open_generation
from relays.agent.log_place import MAX_PLACES, Cursor, Place, Progress
from relays.agent.log_plan import CHUNK_BYTES, Part, Plan, make_plan
from relays.agent.protocol import condition

# A file without a line end for so long: what there is of the line is taken for one.
MAX_LINE_BYTES = 1 << 20
# So long after a file was renamed nobody writes to it any more: syslog has been told by then.
SETTLED_S = 600
_PLANS = 3

Take = Callable[[bytes], None]


class Budget:
    """How much may be read: so many bytes, and no longer than until a time of the monotonic clock."""

    def __init__(self, max_bytes: int, until: float) -> None:
        self._left = max_bytes
        self._until = until
        self._begun = False

    def next_chunk(self) -> int:
        """Return how many bytes to read next, 0 for no more. One chunk is allowed however late it is."""
        if self._left <= 0 or (self._begun and time.monotonic() >= self._until):
            return 0
        return min(CHUNK_BYTES, self._left)

    def spend(self, size: int) -> None:
        """Note that so many bytes were read."""
        self._begun = True
        self._left -= size


class Piece(NamedTuple):
    """What one reading came to.

    cursor: what the next begins with, as a reply has it, None for none yet. bytes: how many were taken;
    behind: how many are left, None where that is not known.
    """

    cursor: dict[str, Any] | None
    bytes: int
    behind: int | None
    conditions: list[dict[str, str]]


def follow(path: str, cursor: Cursor | None, budget: Budget, take: Take) -> Piece:
    """Hand to `take` what was written to a log since the cursor, in chunks that end with a line end.

    Without a cursor a log is read from its first line, and what was rotated before then is left alone. What
    cannot be read is told by a condition of the piece; nothing is raised for what a log is or does.
    """
    for _ in range(_PLANS):
        with contextlib.ExitStack() as opened:
            now = time.time()
            try:
                plan = make_plan(path, cursor, opened)
            except (Rotated, FileNotFoundError):
                continue
            except NotALog as error:
                return _unread(cursor, "not_a_file", str(error))
            except OSError as error:
                return _unread(cursor, "not_readable", str(error))
            return _Reading(plan, budget, take, now, opened).piece(cursor)
    return _unread(cursor, "rotating", f"{path} was rotated again and again while it was looked for")


def _unread(cursor: Cursor | None, code: str, detail: str) -> Piece:
    return Piece(cursor.as_json() if cursor else None, 0, None, [condition(code, "log", detail)])


class _Reading:
    """The parts of a plan, read in order as far as the budget goes."""

    def __init__(
        self, plan: Plan, budget: Budget, take: Take, now: float, opened: contextlib.ExitStack
    ) -> None:
        self._plan = plan
        self._budget = budget
        self._take = take
        self._now = now
        self._opened = opened
        self._stopped = False
        self._has_taken = False
        self._bytes = 0
        self._behind = 0
        self._places: list[Place] = []
        self._conditions = list(plan.conditions)

    def piece(self, cursor: Cursor | None) -> Piece:
        """Read, and return what came of it; an unmoved cursor is given back as it was."""
        parts = self._plan.parts
        for part in parts:
            if part.over:
                self._places.append(part.over)
            elif self._stopped:
                self._leave(part)
            else:
                self._read(part, is_last=part is parts[-1])
        places = self._places_kept()
        if places and (cursor is None or places != cursor.places):
            cursor = Cursor(round(self._now, 3), places)
        behind = self._behind if parts else None
        return Piece(cursor.as_json() if cursor else None, self._bytes, behind, self._conditions)

    def _places_kept(self) -> tuple[Place, ...]:
        """Return the last place, which tells what is newer, and before it those in files that may yet grow.

        The start of a file is no mark: such a file is found again by being newer.
        """
        marked = [place for place in self._places if place.at] or self._places[-1:]
        growing = [place for place in marked[:-1] if not place.over]
        return (*growing, *marked[-1:])[-MAX_PLACES:]

    def _leave(self, part: Part) -> None:
        """Leave a part for the next time; one that isn't begun will be found again by being newer."""
        self._stopped = True
        self._behind += _left_of(part)
        self._places.append(part.progress.place())

    def _read(self, part: Part, *, is_last: bool) -> None:
        began = part.progress.at
        over = bool(part.generation.compression) or (not is_last and self._is_settled(part))
        try:
            file = part.file or self._opened.enter_context(open_generation(part.generation))
            ended = self._pour(file, part.progress, over=over)
        except (Rotated, FileNotFoundError):
            self._leave(part)
            return
        except (NotDecompressed, NotALog, OSError) as error:
            code = "not_decompressed" if isinstance(error, NotDecompressed) else "not_readable"
            self._conditions.append(condition(code, "log", str(error)))
            # What cannot be read of a rotated file is given up; the log itself may be read next time.
            ended, over = True, not part.generation.is_live
        self._bytes += part.progress.at - began
        if ended:
            self._places.append(part.progress.place()._replace(over=over))
        else:
            self._leave(part)

    def _is_settled(self, part: Part) -> bool:
        # Renaming moves ctime, and so does writing.
        return not part.generation.is_live and self._now - part.generation.ctime > SETTLED_S

    def _pour(self, file: LogFile, progress: Progress, *, over: bool) -> bool:
        """Hand over full lines up to the end of the file or of the budget; tell whether it was the file's.

        over: nobody writes to the file any more, so a last line without a line end is a line.
        """
        rest = b""
        while True:
            size = self._budget.next_chunk()
            data = file.read(size) if size else b""
            if not data:
                break
            self._budget.spend(len(data))
            rest += data
            end = rest.rfind(b"\n") + 1 or (len(rest) if len(rest) >= MAX_LINE_BYTES else 0)
            self._hand_over(rest[:end], progress)
            rest = rest[end:]
        # Where the budget is smaller than a line, the line is cut rather than read again and again.
        if rest and (over if size else not self._has_taken):
            self._hand_over(rest, progress)
        return size > 0

    def _hand_over(self, lines: bytes, progress: Progress) -> None:
        if lines:
            self._has_taken = True
            self._take(lines if lines.endswith(b"\n") else lines + b"\n")
            progress.advance(lines)


def _left_of(part: Part) -> int:
    """Return how many bytes of a part are left, those of a compressed one as they lie on the disk."""
    size = part.generation.size
    return size if part.generation.compression else max(1, size - part.progress.at)
