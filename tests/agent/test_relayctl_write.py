"""relayctl's write verbs, asked by the write user through sudo, on real Postfix."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relays.agent.build import build
from relays.domain.params import params_sha
from tests.agent.postfix_host import listed
from tests.agent.sandbox import Sandbox
from tests.agent.write_host import (
    ADDRESS,
    JOURNAL,
    LIMITS,
    PROGRAM,
    STATE,
    A,
    Answered,
    B,
    ask,
    ask_reader,
    command,
    entry,
    events,
    forget_pace,
    journal,
    make,
    new_id,
    request,
    run,
)

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("write") / "host") as sandbox:
        make(sandbox)
        yield sandbox


@pytest.fixture
def host(machine: Sandbox) -> Sandbox:
    """The machine, with nothing run of late and no fence but what the test before left."""
    forget_pace(machine)
    machine.inside(f"{STATE}/instances/msn-a/fence").unlink(missing_ok=True)
    return machine


@contextmanager
def held(host: Sandbox, seconds: float) -> Iterator[str]:
    """Have a queue run in hand whose command takes so long; give its request's id."""
    with slow_postqueue(host, seconds):
        req_id = new_id()
        with subprocess.Popen(command(host), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
            assert running.stdin is not None
            running.stdin.write(run_request(req_id))
            running.stdin.close()
            wait_until(entry(host, req_id).exists)
            yield req_id
            # nsenter and sudo stop along with what they run.
            host.run("pkill", "-CONT", "-x", "sudo", check=False)
            running.send_signal(signal.SIGCONT)


@contextmanager
def slow_postqueue(host: Sandbox, seconds: float) -> Iterator[None]:
    """Have each queue run take so long, and be counted, before Postfix's own postqueue does it."""
    host.run("cp", "-pn", "/usr/sbin/postqueue", "/root/postqueue")
    host.write(
        "/root/slow",
        "#!/bin/sh\n"
        f'case "$*" in *" -f"|*" -s "*) echo "$*" >>/root/effects; sleep {seconds};; esac\n'
        'exec /root/postqueue "$@"\n',
        0o755,
    )
    host.inside("/root/effects").write_text("")
    host.run("mount", "--bind", "/root/slow", "/usr/sbin/postqueue")
    try:
        yield
    finally:
        host.run("umount", "-l", "/usr/sbin/postqueue")


def run_request(req_id: str, fence: int = 1) -> bytes:
    return request("queue.run", req_id=req_id, op_id="op-1", fence=fence, args={"instance": "msn-a"})


def wait_until(condition: Any, *, timeout_s: float = 30) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def result_of(host: Sandbox, req_id: str, **more: Any) -> dict[str, Any]:
    args = {"req_id": req_id, **({"instance": "msn-a"} if "fence" in more else {})}
    return ask(host, request("op.result", args=args, **more)).row


def test_a_queue_run_makes_postfix_try_what_is_deferred(host: Sandbox) -> None:
    host.run("postconf", "-c", A, "-e", "defer_transports =")
    host.run("touch", "-d", "10 sec ago", f"{A}/main.cf")
    host.run("postfix", "-c", A, "reload")
    answered = run(host)
    log = host.inside("/var/log/postfix-msn-a.log")

    assert answered.status == 0
    assert answered.row["state"] == "done"
    result = answered.row["result"]
    assert result["command"] == ["/usr/sbin/postqueue", "-c", A, "-f"]
    assert (result["ok"], result["exit_status"], result["timed_out"]) == (True, 0, False)
    assert result["counts"] == {"deferred": 3, "messages": 3}
    # Nobody resolves the domains there: what was deferred by order is now deferred by a try.
    wait_until(lambda: log.read_text().count("Host or domain name not found") >= 3)
    assert len(listed(host, A)) == 3


def test_of_one_domain_only_its_mail_is_counted_and_named(host: Sandbox) -> None:
    row = run(host, domain="hotmail.com").row

    assert row["result"]["command"] == ["/usr/sbin/postqueue", "-c", A, "-s", "hotmail.com"]
    assert row["result"]["counts"] == {"deferred": 3, "messages": 2}
    assert row["result"]["ok"] is True


def test_what_a_command_complains_of_is_told(host: Sandbox) -> None:
    host.run("postconf", "-c", A, "-e", "fast_flush_domains =")
    host.run("touch", "-d", "10 sec ago", f"{A}/main.cf")
    try:
        result = run(host, domain="hotmail.com").row["result"]
    finally:
        host.run("postconf", "-c", A, "-e", "fast_flush_domains = static:all")
        host.run("touch", "-d", "10 sec ago", f"{A}/main.cf")

    assert (result["ok"], result["exit_status"]) == (False, 69)
    assert "Flush service is not configured" in result["output"]


def test_a_reload_is_done_and_its_plan_names_what_will_be_read(host: Sandbox) -> None:
    asked: dict[str, Any] = {"op_id": "op-2", "fence": 1, "args": {"instance": "msn-a"}}
    plan = ask(host, request("instance.reload", dry_run=True, **asked)).row
    before = host.inside("/var/log/postfix-msn-a.log").read_text().count("reload --")
    row = ask(host, request("instance.reload", expect={"plan_hash": plan["plan_hash"]}, **asked)).row

    assert row["result"]["ok"] is True
    assert row["result"]["command"] == plan["commands"][0] == ["/usr/sbin/postfix", "-c", A, "reload"]
    assert {"main.cf", "master.cf", "queue_directory"} <= set(plan["facts"])
    log = host.inside("/var/log/postfix-msn-a.log")
    wait_until(lambda: log.read_text().count("reload --") == before + 1)
    assert "60 s" in ask(host, request("instance.reload", **asked)).error[2]


def test_a_plan_that_no_longer_holds_is_refused(host: Sandbox) -> None:
    asked: dict[str, Any] = {"op_id": "op-2", "fence": 1, "args": {"instance": "msn-a"}}
    plan = ask(host, request("instance.reload", dry_run=True, **asked)).row
    main_cf = host.inside(f"{A}/main.cf")
    before = main_cf.read_text()
    main_cf.write_text(before + "# changed meanwhile\n")
    try:
        sent = request("instance.reload", expect={"plan_hash": plan["plan_hash"]}, **asked)
        assert ask(host, sent).error == (
            10,
            "refused",
            "the plan no longer holds: make it again and look at it",
        )
    finally:
        main_cf.write_text(before)
        host.run("touch", "-d", "10 sec ago", f"{A}/main.cf")


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(host: Sandbox) -> None:
    before = sorted(path.name for path in host.inside(f"{STATE}/ops").iterdir())
    with slow_postqueue(host, 0):
        answered = run(host, fence=40, dry_run=True, req_id="dry-run-0001")
        assert host.inside("/root/effects").read_text() == ""
    row = answered.row

    assert row["kind"] == "plan"
    assert row["commands"] == [["/usr/sbin/postqueue", "-c", A, "-f"]]
    assert row["counts"] == {"deferred": 3, "messages": 3}
    assert sorted(path.name for path in host.inside(f"{STATE}/ops").iterdir()) == before
    assert not host.inside(f"{STATE}/instances/msn-a/fence").exists()
    assert events(host, "dry-run-0001") == ["planned"]
    assert run(host).row["result"]["ok"] is True


def test_the_same_request_again_gives_the_stored_result_and_does_nothing(host: Sandbox) -> None:
    req_id = new_id()
    with slow_postqueue(host, 0):
        first = run(host, req_id=req_id).row
        again = run(host, req_id=req_id, fence=7).row
        assert len(host.inside("/root/effects").read_text().splitlines()) == 1

    assert again["replayed"] is True
    assert again["result"] == first["result"]
    assert events(host, req_id) == ["begun", "ended", "repeated"]


def test_the_same_id_with_other_parameters_is_refused(host: Sandbox) -> None:
    req_id = new_id()
    run(host, req_id=req_id)

    assert run(host, req_id=req_id, domain="hotmail.com").error[:2] == (14, "replayed")
    assert run(host, req_id=req_id, op_id="op-9").error[:2] == (14, "replayed")


def test_a_lower_fence_is_refused_and_a_higher_one_stays(host: Sandbox) -> None:
    run(host, fence=5)

    assert run(host, fence=4, domain="a.example").error[:2] == (12, "fenced")
    assert run(host, fence=5, domain="a.example").row["state"] == "done"
    assert host.inside(f"{STATE}/instances/msn-a/fence").read_text() == "5\n"
    assert run(host, fence=6, domain="b.example").row["state"] == "done"
    assert run(host, fence=5, domain="c.example").status == 12


def test_a_fence_cannot_be_put_out_of_reach(host: Sandbox) -> None:
    assert run(host, fence=2**53).error[:2] == (13, "bad_request")
    assert run(host, fence=1_000_000).row["state"] == "done"


def test_a_damaged_fence_stops_everything(host: Sandbox) -> None:
    run(host)
    host.inside(f"{STATE}/instances/msn-a/fence").write_text("")

    status, code, message = run(host, domain="a.example").error
    assert (status, code, "fence is damaged" in message) == (30, "internal", True)


def test_the_whole_queue_is_run_once_in_five_minutes_and_a_domain_twenty_times(host: Sandbox) -> None:
    run(host)
    assert "at most 1 within 300 s; again in " in run(host).error[2]
    done = [run(host, domain=f"d{number}.example") for number in range(20)]
    assert {answered.status for answered in done} == {0}
    assert "at most 20 within 300 s" in run(host, domain="more.example").error[2]


def test_another_request_waits_five_seconds_and_is_told_who_has_the_instance(host: Sandbox) -> None:
    with held(host, 8) as req_id:
        began = time.monotonic()
        status, code, message = run(host, domain="hotmail.com").error
        waited_s = time.monotonic() - began
    assert (status, code) == (11, "locked")
    assert f"verb queue.run, req_id {req_id}, op_id op-1" in message
    assert 5 <= waited_s < 7.5
    assert run(host, domain="hotmail.com").row["state"] == "done"


def test_a_suspended_holder_keeps_others_out_until_it_is_killed(host: Sandbox) -> None:
    with held(host, 1) as req_id:
        host.run("pkill", "-STOP", "-f", "^/usr/bin/python3 -I /dev/fd/")
        assert run(host, domain="hotmail.com").status == 11
        assert result_of(host, req_id)["running"] is True
        host.run("pkill", "-KILL", "-f", "^/usr/bin/python3 -I /dev/fd/")
    assert run(host, domain="hotmail.com").row["state"] == "done"
    assert result_of(host, req_id)["state"] == "begun"


def test_a_request_that_was_killed_in_its_middle_is_not_done_again(host: Sandbox) -> None:
    with held(host, 2) as req_id:
        assert (result_of(host, req_id)["state"], result_of(host, req_id)["running"]) == ("begun", True)
        host.run("pkill", "-KILL", "-f", "^/usr/bin/python3 -I /dev/fd/")
        wait_until(lambda: result_of(host, req_id)["running"] is False)
        status, code, _ = ask(host, run_request(req_id)).error
        assert len(host.inside("/root/effects").read_text().splitlines()) == 1
    assert (status, code) == (20, "unfinished")
    assert result_of(host, req_id)["state"] == "begun"
    assert events(host, req_id) == ["begun", "failed"]


def test_a_client_that_goes_away_does_not_stop_what_has_begun(host: Sandbox) -> None:
    with slow_postqueue(host, 1):
        req_id = new_id()
        running = subprocess.Popen(command(host), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(run_request(req_id))
        running.stdin.close()
        wait_until(entry(host, req_id).exists)
        running.stdout.close()
        host.run("pkill", "-HUP", "-f", "^/usr/bin/python3 -I /dev/fd/")
        running.wait(30)
    row = result_of(host, req_id)
    assert (row["state"], row["result"]["ok"]) == ("done", True)
    assert events(host, req_id) == ["begun", "ended"]


def test_a_command_that_hangs_is_ended_and_told_so(host: Sandbox) -> None:
    with slow_postqueue(host, 60):
        result = run(host, deadline_s=12).row["result"]
    assert (result["ok"], result["timed_out"], result["exit_status"]) == (False, True, None)
    assert "killed" in result["output"]


def test_nothing_begins_without_the_time_to_write_it_down(host: Sandbox) -> None:
    req_id = new_id()
    assert "left of the deadline" in run(host, req_id=req_id, deadline_s=5).error[2]
    assert result_of(host, req_id)["state"] == "absent"


def test_an_id_that_never_came_is_absent_and_with_a_fence_stays_so(host: Sandbox) -> None:
    req_id = new_id()
    assert result_of(host, req_id) == {"kind": "result", "req_id": req_id, "state": "absent", "running": None}
    assert result_of(host, req_id, fence=8)["running"] is False
    assert ask(host, run_request(req_id, fence=7)).error[:2] == (12, "fenced")


def test_while_another_request_has_the_instance_an_absent_one_may_still_come(host: Sandbox) -> None:
    with held(host, 2):
        assert result_of(host, new_id(), fence=8)["running"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"op_id": None},
        {"fence": None},
        {"fence": 0},
        {"fence": True},
        {"fence": "1"},
        {"op_id": "op 1"},
        {"op_id": "op-1\n"},
        {"dry_run": "yes"},
        {"expect": []},
        {"expect": {"map_sha": "e3b0"}},
        {"expect": {"plan_hash": "short"}},
        {"instance": "msn-a"},
        {"args": {}},
        {"args": {"instance": None}},
        {"args": {"instance": ["msn-a"]}},
        {"args": {"instance": "msn-a\n"}},
        {"args": {"instance": "-f"}},
        {"args": {"instance": "../../etc"}},
        {"args": {"instance": "msn-a", "extra": 1}},
        {"args": {"instance": "msn-a", "domain": ""}},
        {"args": {"instance": "msn-a", "domain": "-f"}},
        {"args": {"instance": "msn-a", "domain": "hotmail.com\n"}},
        {"args": {"instance": "msn-a", "domain": "hotmail.com outlook.com"}},
        {"args": {"instance": "msn-a", "domain": "$(id).example"}},
        {"args": {"instance": "msn-a", "domain": "HOTMAIL.com"}},
        {"args": {"instance": "msn-a", "domain": "a" * 64 + ".example"}},
        {"args": {"instance": "msn-a", "domain": "a." * 127 + "example"}},
        {"args": {"instance": "msn-a", "domain": 7}},
    ],
)
def test_what_is_not_a_sound_request_is_refused_and_written_down(
    host: Sandbox, wrong: dict[str, Any]
) -> None:
    before = len(journal(host))
    fields = {"op_id": "op-1", "fence": 1, "args": {"instance": "msn-a"}, **wrong}
    assert ask(host, request("queue.run", **fields)).error[:2] == (13, "bad_request")
    assert [row["code"] for row in journal(host)[before:]] == ["bad_request"]


@pytest.mark.parametrize(
    "sent", [b"", b"{", b"[" * 60_000, b"x" * 70_000, b'{"v": 1, "verb": "queue.delete"}']
)
def test_what_is_no_request_is_written_down_too(host: Sandbox, sent: bytes) -> None:
    before = len(journal(host))
    assert ask(host, sent).error[:2] == (13, "bad_request")
    (row,) = journal(host)[before:]
    assert (row["event"], row["code"], row["req_id"], row["from"]) == (
        "refused",
        "bad_request",
        None,
        ADDRESS,
    )


def test_each_entry_of_the_journal_tells_who_asked_for_what(host: Sandbox) -> None:
    req_id = new_id()
    run(host, req_id=req_id, fence=3, domain="hotmail.com")
    begun, ended = (row for row in journal(host) if row["req_id"] == req_id)
    args = {"instance": "msn-a", "domain": "hotmail.com"}
    told = {
        "user": "relay-write",
        "from": ADDRESS,
        "verb": "queue.run",
        "instance": "msn-a",
        "op_id": "op-1",
        "fence": 3,
        "params_sha": params_sha(verb="queue.run", args=args, op_id="op-1"),
    }

    assert {key: begun[key] for key in told} == {key: ended[key] for key in told} == told
    assert begun["command"] == ["/usr/sbin/postqueue", "-c", A, "-s", "hotmail.com"]
    assert (ended["ok"], ended["exit_status"]) == (True, 0)
    assert host.inside(JOURNAL).stat().st_mode & 0o7777 == 0o640


def test_the_read_user_reads_the_journal_page_by_page_and_can_do_nothing_else_there(host: Sandbox) -> None:
    run(host, domain="hotmail.com")
    seen: list[dict[str, Any]] = []
    cursor = None
    while True:
        answered = ask_reader(host, request("journal.read", args={"limit": 2, "cursor": cursor}))
        seen += answered.lines[1:-1]
        cursor = answered.lines[-1]["cursor"]
        if not answered.lines[-1]["more"]:
            break
    assert [row["entry"] for row in seen] == journal(host)
    for verb in ("queue.run", "instance.reload"):
        sent = request(verb, op_id="op-1", fence=1, args={"instance": "msn-a"})
        assert ask_reader(host, sent).error[:2] == (10, "refused")
    assert ask_reader(host, request("op.result", args={"req_id": "12345678"})).status == 10


def test_an_entry_that_was_cut_off_is_named_and_the_next_one_is_whole(host: Sandbox) -> None:
    end = ask_reader(host, request("journal.read", args={"limit": 10_000})).lines[-1]
    with host.inside(JOURNAL).open("ab") as file:
        file.write(b'{"at": 17952')
    pending = ask_reader(host, request("journal.read", args={"cursor": end["cursor"]}))
    run(host, domain="hotmail.com")
    answered = ask_reader(host, request("journal.read", args={"cursor": end["cursor"]}))
    whole = host.inside(JOURNAL).read_bytes().replace(b'{"at": 17952\n', b"")
    host.inside(JOURNAL).write_bytes(whole)

    assert pending.lines[1:-1] == []
    assert [row["kind"] for row in answered.lines[1:-1]] == ["damaged", "entry", "entry"]


def test_a_journal_that_was_put_aside_begins_anew_and_says_so(host: Sandbox) -> None:
    end = ask_reader(host, request("journal.read", args={"limit": 10_000})).lines[-1]
    aside = host.inside(f"{JOURNAL}.1")
    host.inside(JOURNAL).rename(aside)
    try:
        empty = ask_reader(host, request("journal.read", args={"cursor": end["cursor"]})).lines
        run(host, domain="hotmail.com")
        answered = ask_reader(host, request("journal.read", args={"cursor": end["cursor"]})).lines
    finally:
        aside.unlink()
    assert (empty[1]["end"], empty[1]["restarted"], empty[1]["cursor"]) == (True, True, None)
    assert answered[-1]["restarted"] is True
    assert [row["entry"]["event"] for row in answered[1:-1]] == ["begun", "ended"]


def test_the_head_of_the_audit_chain_is_put_into_the_journal(host: Sandbox) -> None:
    ask(host, request("audit.anchor", args={"seq": 41, "hash": "ab" * 32}))
    row = journal(host)[-1]

    assert (row["event"], row["seq"], row["hash"]) == ("anchor", 41, "ab" * 32)
    for args in ({"seq": 0, "hash": "ab" * 32}, {"seq": 1, "hash": "AB" * 32}, {"seq": 1}):
        assert ask(host, request("audit.anchor", args=args)).status == 13


@pytest.mark.parametrize("verb", ["inventory", "snapshot", "queue.list", "journal.read"])
def test_nothing_is_read_as_root_through_the_write_door(host: Sandbox, verb: str) -> None:
    assert ask(host, request(verb)).error[:2] == (10, "refused")


def test_the_write_door_says_who_it_is(host: Sandbox) -> None:
    header = ask(host, request("hello")).lines[0]
    assert header["ok"] is True
    assert len(header["sha256"]) == 64


@pytest.mark.parametrize(
    ("limits", "mode", "reason"),
    [
        ('{"queue_run": false}', 0o644, "switched off"),
        ('{"queue_run": false}', 0o666, "must be root's"),
        ('{"queue_run_every_s": 1}', 0o644, "from 60 to 86400"),
        ('{"queue_run_every_s": "60"}', 0o644, "from 60 to 86400"),
        ('{"queue_run": 0}', 0o644, "true or false"),
        ('{"queu_run": true}', 0o644, "not known"),
        ("[]", 0o644, "not a JSON object"),
        ("{broken", 0o644, "cannot be read"),
        ("", 0o644, "cannot be read"),
    ],
)
def test_root_s_limits_hold_and_what_is_not_root_s_is_not_believed(
    host: Sandbox, limits: str, mode: int, reason: str
) -> None:
    host.write(LIMITS, limits, mode)
    try:
        req_id = new_id()
        status, code, message = run(host, req_id=req_id).error
        ready = ask(host, request("write.check")).lines[1]
    finally:
        host.inside(LIMITS).unlink()
    assert (status, code, reason in message) == (10, "refused", True)
    assert result_of(host, req_id)["state"] == "absent"
    assert ready["problem"] is None if "switched" in reason else reason in ready["problem"]


def test_limits_that_another_user_owns_or_may_replace_are_not_believed(host: Sandbox) -> None:
    host.write(LIMITS, '{"queue_run_every_s": 60}')
    folder = host.inside(LIMITS).parent
    try:
        host.run("chown", "relay-write", LIMITS)
        assert "must be root's" in run(host).error[2]
        host.run("chown", "root", LIMITS)
        folder.chmod(0o777)
        assert "must be root's" in run(host).error[2]
        folder.chmod(0o755)
        assert run(host).row["state"] == "done"
    finally:
        host.run("rm", "-r", str(Path(LIMITS).parent))


def test_an_instance_whose_configuration_others_may_write_is_not_touched(host: Sandbox) -> None:
    host.inside(f"{A}/master.cf").chmod(0o666)
    try:
        assert "must be root's" in run(host).error[2]
        problems = {row["name"]: row["problem"] for row in ask(host, request("write.check")).lines[2:-1]}
    finally:
        host.inside(f"{A}/master.cf").chmod(0o644)
    assert (problems["msn-b"], "must be root's" in problems["msn-a"]) == (None, True)


@pytest.mark.parametrize(
    ("instance", "reason"), [("msn-b", "stopped"), ("no-such", "no instance no-such"), ("ops", "no instance")]
)
def test_an_instance_that_is_not_there_or_does_not_run_is_refused(
    host: Sandbox, instance: str, reason: str
) -> None:
    assert reason in run(host, args={"instance": instance}).error[2]


def test_a_program_that_others_may_write_is_not_run_as_root(host: Sandbox) -> None:
    host.write("/root/any", "#!/bin/sh\n", 0o777)
    host.run("mount", "--bind", "/root/any", "/usr/sbin/postqueue")
    try:
        assert "postqueue is not in" in run(host).error[2]
    finally:
        host.run("umount", "-l", "/usr/sbin/postqueue")


@pytest.mark.parametrize("folder", [f"{STATE}/ops", "/var/log/relay-fleet"])
def test_a_full_disk_is_refused_before_anything_is_done(host: Sandbox, folder: str) -> None:
    host.run("mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", folder)
    try:
        host.run("dd", "if=/dev/zero", f"of={folder}/fill", "bs=1k", check=False)
        req_id = new_id()
        with slow_postqueue(host, 0):
            status, code, message = run(host, req_id=req_id).error
            assert host.inside("/root/effects").read_text() == ""
        assert (status, code, "disk full" in message) == (10, "refused", True)
        left = {path.name for path in host.inside(folder).iterdir()} - {"journal.jsonl"}
        assert left == {"fill"}
    finally:
        host.run("umount", folder)
    assert result_of(host, req_id)["state"] == "absent"


def test_a_disk_that_fills_up_while_it_runs_does_not_make_it_forget(host: Sandbox) -> None:
    host.run("mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", f"{STATE}/ops")
    try:
        with held(host, 2) as req_id:
            host.run("dd", "if=/dev/zero", f"of={STATE}/ops/fill", "bs=1k", check=False)
        row = result_of(host, req_id)
    finally:
        host.run("umount", f"{STATE}/ops")
    assert (row["state"], row["result"]["ok"]) == ("done", True)


def test_a_full_journal_stops_changes_until_root_has_put_it_aside(host: Sandbox) -> None:
    host.write(LIMITS, '{"journal_max_mb": 1}')
    with host.inside(JOURNAL).open("ab") as file:
        file.truncate(file.tell() + (1 << 20))
    try:
        size = host.inside(JOURNAL).stat().st_size
        assert "has reached 1 MB" in run(host).error[2]
        assert "has reached 1 MB" in run(host, dry_run=True).error[2]
        assert "could not be written down" in ask(host, b"{").error[2]
        # What is refused does not fill the disk either.
        assert host.inside(JOURNAL).stat().st_size == size
    finally:
        host.run("rm", "-r", str(Path(LIMITS).parent), JOURNAL)
    assert run(host).row["state"] == "done"


def test_a_damaged_entry_is_told_as_such(host: Sandbox) -> None:
    req_id = new_id()
    host.write(f"{STATE}/ops/{req_id}.json", "{", 0o600)
    assert run(host, req_id=req_id).error[:2] == (30, "internal")
    assert ask(host, request("op.result", args={"req_id": req_id})).error[:2] == (30, "internal")


def test_old_requests_are_forgotten_and_too_many_new_ones_refused(host: Sandbox) -> None:
    script = (
        "import os\n"
        f"os.chdir('{STATE}/ops')\n"
        "for n in range(1200):\n    open(f'old-request-{n}.json', 'w').close()\n"
        "    os.utime(f'old-request-{n}.json', (1, 1))\n"
    )
    host.run("python3", "-c", script)
    run(host)
    assert list(host.inside(f"{STATE}/ops").glob("old-request-*")) == []


def test_sudo_runs_this_very_file_for_this_user_and_nothing_else(host: Sandbox) -> None:
    door = ["setpriv", "--reuid=relay-write", "--regid=relay-write", "--clear-groups", "--"]
    asked = [
        ["sudo", "-n", PROGRAM, "version"],
        ["sudo", "-n", PROGRAM, "install"],
        ["sudo", "-n", "/bin/sh"],
        ["sudo", "-n", "-s"],
        ["sudo", "-n", "PYTHONPATH=/tmp", PROGRAM],
        ["sudo", "-n", "-E", PROGRAM],
        ["sudo", "-n", "-u", "postfix", PROGRAM],
    ]
    for arguments in asked:
        done = host.run(*door, *arguments, stdin=request("hello"), check=False)
        assert done.returncode == 1, arguments
        assert done.stdout == b""


def test_one_byte_more_and_sudo_does_not_run_it(host: Sandbox) -> None:
    with host.inside(PROGRAM).open("ab") as file:
        file.write(b"\n")
    try:
        answered = subprocess.run(command(host), input=request("hello"), capture_output=True, check=False)
    finally:
        host.inside(PROGRAM).write_bytes(build())
    assert answered.returncode == 1
    assert b"password is required" in answered.stderr


def test_the_environment_of_the_write_user_reaches_nothing(host: Sandbox) -> None:
    host.write("/tmp-evil/sitecustomize.py", "open('/root/evil', 'w').close()\n")
    evil = ["PYTHONPATH=/tmp-evil", "MAIL_CONFIG=/tmp-evil", "PATH=/tmp-evil", "SSH_ORIGINAL_COMMAND=sh"]
    line = command(host)
    place = line.index("env") + 1
    done = subprocess.run(
        [*line[:place], *evil, "LD_PRELOAD=/tmp-evil/x.so", *line[place:]],
        input=request("write.check"),
        capture_output=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert not host.inside("/root/evil").exists()
    assert done.returncode in (0, 127)


def test_root_at_the_host_may_ask_as_well_and_is_told_apart(host: Sandbox) -> None:
    sent = request("queue.run", req_id="by-hand-0001", op_id="1", fence=1, args={"instance": "msn-a"})
    done = host.run(PROGRAM, stdin=sent)
    assert json.loads(done.stdout.splitlines()[1])["state"] == "done"
    assert [(row["user"], row["from"]) for row in journal(host) if row["req_id"] == "by-hand-0001"] == [
        ("root", None),
        ("root", None),
    ]


def test_answers_are_complete_replies(host: Sandbox) -> None:
    answered: Answered = run(host)
    assert answered.lines[-1] == {"end": True, "rows": 1, "truncated": False}
    assert answered.stderr == ""


def test_one_id_at_once_on_two_instances_is_done_on_one_of_them(host: Sandbox) -> None:
    host.run("postfix", "-c", B, "start")
    try:
        for _ in range(5):
            forget_pace(host)
            host.inside(f"{STATE}/instances/msn-b/pace.json").unlink(missing_ok=True)
            req_id = new_id()
            asked = [
                subprocess.Popen(command(host), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                for _ in range(2)
            ]
            for process, instance in zip(asked, ("msn-a", "msn-b"), strict=True):
                assert process.stdin is not None
                sent: dict[str, Any] = {"op_id": "op-1", "fence": 1, "args": {"instance": instance}}
                process.stdin.write(request("queue.run", req_id=req_id, **sent))
                process.stdin.close()
            statuses = sorted(process.wait(30) for process in asked)
            for process in asked:
                assert process.stdout is not None
                process.stdout.close()
            assert statuses == [0, 14]
            assert result_of(host, req_id)["state"] == "done"
    finally:
        host.run("postfix", "-c", B, "stop")
