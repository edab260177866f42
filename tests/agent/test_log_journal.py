"""The journal is followed as a log is: each entry once; and journalctl may fail, hang or lie."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relays.agent import children, log_journal
from relays.agent.build import build
from relays.agent.log_follow import Budget, Piece
from relays.agent.log_journal import Entries, follow, line_of
from tests.agent.postfix_host import PYZ, make_default, make_instance
from tests.agent.sandbox import Sandbox

ENTRY = {
    b"__CURSOR": b"s=1;i=1",
    b"__REALTIME_TIMESTAMP": b"1795188249123456",
    b"_HOSTNAME": b"rustin",
    b"SYSLOG_IDENTIFIER": b"postfix-msn-a/smtp",
    b"SYSLOG_PID": b"719",
    b"MESSAGE": b"4jWKWh04b5z1T1: to=<u@hotmail.com>, status=sent (250 Ok)",
}


def exported(entry: dict[bytes, bytes], *, binary: tuple[bytes, ...] = ()) -> bytes:
    """Return an entry in the export format, some of its fields in the form for any bytes."""
    fields = [
        name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
        if name in binary
        else name + b"=" + value + b"\n"
        for name, value in entry.items()
    ]
    return b"".join(fields) + b"\n"


def test_an_entry_becomes_the_line_that_syslog_would_write() -> None:
    line = line_of(ENTRY)
    assert line.startswith(b"2026-11-20T")
    assert line.endswith(
        b"+00:00 rustin postfix-msn-a/smtp[719]: 4jWKWh04b5z1T1: to=<u@hotmail.com>, status=sent (250 Ok)\n"
    )


def test_no_field_of_an_entry_can_begin_another_line() -> None:
    entry = {**ENTRY, b"MESSAGE": b"a\nb", b"_HOSTNAME": b"x\ny", b"__REALTIME_TIMESTAMP": b"9" * 30}
    assert line_of(entry) == b"- x y postfix-msn-a/smtp[719]: a b\n"
    assert line_of({}) == b"- - -[-]: -\n"


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_entries_are_the_same_wherever_the_output_is_cut(size: int) -> None:
    odd = {**ENTRY, b"MESSAGE": b"\xff\n=\n\n"}
    long = {**ENTRY, b"MESSAGE": b"x" * (log_journal.MAX_FIELD_BYTES + 1)}
    text = (
        exported(ENTRY)
        + exported(odd, binary=(b"MESSAGE",))
        + exported(long)
        + exported(long, binary=(b"MESSAGE",))
        + exported({b"_BOOT_ID": b"1"})
        + exported(ENTRY, binary=tuple(ENTRY))
    )
    found: list[dict[bytes, bytes]] = []
    entries = Entries(found.append)
    for at in range(0, len(text), size):
        entries.feed(text[at : at + size])
    short = {name: value for name, value in ENTRY.items() if name != b"MESSAGE"}
    assert found == [ENTRY, odd, short, short, ENTRY]


Journalctl = Callable[[str], None]


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journalctl:
    """Put a script in the place of journalctl, for what the real one does only when it breaks."""

    def put(script: str) -> None:
        program = tmp_path / "journalctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    monkeypatch.setattr(children, "_DIRECTORIES", (str(tmp_path),))
    return put


def read(cursor: str | None = None, max_bytes: int = 1 << 30, timeout_s: float = 20) -> tuple[Piece, bytes]:
    taken: list[bytes] = []
    budget = Budget(max_bytes, time.monotonic() + 60)
    return follow(cursor, budget, taken.append, timeout_s=timeout_s), b"".join(taken)


def test_it_asks_for_what_came_after_its_cursor(journalctl: Journalctl, tmp_path: Path) -> None:
    journalctl(f'printf "%s\\n" "$@" > {tmp_path}/asked')
    piece, _ = read("s=1;i=1")
    assert piece == ({"v": 1, "journal": "s=1;i=1"}, 0, 0, [])
    asked = (tmp_path / "asked").read_text().splitlines()
    assert "--after-cursor=s=1;i=1" in asked
    assert asked[-1] == "SYSLOG_FACILITY=2"
    assert read()[0].cursor is None
    assert any(word.startswith("--since=@") for word in (tmp_path / "asked").read_text().splitlines())


def test_a_budget_that_is_spent_ends_journalctl(journalctl: Journalctl, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(exported(ENTRY))
    journalctl(f"while cat {tmp_path}/one; do :; done")
    piece, taken = read(max_bytes=1 << 20)
    assert piece.behind is None
    assert (piece.cursor, piece.conditions) == ({"v": 1, "journal": "s=1;i=1"}, [])
    assert 1 << 20 <= piece.bytes == len(taken) < 2 << 20


@pytest.mark.parametrize(
    ("script", "code", "detail"),
    [
        ("echo 'No journal files were opened' >&2; exit 1", "failed", "No journal files"),
        ("exit 3", "failed", "status 3"),
        ("sleep 60", "timed_out", "after 1 s"),
    ],
)
def test_a_journalctl_that_fails_or_hangs_is_told(
    journalctl: Journalctl, script: str, code: str, detail: str
) -> None:
    journalctl(script)
    piece, taken = read("s=1;i=1", timeout_s=1)
    assert [told["code"] for told in piece.conditions] == [code]
    assert detail in piece.conditions[0]["detail"]
    assert (piece.cursor, piece.behind, taken) == ({"v": 1, "journal": "s=1;i=1"}, None, b"")


def test_what_came_before_a_failure_counts(journalctl: Journalctl, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(exported(ENTRY))
    journalctl(f"cat {tmp_path}/one; exit 1")
    piece, taken = read()
    assert taken == line_of(ENTRY)
    assert piece.cursor == {"v": 1, "journal": "s=1;i=1"}


def test_a_host_without_journalctl_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_DIRECTORIES", ())
    assert [told["code"] for told in read()[0].conditions] == ["failed"]


# With the real journal


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A host whose instance logs to the journal: systemd-journald itself runs there."""
    with Sandbox(tmp_path_factory.mktemp("journal") / "host") as sandbox:
        sandbox.write(PYZ, build(), 0o755)
        directory = make_instance(sandbox, "msn-a", 2525, extra="maillog_file =\n")
        make_default(sandbox, directory)
        sandbox.run("mkdir", "-p", "/run/systemd", "/run/log/journal")
        with subprocess.Popen(sandbox.command(["/lib/systemd/systemd-journald"])) as journald:
            give_up_at = time.monotonic() + 20
            while not sandbox.inside("/run/systemd/journal/dev-log").exists():
                assert time.monotonic() < give_up_at
                time.sleep(0.1)
            yield sandbox
            journald.terminate()


def log(host: Sandbox, *messages: bytes, facility: int = 2) -> None:
    """Log as Postfix does, by a datagram to the system log's socket, and wait until it is in the journal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system_log:
        system_log.connect(str(host.inside("/run/systemd/journal/dev-log")))
        for message in messages:
            system_log.send(b"<%d>Nov 21 04:00:00 postfix-msn-a/smtp[719]: %s" % (facility * 8 + 6, message))
    give_up_at = time.monotonic() + 20
    while messages[-1][:14] not in host.run("journalctl", "--all", "--output=cat").stdout:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def counted(host: Sandbox, cursor: Any = None) -> tuple[int, dict[str, Any]]:
    """Ask relayctl as root; return how many recipients were sent, and the journal's own row."""
    args = {} if cursor is None else {"cursors": {"journal": cursor}}
    request = {"v": 1, "req_id": "0123456789", "verb": "log.read", "args": args}
    lines = host.run(PYZ, stdin=json.dumps(request).encode(), check=False).stdout.splitlines()
    header, *rows, end = map(json.loads, lines)
    assert header["ok"], header
    assert not end["truncated"], end
    sent = [r for row in rows if row["kind"] == "outcomes" for r in row["rows"] if r[1] == "sent"]
    (own,) = [row for row in rows if row["kind"] == "log" and row["source"] == "journal"]
    return sum(row[4] for row in sent), own


def sent(queue_id: bytes) -> bytes:
    return (
        queue_id + b": to=<u@hotmail.com>, relay=mx[203.0.113.10]:25, delay=0.1, delays=0/0/0/0.1, "
        b"dsn=2.0.0, status=sent (250 \xff Ok)"
    )


@pytest.mark.lab
def test_each_entry_of_the_real_journal_is_counted_once(host: Sandbox) -> None:
    log(host, b"not mail", facility=3)
    log(host, *(sent(b"4jWKWh04b%05d" % number) for number in range(50)))
    total, row = counted(host)
    assert (total, row["lines"], row["unrecognized"], row["behind_bytes"]) == (50, 50, 0, 0)
    assert counted(host, row["cursor"])[0] == 0
    log(host, *(sent(b"4jWKWh04c%05d" % number) for number in range(3)))
    total, row = counted(host, row["cursor"])
    assert (total, row["conditions"]) == (3, [])
