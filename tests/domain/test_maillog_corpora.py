"""Public corpora of log lines, read field by field; what we read otherwise stands here with its reason.

They lie beside the checkout where its makers work, and are not ours to pass on: elsewhere these tests are
skipped, and tests/samples/maillog has a line of our own for every kind that they hold.
"""

import json
import re
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from relays.domain.maillog.lines import Line, Message, parse, parse_message
from relays.domain.maillog.stamps import Stamps
from tests.domain.maillog_cases import NOW, counted, parsed, recipients

CORPORA = Path(__file__).parents[3] / "shared/data/corpora"
WHYSCREAM = "whyscream-postfix-grok-patterns/ALL-CASES.jsonl"
MSIMERSON = "msimerson-postfix-parser/cases.jsonl"
WINEBARREL = "winebarrel-postfix_status_line/cases.jsonl"
YOUYO = "youyo-postfix-log-parser"
STATUS = re.compile(rb"\]: \w+: to=<?[^ ]+, .*?status=(sent|bounced|deferred)")

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason=f"the corpora are not at {CORPORA}")


def cases(name: str) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in (CORPORA / name).read_text().splitlines()] if CORPORA.is_dir() else []
    )


def files() -> list[Path]:
    return [path for path in sorted(CORPORA.rglob("*")) if path.is_file()] if CORPORA.is_dir() else []


def read(line: str) -> Line | None:
    return parse(line.encode(), Stamps(now=NOW, zone=UTC))


def message(text: str) -> Message:
    told = parse_message(text.encode())
    assert told is not None
    return told


def test_no_file_raises_and_every_line_is_counted() -> None:
    for path in files():
        log = path.read_bytes()
        counts = counted(log)
        assert counts.lines == log.count(b"\n") + (bool(log) and not log.endswith(b"\n")), path
        assert recipients(counts) == parsed(log.translate(None, b"\0\r").split(b"\n")), path


@pytest.mark.parametrize(
    "path", [path for path in files() if path.suffix == ".log"], ids=lambda path: path.name
)
def test_counts_equal_grep_s_on_real_logs(path: Path) -> None:
    log = path.read_bytes()
    told: dict[str, int] = {}
    for _, _, _, outcome, _ in (*recipients(counted(log)).elements(),):
        told[outcome] = told.get(outcome, 0) + 1
    found = [match[1].decode() for match in map(STATUS.search, log.splitlines()) if match]

    assert told == {status: found.count(status) for status in set(found)}


def test_the_twins_tell_the_same() -> None:
    twins = []
    for name in ("test.log", "test-iso8601.log"):
        lines = [read(line) for line in (CORPORA / YOUYO / name).read_text().splitlines()]
        assert all(lines)
        twins.append([(line.host, line.name, line.program, line.pid, line.message) for line in lines if line])

    assert twins[0] == twins[1]


# Ours by theirs; what they call a "keyvalue" text we give as fields, which is compared below.
_WHYSCREAM_FIELDS = {
    "postfix_status": "status",
    "postfix_from": "from",
    "postfix_message-id": "message-id",
}
# What delivery agents' words are called there, depending on the agent.
_WHYSCREAM_REPLIES = (
    "postfix_smtp_response",
    "postfix_error_response",
    "postfix_local_response",
    "postfix_pipe_response",
)
# We read lines of deliveries, of messages coming in, queued and expired; these tell of something else, and
# nothing of them is counted: they must only be known for what they are.
_WHYSCREAM_OTHER = {
    "anvil": "rates of connections",
    "bounce": "a notice is a message of its own, with lines of its own",
    "command": "what a client said",
    "delays": "a part of a line",
    "dnsblog": "a lookup",
    "master": "starts and stops",
    "postdrop": "no message has come in yet",
    "postmap": "a table",
    "postscreen": "clients before they are let in",
    "postsuper": "an operator's deed: its queue id is read, the deed is text",
    "relay": "a part of a line",
    "scache": "connections",
    "script": "postfix-script(1)",
    "sendmail": "no message has come in yet",
    "tls": "parts of a line and TLS itself; their delivery lines are compared",
    "tlsmgr": "keys",
    "tlsproxy": "TLS",
    "trivial": "addresses",
    "verify": "the cache of probes",
}
_WHYSCREAM_DIFFERENT = {
    "cleanup_0012": "the queue id stands behind `warning:`; a warning is nothing that is counted",
}


@pytest.mark.parametrize("case", cases(WHYSCREAM), ids=lambda case: case["case"])
def test_whyscream(case: dict[str, Any]) -> None:
    line, expected = case["line"].replace("\r", "").replace("\n", " "), case["expected"]
    told = message(line)

    daemon = case["case"].split("_")[0]
    is_delivery = ", status=" in line and ": to=" in line
    if daemon in _WHYSCREAM_OTHER and not is_delivery:
        assert told.kind == "other"
    if case["case"] in _WHYSCREAM_DIFFERENT:
        return
    if "postfix_queueid" in expected:
        assert told.queue_id == expected["postfix_queueid"]
    for theirs, ours in _WHYSCREAM_FIELDS.items():
        if theirs in expected:
            assert told.fields[ours] == expected[theirs]
    assert (told.kind == "delivery") == is_delivery
    if is_delivery:
        assert_delivery_equals(told, expected)


def assert_delivery_equals(told: Message, expected: dict[str, Any]) -> None:
    pairs = re.findall(r"([a-z_]+)=(?:<([^>]*)>|([^,]*))", expected["postfix_keyvalue_data"])
    for name, bracketed, bare in pairs:
        assert told.fields[name] == (bracketed or bare)
    for theirs in _WHYSCREAM_REPLIES:
        if theirs in expected:
            assert told.fields["reply"] == expected[theirs]


def test_whyscream_clients() -> None:
    for case in cases(WHYSCREAM):
        if ": client=" in case["line"]:
            fields = message(case["line"]).fields
            expected = case["expected"]["postfix_keyvalue_data"].partition("=")[2].partition(",")[0]
            assert f"{fields['name']}[{fields['address']}]" == expected


_MSIMERSON_NAMES = {"date", "host", "prog", "pid", "msg", "qid"}
_MSIMERSON_DIFFERENT = {
    "to=<susan.bck@example.org>": "no queue id: Postfix writes no delivery without one",
    "to=<rcarey@example.tv>": "no queue id",
    "to=<logspam@system.alerts>": "no queue id",
    "from=<spruit@example.org>, size=11445": "no queue id",
    "3mLQKH6hqhz7sWK: to=<logspam@system.alerts>": "`forwarded` is their word for a reply; status is sent",
    "3l8L6X6lCPz7t2M: from=<deedee@example.com>, status=expired": "their status goes on with its comment",
    "connect to ": "tells of a host, not of a message",
    "sender non-delivery notification: ": "tells of another message",
    "3mKxY750hmz7scK: sender non-delivery": "tells of another message",
    "fatal: append file defer": "a message of an error is text",
    "warning: 3": "a warning is text",
    "statistics: ": "nothing that is counted",
    "WHITELISTED": "nothing that is counted",
}
_MSIMERSON_TEXT = {"action", "host", "mx", "err", "msg", "statistics", "postscreen", "dsnQid"}


@pytest.mark.parametrize("case", cases(MSIMERSON), ids=lambda case: case["line"][:60])
def test_msimerson(case: dict[str, Any]) -> None:
    expected = dict(case["expected"])
    whole = read(case["line"])
    if "prog" in expected:
        assert whole is not None
        assert (whole.host, f"{whole.name}/{whole.program}", str(whole.pid)) == (
            expected.pop("host"),
            expected.pop("prog"),
            expected.pop("pid"),
        )
    told = whole.message if whole else message(case["line"])
    if any(case["line"].startswith(start) for start in _MSIMERSON_DIFFERENT):
        return
    assert told.queue_id == expected.pop("qid", told.queue_id)
    if "status" in expected:
        assert f"{told.fields['status']} ({told.fields['reply']})" == expected.pop("status")
    if "client" in expected:
        assert f"{told.fields['name']}[{told.fields['address']}]" == expected.pop("client")
    assert {name: value for name, value in expected.items() if name not in _MSIMERSON_TEXT | {"date"}} == {
        name: value for name, value in told.fields.items() if name in expected and name not in _MSIMERSON_TEXT
    }


@pytest.mark.parametrize("case", cases(WINEBARREL), ids=range(len(cases(WINEBARREL))))
def test_winebarrel(case: dict[str, Any]) -> None:
    expected = case["expected"]
    line = read(case["line"])

    assert line is not None
    assert line.host == expected["hostname"]
    assert f"{line.name}/{line.program}[{line.pid}]" == expected["process"]
    assert line.message.queue_id == expected["queue_id"]
    if "priority" in expected:
        # A header that an operator's rule warns of: nothing that is counted, and no delivery.
        assert line.message.kind == "other"
        return
    fields = line.message.fields
    assert fields["status"] == expected["status"]
    if "to" in expected:
        # They star the local part.
        assert fields["to"].rpartition("@")[2] == expected["domain"] == expected["to"].rpartition("@")[2]
        assert f"({fields['reply']})" == unstarred(expected["status_detail"], fields["reply"])
    for name in ("relay", "delays", "dsn"):
        assert fields.get(name) == expected.get(name)
    for name in ("conn_use", "delay"):
        assert name not in expected or float(fields[name]) == expected[name]


def unstarred(detail: str, reply: str) -> str:
    """Return their reply where it differs from ours by starred addresses alone."""
    pattern = re.escape(detail).replace(r"\*\*\*", "[^ @(]+")
    return f"({reply})" if re.fullmatch(pattern, f"({reply})") else detail
