"""What a real host will not do on request: caps, hanging children, hostile listings, paths of failure."""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relays.agent import (
    children,
    drain,
    inventory,
    listing,
    postfix,
    preflight,
    redirect,
    serve,
    snapshot,
    system,
)
from relays.agent.__main__ import main
from relays.agent.deadline import Deadline
from relays.agent.peers import Peer
from relays.agent.protocol import (
    MAX_LINE,
    MAX_REPLY,
    Answer,
    BadRequest,
    DeadlineReached,
    Refused,
    Reply,
    ReplyFull,
    Tell,
)
from relays.domain.filters import from_args
from relays.domain.matching import Lines, Matcher
from relays.domain.queue import MAX_LINE as MAX_LISTED_LINE
from relays.domain.queue import Entry, QueueSummary
from tests.domain.test_queue_summary import NOW, line

PYTHON = sys.executable


def python(program: str) -> list[str]:
    return [PYTHON, "-c", program]


# Children


def test_a_child_s_output_and_end_are_told() -> None:
    result, text = children.output(python("import sys; print('out'); sys.exit('why')"), timeout_s=20)

    assert (result.status, result.stderr, text) == (1, "why\n", "out\n")


def test_both_streams_are_read_together_and_kept_short() -> None:
    program = "import sys; sys.stderr.write('e' * 1_000_000); sys.stdout.write('o' * 1_000_000)"
    result, text = children.output(python(program), timeout_s=20, max_bytes=1000)

    assert (len(result.stderr), len(text)) == (4096, 1000)


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(60)",
        "import os, time; os.close(1); os.close(2); time.sleep(60)",
        "import os, time; os.fork() or time.sleep(60)",
    ],
)
def test_a_child_that_hangs_is_ended_with_all_it_started(program: str) -> None:
    marked = f"marker = {os.urandom(8).hex()!r}; {program}"
    began = time.monotonic()
    with pytest.raises(children.TimedOut):
        children.output(python(marked), timeout_s=1)

    assert time.monotonic() - began < 20
    # On a busy machine what was killed is seen for a moment more.
    gone_by = time.monotonic() + 20
    while living := [pid for pid in Path("/proc").glob("[0-9]*") if marked.encode() in _command_line(pid)]:
        assert time.monotonic() < gone_by, living
        time.sleep(0.1)


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_child_gets_neither_our_environment_nor_our_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    monkeypatch.setenv("MAIL_CONFIG", "/evil")
    program = "import os, sys; print(sorted(os.environ), sys.stdin.read())"

    assert children.output(python(program), timeout_s=20)[1].startswith("['LC_ALL', 'PATH', 'TZ")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(children.NotInstalled, match="no-such-program"):
        children.find_program("no-such-program")


# The reply


def written(reply_of: Any) -> list[dict[str, Any]]:
    """Return the lines that a function writes when it is given a Reply."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as incoming:
        with os.fdopen(write, "wb") as outgoing:
            reply_of(Reply(outgoing.fileno()))
        return [json.loads(each) for each in incoming]


def test_a_row_longer_than_a_line_may_be_truncates_the_reply() -> None:
    def reply_of(reply: Reply) -> None:
        reply.row({"small": 1})
        with pytest.raises(ReplyFull):
            reply.row({"huge": "x" * MAX_LINE})
        reply.end()

    assert written(reply_of) == [{"small": 1}, {"end": True, "rows": 1, "truncated": True}]


def test_a_reply_stops_at_its_cap_and_still_has_its_end_line(tmp_path: Path) -> None:
    path = tmp_path / "reply"
    with path.open("wb") as file:
        reply = Reply(file.fileno())
        with pytest.raises(ReplyFull):
            while True:
                reply.row({"row": "x" * 60_000})
        reply.end()

    assert path.stat().st_size <= MAX_REPLY
    assert json.loads(path.read_bytes().splitlines()[-1])["truncated"] is True


def ask(request: bytes) -> tuple[int, list[dict[str, Any]]]:
    """Serve a request in this process; return the status and the lines."""
    stdin, feed = os.pipe()
    os.write(feed, request)
    os.close(feed)
    status = 0

    def reply_of(reply: Reply) -> None:
        nonlocal status
        status = serve.serve(stdin, reply._fd)

    lines = written(reply_of)
    os.close(stdin)
    return status, lines


REQUEST = b'{"v": 1, "req_id": "0123456789", "verb": "hello"}'


def asking_for_counts(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    monkeypatch.setitem(serve._LONG_VERBS, "queue.groups", answer)
    monkeypatch.setattr(serve, "_TELL_EVERY_S", 0.01)
    return ask(b'{"v": 1, "req_id": "0123456789", "verb": "queue.groups"}')[1]


def test_what_takes_long_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_args: dict[str, Any], _deadline: Deadline, tell: Tell) -> Answer:
        for messages in (100, 200):
            time.sleep(0.02)
            tell(messages)
            tell(messages + 1)
        return Answer([{"kind": "sums"}], {})

    header, *rows, end = asking_for_counts(monkeypatch, answer)

    assert header["ok"] is True
    assert rows == [
        {"kind": "progress", "messages": 100},
        {"kind": "progress", "messages": 200},
        {"kind": "sums"},
    ]
    assert end == {"end": True, "rows": 3, "truncated": False}


def test_what_fails_after_it_said_so_ends_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_args: dict[str, Any], _deadline: Deadline, tell: Tell) -> Answer:
        time.sleep(0.02)
        tell(100)
        raise Refused("timed_out: postqueue was ended")

    header, _, end = asking_for_counts(monkeypatch, answer)

    assert header["ok"] is True
    assert end["truncated"] is True
    assert end["error"] == {"code": "refused", "message": "timed_out: postqueue was ended"}


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setitem(serve._VERBS, "hello", answer)


def test_a_fault_of_relayctl_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_args: dict[str, Any], _deadline: Deadline) -> Answer:
        raise ZeroDivisionError("oh")

    answering(monkeypatch, broken)
    status, (header, end) = ask(REQUEST)

    assert status == 30
    assert header["error"] == {"code": "internal", "message": "ZeroDivisionError: oh"}
    assert end["rows"] == 0


def test_a_fault_after_the_header_stands_in_the_end_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"kind": "first"}
        raise OSError("gone")

    answering(monkeypatch, lambda _args, _deadline: Answer(rows(), {}))
    status, (header, first, end) = ask(REQUEST)

    assert (status, header["ok"], first) == (30, True, {"kind": "first"})
    assert (end["truncated"], end["rows"], end["error"]["code"]) == (True, 1, "internal")


def test_the_deadline_ends_rows_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"kind": "first"}
        time.sleep(60)

    answering(monkeypatch, lambda _args, _deadline: Answer(rows(), {}))
    status, (_header, _first, end) = ask(REQUEST.replace(b"}", b', "deadline_s": 1}'))

    assert status == 20
    assert (end["truncated"], end["error"]["code"]) == (True, "deadline")


def test_a_deadline_before_the_header_is_told_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(_args: dict[str, Any], _deadline: Deadline) -> Answer:
        raise DeadlineReached("late")

    answering(monkeypatch, late)
    status, (header, end) = ask(REQUEST)

    assert (status, header["ok"], end["truncated"]) == (20, False, True)


def test_a_reply_over_a_cap_is_truncated_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda _args, _deadline: Answer([{"x": "y" * MAX_LINE}], {}))
    status, (_header, end) = ask(REQUEST)

    assert (status, end) == (0, {"end": True, "rows": 0, "truncated": True})


def test_a_source_tree_has_no_sha256() -> None:
    assert ask(REQUEST)[1][0]["sha256"] is None


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.count(".") == 2


def test_a_source_tree_does_not_install_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SSH_ORIGINAL_COMMAND", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert main(["install", "--read-key", "ssh-ed25519 AAAA"]) == 10
    assert "only the built" in capsys.readouterr().err


# A page of a listing


def page(*chunks: bytes, limit: int = 10, **asked: Any) -> listing.Page:
    read = listing.Page(Matcher(from_args(asked), now=NOW), (0, ""), limit)
    feed(read.add, *chunks)
    return read


def feed(take: Callable[[Entry], None], *chunks: bytes) -> Lines:
    lines = Lines(take)
    for chunk in chunks:
        lines.feed(chunk)
    lines.finish()
    return lines


def test_a_page_holds_the_first_messages_whatever_their_order() -> None:
    lines = [line(queue_id=f"4jWKWh04b5z1T{n}", arrival_time=NOW - n) for n in range(9)]
    read = page(b"".join(lines), limit=3)

    assert [row["arrival"] for row in read.rows()] == [NOW - 8, NOW - 7, NOW - 6]
    assert read.cursor() == f"{NOW - 6}-4jWKWh04b5z1T6"


def test_a_message_listed_twice_while_it_moves_is_one() -> None:
    assert len(page(line(queue_name="active"), line()).rows()) == 1


def test_lines_that_are_no_entry_or_too_long_are_counted() -> None:
    huge = line(recipients=[{"address": f"user{n}@b.example"} for n in range(60_000)])
    chunks = [huge[at : at + 65_536] for at in range(0, len(huge), 65_536)]
    found: list[Entry] = []
    lines = feed(found.append, b"junk\n", *chunks, line()[:-1])

    assert len(huge) > MAX_LISTED_LINE
    assert (lines.unparsable, len(found)) == (2, 1)


def test_a_row_shows_few_of_many_recipients() -> None:
    (row,) = page(line(recipients=[{"address": f"u{n}@b.example"} for n in range(900)])).rows()

    assert (len(row["recipients"]), row["recipients_total"]) == (listing.RECIPIENTS_SHOWN, 900)


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"instance": "msn a"},
        {"instance": "a", "queues": []},
        {"instance": "a", "queues": "deferred"},
        {"instance": "a", "queues": ["corrupt"]},
        {"instance": "a", "limit": 0},
        {"instance": "a", "domain": 7},
        {"instance": "a", "sender": "x" * 600},
        {"instance": "a", "cursor": "x"},
        {"instance": "a", "cursor": "1-abcdef\n"},
        {"instance": "a", "older_than_s": -1},
        {"instance": "a", "odd": 1},
    ],
)
def test_a_listing_asked_for_wrongly_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        listing.answer(args, Deadline(30), lambda _: None)


# A snapshot of what real queues rarely do


def test_what_is_odd_about_a_reading_is_told() -> None:
    summary = QueueSummary(now=NOW)
    summary.feed(b"junk\n" + line(arrival_time=NOW + 5))
    summary.finish()
    summary.oversized = 1
    summary.domains_pruned = True

    told = {(each["code"], each["what"]) for each in snapshot._reading_conditions(summary)}
    assert told == {
        ("unparsable", "queue"),
        ("truncated", "queue"),
        ("truncated", "domains"),
        ("growing", "queue"),
    }


def test_the_largest_row_of_a_snapshot_fits_into_a_line() -> None:
    summary = QueueSummary(now=NOW)
    for n in range(1000):
        address = f"u@{n:04}{'x' * 249}"
        summary.feed(line(recipients=[{"address": address, "delay_reason": f"{chr(0x1F600 + n)}" * 390}]))
    summary.finish()
    row = snapshot._empty_row(postfix.Place("a", "/etc/postfix"))
    snapshot._fill(row, summary, 1000, 100)

    assert len(json.dumps(row)) < MAX_LINE
    assert row["domains"]["total"] == 1000
    assert row["domains"]["other"][0] == 1000 - len(row["domains"]["rows"])


def test_a_spool_without_inodes_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = {"path": "/", "size_bytes": 9, "free_bytes": 9, "inodes": 5, "inodes_free": 0}
    monkeypatch.setattr(system, "spools", lambda _paths: [spool])

    assert snapshot.host_row({"/": 1})["conditions"][0]["detail"] == "no inode free"


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("postqueue: error: unauthorized configuration directory name: /etc/x\n", "not_listed"),
        ("postqueue: fatal: Queue report unavailable - mail system is down\n", "stopped"),
        ("postqueue: fatal: User x(9) is not allowed to view the mail queue\n", "not_readable"),
        (
            "postqueue: fatal: config variable inet_interfaces: no local interface found for 1.1.1.1\n",
            "misconfigured",
        ),
        ("postqueue: fatal: open /etc/x/main.cf: No such file or directory\n", "misconfigured"),
        ("postqueue: fatal: something nobody has seen\n", "failed"),
        ("", "failed"),
    ],
)
def test_what_postqueue_complains_of_is_a_named_condition(
    monkeypatch: pytest.MonkeyPatch, stderr: str, code: str
) -> None:
    monkeypatch.setattr(children, "find_program", lambda name: f"/bin/{name}")
    monkeypatch.setattr(children, "run", lambda *_args, **_more: children.Result(69, stderr))

    with pytest.raises(postfix.QueueFailure) as failure:
        postfix.list_queue("/etc/x", timeout_s=5, take=lambda _chunk: None)
    assert failure.value.code == code
    assert failure.value.detail


def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_program(name: str) -> str:
        raise children.NotInstalled(f"{name} is not here")

    monkeypatch.setattr(children, "find_program", find_program)


def test_a_host_without_postfix_has_no_version_and_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_installed(monkeypatch)
    monkeypatch.setattr(postfix, "_found_in_etc", list)

    assert postfix.version() is None
    assert postfix.places() == []
    with pytest.raises(postfix.Misconfigured, match="postconf is not here"):
        postfix.parameters("/etc/postfix", ["myhostname"])
    with pytest.raises(postfix.QueueFailure, match="postqueue is not here"):
        postfix.list_queue("/etc/postfix", timeout_s=5, take=lambda _chunk: None)


def test_a_listing_of_an_instance_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postfix, "places", list)

    with pytest.raises(Refused, match="no instance a"):
        listing.answer({"instance": "a"}, Deadline(30), lambda _: None)


def test_a_program_of_postfix_s_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def output(*_args: object, **_more: object) -> None:
        raise children.TimedOut

    monkeypatch.setattr(children, "find_program", lambda name: f"/bin/{name}")
    monkeypatch.setattr(children, "output", output)

    with pytest.raises(postfix.Misconfigured, match="did not end"):
        postfix.parameters("/etc/postfix", ["myhostname"])
    assert postfix._default_config_dir() == "/etc/postfix"


# The host


def test_a_lock_is_seen_without_touching_it(tmp_path: Path) -> None:
    import fcntl  # noqa: PLC0415

    path = tmp_path / "master.pid"
    assert system.is_locked(str(path)) is False
    with path.open("w") as file:
        assert system.is_locked(str(path)) is False
        fcntl.flock(file, fcntl.LOCK_EX)
        assert system.is_locked(str(path)) is True


def test_a_lock_that_cannot_be_told_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "master.pid"
    path.touch()
    inode = path.stat().st_ino

    monkeypatch.setattr(
        system, "read_text", lambda *_args: f"1: FLOCK  ADVISORY  WRITE 7 ff:ff:{inode} 0 EOF\n"
    )
    assert system.is_locked(str(path)) is None
    monkeypatch.setattr(system, "read_text", lambda *_args: None)
    assert system.is_locked(str(path)) is None
    assert system.is_locked(f"{path}/below") is None
    assert system.boot_id() is None


def test_what_the_kernel_does_not_tell_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object) -> None:
        raise OSError

    assert system.read_text("/no/such/file") is None
    monkeypatch.setattr(os, "getloadavg", fails)
    monkeypatch.setattr(os, "statvfs", fails)
    assert system.load() is None
    assert system.spools(["/"]) == []


# Where an instance logs


@pytest.mark.parametrize(
    ("maillog_file", "there", "log"),
    [
        ("/var/log/a.log", [], {"kind": "file", "path": "/var/log/a.log"}),
        ("/dev/stdout", [], None),
        (
            "",
            ["/var/log/postfix-a.log", "/var/log/mail.log"],
            {"kind": "file", "path": "/var/log/postfix-a.log"},
        ),
        ("", ["/var/log/own"], {"kind": "file", "path": "/var/log/own"}),
        ("", ["/var/log/maillog"], {"kind": "file", "path": "/var/log/maillog"}),
        ("", ["/run/systemd/journal/socket"], {"kind": "journal"}),
        ("", [], None),
    ],
)
def test_where_an_instance_logs(
    monkeypatch: pytest.MonkeyPatch, maillog_file: str, there: list[str], log: dict[str, str] | None
) -> None:
    monkeypatch.setattr(os.path, "isfile", lambda path: path in there)
    monkeypatch.setattr(os.path, "exists", lambda path: path in there)
    monkeypatch.setattr(system, "read_text", lambda *_args: "#mail.* /no\nmail.*;auth.none  -/var/log/own\n")

    assert inventory.log_of(maillog_file, "postfix-a") == log


def test_addresses_that_are_none_are_left_out() -> None:
    settings = {"smtp_bind_address": "198.51.100.1"}
    overrides = {
        ("smtp", "smtp_bind_address"): "[198.51.100.2]",
        ("drain", "smtp_bind_address"): "198.51.100.3",
        ("odd", "smtp_bind_address"): "$nothing",
    }

    bound = inventory._bound(settings, overrides, "smtp_bind_address", 2)
    assert bound == ["198.51.100.2", "198.51.100.3"]


# A target of a flush


class _Mute(socketserver.StreamRequestHandler):
    """A target that agrees to everything and says nothing, not even its name."""

    def handle(self) -> None:
        self.wfile.write(b"220 \r\n")
        for command in self.rfile:
            self.wfile.write(b"221 \r\n" if command.lower().startswith(b"quit") else b"250 \r\n")


def test_a_target_that_does_not_say_its_name_has_another_one() -> None:
    settings = {"smtp_helo_name": "", "myhostname": "msn-a.relay.example", "inet_protocols": "all"}
    found = drain.Facts(settings, {}, "may", ["127.0.0.1"], [])
    with socketserver.TCPServer(("127.0.0.1", 0), _Mute) as target:
        threading.Thread(target=target.handle_request).start()
        peer = Peer("mute", "127.0.0.1", target.server_address[1])
        told = preflight._over_there(found, peer, "", ["x@hotmail.com"])

    assert [(row["check"], row["ok"]) for row in told[:-1]] == [
        ("reaches", True),
        ("names_differ", True),
        ("accepts", True),
        ("encrypts", True),
    ]


def test_an_id_with_a_z_in_its_time_is_a_long_one_too() -> None:
    # mail_queue.h: seconds and microseconds are of 52 characters, z among them; only the inode's are without.
    ids = ["4jdmvz1GF7z3N", "4jWKWh04b5z1T1", "4jdmvzzzzzz3N"]
    assert redirect._ids(ids) == ids
    for bad in ("4jWKWh04b51T1", "E3B0C44298", "4jWKWh04b5z1T1\n", "4jWKWh04b5z" + "1" * 60, "-", "ALL", ""):
        with pytest.raises(BadRequest):
            redirect._ids([bad])
