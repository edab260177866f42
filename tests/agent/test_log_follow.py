"""A log is followed so that each line is counted once, whatever rotation does to it meanwhile."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relays.agent import children, log_files, log_follow
from relays.agent.log_follow import Budget, Piece, follow
from relays.agent.log_place import parse_cursor
from relays.agent.protocol import BadRequest


class Log:
    """A log in a folder of its own, and whoever follows it: the cursor goes to and fro as JSON."""

    def __init__(self, folder: Path, name: str = "mail.log") -> None:
        self.path = folder / name
        self.taken: list[bytes] = []
        self.cursor: dict[str, Any] | None = None
        self._written = 0

    def beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def write(self, text: str, path: Path | None = None) -> None:
        with (path or self.path).open("a") as file:
            file.write(text)

    def lines(self, count: int, path: Path | None = None) -> list[str]:
        """Write so many lines, each another; return them."""
        numbers = range(self._written, self._written + count)
        self._written += count
        texts = [f"Nov 20 12:00:{number % 60:02d} rustin line {number} {'x' * 60}" for number in numbers]
        self.write("".join(f"{text}\n" for text in texts), path)
        return texts

    def read(self, max_bytes: int = 1 << 30, *, seconds: float = 60) -> Piece:
        cursor = None if self.cursor is None else parse_cursor(json.loads(json.dumps(self.cursor)))
        taken: list[bytes] = []
        budget = Budget(max_bytes, time.monotonic() + seconds)
        piece = follow(str(self.path), cursor, budget, taken.append)
        assert all(chunk.endswith(b"\n") for chunk in taken)
        self.taken = b"".join(taken).splitlines()
        self.cursor = piece.cursor
        assert len(json.dumps(piece.cursor)) < 2_048
        return piece

    def new(self) -> list[str]:
        """Read, and return the lines that were new; nothing must have hindered it."""
        piece = self.read()
        assert (piece.conditions, piece.behind) == ([], 0)
        return [line.decode() for line in self.taken]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def codes(piece: Piece) -> list[str]:
    return [told["code"] for told in piece.conditions]


def test_a_log_is_read_from_its_first_line_and_then_from_where_reading_stopped(log: Log) -> None:
    first = log.lines(3)
    assert log.new() == first
    assert log.new() == []
    second = log.lines(2)
    assert log.new() == second


def test_an_unmoved_log_gives_the_same_cursor(log: Log) -> None:
    log.lines(3)
    log.read()
    before = log.cursor
    assert log.read().cursor == before


def test_a_line_is_taken_when_it_is_whole(log: Log) -> None:
    log.write("one\ntw")
    assert log.new() == ["one"]
    assert log.new() == []
    log.write("o\n")
    assert log.new() == ["two"]


def test_files_rotated_before_the_first_reading_are_left_alone(log: Log) -> None:
    log.lines(5, log.beside(".1"))
    new = log.lines(1)
    assert log.new() == new


def test_lines_before_and_after_a_renaming_are_taken_in_order(log: Log) -> None:
    log.lines(3)
    log.read()
    unread = log.lines(2)
    log.path.rename(log.beside(".1"))
    unread += log.lines(2)
    assert log.new() == unread


def test_what_is_written_to_a_renamed_log_is_taken_while_the_new_one_is_read(log: Log) -> None:
    log.lines(3)
    log.read()
    log.path.rename(log.beside(".1"))
    new = log.lines(1)
    assert log.new() == new
    late = log.lines(2, log.beside(".1"))
    newer = log.lines(1)
    assert log.new() == [*late, *newer]
    log.beside(".1").rename(log.beside(".2"))
    later = log.lines(1, log.beside(".2"))
    assert log.new() == later


def test_a_last_line_without_an_end_is_taken_once_nobody_can_end_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.lines(1)
    log.read()
    log.write("cut of")
    log.path.rename(log.beside(".1"))
    log.lines(1)
    assert len(log.new()) == 1
    monkeypatch.setattr(log_follow, "SETTLED_S", -1)
    assert log.new() == ["cut of"]
    assert log.new() == []


def _gzip(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def _bzip2(path: Path) -> None:
    path.with_name(path.name + ".bz2").write_bytes(bz2.compress(path.read_bytes()))
    path.unlink()


def _xz(path: Path) -> None:
    path.with_name(path.name + ".xz").write_bytes(lzma.compress(path.read_bytes()))
    path.unlink()


def _zstd(path: Path) -> None:
    subprocess.run(["zstd", "-q", "--rm", str(path)], check=True)


COMPRESSORS = pytest.mark.parametrize("compress", [_gzip, _bzip2, _xz, _zstd])


@COMPRESSORS
@pytest.mark.parametrize("counted", [1, 500])
def test_a_host_that_was_away_for_days_catches_up_through_compressed_logs(
    log: Log, compress: Callable[[Path], None], counted: int
) -> None:
    log.lines(counted)
    log.read()
    unread = log.lines(3_000)
    log.path.rename(log.beside(".3"))
    compress(log.beside(".3"))
    unread += log.lines(2_000)
    log.path.rename(log.beside(".2"))
    compress(log.beside(".2"))
    unread += log.lines(5)
    log.path.rename(log.beside(".1"))
    unread += log.lines(5)

    taken, pieces = [], 0
    while True:
        piece = log.read(64 * 1024)
        assert piece.conditions == []
        taken += [line.decode() for line in log.taken]
        pieces += 1
        if not piece.behind:
            break
    assert taken == unread
    assert pieces >= 6
    assert log.new() == []


@COMPRESSORS
def test_a_log_compressed_at_once_is_not_taken_twice(log: Log, compress: Callable[[Path], None]) -> None:
    log.lines(100)
    log.read()
    unread = log.lines(100)
    log.path.rename(log.beside(".1"))
    compress(log.beside(".1"))
    log.path.touch()
    assert log.new() == unread
    assert log.new() == []
    new = log.lines(1)
    assert log.new() == new
    assert log.new() == []


def test_a_log_that_is_being_compressed_is_read_once(log: Log) -> None:
    log.lines(100)
    log.read()
    unread = log.lines(100)
    log.path.rename(log.beside(".1"))
    log.beside(".1.gz").write_bytes(gzip.compress(log.beside(".1").read_bytes())[:500])
    unread += log.lines(1)
    assert log.new() == unread


@COMPRESSORS
def test_a_quiet_log_is_followed_from_a_file_that_is_over_and_compressed_later(
    log: Log, compress: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_follow, "SETTLED_S", -1)
    assert log.lines(100) == log.new()
    log.path.rename(log.beside(".1"))
    log.path.touch()
    assert log.new() == []
    log.beside(".1").rename(log.beside(".2"))
    compress(log.beside(".2"))
    assert log.new() == []
    new = log.lines(3)
    assert log.new() == new
    assert log.new() == []


@pytest.mark.parametrize(
    ("name", "rotated"),
    [
        ("mail.log", ["mail.log-20261118.gz", "mail.log-20261119.gz", "mail.log-20261120"]),
        ("maillog", ["maillog.20261118-030000.gz", "maillog.20261119-030000.gz", "maillog.20261120-030000"]),
        ("mail.log", ["mail-20261118.log.gz", "mail-20261119.log.gz", "mail-20261120.log"]),
        ("mail.log", ["mail.2.log.gz", "mail.1.log.gz", "mail.0.log"]),
        ("mail.log", ["mail.log.2.gz", "mail.log.1.gz", "mail.log.0"]),
        ("mail.log", ["mail.log.2026-11-18.gz", "mail.log.2026-11-19.gz", "mail.log.2026-11-20"]),
    ],
)
def test_each_way_to_name_rotated_logs_is_known(tmp_path: Path, name: str, rotated: list[str]) -> None:
    log = Log(tmp_path, name)
    log.lines(20)
    log.read()
    unread = []
    for number, to in enumerate(rotated):
        unread += log.lines(20)
        path = tmp_path / to.removesuffix(".gz")
        log.path.rename(path)
        day = time.time() - 86_400 * (3 - number)
        if to.endswith(".gz"):
            _gzip(path)
        os.utime(tmp_path / to, (day, day))
    unread += log.lines(1)
    assert log.new() == unread


def test_other_logs_of_similar_names_are_not_its_own(log: Log) -> None:
    log.lines(20)
    log.read()
    log.path.rename(log.beside(".1"))
    for other in ("mail-2.log", "mail.log.old", "mail.log~", "mail.log.1.bak", "mail.logs", "xmail.log.1"):
        log.lines(5, log.path.with_name(other))
    log.path.with_name("mail.log.2").symlink_to("mail-2.log")
    log.path.with_name("mail.log.3").mkdir()
    new = log.lines(1)
    assert log.new() == new


def test_copytruncate_loses_and_repeats_nothing_that_it_copied(log: Log) -> None:
    log.lines(50)
    log.read()
    unread = log.lines(5)
    shutil.copy(log.path, log.beside(".1"))
    os.truncate(log.path, 0)
    new = log.lines(2)
    assert log.new() == [*unread, *new]
    assert log.new() == []


def test_copytruncate_after_all_was_read_repeats_nothing(log: Log) -> None:
    log.lines(50)
    shutil.copy(log.path, log.beside(".1"))
    log.lines(5)
    log.read()
    os.truncate(log.path, 0)
    new = log.lines(80)
    assert log.new() == new
    assert log.new() == []


def test_a_copy_that_is_being_made_is_not_counted_beside_its_log(log: Log) -> None:
    log.lines(50)
    log.read()
    unread = log.lines(50)
    log.path.rename(log.beside(".2"))
    unread += log.lines(50)
    log.beside(".1").write_bytes(log.path.read_bytes()[:2_000])
    assert log.new() == unread
    shutil.copy(log.path, log.beside(".1"))
    os.truncate(log.path, 0)
    assert log.new() == []


def test_a_truncated_log_that_a_writer_goes_on_in_at_its_old_place_is_followed(log: Log) -> None:
    log.lines(50)
    log.read()
    size = log.path.stat().st_size
    shutil.copy(log.path, log.beside(".1"))
    os.truncate(log.path, 0)
    os.truncate(log.path, size)
    log.write("\n")
    new = log.lines(2)
    assert log.new()[1:] == new


def test_an_empty_log_that_was_filled_and_rotated_meanwhile_is_read(log: Log) -> None:
    log.path.touch()
    old = log.beside(".9")
    log.lines(5, old)
    os.utime(old, (1, 1))
    assert log.new() == []
    unread = log.lines(5)
    shutil.copy(log.path, log.beside(".1"))
    os.truncate(log.path, 0)
    assert log.new() == unread
    log.beside(".1").rename(log.beside(".2"))
    unread = log.lines(5)
    log.path.rename(log.beside(".1"))
    _gzip(log.beside(".1"))
    log.path.touch()
    assert log.new() == unread
    assert log.new() == []


@pytest.mark.parametrize("size", [20, 50, 90])
def test_a_log_replaced_by_another_is_read_from_its_start_and_that_is_told(log: Log, size: int) -> None:
    log.lines(50)
    log.read()
    log.path.unlink()
    new = log.lines(size)
    piece = log.read()
    assert codes(piece) == ["lost"]
    assert [line.decode() for line in log.taken] == new
    assert log.new() == []


def test_a_log_that_an_editor_wrote_anew_is_the_same_log(log: Log) -> None:
    log.lines(50)
    log.read()
    shutil.copy(log.path, log.beside(".tmp"))
    log.beside(".tmp").rename(log.path)
    new = log.lines(1)
    assert log.new() == new


def test_a_log_whose_end_was_cut_off_is_followed_from_its_new_end_and_that_is_told(log: Log) -> None:
    log.lines(50)
    log.read()
    os.truncate(log.path, len(b"".join(log.path.read_bytes().splitlines(keepends=True)[:40])))
    assert codes(log.read()) == ["lost"]
    new = log.lines(1)
    assert log.new() == new


def test_a_log_that_is_gone_is_told_and_its_place_is_kept(log: Log) -> None:
    assert codes(log.read()) == ["missing"]
    assert log.cursor is None
    log.lines(50)
    log.read()
    before = log.cursor
    content = log.path.read_bytes()
    log.path.unlink()
    piece = log.read()
    assert codes(piece) == ["lost", "missing"]
    assert piece.cursor == before
    log.path.write_bytes(content)
    new = log.lines(1)
    assert log.new() == new


def test_a_log_between_renaming_and_making_anew_is_read_on(log: Log) -> None:
    log.lines(50)
    log.read()
    unread = log.lines(5)
    log.path.rename(log.beside(".1"))
    piece = log.read()
    assert codes(piece) == ["missing"]
    assert [line.decode() for line in log.taken] == unread
    late, new = log.lines(1, log.beside(".1")), log.lines(1)
    assert log.new() == [*late, *new]


def test_what_is_no_regular_file_is_refused(log: Log) -> None:
    def refused() -> bool:
        piece = log.read()
        log.path.unlink() if not log.path.is_dir() else log.path.rmdir()
        return codes(piece) == ["not_a_file"] and piece.behind is None

    elsewhere = log.path.with_name("elsewhere")
    log.lines(1, elsewhere)
    log.path.symlink_to(elsewhere)
    assert refused()
    os.mkfifo(log.path)
    assert refused()
    log.path.mkdir()
    assert refused()
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(log.path))
        assert refused()
    os.mknod(log.path, 0o666 | 0o020000, os.makedev(1, 3))
    assert refused()


def test_a_log_that_may_not_be_read_is_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.lines(50)
    log.read()
    before = log.cursor

    def denied(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", denied)
        assert codes(log.read()) == ["not_readable"]
    assert log.cursor == before
    assert log.new() == []


def test_a_rotated_log_that_may_not_be_read_is_told_and_passed_over(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.lines(50)
    log.read()
    log.path.rename(log.beside(".2"))
    log.lines(50)
    log.path.rename(log.beside(".1"))
    new = log.lines(1)
    really = os.open

    def denied(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if str(path).endswith(".1"):
            raise PermissionError(13, "Permission denied", path)
        return really(path, flags, *more, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", denied)
        piece = log.read()
    assert codes(piece) == ["not_readable"]
    assert [line.decode() for line in log.taken] == new


def test_a_damaged_compressed_log_gives_what_it_holds(log: Log) -> None:
    log.lines(50)
    log.read()
    unread = log.lines(50)
    log.path.rename(log.beside(".2"))
    broken = log.lines(20_000)
    log.path.rename(log.beside(".1"))
    _gzip(log.beside(".1"))
    content = log.beside(".1.gz").read_bytes()
    log.beside(".1.gz").write_bytes(content[: len(content) // 2])
    new = log.lines(1)
    piece = log.read()
    assert codes(piece) == ["not_decompressed"]
    taken = [line.decode() for line in log.taken]
    assert taken[:50] == unread
    assert taken[-1:] == new
    assert set(taken[50:-1]) <= set(broken)
    assert log.new() == []


def test_without_zstd_that_is_told_and_the_rest_is_read(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.lines(50)
    log.read()
    log.path.rename(log.beside(".2"))
    log.lines(50)
    log.path.rename(log.beside(".1"))
    _zstd(log.beside(".1"))
    new = log.lines(1)
    monkeypatch.setattr(children, "_DIRECTORIES", ())
    piece = log.read()
    assert codes(piece) == ["not_decompressed"]
    assert "zstd" in piece.conditions[0]["detail"]
    assert [line.decode() for line in log.taken] == new


def test_a_damaged_zstd_log_is_told(log: Log) -> None:
    log.lines(50)
    log.read()
    log.path.rename(log.beside(".2"))
    log.beside(".1.zst").write_bytes(b"no zstd")
    log.lines(1)
    assert codes(log.read()) == ["not_decompressed"]


def test_a_line_longer_than_a_piece_is_cut_and_passed(log: Log) -> None:
    log.write("x" * 3_000_000 + "\n")
    new = log.lines(1)
    taken = b""
    for _ in range(100):
        if not log.read(100_000).behind:
            break
        taken += b"".join(log.taken)
    assert len(taken) >= 2_900_000
    log.read()
    assert log.new() == []
    assert new


def test_a_log_that_grows_while_it_is_read_is_read_to_its_new_end(log: Log) -> None:
    first = log.lines(20_000)
    grown: list[str] = []

    def grow(_: bytes) -> None:
        if not grown:
            grown.extend(log.lines(10))

    piece = follow(str(log.path), None, Budget(1 << 30, time.monotonic() + 60), grow)
    assert piece.bytes == sum(len(line) + 1 for line in first + grown)
    assert piece.behind == 0


def test_time_that_is_up_ends_a_piece_after_one_chunk(log: Log) -> None:
    log.lines(30_000)
    piece = log.read(seconds=-1)
    assert 0 < piece.bytes <= 1 << 20
    assert piece.behind == log.path.stat().st_size - piece.bytes


def test_a_directory_that_never_holds_still_is_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.lines(50)
    log.read()
    before = log.cursor
    log.path.rename(log.beside(".1"))
    log.lines(1)

    def moving(_: str) -> list[log_files.Generation]:
        raise log_files.Rotated

    with monkeypatch.context() as patched:
        patched.setattr("relays.agent.log_plan.generations", moving)
        piece = log.read()
    assert (codes(piece), piece.cursor, log.taken) == (["rotating"], before, [])
    assert len(log.new()) == 1


@pytest.mark.parametrize(
    "cursor",
    [
        None,
        [],
        {},
        {"v": 2, "read": 1.0, "places": []},
        {"v": 1, "read": 1.0, "places": []},
        {"v": 1, "read": "x", "places": [{}]},
        {"v": 1, "read": 1.0, "places": [{"dev": 1}]},
        {"v": 1, "read": 1.0, "places": [{"dev": 1, "ino": 1, "at": -1, "head": "a" * 16, "tail": "a" * 16}]},
        {"v": 1, "read": 1.0, "places": [{"dev": 1, "ino": 1, "at": 1, "head": "../..", "tail": "a" * 16}]},
        {"v": 1, "read": 1.0, "places": [{"dev": 1, "ino": 1, "at": 1, "head": 7, "tail": "a" * 16}]},
        {"v": 1, "read": 1.0, "places": [{}] * 9},
        {"v": 1, "read": 1.0, "places": [{}], "path": "/etc/shadow"},
    ],
)
def test_a_cursor_that_relayctl_did_not_give_is_refused(cursor: object) -> None:
    with pytest.raises(BadRequest):
        parse_cursor(cursor)


class Rotation:
    """A random life of a log: written to, rotated in every way, compressed late or at once, and read."""

    def __init__(self, log: Log, seed: int) -> None:
        self.log = log
        self.random = random.Random(seed)
        self.written: list[str] = []
        self.taken: list[str] = []
        self.dated = self.random.random() < 0.3
        self.day = 20_260_101

    def step(self) -> None:
        self.random.choice([self.append, self.append, self.append, self.rename, self.copy, self.read])()

    def append(self) -> None:
        self.written += self.log.lines(self.random.choice([1, 3, 40, 400]))

    def rename(self) -> None:
        if not self.log.path.exists():
            return
        to = self.free_name()
        self.log.path.rename(to)
        if self.random.random() < 0.5:
            self.written += self.log.lines(2, to)
        if self.random.random() < 0.3:
            self.read()
            self.written += self.log.lines(1, to)
        self.log.path.touch()
        if self.random.random() < 0.3:
            self.compress(to)

    def copy(self) -> None:
        if not self.log.path.exists():
            return
        to = self.free_name()
        shutil.copy(self.log.path, to)
        if self.random.random() < 0.3:
            self.read()
        os.truncate(self.log.path, 0)

    def free_name(self) -> Path:
        if self.dated:
            self.day += 1
            return self.log.beside(f"-{self.day}")
        numbered = [path for path in self.log.path.parent.iterdir() if path.name.split(".")[2:]]
        for path in sorted(numbered, key=lambda path: -int(path.name.split(".")[2])):
            mail, log, number, *more = path.name.split(".")
            moved = path.with_name(".".join([mail, log, str(int(number) + 1), *more]))
            path.rename(moved)
            if not more and self.random.random() < 0.5:
                self.compress(moved)
        return self.log.beside(".1")

    def compress(self, path: Path) -> None:
        status = path.stat()
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes(), 1))
        os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
        path.unlink()

    def read(self) -> None:
        piece = self.log.read(self.random.choice([200, 5_000, 100_000, 1 << 20]))
        assert set(codes(piece)) <= {"missing"}
        self.taken += [line.decode() for line in self.log.taken]

    def finish(self) -> None:
        for _ in range(200):
            piece = self.log.read(1 << 20)
            assert piece.conditions == []
            self.taken += [line.decode() for line in self.log.taken]
            if not piece.behind:
                return
        raise AssertionError("it is never read to its end")


@pytest.mark.parametrize("seed", range(60))
def test_no_line_is_lost_or_taken_twice_in_a_random_life(log: Log, seed: int) -> None:
    life = Rotation(log, seed)
    life.append()
    life.read()
    for _ in range(40):
        life.step()
    life.finish()
    assert Counter(life.taken) == Counter(life.written)
