"""The client of the write door against a far side that answers, refuses, is cut off, or lies."""

from collections.abc import Iterator
from typing import Any

import pytest

from relays.remote import ssh, write
from relays.remote.errors import (
    Fenced,
    Incompatible,
    Incomplete,
    Locked,
    Refused,
    RemoteError,
    Replayed,
    Unfinished,
    Unreachable,
)
from tests.far_side import BOOT_ID, READ_REQUEST, SHA256, Sshd

REQ_ID = "0c6e2b6a-1111-4111-8111-000000000001"
RESULT = {
    "ok": True,
    "command": ["/usr/sbin/postqueue", "-c", "/etc/postfix-msn-a", "-f"],
    "exit_status": 0,
    "timed_out": False,
    "output": "",
    "took_ms": 7,
    "counts": {"deferred": 412, "messages": 412},
}


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("write"))
    server.start()
    yield server
    ssh.close_all()
    server.stop()


def entry(**other: Any) -> dict[str, Any]:
    return {
        "kind": "result",
        "req_id": REQ_ID,
        "verb": "queue.run",
        "instance": "msn-a",
        "state": "done",
        "params_sha": "ab" * 32,
        "begun_at": 1795232704.6,
        "ended_at": 1795232704.7,
        "running": False,
        "replayed": False,
        "result": RESULT,
    } | other


def run(sshd: Sshd, **more: Any) -> write.WriteResult:
    given = {"req_id": REQ_ID, "op_id": "12", "fence": 3, "instance": "msn-a", **more}
    return write.queue_run(sshd.target(), **given)


def test_a_queue_run_tells_what_came_of_it(sshd: Sshd) -> None:
    sshd.answers(
        {"queue.run": [entry(result={**RESULT, "exit_status": 69, "ok": False, "output": "a\nb\x1b"})]}
    )
    answer = run(sshd)

    assert (answer.result.ok, answer.result.exit_status, answer.replayed) == (False, 69, False)
    assert answer.result.output == "a\nb\\x1b"
    assert answer.result.counts == {"deferred": 412, "messages": 412}
    assert answer.header.sha256 == SHA256


def test_a_request_bears_the_claim_and_the_plan_that_was_confirmed(sshd: Sshd) -> None:
    sshd.answers({"queue.run": [entry()]})
    sshd.says(
        sshd.script.read_text().replace(
            "IFS= read -r request", 'IFS= read -r request; echo "$request" >"$0.got"'
        )
    )
    run(sshd, domain="hotmail.com", plan_hash="cd" * 32)
    got = sshd.script.with_name("far-side.got").read_text()

    for part in (
        f'"req_id":"{REQ_ID}"',
        '"op_id":"12"',
        '"fence":3',
        '"args":{"instance":"msn-a","domain":"hotmail.com"}',
        f'"expect":{{"plan_hash":"{"cd" * 32}"}}',
    ):
        assert part in got


def test_a_plan_is_told_with_what_it_rests_on(sshd: Sshd) -> None:
    row: dict[str, Any] = {
        "kind": "plan",
        "plan_hash": "ab" * 32,
        "commands": [RESULT["command"]],
        "counts": {"deferred": 412, "messages": None},
        "facts": {"config_dir": "/etc/postfix-msn-a", "main.cf": "ef" * 32},
    }
    sshd.answers({"queue.run": [row]})
    plan = write.plan_queue_run(sshd.target(), instance="msn-a").plan

    assert plan.commands == (tuple(row["commands"][0]),)
    assert plan.counts == {"deferred": 412, "messages": None}
    assert plan.facts["main.cf"] == "ef" * 32


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("refused", Refused),
        ("locked", Locked),
        ("fenced", Fenced),
        ("replayed", Replayed),
        ("unfinished", Unfinished),
        ("bad_request", Incompatible),
        ("deadline", Incomplete),
        ("internal", Incomplete),
    ],
)
def test_each_refusal_is_an_error_of_its_own(sshd: Sshd, code: str, error: type[RemoteError]) -> None:
    head = f'"v":1,"ok":false,"error":{{"code":"{code}","message":"held by req_id 12345678"}}'
    sshd.says(
        READ_REQUEST
        + f"""printf '{{"req_id":"%s",{head}}}\\n{{"end":true,"rows":0,"truncated":false}}\\n' "$req_id"\n"""
    )
    with pytest.raises(error, match="held by req_id 12345678") as raised:
        run(sshd)
    assert type(raised.value) is error


def test_only_what_certainly_was_not_done_is_a_refusal() -> None:
    assert all(issubclass(error, Refused) for error in (Fenced, Replayed))
    assert not any(issubclass(error, Refused) for error in (Locked, Unfinished, Incomplete, Unreachable))


def test_a_connection_that_is_cut_is_not_used_a_second_time(sshd: Sshd) -> None:
    count = sshd.folder / "count"
    count.write_text("")
    sshd.says(READ_REQUEST + f"echo once >>{count}\nkill -9 $PPID\n")
    with pytest.raises((Unreachable, Incompatible, Incomplete)):
        run(sshd)
    assert count.read_text() == "once\n"


def test_no_connection_is_kept_for_the_next_change(sshd: Sshd) -> None:
    sshd.answers({"queue.run": [entry()]})
    ssh.close_all()
    run(sshd)
    assert ssh._pool._kept == {}


@pytest.mark.parametrize(
    ("state", "running"),
    [("absent", None), ("absent", True), ("absent", False), ("begun", True), ("begun", False)],
)
def test_what_became_of_a_request_is_told(sshd: Sshd, state: str, running: bool | None) -> None:
    sshd.answers({"op.result": [entry(state=state, running=running, ended_at=None, result=None)]})
    found = write.op_result(sshd.target(), req_id=REQ_ID, instance="msn-a", fence=4).entry

    assert (found.state, found.running, found.result) == (state, running, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "perhaps"},
        {"req_id": "another-request"},
        {"result": None},
        {"result": {**RESULT, "exit_status": "0"}},
        {"result": {**RESULT, "exit_status": True}},
        {"result": {**RESULT, "output": "x" * 2_049}},
        {"result": {**RESULT, "command": "postqueue"}},
        {"result": {**RESULT, "command": [1]}},
        {"result": {**RESULT, "counts": {"a\nb": 1}}},
        {"result": {**RESULT, "took_ms": -1}},
        {"running": "no"},
        {"params_sha": "short"},
        {"begun_at": "now"},
        {"ended_at": None},
        {"verb": "rm -rf"},
        {"instance": "../etc"},
    ],
)
def test_what_is_malformed_is_not_taken_for_a_result(sshd: Sshd, wrong: dict[str, Any]) -> None:
    sshd.answers({"queue.run": [entry(**wrong)]})
    with pytest.raises(Incompatible):
        run(sshd)


@pytest.mark.parametrize("rows", [[], [entry(), entry()], [entry(state="begun", result=None)]])
def test_no_row_two_rows_or_one_without_an_end_are_no_result(sshd: Sshd, rows: list[dict[str, Any]]) -> None:
    sshd.answers({"queue.run": rows})
    with pytest.raises(Incompatible):
        run(sshd)


def test_the_journal_is_read_in_order_and_what_is_no_entry_is_damaged(sshd: Sshd) -> None:
    told = {
        "at": 1795232704.6,
        "event": "begun",
        "boot_id": BOOT_ID,
        "req_id": REQ_ID,
        "verb": "queue.run",
        "instance": "msn-a",
        "op_id": "12",
        "fence": 3,
        "params_sha": "ab" * 32,
        "user": "relay-write",
        "from": "198.51.100.7",
    }
    rows = [
        {"kind": "entry", "offset": 0, "entry": told},
        {"kind": "damaged", "offset": 400, "bytes": 17},
        {"kind": "entry", "offset": 417, "entry": {"at": "forged"}},
        {"kind": "entry", "offset": 440, "entry": {**told, "req_id": None, "event": "refused"}},
    ]
    sshd.answers({"journal.read": rows})
    page = write.journal_read(sshd.target())

    assert [(row.offset, row.damaged) for row in page.entries] == [
        (0, False),
        (400, True),
        (417, True),
        (440, False),
    ]
    assert (page.entries[0].req_id, page.entries[0].fence, page.entries[0].address) == (
        REQ_ID,
        3,
        "198.51.100.7",
    )
    assert page.entries[3].req_id == ""


def test_readiness_names_what_would_have_a_change_refused(sshd: Sshd) -> None:
    rows = [
        {
            "kind": "host",
            "limits": {"delete": False, "messages": True, "removals_a_day": 9},
            "journal_bytes": 0,
            "problem": "disk full",
        },
        {"kind": "instance", "name": "msn-a", "fence": 5, "problem": None},
    ]
    sshd.answers({"write.check": rows})
    ready = write.check(sshd.target())

    assert (ready.host.problem, ready.host.off) == ("disk full", ("delete",))
    assert [(row.name, row.fence, row.problem) for row in ready.instances] == [("msn-a", 5, "")]


def test_a_body_comes_in_parts_and_whole_or_not_at_all(sshd: Sshd) -> None:
    parts = [
        {"kind": "body", "id": "4jWKWh04b5z1T1", "text": text, "cut": False} for text in ("one\ntw", "o\n")
    ]
    sshd.answers({"message.body": parts})
    body = write.message_body(sshd.target(), instance="msn-a", queue_id="4jWKWh04b5z1T1")
    assert (body.lines, body.cut) == (("one", "two", ""), False)
    for wrong in ([], [{**parts[0], "text": 7}], [{**parts[0], "text": "x" * 60_000}] * 5):
        sshd.answers({"message.body": wrong})
        with pytest.raises(Incompatible, match="text is not text, or too long"):
            write.message_body(sshd.target(), instance="msn-a", queue_id="4jWKWh04b5z1T1")
