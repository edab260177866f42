"""Log files as they lie on a disk: plain, compressed, or on standard input, in pieces of bounded size."""

import bz2
import gzip
import lzma
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

STANDARD_INPUT = "-"
PIECE = 1 << 20

# How each kind of compressed file begins, and what such a file is called.
_MAGIC = {
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ\x00": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
}


class Unreadable(Exception):
    """A file that cannot be read, or not to its end; the message names it and says why."""


def size_of(path: str) -> int | None:
    """Return a file's size in bytes, as it lies there; None where that is not known: a pipe.

    Raises Unreadable for one that is not there or no file.
    """
    if path == STANDARD_INPUT:
        return None
    with _naming(path):
        status = Path(path).stat()
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable(f"{path} is a directory: name the files in it.")
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def pieces(path: str) -> Iterator[tuple[bytes, int]]:
    """Return a file's bytes, decompressed where it is compressed, each with how much of the file is read.

    path: STANDARD_INPUT for that. Raises Unreadable.
    """
    with _naming(path), _opened(path) as file:
        kind = next((kind for magic, kind in _MAGIC.items() if file.peek(6).startswith(magic)), "")
        _refuse_misnamed(path, kind, empty=not file.peek(1))
        taken = 0
        with _decompressed(file, path, kind) as text:
            while piece := text.read(PIECE):
                taken += len(piece)
                yield piece, _position(file, taken)


def _position(file: BufferedReader, taken: int) -> int:
    try:
        return os.lseek(file.fileno(), 0, os.SEEK_CUR)
    except OSError:
        return taken  # a pipe has no position


def _refuse_misnamed(path: str, kind: str, *, empty: bool) -> None:
    suffix = Path(path).suffix
    if suffix in _MAGIC.values() and suffix != kind and not empty:
        raise Unreadable(f"{path} is not a {suffix} file: it does not begin as one.")


@contextmanager
def _opened(path: str) -> Iterator[BufferedReader]:
    if path == STANDARD_INPUT:
        yield cast("BufferedReader", sys.stdin.buffer)
        return
    with Path(path).open("rb") as file:
        yield file


@contextmanager
def _decompressed(file: BufferedReader, path: str, kind: str) -> Iterator[IO[bytes]]:
    match kind:
        case "":
            yield file
        case ".gz":
            with gzip.GzipFile(fileobj=file) as text:
                yield cast("IO[bytes]", text)
        case ".bz2":
            with bz2.BZ2File(file) as text:
                yield text
        case ".xz":
            with lzma.LZMAFile(file) as text:
                yield text
        case _:
            with _zstd(file, path) as text:
                yield text


@contextmanager
def _zstd(file: BufferedReader, path: str) -> Iterator[IO[bytes]]:
    """Run zstd(1), which the standard library cannot do without yet."""
    if path == STANDARD_INPUT:
        raise Unreadable("Standard input is .zst: pipe it through `zstd -dc` first.")
    # file.seek() would stay within its buffer, and zstd reads from the descriptor.
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        program = subprocess.Popen(
            ["zstd", "-dcq"],  # noqa: S607 (found by PATH, as any program of the operator's is)
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise Unreadable(f"{path} is .zst, and the program zstd is not installed here.") from error
    with program:
        try:
            yield cast("IO[bytes]", program.stdout)
            complaint = cast("IO[bytes]", program.stderr).read(500).decode(errors="replace").strip()
        finally:
            program.kill()
    if complaint:
        raise Unreadable(f"{path} is damaged: {complaint}")


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turn the errors of reading into Unreadable, with the name of the file."""
    name = "Standard input" if path == STANDARD_INPUT else path
    try:
        yield
    except EOFError as error:
        raise Unreadable(f"{name} ends in the middle of its compressed text: it is cut short.") from error
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise Unreadable(f"{name} is damaged: {error}.") from error
    except OSError as error:
        # bz2 says "Invalid data stream" without an errno.
        raise Unreadable(f"{name}: {error.strerror or error}.") from error
