"""relayctl asked by a user without rights, on real Postfix instances: sound ones and broken ones."""

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from relays.agent.build import build
from relays.domain.matching import sender_check
from tests.agent.postfix_host import (
    PYZ,
    ask,
    listed,
    make_default,
    make_instance,
    send,
    start,
    wait_for_deferred,
    write_main_cf,
)
from tests.agent.sandbox import Sandbox

pytestmark = pytest.mark.lab

A, B = "/etc/postfix-msn-a", "/etc/postfix-msn-b"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A host with msn-a running and six messages deferred, and msn-b stopped."""
    with Sandbox(tmp_path_factory.mktemp("relay") / "host") as sandbox:
        sandbox.write(PYZ, build(), 0o755)
        for name, port in (("msn-a", 2525), ("msn-b", 2526)):
            make_instance(sandbox, name, port)
        make_default(sandbox, A, B)
        start(sandbox, A)
        send(sandbox, A, "a@hotmail.com", "b@Hotmail.com", "c@outlook.com")
        for number in range(4):
            send(sandbox, A, f"u{number}@hotmail.com", sender=f"bounces+{number}@lists.example")
        send(sandbox, A, '"odd \\"one"@ümläut.example', sender="")
        wait_for_deferred(sandbox, A, 6)
        yield sandbox


@pytest.fixture
def default_main_cf(host: Sandbox) -> Iterator[None]:
    """Put the default instance's main.cf back after a test that changes which instances it lists."""
    yield
    make_default(host, A, B)


def rows(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert lines[0]["ok"] is True, lines[0]
    assert lines[-1]["end"] is True
    return {row.get("name", row["kind"]): row for row in lines[1:-1]}


def codes(row: dict[str, Any]) -> set[tuple[str, str]]:
    return {(condition["code"], condition["what"]) for condition in row["conditions"]}


def test_inventory_tells_what_the_instances_are_set_to(host: Sandbox) -> None:
    found = rows(ask(host, "inventory"))
    row = found["msn-a"]

    assert set(found) == {"default", "msn-a", "msn-b"}
    assert (row["config_dir"], row["running"], found["msn-b"]["running"]) == (A, True, False)
    assert (row["multi_instance_name"], row["multi_instance_group"]) == ("postfix-msn-a", "relays")
    assert (row["myhostname"], row["helo_name"]) == ("msn-a.relay.example", "helo.msn-a.example")
    assert (row["bind_addresses"], row["bind_addresses6"]) == (["127.0.0.125"], [])
    assert row["inet_interfaces"] == ["loopback-only"]
    assert row["syslog_name"] == "postfix-msn-a"
    assert row["log"] == {"kind": "file", "path": "/var/log/postfix-msn-a.log"}
    assert row["queue_directory"] == "/var/spool/postfix-msn-a"
    assert row["limits"]["maximal_queue_lifetime"] == "5d"
    assert row["long_queue_ids"] is False
    assert row["conditions"] == []


def test_a_snapshot_says_what_postqueue_lists(host: Sandbox) -> None:
    row = rows(ask(host, "snapshot"))["msn-a"]
    entries = listed(host, A)

    assert row["running"] is True
    assert row["queues"] == {"incoming": 0, "active": 0, "deferred": 6, "hold": 0, "corrupt": None}
    assert row["size_bytes"] == sum(entry["message_size"] for entry in entries)
    assert 0 <= time.time() - min(entry["arrival_time"] for entry in entries) - row["oldest_s"] < 5
    assert [row[:2] for row in row["domains"]["rows"]] == [
        ["hotmail.com", 6],
        ["outlook.com", 1],
        ["xn--mlut-moa5l.example", 1],
    ]
    assert row["replies"] == {"total": 8, "rows": [["deferred transport", 8]], "other": 0, "sampled": 8}
    assert codes(row) == {("not_readable", "corrupt")}


def test_a_snapshot_agrees_with_qshape(host: Sandbox) -> None:
    table = rows(ask(host, "snapshot"))["msn-a"]["domains"]
    shape = host.run("qshape", "-c", A, "deferred").stdout.decode().split("\n")
    theirs = {
        line.split()[0]: [int(count) for count in line.split()[1:]] for line in shape[1:] if line.strip()
    }

    assert theirs.pop("TOTAL")[0] == table["total"]
    assert theirs["hotmail.com"] == [6, *next(row[2] for row in table["rows"] if row[0] == "hotmail.com")]


def test_root_reads_the_corrupt_queue_too(host: Sandbox) -> None:
    host.write("/var/spool/postfix-msn-a/corrupt/4jWKWh04b5z1T1", "x")
    request = b'{"v": 1, "req_id": "0123456789", "verb": "snapshot"}'
    output = host.run(PYZ, stdin=request).stdout
    host.inside("/var/spool/postfix-msn-a/corrupt/4jWKWh04b5z1T1").unlink()

    assert b'"corrupt":1}' in output


# What the unit leaves to the guard: root with no right but to read.
_CONFINED = ["setpriv", "--bounding-set", "-all,+dac_read_search", "--no-new-privs"]


@pytest.mark.parametrize("confined", [[], _CONFINED], ids=["root", "confined"])
def test_the_guard_s_count_reaches_who_may_not_read_the_queue(host: Sandbox, confined: list[str]) -> None:
    host.write("/var/spool/postfix-msn-a/corrupt/4jWKWh04b5z1T1", "x")
    host.run(*confined, PYZ, "guard")
    host.inside("/var/spool/postfix-msn-a/corrupt/4jWKWh04b5z1T1").unlink()
    row = rows(ask(host, "snapshot"))["msn-a"]
    host.run("rm", "-r", "/run/relay-fleet")

    assert row["queues"]["corrupt"] == 1
    assert row["conditions"] == []


def test_a_stopped_instance_has_no_counts(host: Sandbox) -> None:
    row = rows(ask(host, "snapshot", instances=["msn-b"]))["msn-b"]

    assert row["running"] is False
    assert set(row["queues"].values()) == {None}
    assert (row["oldest_s"], row["size_bytes"], row["domains"], row["replies"]) == (None,) * 4
    assert codes(row) == {("stopped", "instance")}


def test_the_host_s_row_tells_load_and_space(host: Sandbox) -> None:
    row = rows(ask(host, "snapshot"))["host"]

    assert len(row["load"]) == 3
    assert row["cpus"] >= 1
    assert [spool["path"] for spool in row["spools"]] == ["/var/spool"]
    assert row["spools"][0]["size_bytes"] > row["spools"][0]["free_bytes"] > 0
    assert row["conditions"] == []


def test_an_instance_that_is_not_here_is_refused(host: Sandbox) -> None:
    header = ask(host, "snapshot", instances=["msn-z"])[0]

    assert header["ok"] is False
    assert header["error"] == {"code": "refused", "message": "no instance msn-z on this host"}


@pytest.mark.usefixtures("default_main_cf")
def test_an_instance_that_the_default_one_does_not_list_is_named(host: Sandbox) -> None:
    write_main_cf(host, "/etc/postfix", "compatibility_level = 3.6\n")
    row = rows(ask(host, "snapshot"))["msn-a"]

    assert codes(row) == {("not_listed", "instance")}
    assert f"alternate_config_directories = {A}" in row["conditions"][0]["detail"]
    assert row["running"] is True
    assert set(row["queues"].values()) == {None}


@pytest.mark.usefixtures("default_main_cf")
def test_a_default_instance_that_only_lists_others_is_left_out(host: Sandbox) -> None:
    make_default(host, A, B, extra="multi_instance_enable = no\n")

    assert set(rows(ask(host, "inventory"))) == {"msn-a", "msn-b"}


@pytest.mark.usefixtures("default_main_cf")
def test_beside_listed_instances_only_one_that_runs_is_added(host: Sandbox) -> None:
    host.run("cp", "-a", A, "/etc/postfix-msn-a.bak")
    make_default(host, B)
    found = rows(ask(host, "snapshot"))
    make_default(host, A, B)
    again = rows(ask(host, "snapshot"))
    host.run("rm", "-r", "/etc/postfix-msn-a.bak")

    assert codes(found["msn-a"]) == {("not_listed", "instance")}
    assert set(found) == set(again) == {"default", "msn-a", "msn-b", "host"}


@pytest.mark.usefixtures("default_main_cf")
def test_one_broken_instance_does_not_hide_the_others(host: Sandbox) -> None:
    make_default(host, A, B, "/etc/postfix-gone")
    found = rows(ask(host, "snapshot"))

    assert found["msn-a"]["queues"]["deferred"] == 6
    assert codes(found["gone"]) == {("misconfigured", "instance")}
    assert set(found["gone"]["queues"].values()) == {None}
    assert codes(rows(ask(host, "inventory"))["gone"]) == {("misconfigured", "instance")}


@pytest.mark.usefixtures("default_main_cf")
def test_a_main_cf_that_postqueue_cannot_use_is_a_named_condition(host: Sandbox) -> None:
    directory = make_instance(host, "bad", 2527, extra="inet_interfaces = 10.9.9.9\n")
    make_default(host, A, B, directory)

    row = rows(ask(host, "snapshot", instances=["bad"]))["bad"]
    assert codes(row) == {("misconfigured", "instance")}
    assert set(row["queues"].values()) == {None}


@pytest.mark.usefixtures("default_main_cf")
def test_who_may_not_see_the_queue_is_told_so(host: Sandbox) -> None:
    directory = make_instance(host, "shy", 2528, extra="authorized_mailq_users = root\n")
    make_default(host, A, B, directory)
    start(host, directory)

    row = rows(ask(host, "snapshot", instances=["shy"]))["shy"]
    host.run("postfix", "-c", directory, "stop")
    assert codes(row) == {("not_readable", "queue")}
    assert set(row["queues"].values()) == {None}


def test_a_postqueue_that_hangs_is_ended_and_the_others_are_read(host: Sandbox) -> None:
    """showq stopped by a signal: postqueue waits for it without a byte."""
    host.run("postqueue", "-c", A, "-j")
    pids = host.run("pgrep", "-x", "showq").stdout.decode().split()
    host.run("kill", "-STOP", *pids)
    try:
        found = rows(ask(host, "snapshot", deadline_s=30))
    finally:
        host.run("kill", "-CONT", *pids)

    assert codes(found["msn-a"]) == {("timed_out", "queue")}
    assert set(found["msn-a"]["queues"].values()) == {None}
    assert codes(found["msn-b"]) == {("stopped", "instance")}
    assert host.run("pgrep", "-x", "postqueue", check=False).stdout == b""


def test_a_deadline_ends_a_request_that_hangs(host: Sandbox) -> None:
    host.run("postqueue", "-c", A, "-j")
    pids = host.run("pgrep", "-x", "showq").stdout.decode().split()
    host.run("kill", "-STOP", *pids)
    began = time.monotonic()
    try:
        lines = ask(host, "queue.list", instance="msn-a", deadline_s=2)
    finally:
        host.run("kill", "-CONT", *pids)

    assert time.monotonic() - began < 8
    assert lines[0]["ok"] is False
    assert lines[0]["error"]["code"] in {"deadline", "refused"}
    assert lines[-1]["end"] is True
    assert host.run("pgrep", "-x", "postqueue", check=False).stdout == b""


def test_a_full_spool_is_a_condition_of_the_host(host: Sandbox) -> None:
    host.run("sh", "-c", "dd if=/dev/zero of=/var/spool/filler bs=1M 2>/dev/null; true")
    row = rows(ask(host, "snapshot", instances=["msn-a"]))["host"]
    host.run("rm", "/var/spool/filler")

    assert codes(row) == {("disk_full", "/var/spool")}


def test_messages_are_listed_a_page_at_a_time(host: Sandbox) -> None:
    lines = ask(host, "queue.list", instance="msn-a", limit=4)
    more = ask(host, "queue.list", instance="msn-a", limit=4, cursor=lines[-1]["cursor"])
    got = [(row["arrival"], row["id"]) for row in lines[1:-1] + more[1:-1]]

    assert got == sorted((entry["arrival_time"], entry["queue_id"]) for entry in listed(host, A))
    assert (len(lines[1:-1]), lines[-1]["rows"], more[-1]["cursor"]) == (4, 4, None)


@pytest.mark.parametrize(
    ("asked", "senders"),
    [
        ({"domain": "OUTLOOK.com"}, ["list@lists.example"]),
        ({"domain": "ümläut.example"}, ["MAILER-DAEMON"]),
        ({"sender": "Bounces+2@lists.example"}, ["bounces+2@lists.example"]),
        ({"sender": ""}, ["MAILER-DAEMON"]),
        ({"recipient": "U3@hotmail.com"}, ["bounces+3@lists.example"]),
        ({"queues": ["active", "hold"]}, []),
        ({"older_than_s": 86_400}, []),
        ({"queues": ["deferred"], "domain": "hotmail.com", "recipient": "c@outlook.com"}, []),
    ],
)
def test_messages_are_listed_by_filter(host: Sandbox, asked: dict[str, Any], senders: list[str]) -> None:
    assert [row["sender"] for row in ask(host, "queue.list", instance="msn-a", **asked)[1:-1]] == senders


def test_a_listed_message_shows_the_recipients_asked_for_and_counts_all(host: Sandbox) -> None:
    (row,) = ask(host, "queue.list", instance="msn-a", domain="outlook.com")[1:-1]

    assert row["recipients"] == [{"address": "c@outlook.com", "reason": "deferred transport"}]
    assert (row["recipients_total"], row["queue"]) == (3, "deferred")


def test_messages_are_counted_by_what_they_have_in_common(host: Sandbox) -> None:
    lines = ask(host, "queue.groups", instance="msn-a", domain="hotmail.com")
    (sums,) = [row for row in lines if row.get("kind") == "sums"]
    found = {(row["by"], row["key"]): row["messages"] for row in lines if row.get("kind") == "group"}

    assert (sums["messages"], sums["recipients"], sums["of"], sums["unparsable"]) == (5, 6, 6, 0)
    # On a busy machine so few take a second as well.
    told = ask(host, "queue.groups", instance="msn-a", domain="hotmail.com", progress=True)
    assert {row["kind"] for row in told[1:-1]} - {"progress"} == {"sums", "table", "group"}
    wrong = ask(host, "queue.groups", instance="msn-a", progress=1)[0]["error"]
    assert wrong == {"code": "bad_request", "message": "progress must be true or false"}
    assert found["domain", "hotmail.com"] == 5
    assert found["queue", "deferred"] == 5
    assert found["sender_domain", "lists.example"] == 5
    assert [row["text"] for row in lines if row.get("by") == "reply" and row["kind"] == "group"] == [
        "deferred transport"
    ]


def test_messages_are_picked_by_what_the_host_knows_them_again_by(host: Sandbox) -> None:
    lines = ask(host, "queue.pick", instance="msn-a", sender="")
    ((queue_id, arrival, check),) = lines[1]["items"]
    (bounce,) = [entry for entry in listed(host, A) if entry["sender"] == "MAILER-DAEMON"]

    assert (queue_id, arrival) == (bounce["queue_id"], bounce["arrival_time"])
    assert check == sender_check("MAILER-DAEMON")
    assert lines[-1]["queues"] == {"incoming": 0, "active": 0, "deferred": 1, "hold": 0}
    assert ask(host, "queue.pick", instance="msn-a", most=2)[0]["error"]["message"].startswith("6 messages")


def test_the_queue_of_a_stopped_instance_is_not_an_empty_list(host: Sandbox) -> None:
    header = ask(host, "queue.list", instance="msn-b")[0]

    assert header["ok"] is False
    assert header["error"]["message"].startswith("stopped: ")


def test_a_reader_that_goes_away_leaves_no_child(host: Sandbox) -> None:
    request = b'{"v": 1, "req_id": "0123456789", "verb": "snapshot"}'
    with subprocess.Popen(
        host.command([PYZ], as_nobody=True),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(request)
        process.stdin.close()
        assert process.stderr.read() == b""

    assert host.run("pgrep", "-x", "postqueue", check=False).stdout == b""


def test_a_log_that_postlogd_keeps_to_root_is_told_and_then_counted(host: Sandbox) -> None:
    path = "/var/log/postfix-msn-a.log"
    host.inside(path).chmod(0o600)
    unread = by_source(ask(host, "log.read"))[path]
    host.inside(path).chmod(0o644)
    lines = ask(host, "log.read")
    row = by_source(lines)[path]
    suspended = [r for line in lines if line.get("kind") == "outcomes" for r in line["rows"]]

    assert (codes(unread), unread["cursor"]) == ({("not_readable", "log"), ("lossy", "log")}, None)
    assert codes(row) == {("lossy", "log")}
    assert row["lines"] == len(host.inside(path).read_bytes().splitlines())
    assert (row["unrecognized"], row["behind_bytes"]) == (0, 0)
    assert sum(r[4] for r in suspended if r[0] == "hotmail.com") == 6

    again = ask(host, "log.read", cursors={path: row["cursor"]})
    assert by_source(again)[path]["cursor"] == row["cursor"]
    assert [line["kind"] for line in again[1:-1]] == ["log"] * len(by_source(again))


def by_source(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert lines[-1] == {"end": True, "rows": len(lines) - 2, "truncated": False}, lines[-1]
    return {row["source"]: row for row in lines[1:-1] if row["kind"] == "log"}
