"""The files that a log and its rotations left: which there are, in which order, and what is in them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable
from typing import Any, NamedTuple

from relays.agent import children

# logrotate renames one file after the other: two looks that agree have seen none in between.
_LOOKS = 10
# Numbers of logrotate's own kind; longer ones are dates.
_NUMBER = re.compile(r"\A[0-9]{1,3}\Z")

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Rotated(Exception):
    """A file is not what it was when the directory was looked at: look again."""


class NotALog(Exception):
    """The path is no regular file: a symbolic link, a pipe, a device or a directory."""


class NotDecompressed(Exception):
    """A compressed log cannot be read: no program for it, or it is damaged."""


class Generation(NamedTuple):
    """A file that holds a part of a log, as the directory showed it. tag: what rotation put into its name."""

    path: str
    tag: str
    compression: str
    dev: int
    ino: int
    size: int
    mtime: float
    ctime: float

    @property
    def is_live(self) -> bool:
        """Whether this is the log under its own name."""
        return not self.tag


def generations(path: str) -> list[Generation]:
    """Return the log's files, oldest first, the live one last if it is there.

    Raises OSError, and Rotated where the directory won't hold still.
    """
    before = _look(path)
    for _ in range(_LOOKS):
        now = _look(path)
        if [(g.path, g.ino) for g in before] == [(g.path, g.ino) for g in now]:
            return _in_order(now)
        before = now
    raise Rotated


def _look(path: str) -> list[Generation]:
    names = _rotated_names(os.path.basename(path))
    found = []
    with os.scandir(os.path.dirname(path)) as entries:
        for entry in entries:
            match = names.match(entry.name)
            if match is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found.append(_generation(entry.path, *_tag_and_compression(match), status))
    return sorted(found)


def _rotated_names(base: str) -> re.Pattern[str]:
    """Match the log's own name and those that logrotate, newsyslog and `postfix logrotate` make of it.

    mail.log.1, mail.log.2.gz, mail.log-20261120, maillog.20261120-153000.gz; with logrotate's `extension`
    mail.1.log and mail-20261120.log.gz. mail-2.log is another log.
    """
    stem, extension = os.path.splitext(base)
    date = r"[0-9]{4}[0-9_.:T-]{4,20}"
    kinds = [rf"{re.escape(base)}(?:[.-](?P<after>[0-9]{{1,3}}|{date}))?"]
    if extension:
        kinds.append(
            rf"{re.escape(stem)}(?:\.(?P<number>[0-9]{{1,3}})|[.-](?P<date>{date})){re.escape(extension)}"
        )
    compressions = "|".join(filter(None, _DECOMPRESSORS))
    return re.compile(rf"\A(?:{'|'.join(kinds)})(?:\.(?P<compression>{compressions}))?\Z")


def _tag_and_compression(match: re.Match[str]) -> tuple[str, str]:
    named = match.groupdict()
    compression = named["compression"] or ""
    tag = named["after"] or named.get("number") or named.get("date")
    # mail.log.gz is no live log, whoever made it.
    return tag or ("0" if compression else ""), compression


def _generation(path: str, tag: str, compression: str, status: os.stat_result) -> Generation:
    return Generation(
        path,
        tag,
        compression,
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime,
        status.st_ctime,
    )


def _in_order(found: list[Generation]) -> list[Generation]:
    plain = {g.path for g in found if not g.compression}
    # gzip and its like remove the plain file only when the compressed one is whole.
    whole = [g for g in found if not g.compression or os.path.splitext(g.path)[0] not in plain]
    rotated = [g for g in whole if not g.is_live]
    live = [g for g in whole if g.is_live]
    if all(_NUMBER.match(g.tag) for g in rotated):
        rotated.sort(key=lambda g: -int(g.tag))
    else:
        rotated.sort(key=lambda g: (g.mtime, g.tag))
    return rotated + live


class LogFile:
    """An open file of a log, decompressed. Whoever renames or removes the file, it stays the same one."""

    def __init__(self, path: str, compression: str = "") -> None:
        """Open the file. Raises OSError, NotALog, NotDecompressed."""
        self.path = path
        self.compression = compression
        self._raw = _open_regular(path)
        try:
            self._stream, self._errors = _DECOMPRESSORS[compression](self._raw)
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._raw.close()

    def status(self) -> os.stat_result:
        """Return what the file system tells of the file now."""
        return os.fstat(self._raw.fileno())

    def read(self, most: int) -> bytes:
        """Return the next bytes, fewer only at the end. Raises OSError, NotDecompressed."""
        try:
            data: bytes = self._stream.read(most)
        except self._errors as error:
            raise NotDecompressed(f"{self.path}: {error}") from None
        return data

    def jump(self, at: int) -> None:
        """Go on from a byte of a file that is not compressed."""
        self._raw.seek(at)


def open_log(path: str) -> tuple[Generation, LogFile]:
    """Open a log under its own name, and tell which file that is. Raises OSError, NotALog."""
    file = LogFile(path)
    return _generation(path, "", "", file.status()), file


def open_generation(generation: Generation) -> LogFile:
    """Open a file that the directory showed; raises Rotated where its name has gone to another one since."""
    file = LogFile(generation.path, generation.compression)
    if (file.status().st_dev, file.status().st_ino) != (generation.dev, generation.ino):
        file.__exit__()
        raise Rotated
    return file


def _open_regular(path: str) -> Any:
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        # O_NOFOLLOW refuses a symbolic link; a socket cannot be opened at all.
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise NotALog(f"{path} is no regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotALog(f"{path} is no regular file")
    return os.fdopen(fd, "rb", buffering=0)


# Each of these returns a stream and what its read() raises for a damaged file; imported where it is needed.


def _plain(raw: Any) -> tuple[Any, tuple[type[Exception], ...]]:
    return raw, ()


def _gz(raw: Any) -> tuple[Any, tuple[type[Exception], ...]]:
    import gzip  # noqa: PLC0415
    import zlib  # noqa: PLC0415

    return gzip.GzipFile(fileobj=raw, mode="rb"), (EOFError, gzip.BadGzipFile, zlib.error)


def _bz2(raw: Any) -> tuple[Any, tuple[type[Exception], ...]]:
    import bz2  # noqa: PLC0415

    return bz2.BZ2File(raw), (EOFError, OSError)


def _xz(raw: Any) -> tuple[Any, tuple[type[Exception], ...]]:
    import lzma  # noqa: PLC0415

    return lzma.LZMAFile(raw), (EOFError, lzma.LZMAError)


def _zst(raw: Any) -> tuple[Any, tuple[type[Exception], ...]]:
    try:
        return children.Pipe([children.find_program("zstd"), "-dcq"], raw), (children.Failed,)
    except children.NotInstalled as error:
        raise NotDecompressed(str(error)) from None


_DECOMPRESSORS: dict[str, Callable[[Any], tuple[Any, tuple[type[Exception], ...]]]] = {
    "": _plain,
    "gz": _gz,
    "bz2": _bz2,
    "xz": _xz,
    "zst": _zst,
}
