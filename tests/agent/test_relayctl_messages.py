"""Single messages held, released, retried, requeued, expired and deleted on a real Postfix: exactly those."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from relays.domain.matching import sender_check
from tests.agent.postfix_host import (
    listed,
    make_default,
    make_instance,
    send,
    start,
    wait_for_deferred,
)
from tests.agent.sandbox import Sandbox
from tests.agent.write_host import LIMITS, A, Answered, ask, command, entry, events, install, new_id, request

pytestmark = pytest.mark.lab

SENDER = "list@lists.example"
ALL_ON = {"delete": True, "expire": True, "removals_a_day": 50}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A host with both doors and msn-a running, where root has enabled all verbs."""
    with Sandbox(tmp_path_factory.mktemp("messages") / "host") as sandbox:
        sandbox.run("ssh-keygen", "-A")
        make_instance(sandbox, "msn-a", 2525, extra="enable_long_queue_ids = yes\n")
        make_default(sandbox, A)
        start(sandbox, A)
        install(sandbox)
        sandbox.write(LIMITS, json.dumps(ALL_ON))
        yield sandbox


@pytest.fixture
def queued(host: Sandbox) -> list[dict[str, Any]]:
    """Four deferred messages and nothing else, as `postqueue -j` lists them, by recipient."""
    host.run("postsuper", "-c", A, "-d", "ALL", check=False)
    for number in range(4):
        send(host, A, f"u{number}@hotmail.com", sender=SENDER)
    wait_for_deferred(host, A, 4)
    found = [message for message in listed(host, A) if message["queue_name"] == "deferred"]
    return sorted(found, key=lambda message: message["recipients"][0]["address"])


def item(message: dict[str, Any], **other: Any) -> list[Any]:
    known = {
        "id": message["queue_id"],
        "arrival": message["arrival_time"],
        "sender": message["sender"],
        **other,
    }
    return [known["id"], known["arrival"], sender_check(known["sender"])]


def act(host: Sandbox, verb: str, *items: list[Any], **more: Any) -> Answered:
    fields = {"op_id": "op-1", "fence": 1, "args": {"instance": "msn-a", "items": list(items)}, **more}
    return ask(host, request(f"message.{verb}", **fields))


def came_of(host: Sandbox, verb: str, *items: list[Any]) -> dict[str, Any]:
    result: dict[str, Any] = act(host, verb, *items).row["result"]
    return result


def where(host: Sandbox) -> dict[str, str]:
    """Return in which queue each message lies; what was requeued waits in maildrop to be taken in again."""
    found = {message["queue_id"]: message["queue_name"] for message in listed(host, A)}
    return {queue_id: queue for queue_id, queue in found.items() if queue != "maildrop"}


def test_those_and_no_others_are_held_and_released(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    ids = [message["queue_id"] for message in queued]
    held = came_of(host, "hold", item(queued[0]), item(queued[1]))
    assert held["counts"] == {"messages": 2, "acted": 2}
    assert (held["ok"], held["left"]) == (True, {})
    assert held["command"] == ["/usr/sbin/postsuper", "-c", A, "-h", "-", "incoming", "deferred"]
    assert [where(host)[queue_id] for queue_id in ids] == ["hold", "hold", "deferred", "deferred"]

    again = came_of(host, "hold", item(queued[0]), item(queued[2]))
    assert again["left"] == {"already": [ids[0]]}
    released = came_of(host, "release", item(queued[0]), item(queued[3]))
    assert released["counts"] == {"messages": 2, "acted": 1, "elsewhere": 1}
    assert released["left"] == {"elsewhere": [ids[3]]}
    assert [where(host)[queue_id] for queue_id in ids] == ["deferred", "hold", "hold", "deferred"]


def test_what_is_gone_or_another_message_is_left_and_told(
    host: Sandbox, queued: list[dict[str, Any]]
) -> None:
    host.run("postsuper", "-c", A, "-d", queued[0]["queue_id"])
    held = came_of(
        host,
        "hold",
        item(queued[0]),
        item(queued[1], arrival=queued[1]["arrival_time"] + 1),
        item(queued[2], sender="other@lists.example"),
        item(queued[3]),
    )
    ids = [message["queue_id"] for message in queued]
    assert held["left"] == {"gone": ids[:1], "mismatched": ids[1:3]}
    assert (held["counts"]["acted"], held["ok"]) == (1, True)
    assert where(host) == {ids[1]: "deferred", ids[2]: "deferred", ids[3]: "hold"}


def test_nothing_is_run_where_nothing_is_left_to_do(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    host.run("postsuper", "-c", A, "-d", queued[0]["queue_id"])
    result = came_of(host, "hold", item(queued[0]))
    assert (result["ok"], result["command"], result["counts"]["acted"]) == (True, [], 0)


def test_only_what_is_on_hold_is_deleted(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    came_of(host, "hold", item(queued[0]))
    deleted = came_of(host, "delete", *map(item, queued))
    ids = [message["queue_id"] for message in queued]
    assert deleted["left"] == {"elsewhere": ids[1:]}
    assert set(where(host)) == set(ids[1:])


def test_a_message_is_requeued_under_a_new_id(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    came_of(host, "hold", item(queued[0]))
    requeued = came_of(host, "requeue", item(queued[0]), item(queued[1]))
    assert requeued["counts"]["acted"] == 2
    assert {queued[0]["queue_id"], queued[1]["queue_id"]}.isdisjoint(where(host))


def test_a_message_is_tried_now_and_the_others_are_not(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    log = host.inside("/var/log/postfix-msn-a.log")
    before = log.read_text().count(f"{queued[0]['queue_id']}: to=")
    result = came_of(host, "retry", item(queued[0]))
    assert result["counts"] == {"messages": 1, "acted": 1}
    give_up_at = time.monotonic() + 30
    while log.read_text().count(f"{queued[0]['queue_id']}: to=") == before:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    assert log.read_text().count(f"{queued[1]['queue_id']}: to=") == 1


def test_an_expired_message_goes_back_to_its_sender(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    came_of(host, "hold", item(queued[0]))
    assert came_of(host, "expire", item(queued[0]))["counts"]["acted"] == 1
    (expired,) = [message for message in listed(host, A) if message["queue_id"] == queued[0]["queue_id"]]
    assert (expired["queue_name"], expired["forced_expire"]) == ("deferred", True)


def test_what_was_held_for_long_is_released_by_requeueing(
    host: Sandbox, queued: list[dict[str, Any]]
) -> None:
    came_of(host, "hold", item(queued[0]))
    # Nobody can set a change time: the lifetime is made short instead.
    main_cf = host.inside(f"{A}/main.cf")
    text = main_cf.read_text()
    main_cf.write_text(f"{text}bounce_queue_lifetime = 1s\n")
    host.run("touch", "-d", "10 sec ago", f"{A}/main.cf")
    time.sleep(0.7)
    released = came_of(host, "release", item(queued[0]))
    main_cf.write_text(text)
    host.run("touch", "-d", "10 sec ago", f"{A}/main.cf")
    assert released["command"][-3:] == ["-r", "-", "hold"]
    assert queued[0]["queue_id"] not in where(host)


BAD_IDS = ["ALL", "-", "-d", "deferred/4jWK", "4jWKWh04b5z1T1\nALL", "4jWKWh04b5z1T1 ", "ＡＬＬＡＬＬ", ""]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_what_is_no_queue_id_never_reaches_postfix(host: Sandbox, bad: str) -> None:
    for verb in ("hold", "delete"):
        answered = act(host, verb, [bad, 1, "0" * 16])
        assert answered.error[:2] == (13, "bad_request")


@pytest.mark.parametrize(
    "items",
    [
        [],
        "ALL",
        ["4jWKWh04b5z1T1"],
        [["4jWKWh04b5z1T1", "1", "0" * 16]],
        [["4jWKWh04b5z1T1", 1, "x"]],
        [["4jWKWh04b5z1T1", 1]],
        [["4jWKWh04b5z1T1", 1, "0" * 16]] * 2,
        [[f"4jWKWh04b5z{n:04}", 1, "0" * 16] for n in range(1001)],
    ],
)
def test_a_request_that_names_no_messages_is_refused(host: Sandbox, items: Any) -> None:
    answered = ask(
        host, request("message.hold", op_id="op-1", fence=1, args={"instance": "msn-a", "items": items})
    )
    assert answered.error[:2] == (13, "bad_request")


def test_short_ids_are_not_deleted_or_expired(host: Sandbox) -> None:
    for verb in ("delete", "expire"):
        _, code, message = act(host, verb, ["4B1C2D3E4F", 1, "0" * 16]).error
        assert (code, message.startswith("a short queue id")) == ("refused", True)


@contextmanager
def limits(host: Sandbox, **fields: Any) -> Iterator[None]:
    host.write(LIMITS, json.dumps(fields))
    try:
        yield
    finally:
        host.write(LIMITS, json.dumps(ALL_ON))


def test_removing_is_off_until_root_enables_it(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    with limits(host):
        for verb in ("delete", "expire"):
            assert "is switched off" in act(host, verb, item(queued[0])).error[2]
        assert came_of(host, "hold", item(queued[0]))["counts"]["acted"] == 1
    with limits(host, messages=False):
        assert "messages is false" in act(host, "release", item(queued[0])).error[2]


def test_no_more_are_removed_a_day_than_root_allows(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    host.inside("/var/lib/relay-fleet/instances/msn-a/pace.json").unlink(missing_ok=True)
    came_of(host, "hold", *map(item, queued))
    with limits(host, delete=True, removals_a_day=3):
        assert "at most 3 within 86400 s" in act(host, "delete", *map(item, queued)).error[2]
        assert came_of(host, "delete", item(queued[0]), item(queued[1]))["counts"]["acted"] == 2
        assert "again in 86" in act(host, "delete", item(queued[2]), item(queued[3])).error[2]
        assert came_of(host, "delete", item(queued[2]))["counts"]["acted"] == 1
    assert set(where(host)) == {queued[3]["queue_id"]}


def test_a_request_that_comes_twice_acts_once(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    req_id = new_id()
    first = act(host, "hold", item(queued[0]), req_id=req_id).row
    host.run("postsuper", "-c", A, "-H", queued[0]["queue_id"])
    second = act(host, "hold", item(queued[0]), req_id=req_id).row
    assert (second["replayed"], second["result"]) == (True, first["result"])
    assert where(host)[queued[0]["queue_id"]] == "deferred"
    assert events(host, req_id) == ["begun", "ended", "repeated"]
    assert act(host, "hold", item(queued[1]), req_id=req_id).error[1] == "replayed"


def test_a_plan_does_nothing_and_names_the_command(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    row = act(host, "delete", item(queued[0]), dry_run=True).row
    assert row["commands"] == [["/usr/sbin/postsuper", "-c", A, "-d", "-", "hold"]]
    assert row["counts"] == {"messages": 1}
    assert set(where(host).values()) == {"deferred"}


def test_killed_within_it_is_begun_and_never_done_again(host: Sandbox, queued: list[dict[str, Any]]) -> None:
    host.run("cp", "-pn", "/usr/sbin/postsuper", "/root/postsuper")
    host.write("/root/slow", "#!/bin/sh\nsleep 30\n", 0o755)
    host.run("mount", "--bind", "/root/slow", "/usr/sbin/postsuper")
    req_id = new_id()
    sent = request(
        "message.hold",
        req_id=req_id,
        op_id="op-1",
        fence=1,
        args={"instance": "msn-a", "items": [item(queued[0])]},
    )
    try:
        with subprocess.Popen(command(host), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
            assert running.stdin is not None
            running.stdin.write(sent)
            running.stdin.close()
            give_up_at = time.monotonic() + 30
            while not host.run("pgrep", "-f", "^/bin/sh /usr/sbin/postsuper", check=False).stdout:
                assert time.monotonic() < give_up_at
                time.sleep(0.05)
            host.run("pkill", "-KILL", "-f", "^/usr/bin/python3 -I /dev/fd/")
            running.send_signal(signal.SIGCONT)
    finally:
        host.run("umount", "-l", "/usr/sbin/postsuper")
    assert entry(host, req_id).exists()
    give_up_at = time.monotonic() + 30
    while (told := ask(host, request("op.result", args={"req_id": req_id})).row)["running"]:
        assert time.monotonic() < give_up_at
    assert told["state"] == "begun"
    assert ask(host, sent).error[1] == "unfinished"
    assert where(host)[queued[0]["queue_id"]] == "deferred"


def queued_as(host: Sandbox, address: str, message: bytes) -> str:
    """Have a message deferred; return its id."""
    host.run("sendmail", "-C", A, "-f", SENDER, "--", address, stdin=message)
    give_up_at = time.monotonic() + 30
    found: list[dict[str, Any]] = []
    while not found:
        assert time.monotonic() < give_up_at
        found = [m for m in listed(host, A) if m["recipients"][0]["address"] == address]
    queue_id: str = found[0]["queue_id"]
    return queue_id


def test_a_body_is_read_where_root_allows_it_and_that_is_written_down(host: Sandbox) -> None:
    body = "<script>\u202e\x1b[31m\n" + "a line of a long text\n" * 20_000
    sent = f"Subject: secret subject\n\n{body}".encode() + b"\xff\xfe\n"
    args = {"instance": "msn-a", "id": queued_as(host, "b@hotmail.com", sent)}
    req_id = new_id()
    with limits(host):
        off = ask(host, request("message.body", req_id=req_id, args=args))
    assert "bodies is false" in off.error[2]
    assert "a line of a long text" not in json.dumps(off.lines)
    assert "read" not in events(host, req_id)
    req_id = new_id()
    with limits(host, bodies=True):
        answered = ask(host, request("message.body", req_id=req_id, args=args))
        gone = ask(host, request("message.body", args={"instance": "msn-a", "id": "4jWKWh04b5z1T1"}))
    rows = [row for row in answered.lines if row.get("kind") == "body"]
    assert "".join(row["text"] for row in rows) == body.encode()[: 256 * 1024].decode("utf-8", "replace")
    assert all(row["cut"] is True for row in rows)
    assert "secret subject" not in json.dumps(answered.lines)
    assert events(host, req_id) == ["read"]
    assert "is not in the queue" in gone.error[2]


def test_a_short_body_is_read_whole_whatever_is_in_it(host: Sandbox) -> None:
    queue_id = queued_as(host, "s@hotmail.com", b"Subject: x\n\nGr\xc3\xbc\xc3\x9fe \xff\n")
    with limits(host, bodies=True):
        answered = ask(host, request("message.body", args={"instance": "msn-a", "id": queue_id}))
    assert (answered.row["text"], answered.row["cut"]) == ("Gr\u00fc\u00dfe \ufffd\n", False)


def test_headers_are_read_and_that_is_written_down(host: Sandbox) -> None:
    text = "Subject: =?utf-8?q?=1B[31m?=\nX-Odd: <script>\u202e\n\nsecret body\n"
    req_id, queue_id = new_id(), queued_as(host, "h@hotmail.com", text.encode())
    answered = ask(
        host, request("message.headers", req_id=req_id, args={"instance": "msn-a", "id": queue_id})
    )
    assert "Subject: =?utf-8?q?=1B[31m?=" in answered.row["text"]
    assert "secret body" not in json.dumps(answered.lines)
    assert events(host, req_id) == ["read"]
    gone = ask(host, request("message.headers", args={"instance": "msn-a", "id": "4jWKWh04b5z1T1"}))
    assert "is not in the queue" in gone.error[2]
    bad = ask(host, request("message.headers", args={"instance": "msn-a", "id": "-"}))
    assert bad.error[1] == "bad_request"
