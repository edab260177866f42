"""relayctl killed at each point at which it writes to disk, and at any other moment: what is told is true.

Every Python of the machine loads a .pth file, also with -I, which ends relayctl by SIGKILL at its n-th fsync
or its n-th rename, open and so on. postqueue is Postfix's own, behind a line that counts its runs.
"""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count

import pytest

from tests.agent.sandbox import Sandbox
from tests.agent.test_relayctl_write import result_of, run_request, slow_postqueue
from tests.agent.write_host import ask, command, entry, events, forget_pace, journal, make, new_id

pytestmark = pytest.mark.lab

_SITE = f"/usr/local/lib/python{sys.version_info.major}.{sys.version_info.minor}/dist-packages"
_fences = count(1, 2)
# os.kill is kept aside: what is killed must not be able to prevent it.
_FAULT = """\
import os, signal
def _arm(left, calls, kill=os.kill):
    def fatal(function):
        def call(*arguments, **more):
            nonlocal left
            left -= 1
            if left < 0:
                kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **more)
        return call
    for name in calls:
        setattr(os, name, fatal(getattr(os, name)))
if os.geteuid() == 0 and os.path.exists("/run/fault"):
    with open("/run/fault") as file:
        _left, *_calls = file.read().split()
    _arm(int(_left), _calls)
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("killed") / "host") as sandbox:
        make(sandbox)
        sandbox.write(f"{_SITE}/fault.py", _FAULT)
        sandbox.write(f"{_SITE}/zz-fault.pth", "import fault\n")
        with slow_postqueue(sandbox, 0), sandbox.unmeasured():
            yield sandbox


@pytest.fixture
def host(machine: Sandbox) -> Iterator[Sandbox]:
    forget_pace(machine)
    machine.inside("/root/effects").write_text("")
    yield machine
    machine.inside("/run/fault").unlink(missing_ok=True)


def effects(host: Sandbox) -> int:
    return len(host.inside("/root/effects").read_text().splitlines())


def check_truth(host: Sandbox, req_id: str, fence: int) -> str:
    """Ask what became of a request, hold it against what was done, and send it again; return the state."""
    done = effects(host)
    row = result_of(host, req_id, fence=fence)
    told = events(host, req_id)
    state: str = row["state"]
    assert row["running"] is False
    assert (state, done) in {("absent", 0), ("begun", 0), ("begun", 1), ("done", 1)}
    # Each request that may have had its effect has its line in the second record.
    assert "begun" in told or state == "absent"
    assert "ended" not in told or state == "done"
    forget_pace(host)
    again = ask(host, run_request(req_id, fence))
    if state == "begun":
        assert again.error[:2] == (20, "unfinished")
        assert effects(host) == done
    else:
        assert again.row["state"] == "done"
        assert again.row["replayed"] is (state == "done")
        assert effects(host) == 1
    return state


@pytest.mark.parametrize("calls", [["fsync"], ["rename", "posix_fallocate", "open", "write"]], ids=" ".join)
def test_killed_at_every_point_what_is_told_is_true(host: Sandbox, calls: list[str]) -> None:
    states = []
    for left in range(400):
        forget_pace(host)
        host.inside("/root/effects").write_text("")
        req_id, fence = new_id(), next(_fences)
        host.write("/run/fault", f"{left} {' '.join(calls)}")
        answered = subprocess.run(
            command(host), input=run_request(req_id, fence), capture_output=True, check=False, timeout=60
        )
        host.inside("/run/fault").unlink()
        states.append(check_truth(host, req_id, fence + 1))
        if answered.returncode == 0:
            break
    # It came to its end in the last round only, after being killed before, in and behind the effect.
    assert answered.returncode == 0
    assert set(states) == {"absent", "begun", "done"}
    assert states == sorted(states)


def test_killed_at_any_moment_what_is_told_is_true(host: Sandbox) -> None:
    chance = random.Random(4)
    for _ in range(20):
        forget_pace(host)
        host.inside("/root/effects").write_text("")
        req_id, fence = new_id(), next(_fences)
        with subprocess.Popen(
            command(host), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as running:
            assert running.stdin is not None
            running.stdin.write(run_request(req_id, fence))
            running.stdin.close()
            time.sleep(chance.uniform(0.05, 0.7))
            host.run("pkill", "-KILL", "-f", "^/usr/bin/python3 -I /dev/fd/", check=False)
        # What it had started goes on without it.
        host.run("sh", "-c", "while pgrep -x postqueue >/dev/null; do sleep 0.05; done")
        check_truth(host, req_id, fence + 1)


def test_what_was_killed_leaves_nothing_that_the_next_request_trips_over(host: Sandbox) -> None:
    assert all(row["event"] != "internal" for row in journal(host))
    req_id = new_id()
    assert ask(host, run_request(req_id, next(_fences))).row["state"] == "done"
    assert entry(host, req_id).exists()
