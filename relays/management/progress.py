"""A progress bar on standard error, where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_WIDTH = 30


@contextmanager
def progress_bar(stream: TextIO, noun: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what is called with how many are done of how many; nothing is written where nobody looks."""
    if not stream.isatty():
        yield lambda done, total: None
        return

    def show(done: int, total: int) -> None:
        full = _WIDTH * done // total if total else 0
        stream.write(f"\r[{'#' * full}{'.' * (_WIDTH - full)}] {done:,} of {total:,} {noun}")
        stream.flush()

    try:
        yield show
    finally:
        stream.write("\r\x1b[K")
        stream.flush()
