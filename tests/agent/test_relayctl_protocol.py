"""relayctl's protocol, kept by the program itself: docs/relayctl.md."""

import hashlib
import json
import subprocess
import time
from pathlib import Path

import pytest

from relays.agent import VERSION
from relays.agent.build import build
from tests.agent.conftest import REQ_ID, Ask


def request(**changes: object) -> bytes:
    return json.dumps({"v": 1, "req_id": REQ_ID, "verb": "hello", **changes}).encode()


def test_hello_tells_what_answers(ask: Ask) -> None:
    answered = ask("hello")

    assert answered.status == 0
    assert answered.header["ok"] is True
    assert answered.header["req_id"] == REQ_ID
    assert answered.header["relayctl"] == VERSION
    assert answered.header["sha256"] == hashlib.sha256(build()).hexdigest()
    assert answered.header["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert abs(answered.header["now"] - time.time()) < 60
    assert answered.end == {"end": True, "rows": 0, "truncated": False}
    assert answered.stderr == b""


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[" * 60_000,
        b"[]",
        b"null",
        request(v=2),
        request(v=True),
        request(v="1"),
        request(verb="queue.delete"),
        request(verb=None),
        request(verb=["hello"]),
        request(req_id="short"),
        request(req_id="x" * 65),
        request(req_id="semi;colon"),
        request(req_id="newline-\n"),
        request(req_id=12345678),
        request(args=[]),
        request(args={"unknown": 1}),
        request(deadline_s=0),
        request(deadline_s=301),
        request(deadline_s=1.5),
        request(deadline_s=True),
        request(extra=1),
        request(verb="inventory", args={"instance": "msn-a"}),
        request(verb="snapshot", args={"domains": 1001}),
        request(verb="snapshot", args={"replies": -1}),
        request(verb="snapshot", args={"instances": "msn-a"}),
        request(verb="snapshot", args={"instances": ["../../etc"]}),
        request(verb="snapshot", args={"instances": ["msn-a\n"]}),
        request(verb="snapshot", args={"instances": [7]}),
        b" " * (64 * 1024 + 1),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(ask: Ask, wrong: bytes) -> None:
    answered = ask(wrong)

    assert answered.status == 13
    assert answered.header["ok"] is False
    assert answered.header["error"]["code"] == "bad_request"
    assert answered.header["error"]["message"]
    assert answered.end == {"end": True, "rows": 0, "truncated": False}


def test_a_request_that_never_ends_is_given_up(pyz: Path) -> None:
    began = time.monotonic()
    with subprocess.Popen([str(pyz)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b'{"v": 1')
        process.stdin.flush()
        header = json.loads(process.stdout.readline())
        process.wait(10)

    assert header["error"]["code"] == "bad_request"
    assert process.returncode == 13
    assert 10 < time.monotonic() - began < 30


def test_a_reader_that_goes_away_ends_it_quietly(pyz: Path) -> None:
    with subprocess.Popen(
        [str(pyz)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(request())
        process.stdin.close()
        assert process.stderr.read() == b""

    assert process.returncode == 1


def test_the_caller_s_environment_does_not_choose_what_is_imported(pyz: Path, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('mine')")
    done = subprocess.run(
        [str(pyz)],
        input=request(),
        capture_output=True,
        cwd=tmp_path,
        check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )

    assert done.returncode == 0
