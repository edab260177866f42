"""Which files of a log are to be read, from where: the places of a cursor found again, and what is newer."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from relays.agent.log_files import (
    Generation,
    LogFile,
    NotALog,
    NotDecompressed,
    generations,
    open_generation,
    open_log,
)
from relays.agent.log_place import MARK_BYTES, Cursor, Place, Progress, fingerprint
from relays.agent.protocol import condition

CHUNK_BYTES = 1 << 20
# File systems stamp by the kernel's tick, which may be a little behind the clock.
_TICK_S = 1.0


class Part(NamedTuple):
    """A file to be read on from its progress.

    file: None where it is yet to be opened. over: where there is nothing more to read, the place at its end.
    """

    generation: Generation
    file: LogFile | None
    progress: Progress
    over: Place | None = None


class Plan(NamedTuple):
    """The parts to be read, oldest first, and what hinders the reading."""

    parts: list[Part]
    conditions: list[dict[str, str]]


def make_plan(path: str, cursor: Cursor | None, opened: contextlib.ExitStack) -> Plan:
    """Return what is to be read of a log; `opened` closes what was opened for it.

    Raises Rotated or FileNotFoundError where the files moved meanwhile: try again. Raises NotALog and OSError
    where the log itself cannot be opened.
    """
    live = _open_live(path, opened)
    conditions = [] if live else [condition("missing", "log", f"{path} does not exist")]
    if cursor is None:
        return Plan([live] if live else [], conditions)
    # Nearly always there is one place, and it is in the log itself: then no directory is read.
    if live and len(cursor.places) == 1 and _stands_in(live, cursor.places[0]):
        return Plan([live], conditions)
    search = _Search(generations(path), opened)
    numbers = [search.locate(place) for place in cursor.places]
    if numbers[-1] is None and cursor.places[-1].at:
        lost = f"the place where reading of {path} had stopped is in no file that is left"
        search.conditions.append(condition("lost", "log", lost))
    is_known = numbers[-1] is not None and cursor.places[-1].at > 0
    search.add_newer(numbers, None if is_known else cursor.read)
    return Plan(search.parts(), [*search.conditions, *conditions])


def _open_live(path: str, opened: contextlib.ExitStack) -> Part | None:
    """Open the log under its own name first: what is no file is refused before anything else is looked at."""
    try:
        generation, file = open_log(path)
    except FileNotFoundError:
        return None
    opened.enter_context(file)
    return Part(generation, file, Progress(generation.dev, generation.ino))


def _stands_in(live: Part, place: Place) -> bool:
    """Tell whether a place is in the log itself; if so move the part's progress there."""
    if not place.at or (live.generation.dev, live.generation.ino) != (place.dev, place.ino):
        return False
    return live.file is not None and _go_to(live.file, live.progress, place) and live.progress.at == place.at


def _go_to(file: LogFile, progress: Progress, place: Place) -> bool:
    """Move the progress to a place, whatever name the file goes by; False where the place is in another file.

    A file that ends before the place, but begins as the place's, is a copy that was made before the reading
    got there: the progress then is at its end. Raises OSError, NotDecompressed.
    """
    marked = place.head_bytes()
    head = file.read(marked)
    progress.advance(head)
    if fingerprint(head) != place.head:
        return False
    if not file.compression:
        end = min(place.at, file.status().st_size)
        # As many bytes before the place as its tail is the hash of, but none twice.
        progress.at = max(marked, end - marked)
        file.jump(progress.at)
    while progress.at < place.at:
        data = file.read(min(CHUNK_BYTES, place.at - progress.at))
        if not data:
            return True
        progress.advance(data)
    return progress.place().tail == place.tail


class _Search:
    """Looks for places among the files of a log."""

    def __init__(self, found: list[Generation], opened: contextlib.ExitStack) -> None:
        self.conditions: list[dict[str, str]] = []
        self._found = found
        self._opened = opened
        self._parts: dict[int, Part] = {}

    def parts(self) -> list[Part]:
        """Return the files to be read, oldest first."""
        return [self._parts[number] for number in sorted(self._parts)]

    def locate(self, place: Place) -> int | None:
        """Find the file that a place is in, add it to the parts and return its number; None: it is gone.

        The file itself comes first, then those with its content, the newest before the others. Nothing marks
        the start of a file but the file itself.
        """
        numbers = range(len(self._found))
        same = [n for n in numbers if (self._found[n].dev, self._found[n].ino) == (place.dev, place.ino)]
        others = [n for n in reversed(numbers) if n not in same] if place.at else []
        for number in [*same, *others]:
            part = self._part_at(self._found[number], place)
            if part is not None:
                if part.generation.is_live and part.progress.at < place.at:
                    cut = f"{part.generation.path} was cut short: what was appended since then is not known"
                    self.conditions.append(condition("lost", "log", cut))
                known = self._parts.get(number)
                if known is None or known.progress.at < part.progress.at:
                    self._parts[number] = part
                return number
        return None

    def _part_at(self, generation: Generation, place: Place) -> Part | None:
        progress = Progress(generation.dev, generation.ino)
        try:
            with contextlib.ExitStack() as closing:
                file = closing.enter_context(open_generation(generation))
                if place.over and (generation.dev, generation.ino) == (place.dev, place.ino):
                    return Part(generation, None, progress, place)
                if not _go_to(file, progress, place):
                    return None
                if place.over:
                    return Part(generation, None, progress, progress.place()._replace(over=True))
                self._opened.push(closing.pop_all())
                return Part(generation, file, progress)
        except NotDecompressed as error:
            self.conditions.append(condition("not_decompressed", "log", str(error)))
        except (NotALog, PermissionError) as error:
            self.conditions.append(condition("not_readable", "log", str(error)))
        return None

    def add_newer(self, located: list[int | None], since: float | None) -> None:
        """Add the files that come after all that were located.

        since: where the last place wasn't located, of them only those that were written to since a time.
        """
        known = [number for number in located if number is not None]
        for number in range(max(known, default=-1) + 1 if since is None else 0, len(self._found)):
            generation = self._found[number]
            is_old = since is not None and not generation.is_live and generation.mtime <= since - _TICK_S
            if number not in self._parts and not is_old and not self._is_copy_of_live(generation):
                self._parts[number] = Part(generation, None, Progress(generation.dev, generation.ino))

    def _is_copy_of_live(self, generation: Generation) -> bool:
        """Tell whether a file begins as the log does, which copytruncate has copied but not yet emptied."""
        if generation.is_live or generation.compression or not self._found[-1].is_live:
            return False
        try:
            with open_generation(self._found[-1]) as live, open_generation(generation) as copy:
                head = copy.read(MARK_BYTES)
                return bool(head) and head == live.read(len(head))
        except (NotALog, PermissionError):
            return False
