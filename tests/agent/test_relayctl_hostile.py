"""60 of the acceptance tests: whatever is asked of relayctl, it answers whole, and runs nothing it may not.

Seeded samples; `./run bench attacks` asks 100,000 times.
"""

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.sandbox import Sandbox
from tests.hostile_requests import answer_all, nearly_right_request
from tests.traced_relayctl import CLEAN, STRACE, fuzz, make_host, unexpected

# What it runs to look at Postfix; none of it changes anything.
LOOKING = {"postconf", "postmulti", "postqueue", "journalctl", "postfix"}


def test_60_random_requests_are_answered_whole_and_run_nothing_else() -> None:
    found = answer_all(1_500, "60")
    assert found["wrong"] == []
    assert set(found["commands"]) <= LOOKING
    assert len(found["codes"]) >= 3


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("traced") / "host") as sandbox:
        make_host(sandbox)
        yield sandbox


@pytest.mark.lab
@pytest.mark.parametrize(
    ("door", "programs"),
    [
        ("read", {"postconf", "postmulti", "postqueue", "journalctl"}),
        ("write", {"postconf", "postmulti", "postqueue", "postsuper", "postmap", "postfix"}),
    ],
)
def test_60_on_a_host_only_known_command_lines_are_executed(
    host: Sandbox, door: str, programs: set[str]
) -> None:
    found = fuzz(host, door, 200, "60")
    assert found.wrong == []
    assert {Path(program).name for program in found.programs} >= programs
    assert {"ok", "bad_request", "refused"} <= found.codes.keys()


def test_a_request_that_is_turned_leaves_the_next_as_it_was() -> None:
    messages = [["4jWKWh04b5z1T1", 1795188249, "5994471abb01112a"]]
    dice = random.Random(1)
    sent = [json.loads(nearly_right_request(dice, "write", messages)) for _ in range(3_000)]
    assert messages == [["4jWKWh04b5z1T1", 1795188249, "5994471abb01112a"]]
    holds = [request["args"] for request in sent[2_000:] if request.get("verb") == "message.hold"]
    assert sum(args == {"instance": "msn-a", "items": messages} for args in holds) > len(holds) / 3


@pytest.mark.parametrize(
    ("command", "environment", "what"),
    [
        (["/usr/sbin/postmulti", "-l"], CLEAN, ""),
        (
            ["/usr/sbin/postmulti", "-l"],
            {**CLEAN, "LD_PRELOAD": "/tmp/x.so"},
            "more than a clean environment",
        ),
        (["/usr/sbin/postmulti", "-l", ";id"], CLEAN, "not among what relayctl may run"),
        (["/usr/sbin/postmulti", "-l\n"], CLEAN, "not among what relayctl may run"),
        (["/usr/sbin/postconf", "-xc", "/etc/postfix", "a b"], CLEAN, "not among what relayctl may run"),
        (["postmulti", "-l"], CLEAN, "not among what relayctl may run"),
        (["/bin/sh", "-c", "/usr/sbin/postmulti -l"], CLEAN, "not among what relayctl may run"),
        (["/usr/bin/env", "/usr/sbin/postmulti", "-l"], CLEAN, "follows from what it runs"),
        (["/usr/bin/no-such-program"], CLEAN, "not among what relayctl may run"),
    ],
)
def test_whatever_else_is_executed_is_found(
    tmp_path: Path, command: list[str], environment: dict[str, str], what: str
) -> None:
    loop = (
        "import os, subprocess\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        f"        subprocess.run({command!r}, env={environment!r}, capture_output=True)\n"
        "    except OSError:\n"
        "        pass\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    trace = tmp_path / "trace"
    subprocess.run([*STRACE, "-o", str(trace), "/usr/bin/python3", "-I", "-c", loop], check=True)
    found = unexpected(trace.read_text())
    assert bool(found) == bool(what)
    assert all(any(what in one for one in found) for _ in found)
