"""The client of relayctl against a far side that is noisy, cut off, old, or lies."""

import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from relays.domain import queue_reading
from relays.domain.filters import QueueFilter, from_words
from relays.remote import relayctl, ssh
from relays.remote.errors import Incompatible, Incomplete, Refused, RemoteError
from tests.far_side import BOOT_ID, READ_REQUEST, SHA256, Sshd, host_row, inventory_row, snapshot_row

HEADER = (
    READ_REQUEST
    + """header() { printf '{"v":1,"req_id":"%s","verb":"%s","ok":true,"relayctl":"0.1.0","sha256":"%s","""
    + """"boot_id":"%s","now":%s,"postfix":null}\\n' "$req_id" "$verb" """
    + f"{SHA256} {BOOT_ID} $(date +%s); }}\n"
)
END = """echo '{"end":true,"rows":0,"truncated":false}'\n"""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One sshd for all of these: each writes what it says, and logging in is not their subject."""
    server = Sshd(tmp_path_factory.mktemp("far-side"))
    server.start()
    yield server
    ssh.close_all()
    server.stop()


def rows_for(sshd: Sshd, *instances: dict[str, Any], **header: Any) -> None:
    sshd.answers({"snapshot": [*instances, host_row()]}, **header)


def refuses(sshd: Sshd, error: type[RemoteError], match: str) -> None:
    with pytest.raises(error, match=match):
        relayctl.snapshot(sshd.target())


def test_hello_tells_who_answers(sshd: Sshd) -> None:
    sshd.answers({}, postfix=None)
    answer = relayctl.hello(sshd.target())
    assert (answer.header.relayctl, answer.header.sha256, answer.header.boot_id) == ("0.1.0", SHA256, BOOT_ID)
    assert answer.header.postfix == ""
    assert abs(answer.clock_skew_s) < 2


def test_inventory_gives_instances_with_their_addresses(sshd: Sshd) -> None:
    bound = inventory_row("msn-a", bind_addresses=["198.51.100.11"], bind_addresses6=["2001:DB8::0:1"])
    listening = inventory_row("default", bind_addresses=[], inet_interfaces=["127.0.0.1", "198.51.100.9"])
    everywhere = inventory_row("aol-a", bind_addresses=[], inet_interfaces=["all"])
    sshd.answers({"inventory": [bound, listening, everywhere]})
    found = {i.name: i.ips for i in relayctl.inventory(sshd.target()).instances}
    assert found == {
        "msn-a": ("198.51.100.11", "2001:db8::1"),
        "default": ("198.51.100.9",),
        "aol-a": (),
    }


def test_a_clock_an_hour_off_is_measured_and_times_are_ours(sshd: Sshd) -> None:
    rows_for(sshd, snapshot_row("msn-a", sampled_at=time.time() - 3600), clock_ahead_s=-3600)
    snapshot = relayctl.snapshot(sshd.target())
    assert snapshot.clock_skew_s == pytest.approx(-3600, abs=3)
    assert snapshot.our_time(snapshot.instances[0].sampled_at).timestamp() == pytest.approx(
        time.time(), abs=5
    )


def test_a_noisy_shell_before_the_header_is_passed_over(sshd: Sshd) -> None:
    rows_for(sshd, snapshot_row("msn-a"))
    script = sshd.script.read_text().splitlines(keepends=True)
    sshd.says("".join([script[0], """echo 'Welcome to rustin!'; echo; echo '{"motd": 1}'\n""", *script[1:]]))
    assert [i.name for i in relayctl.snapshot(sshd.target()).instances] == ["msn-a"]


@pytest.mark.parametrize(
    ("script", "match"),
    [
        ("echo 'This account is currently not available.'; exit 1", "status 1 and said: This account is"),
        (
            "echo 'sh: 1: relayctl: not found' >&2; exit 127",
            "status 127 and said: sh: 1: relayctl: not found",
        ),
        ("exit 0", "ended with status 0"),
        ("printf '\\033[2Jhello'", r"said: \\x1b\[2Jhello"),
        ("cat; echo", "answers the request nor refuses it|protocol version"),
        ("yes noise | head -n 5000", "No relayctl answered"),
        ("""echo '{"v":1,"req_id":"another-request","ok":true}'""", "No relayctl answered"),
    ],
    ids=["nologin", "not installed", "silence", "terminal codes", "an echo", "only noise", "other request"],
)
def test_what_is_no_relayctl_is_incompatible(sshd: Sshd, script: str, match: str) -> None:
    sshd.says(f"#!/bin/sh\n{script}\n")
    refuses(sshd, Incompatible, match)


@pytest.mark.parametrize(
    "cut",
    [
        "header",
        """header; echo '{"kind":"instance","name":"msn-a"}'""",
        """header; printf '{"kind":"instance","na'""",
        """header; printf '{"end":true,"rows":0,"truncated":false}'""",
        """header; echo '{"end":true,"rows":3,"truncated":false}'""",
        """header | head -c 90""",
    ],
    ids=["after the header", "after a row", "in a row", "in the end line", "rows missing", "in the header"],
)
def test_a_reply_that_was_cut_is_incomplete_even_with_status_0(sshd: Sshd, cut: str) -> None:
    sshd.says(f"{HEADER}{cut}\nexit 0\n")
    refuses(sshd, Incomplete, "stopped|end line says")


def test_a_row_that_is_not_json_is_incompatible(sshd: Sshd) -> None:
    sshd.says(f"{HEADER}header; echo 'Segmentation fault'; {END}")
    refuses(sshd, Incompatible, "not JSON: Segmentation fault")


@pytest.mark.parametrize(
    ("code", "error"),
    [("refused", Refused), ("bad_request", Incompatible), ("deadline", Incomplete), ("internal", Incomplete)],
)
def test_refusals_end_in_their_own_error(sshd: Sshd, code: str, error: type[RemoteError]) -> None:
    sshd.answers({"snapshot": []}, ok=False, error={"code": code, "message": "the reason \u202e"})
    refuses(sshd, error, r"the reason \\u202e")


def test_another_protocol_version_is_incompatible(sshd: Sshd) -> None:
    sshd.answers({"snapshot": []}, v=2)
    refuses(sshd, Incompatible, "version 2, the console 1")


@pytest.mark.parametrize(
    "lie",
    [
        {"queues": {"incoming": -1, "active": 0, "deferred": 0, "hold": 0, "corrupt": None}},
        {"queues": {"incoming": 0, "active": 0, "deferred": 2**31, "hold": 0, "corrupt": None}},
        {"queues": {"incoming": 0, "active": 0, "deferred": True, "hold": 0, "corrupt": None}},
        {"queues": {"incoming": 0, "active": 0, "deferred": "412", "hold": 0, "corrupt": None}},
        {"queues": None},
        {"name": "msn-a;id"},
        {"name": "msn-a\n"},
        {"name": "x" * 64},
        {"config_dir": "etc/postfix"},
        {"running": "yes"},
        {"running": 1},
        {"sampled_at": 1},
        {"sampled_at": "now"},
        {"oldest_s": -5},
        {"domains": []},
        {"domains": {"total": 1, "distinct": 1, "rows": [["a.example", 1, [1]]], "other": [0, [0] * 10]}},
        {
            "domains": {
                "total": 1,
                "distinct": 1,
                "rows": [["a.example", 1, [1.5] * 10]],
                "other": [0, [0] * 10],
            }
        },
        {"replies": {"total": 1, "rows": [[1, 1]], "other": 0, "sampled": 1}},
        {"conditions": [{"code": "<script>", "what": "queue"}]},
    ],
    ids=str,
)
def test_a_row_that_lies_is_refused_whole(sshd: Sshd, lie: dict[str, Any]) -> None:
    rows_for(sshd, snapshot_row("msn-a") | lie)
    refuses(sshd, Incompatible, "malformed|another time")


def test_two_instances_of_one_name_are_refused(sshd: Sshd) -> None:
    rows_for(sshd, snapshot_row("msn-a"), snapshot_row("msn-a", config_dir="/etc/postfix-other"))
    refuses(sshd, Incompatible, "two instances of one name")


def test_hostile_text_becomes_printable(sshd: Sshd) -> None:
    reply = "said: 421 \x00\x1b[31m\u202eevil\u0085<script>" + "x" * 5000
    replies = {"total": 1, "rows": [[reply, 1]], "other": 0, "sampled": 1}
    domains = {
        "total": 1,
        "distinct": 1,
        "rows": [["b\x07d.example", 1, [1, *[0] * 9]]],
        "other": [0, [0] * 10],
    }
    rows_for(sshd, snapshot_row("msn-a", replies=replies, domains=domains))
    reading = relayctl.snapshot(sshd.target()).instances[0]
    assert reading.replies is not None and reading.domains is not None
    text = reading.replies["rows"][0][0]
    assert text.startswith(r"said: 421 \x00\x1b[31m\u202eevil\x85<script>")
    assert len(text) == 2000 and text.endswith("...")
    assert reading.domains["rows"][0][0] == r"b\x07d.example"


def test_a_truncated_snapshot_says_so_and_an_inventory_is_not_taken(sshd: Sshd) -> None:
    sshd.says(f"""{HEADER}header; echo '{{"end":true,"rows":0,"truncated":true}}'\n""")
    assert relayctl.snapshot(sshd.target()).truncated
    with pytest.raises(Incomplete, match="inventory"):
        relayctl.inventory(sshd.target())


def test_queue_list_gives_messages_and_a_cursor(sshd: Sshd) -> None:
    message = {
        "kind": "message",
        "queue": "deferred",
        "id": "4jWKWh04b5z1T1",
        "arrival": 1795188249,
        "size_bytes": 1350,
        "sender": "list@lists.example",
        "recipients": [{"address": "a@hotmail.com", "reason": "said: 421"}, {"address": "b@x.example"}],
        "recipients_total": 2,
    }
    sshd.answers({"queue.list": [message]})
    page = relayctl.queue_list(sshd.target(), instance="msn-a", limit=10, wanted=QueueFilter())
    assert page.messages[0].queue_id == "4jWKWh04b5z1T1"
    assert page.messages[0].recipients == (("a@hotmail.com", "said: 421"), ("b@x.example", ""))
    assert page.cursor is None


PICKED = {"kind": "picked", "items": [["4jWKWh04b5z1T1", 1795188249, "0" * 16]]}
PICKED_END = (
    '{"end":true,"rows":1,"truncated":%s,"total":%d,'
    '"queues":{"incoming":0,"active":0,"deferred":1,"hold":0},"short_ids":0}'
)


def picks(sshd: Sshd, end: str) -> relayctl.Picked:
    sshd.says(f"{HEADER}header\necho '{orjson.dumps(PICKED).decode()}'\necho '{end}'\n")
    return relayctl.queue_pick(sshd.target(), instance="msn-a", wanted=from_words({"queue": "deferred"}))


def test_queue_pick_names_every_message_or_none(sshd: Sshd) -> None:
    picked = picks(sshd, PICKED_END % ("false", 1))
    assert picked.items == (("4jWKWh04b5z1T1", 1795188249, "0" * 16),)
    assert picked.queues["deferred"] == 1
    for cut in (PICKED_END % ("true", 1), PICKED_END % ("false", 2)):
        with pytest.raises(Incomplete, match="named every message"):
            picks(sshd, cut)
    with pytest.raises(Incompatible, match="queues is not an object"):
        picks(sshd, '{"end":true,"rows":1,"truncated":false,"total":1}')


def test_queue_groups_takes_nothing_of_a_reply_that_lies_or_was_cut(sshd: Sshd) -> None:
    for rows, error in ((0, Incompatible), (1, Incomplete)):
        truncated = "true" if rows else "false"
        sshd.says(f"""{HEADER}header\necho '{{"end":true,"rows":0,"truncated":{truncated}}}'\n""")
        with pytest.raises(error):
            relayctl.queue_groups(sshd.target(), instance="msn-a", wanted=QueueFilter())


SUMS = {
    "kind": "sums",
    "read_at": 1795188249.1,
    "messages": 412,
    "recipients": 430,
    "size_bytes": 551_233,
    "oldest": 1795180000,
    "ages": [0] * 10,
    "of": 1_000_000,
    "unparsable": 0,
}


def test_how_far_a_queue_is_read_is_told_as_it_comes(sshd: Sshd) -> None:
    tables = [{"kind": "table", "by": by, "distinct": 0, "dropped": 0} for by in queue_reading.TABLES]
    progress = [{"kind": "progress", "messages": number} for number in (40_000, 80_000)]
    sshd.answers({"queue.groups": [*progress, SUMS, *tables]})
    told: list[int] = []
    read = relayctl.queue_groups(sshd.target(), instance="msn-a", wanted=QueueFilter(), progress=told.append)
    assert (read.groups.messages, told) == (412, [40_000, 80_000])
    sshd.answers({"queue.groups": [{"kind": "progress", "messages": -1}, SUMS, *tables]})
    with pytest.raises(Incompatible, match="messages is not a count"):
        relayctl.queue_groups(sshd.target(), instance="msn-a", wanted=QueueFilter(), progress=told.append)


def test_a_reading_that_fails_after_it_said_how_far_it_is_says_why(sshd: Sshd) -> None:
    end = (
        '{"end":true,"rows":1,"truncated":true,'
        '"error":{"code":"refused","message":"timed_out: postqueue was ended after 43 s"}}'
    )
    row = '{"kind":"progress","messages":40000}'
    sshd.says(f"{HEADER}header\necho '{row}'\necho '{end}'\n")
    with pytest.raises(Refused, match="timed_out: postqueue was ended after 43 s"):
        relayctl.queue_groups(sshd.target(), instance="msn-a", wanted=QueueFilter(), progress=lambda _: None)


LOG_ROW = {
    "kind": "log",
    "source": "/var/log/mail.log",
    "cursor": {"v": 1},
    "lines": 0,
    "unrecognized": 0,
    "bytes": 0,
    "behind_bytes": 0,
    "conditions": [],
}


def test_log_read_gives_each_source_with_its_cursor(sshd: Sshd) -> None:
    sshd.answers({"log.read": [LOG_ROW]})
    reading = relayctl.log_read(
        sshd.target(), cursors={"/var/log/mail.log": '{"v":1}', "journal": ""}, fleet=["198.51.100.11"]
    )
    assert [(s.source, s.cursor) for s in reading.sources] == [("/var/log/mail.log", '{"v":1}')]


def test_log_read_takes_nothing_of_a_reply_that_lies(sshd: Sshd) -> None:
    sshd.answers({"log.read": [{**LOG_ROW, "lines": -1}]})
    with pytest.raises(Incompatible, match="lines is not a count"):
        relayctl.log_read(sshd.target(), cursors={})


def test_log_read_takes_nothing_of_a_reply_that_was_cut(sshd: Sshd) -> None:
    row = orjson.dumps(LOG_ROW).decode()
    sshd.says(f"""{HEADER}header\necho '{row}'\necho '{{"end":true,"rows":1,"truncated":true}}'\n""")
    with pytest.raises(Incomplete, match="before its counts were whole"):
        relayctl.log_read(sshd.target(), cursors={})
