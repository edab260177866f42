"""Proofs on machines that debootstrap makes: `./run test --fresh` and `./run test --pythons`.

fresh    Debian 12 with nothing but python3: ./run with what it refuses, ./run demo against the queues of its
         hosts, and a part of ./run test: architecture, domain, and real Postfix in one file of tests/lab
pythons  Python 3.13 in Debian 13: ./run, and the tests that need no namespaces and no browser; relayctl's own
         tests on Debian 11's Python 3.9

Standard library only. Each machine is a folder entered with chroot, in mount, PID and IPC namespaces that end
with this process: no mount and no process can outlive it. The folder is removed when they have ended.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
MIRROR = os.environ.get("FLEET_DEBIAN_MIRROR", "http://deb.debian.org/debian")
INSIDE = Path("/srv/relay-fleet")
PORT = 18000
STOPS_WITHIN_S = 10
MACHINES = {"fresh": ["bookworm"], "pythons": ["trixie", "bullseye"]}
# A host's own word for its queues: a line for each instance, then one for each message.
LIST_QUEUES = """
for folder in /etc/postfix /etc/postfix-*; do
    if [ -e "$folder/main.cf" ]; then echo "$folder"; postqueue -c "$folder" -j 2>/dev/null; fi
done
true
"""


def main() -> None:
    """Make namespaces first; inside them, and inside the machine, this same file goes on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("proof", choices=MACHINES)
    parser.add_argument(
        "--suite", help="the stage inside the namespaces, or inside the machine without --root"
    )
    parser.add_argument("--root", type=Path)
    arguments = parser.parse_args()
    if arguments.suite is None:
        for suite in MACHINES[arguments.proof]:
            prove_on(suite, arguments.proof)
    elif arguments.root:
        make_machine(arguments.suite, arguments.root)
        sys.exit(enter(arguments.root, arguments.proof, arguments.suite))
    else:
        {"bookworm": prove_fresh, "trixie": prove_trixie, "bullseye": prove_bullseye}[arguments.suite]()


def prove_on(suite: str, proof: str) -> None:
    """Run this file again where every mount and process ends with it, in a folder of its own."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = Path(tempfile.mkdtemp(prefix=f"fleet-{suite}-"))
    again = [sys.executable, __file__, proof, "--suite", suite, "--root", str(root)]
    namespaces = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    libc = ctypes.CDLL(None)
    try:
        # 1 is PR_SET_PDEATHSIG: unshare, and with it everything, ends with this process.
        subprocess.run([*namespaces, *again], check=True, preexec_fn=lambda: libc.prctl(1, signal.SIGKILL))
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)
    finally:
        # Out here nothing is mounted in it. Those inside may take a moment to die when they were cut off.
        deadline = time.monotonic() + 10
        while root.exists() and time.monotonic() < deadline:
            shutil.rmtree(root, ignore_errors=True)


def make_machine(suite: str, root: Path) -> None:
    """Put a minimal Debian with python3 and this checkout into the folder, and mount what a machine has."""
    say(f"making a minimal Debian {suite} with python3")
    root.chmod(0o755)
    log = root.with_suffix(".log")
    with log.open("wb") as output:
        make = ["debootstrap", "--variant=minbase", "--include=python3", suite, str(root), MIRROR]
        if subprocess.run(make, check=False, stdout=output, stderr=output).returncode != 0:
            sys.exit(f"machines: debootstrap could not make it: {log} tells why")
    log.unlink()
    # The authorities that this machine trusts besides Debian's: a registry behind a proxy needs them.
    own = Path("/usr/local/share/ca-certificates")
    if own.is_dir():
        shutil.copytree(own, root / own.relative_to("/"), dirs_exist_ok=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    shutil.copytree(
        CHECKOUT, root / INSIDE.relative_to("/"), ignore=shutil.ignore_patterns(".git", ".venv*", "var")
    )
    # A mount of its own, so that the machine's root can be a lower layer, a shared mount and so on.
    subprocess.run(["mount", "--bind", root, root], check=True)
    for kind in ("proc", "sys", "dev"):
        subprocess.run(["mount", "--rbind", f"/{kind}", root / kind], check=True)


def enter(root: Path, proof: str, suite: str) -> int:
    """Go through a stage inside the machine, with nothing of this environment but how to reach a registry.

    This process is the first of its namespace, so it also takes the status of every orphan.
    """
    registry = [name for name in os.environ if name.lower().endswith("_proxy") or name == "PIP_INDEX_URL"]
    kept = {name: os.environ[name] for name in registry}
    stage = subprocess.Popen(
        ["chroot", root, "/usr/bin/python3", INSIDE / "tests/machines.py", proof, "--suite", suite],
        env=kept
        | {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "FLEET_PORT": str(PORT),
        },
    )
    while True:
        pid, status = os.wait()
        if pid == stage.pid:
            return abs(os.waitstatus_to_exitcode(status))


def prove_fresh() -> None:
    """The first start with what it refuses, the demo, a part of the tests."""
    expect_refusal("this Python has no venv support", FLEET_NO_APT="1")
    interrupt_first_build()
    prove_start()
    prove_refusals()
    prove_demo()
    real_postfix = "tests/lab/test_mail.py"
    run("./run", "test", "-q", "tests/architecture", "tests/domain", real_postfix)


def interrupt_first_build() -> None:
    """Cut the first start off while pip fills the environment: the next one must not use what is there."""
    say("./run, killed in the middle of pip")
    log = INSIDE / ".venv-install.log"
    start = subprocess.Popen(["./run"], cwd=INSIDE, start_new_session=True)
    while not (log.exists() and "Collecting" in log.read_text()):
        assert start.poll() is None, "it ended"
        time.sleep(0.1)
    os.killpg(start.pid, signal.SIGKILL)
    start.wait()
    assert list(INSIDE.glob(".venv-*/bin/python"))
    assert not (INSIDE / ".venv").exists()


def prove_refusals() -> None:
    """Each in one line: rights, packages, port, data folder, registry."""
    nobody = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
    expect_refusal("takes root: sudo ./run demo", *nobody, "./run", "demo")
    expect_refusal("these Debian packages are missing: postfix ", "./run", "demo", FLEET_NO_APT="1")
    with socket.create_server(("127.0.0.1", PORT)):
        expect_refusal(f"Cannot listen on 127.0.0.1 port {PORT} (Address already in use)")
    # The folder is there: root's start made it.
    expect_refusal(f"The data folder {INSIDE}/var cannot be used (Permission denied)", *nobody, "./run")
    lock = INSIDE / "requirements.txt"
    before = lock.read_text()
    lock.write_text(before + "# another environment is wanted\n")
    expect_refusal(
        "the package registry cannot be reached", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0"
    )
    lock.write_text(before)


def prove_trixie() -> None:
    """Debian 13's Python 3.13."""
    prove_start()
    units = [f"tests/{layer}" for layer in ("architecture", "domain", "agent", "services", "web")]
    run("./run", "test", "-q", "-m", "not lab and not browser", *units)


def prove_bullseye() -> None:
    """Python 3.9: too old for the console, which says so, and enough for relayctl."""
    expect_refusal("Python 3.11 or newer is needed (Python 3.9")
    run("apt-get", "-qq", "update")
    run("apt-get", "-qq", "install", "--yes", "--no-install-recommends", "python3-venv")
    run("python3", "-m", "venv", "/opt/pytest")
    # The last ones for Python 3.9; Debian 11's own are too old for these tests.
    run("/opt/pytest/bin/pip", "install", "--quiet", "pytest==8.4.2", "hypothesis==6.141.1")
    # Neither this repository's settings for pytest nor tests/conftest.py: both are for the console's Python.
    pytest = ["/opt/pytest/bin/python", "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", "."]
    # How relayctl is built is the console's business, and what is left needs real Postfix.
    tests = ["tests/agent/test_relayctl_parts.py", "tests/agent/test_relayctl_protocol.py"]
    run(*pytest, "--confcutdir", "tests/agent", *tests)


def prove_start() -> None:
    """`./run` on a machine that has nothing yet: pages answer, Ctrl-C ends it in time."""
    say("./run")
    with_console([], lambda: page("/readyz")["ready"], lambda: None)


def prove_demo() -> None:
    """`./run demo`: every instance is read, the figures are true, Ctrl-C leaves nothing."""
    say("./run demo")
    with_console(["demo"], every_instance_was_read, prove_figures)
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert (INSIDE / "fleet-token").read_text() not in links, "an interface was left behind"


def every_instance_was_read() -> bool:
    """Tell whether the matrix has figures for at least the eight instances of the issue."""
    return len([row for row in matrix() if row["sampled_at"]]) >= 8


def prove_figures() -> None:
    """The matrix' counts equal each instance's own `postqueue -j` while mail flows and msn-a is throttled."""
    shutil.copy("/run/fleet-rehearsal/demo/token", INSIDE / "fleet-token")
    sent, deadline = messages_sent(), time.monotonic() + 300
    waiting = {(row["host"], row["name"]) for row in matrix()}
    while waiting:
        assert time.monotonic() < deadline, f"never stood still around a poll: {waiting}"
        for host in {host for host, _ in waiting}:
            waiting -= compared(host)
    [msn_a] = [row for row in matrix() if row["name"] == "msn-a"]
    assert msn_a["state"] == "throttled", msn_a
    flowed = messages_sent() - sent
    assert flowed > 0
    say(f"the matrix' counts equal postqueue's, {flowed} messages were sent meanwhile, msn-a is throttled")


def compared(host: str) -> set[tuple[str, str]]:
    """Poll a host, and compare those instances whose queues stood still around the poll: others cannot be."""
    before, from_time = queues(host), time.time()
    output("./run", "manage", "collect", host)
    after, to_time = queues(host), time.time()
    agreed = set()
    for row in matrix():
        name = row["name"]
        if row["host"] != host or before[name] != after[name]:
            continue
        if from_time <= datetime.fromisoformat(row["sampled_at"]).timestamp() <= to_time:
            shown = {queue: row["queues"][queue] for queue in ("incoming", "active", "deferred", "hold")}
            assert shown == {queue: after[name][queue] for queue in shown}, (row, after[name])
            say(f"{name}: {shown}, as postqueue -j lists")
            agreed.add((host, name))
    return agreed


def queues(host: str) -> dict[str, Counter[str]]:
    """Return how many messages `postqueue -j` lists in each queue of each of a host's instances."""
    found: dict[str, Counter[str]] = {}
    for line in output("./run", "fleet", "exec", host, "--", "/bin/sh", "-c", LIST_QUEUES).splitlines():
        if line.startswith("/"):
            name = line.removeprefix("/etc/postfix").removeprefix("-") or "default"
            found[name] = Counter()
        else:
            found[name][json.loads(line)["queue_name"]] += 1
    return found


def matrix() -> list[dict[str, Any]]:
    """Return the instances of `manage.py fleet --json`."""
    instances: list[dict[str, Any]] = json.loads(output("./run", "manage", "fleet", "--json"))["instances"]
    return instances


def messages_sent() -> int:
    """Return how many messages the origins have sent."""
    return sum(json.loads(output("./run", "fleet", "traffic", "show"))["sent"].values())


def with_console(arguments: list[str], works: Callable[[], bool], meanwhile: Callable[[], None]) -> None:
    """Start it, wait until it works, look at it meanwhile, end it by Ctrl-C; nothing may be left."""
    before = traces()
    started = time.monotonic()
    console = subprocess.Popen(["./run", *arguments], cwd=INSIDE, start_new_session=True)
    while not ready(works):
        assert console.poll() is None, "it ended"
        assert time.monotonic() - started < 600, "it is not up after 10 minutes"
        time.sleep(1)
    say(f"up after {time.monotonic() - started:.0f} s")
    meanwhile()
    stopped = time.monotonic()
    os.killpg(console.pid, signal.SIGINT)
    status = console.wait(60)
    took_s = time.monotonic() - stopped
    say(f"ended with status {status} in {took_s:.1f} s")
    assert took_s < STOPS_WITHIN_S
    # The first process of the machine needs a moment to take the status of orphans.
    time.sleep(1)
    left = {kind: found - before[kind] for kind, found in traces().items()}
    assert not any(left.values()), f"left behind: {left}"
    say("left no process, namespace or mount")


def ready(works: Callable[[], bool]) -> bool:
    """Ask, while nothing may answer yet."""
    try:
        return page("/healthz")["alive"] and works()
    except (OSError, subprocess.CalledProcessError):
        return False


def page(path: str) -> dict[str, bool]:
    """Return a page's JSON body."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=10) as response:
        body: dict[str, bool] = json.load(response)
    return body


def traces() -> dict[str, set[str]]:
    """Return all processes but the dead, the namespaces that they are in, and all mounts."""
    found: dict[str, set[str]] = {
        "processes": set(),
        "namespaces": set(),
        "mounts": set(Path("/proc/self/mountinfo").read_text().splitlines()),
    }
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            own = {str((entry / "ns" / kind).readlink()) for kind in ("mnt", "net", "pid", "ipc", "uts")}
        except OSError:
            continue
        if command:
            found["processes"].add(f"{entry.name} {command}")
            found["namespaces"] |= own
    return found


def expect_refusal(words: str, *command: str, **environment: str) -> None:
    """A command (./run) must end with a status other than 0, its reason in one line after its progress."""
    done = subprocess.run(
        command or ["./run"],
        cwd=INSIDE,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "fetching Python packages" not in line]
    assert done.returncode != 0, done
    assert len(said) == 1, done
    assert words in said[0], done
    say(f"refused: {said[0]}")


def output(*command: str) -> str:
    """Return what a command prints; it must succeed."""
    done = subprocess.run(command, cwd=INSIDE, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def run(*command: str) -> None:
    """Run a command in the checkout; it must succeed."""
    say(" ".join(command))
    subprocess.run(command, cwd=INSIDE, check=True)


def say(what: str) -> None:
    """Tell where the proof is."""
    sys.stdout.write(f"machines: {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
