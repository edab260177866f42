"""What log.search finds in a host's logs: by text or by queue id, piece by piece, through every rotation."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relays.agent import children, log_read, log_search
from relays.agent.deadline import Deadline
from relays.agent.log_read import Host, Source
from relays.agent.protocol import BadRequest, Locked

NOW = int(time.time()) // 60 * 60


def line(
    message: str, *, queue_id: str = "4jWKWh04b5z1T1", at: int = NOW, name: str = "postfix-msn-a/smtp"
) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at))
    return f"{stamp} rustin {name}[719]: {queue_id}: {message}\n"


class Relay:
    """A host whose logs are files of the test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.host = Host([], {}, set())
        self.niced: list[int] = []
        monkeypatch.setattr(log_read, "host", lambda: self.host)
        monkeypatch.setattr(os, "nice", self.niced.append)

    def log(self, name: str = "mail.log", *instances: str) -> Path:
        path = self.folder / name
        names = {f"postfix-{instance}": instance for instance in instances or ("msn-a", "msn-b")}
        self.host.names.update(names)
        self.host.sources.append(Source(str(path), names, [], False))
        return path

    def piece(self, **args: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        answer = log_search.answer(args, Deadline(60))
        return list(answer.rows), answer.end  # type: ignore[arg-type]

    def search(self, **args: Any) -> list[dict[str, Any]]:
        """Ask until nothing is left."""
        found, at = [], None
        for _ in range(1_000):
            rows, end = self.piece(**args, **({"at": at} if at else {}))
            found += rows
            at = end["at"]
            if at is None:
                return found
        raise AssertionError("it comes to no end")

    def texts(self, **args: Any) -> list[str]:
        return [row["text"].rpartition(": ")[2] for row in self.search(**args) if row["kind"] == "line"]


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Relay:
    return Relay(tmp_path, monkeypatch)


def test_a_text_is_found_whatever_its_case_with_what_is_known_of_its_line(relay: Relay) -> None:
    path = relay.log()
    path.write_text(
        line("to=<Anna@Hotmail.com>, status=sent")
        + line("to=<bert@hotmail.com>, status=sent", queue_id="4jWKWh04b5z1T2")
    )
    (row,) = relay.search(texts=["to=<anna@hotmail.com>"])
    assert row == {
        "kind": "line",
        "time": NOW,
        "instance": "msn-a",
        "queue_id": "4jWKWh04b5z1T1",
        "file": str(path),
        "text": line("to=<Anna@Hotmail.com>, status=sent").rstrip(),
    }
    assert relay.niced == [19]


def test_all_lines_of_a_message_are_found_by_its_id_and_none_that_only_name_it(relay: Relay) -> None:
    relay.log().write_text(
        line("client=lists[198.51.100.40]")
        + line("message-id=<a@b>", name="postfix-msn-a/cleanup")
        + line("to=<x@y.zz>, status=sent (250 queued as 4jWKWh04b5z1T1)", queue_id="4jWKWh04b5z1T2")
        + line("removed", name="postfix-msn-a/qmgr")
    )
    assert relay.texts(ids=["4jWKWh04b5z1T1"]) == [
        "client=lists[198.51.100.40]",
        "message-id=<a@b>",
        "removed",
    ]


def test_a_line_that_holds_a_text_twice_or_two_of_them_is_told_once(relay: Relay) -> None:
    relay.log().write_text(line("to=<a@b.cc>, orig_to=<a@b.cc>, from=<d@e.ff>"))
    assert len(relay.texts(texts=["<a@b.cc>", "<d@e.ff>"])) == 1


def test_a_service_with_a_name_of_its_own_is_the_instance_s(relay: Relay) -> None:
    relay.log().write_text(
        line("to=<a@b.cc>", name="postfix-msn-a/drain/smtp") + line("to=<a@b.cc>", name="postfix-gone/smtp")
    )
    assert [row["instance"] for row in relay.search(texts=["a@b.cc"])] == ["msn-a", None]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)],
)
def test_rotated_files_are_read_from_the_oldest_on(
    relay: Relay, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = relay.log()
    path.write_text(line("to=<a@b.cc>, new"))
    (relay.folder / "mail.log.1").write_text(line("to=<a@b.cc>, old", at=NOW - 86_400))
    oldest = line("to=<a@b.cc>, oldest", at=NOW - 2 * 86_400)
    (relay.folder / f"mail.log.2{suffix}").write_bytes(pack(oldest.encode()))
    assert [text[13:] for text in relay.texts(texts=["a@b.cc"])] == ["oldest", "old", "new"]


def test_only_what_was_written_between_two_times_is_told_and_older_files_are_not_opened(relay: Relay) -> None:
    path = relay.log()
    path.write_text("".join(line(f"to=<a@b.cc>, {minute}", at=NOW + 60 * minute) for minute in range(-30, 1)))
    old = relay.folder / "mail.log.1.gz"
    old.write_bytes(b"no gzip at all")
    os.utime(old, (NOW - 86_400, NOW - 86_400))
    found = relay.search(texts=["a@b.cc"], since=NOW - 600, until=NOW - 300)
    assert [row["text"].rpartition(", ")[2] for row in found] == ["-10", "-9", "-8", "-7", "-6", "-5"]


def test_a_large_log_is_entered_near_its_time_and_left_behind_it(relay: Relay) -> None:
    filler = "".join(
        line("to=<nobody@else.example>, " + "x" * 900, at=NOW - 50_000 + n) for n in range(5_000)
    )
    wanted = "".join(line("to=<a@b.cc>, here", at=NOW - 45_000 + n) for n in range(3))
    after = "".join(line("to=<nobody@else.example>, " + "y" * 900, at=NOW - 44_000 + n) for n in range(5_000))
    relay.log().write_text(filler + wanted + after)
    rows, end = relay.piece(texts=["a@b.cc"], since=NOW - 45_010, until=NOW - 44_900, budget_ms=20_000)
    assert len(rows) == 3
    assert end["at"] is None
    assert end["read_bytes"] < 5 << 20 < end["total_bytes"]


def test_a_search_goes_on_where_its_time_or_its_rows_ended(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_search, "_CHUNK", 4_096)
    path = relay.log()
    path.write_text("".join(line(f"to=<a@b.cc>, {number}") for number in range(400)))
    (relay.folder / "mail.log.1.gz").write_bytes(gzip.compress(line("to=<a@b.cc>, old").encode() * 200))
    rows, end = relay.piece(texts=["a@b.cc"], limit=10)
    assert 10 <= len(rows) < 100
    assert end["at"]["ino"] == (relay.folder / "mail.log.1.gz").stat().st_ino
    assert relay.texts(texts=["a@b.cc"], limit=10) == [
        *["to=<a@b.cc>, old"] * 200,
        *[f"to=<a@b.cc>, {number}" for number in range(400)],
    ]


def test_a_file_that_was_renamed_between_two_pieces_is_read_on(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_search, "_CHUNK", 4_096)
    path = relay.log()
    path.write_text("".join(line(f"to=<a@b.cc>, {number}") for number in range(100)))
    rows, end = relay.piece(texts=["a@b.cc"], limit=1)
    path.rename(relay.folder / "mail.log.1")
    path.write_text(line("to=<a@b.cc>, new"))
    more, end = relay.piece(texts=["a@b.cc"], limit=2_000, at=end["at"])
    assert [row["text"].rpartition(", ")[2] for row in rows + more] == [*map(str, range(100)), "new"]
    assert end["at"] is None


def test_what_cannot_be_read_is_told_and_the_rest_is_searched(relay: Relay) -> None:
    relay.log().write_text(line("to=<a@b.cc>, new"))
    (relay.folder / "mail.log.1.gz").write_bytes(b"no gzip at all")
    relay.host.sources.append(Source("/nowhere/mail.log", {}, [], False))
    rows = relay.search(texts=["a@b.cc"])
    assert [row["code"] for row in rows if row["kind"] == "problem"] == ["not_readable", "not_readable"]
    assert len([row for row in rows if row["kind"] == "line"]) == 1


def test_hostile_lines_are_inert_and_no_exception(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_search, "_CHUNK", 4_096)
    evil = (
        line("to=<a@b.cc>, \x1b[31m\u202e<script>").encode()
        + b"\xff\xfe a@b.cc \0\n"
        + b"a@b.cc" * 3_000
        + b"\n"
    )
    relay.log().write_bytes(evil + line("to=<a@b.cc>, last").encode().rstrip(b"\n"))
    rows = relay.search(texts=["a@b.cc"])
    assert len(rows) == 2
    assert "\x1b" not in rows[0]["text"]
    assert "\u202e" not in rows[0]["text"]


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"texts": []},
        {"texts": ["a@b.cc"], "ids": ["4jWKWh04b5z1T1"]},
        {"texts": "a@b.cc"},
        {"texts": ["abc"]},
        {"texts": ["a\nb@c.dd"]},
        {"texts": ["a@b.cc"] * 201},
        {"ids": ["ALL.*"]},
        {"ids": ["a" * 40]},
        {"texts": ["a@b.cc"], "since": 9, "until": 8},
        {"texts": ["a@b.cc"], "at": {"source": "x"}},
        {"texts": ["a@b.cc"], "at": {"source": 5, "dev": 1, "ino": 1, "at": 1}},
        {"texts": ["a@b.cc"], "at": {"source": "x", "dev": -1, "ino": 1, "at": 1}},
        {"texts": ["a@b.cc"], "at": 7},
        {"texts": ["a@b.cc"], "path": "/etc/shadow"},
    ],
)
def test_requests_that_cannot_be_are_refused(relay: Relay, args: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        relay.piece(**args)


def test_one_search_at_a_time_reads_a_host_s_logs(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "relayctl.pyz"
    program.touch()
    monkeypatch.setattr(log_search, "own_path", lambda: str(program))
    relay.log().write_text(line("to=<a@b.cc>"))
    relay.piece(texts=["a@b.cc"])
    with pytest.raises(Locked):
        relay.piece(texts=["a@b.cc"])


def test_a_journal_is_searched_as_syslog_would_have_written_it(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A double: what the real one writes is the business of tests/agent/test_log_journal.py.
    program = tmp_path / "journalctl"
    program.write_text("#!/bin/sh\ncat <<'E'\n" + line("to=<a@b.cc>, journal") + "E\n")
    program.chmod(0o755)
    relay.log("journal")
    relay.host.sources[0] = relay.host.sources[0]._replace(name="journal")
    monkeypatch.setattr(children, "find_program", lambda name: str(program))
    assert relay.texts(texts=["a@b.cc"]) == ["to=<a@b.cc>, journal"]
    program.write_text("#!/bin/sh\nsleep 30\n")
    assert [row["code"] for row in relay.search(texts=["a@b.cc"], budget_ms=50)] == ["cut"]
