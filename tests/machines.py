"""Proofs on machines that debootstrap makes: `./run test --fresh` and `./run test --pythons`.

fresh    Debian 12 with nothing but python3: ./run, ./run demo and a part of ./run test
pythons  Python 3.13 in Debian 13: ./run and a part of ./run test; relayctl's tests on Debian 11's Python 3.9

Standard library only. Each machine is a folder entered with chroot, in mount, PID and IPC namespaces that end
with this process: no mount and no process can outlive it. The folder is removed at the end.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
MIRROR = os.environ.get("FLEET_DEBIAN_MIRROR", "http://deb.debian.org/debian")
INSIDE = Path("/srv/relay-fleet")
PORT = 18000
STOPS_WITHIN_S = 10


def main() -> None:
    """Enter namespaces first; inside them, and inside the machine, this same file goes on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("proof", choices=["fresh", "pythons"])
    parser.add_argument("--stage", default="outside")
    arguments = parser.parse_args()
    stages: dict[str, Callable[[], None]] = {
        "outside": lambda: enter_namespaces(arguments.proof),
        "namespaces": lambda: make_machines(arguments.proof),
        "bookworm": prove_fresh,
        "trixie": prove_trixie,
        "bullseye": prove_bullseye,
    }
    stages[arguments.stage]()


def enter_namespaces(proof: str) -> None:
    """Run this file again where every mount and process ends with it."""
    again = [sys.executable, __file__, proof, "--stage", "namespaces"]
    namespaces = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    libc = ctypes.CDLL(None)
    sys.exit(
        # 1 is PR_SET_PDEATHSIG: unshare, and with it everything, ends with this process.
        subprocess.run(
            [*namespaces, *again], check=False, preexec_fn=lambda: libc.prctl(1, signal.SIGKILL)
        ).returncode
    )


def make_machines(proof: str) -> None:
    """Make each machine of the proof, go through its stage there, and remove it."""
    for suite in {"fresh": ["bookworm"], "pythons": ["trixie", "bullseye"]}[proof]:
        root = Path(tempfile.mkdtemp(prefix=f"fleet-{suite}-"))
        try:
            make_machine(suite, root)
            enter(root, proof, stage=suite)
        finally:
            subprocess.run(["umount", "--recursive", root], check=False)
            shutil.rmtree(root)


def make_machine(suite: str, root: Path) -> None:
    """Put a minimal Debian with python3 and this checkout into the folder, and mount what a machine has."""
    say(f"making a minimal Debian {suite} with python3")
    root.chmod(0o755)
    log = root.with_suffix(".log")
    with log.open("wb") as output:
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=python3", suite, root, MIRROR],
            check=True,
            stdout=output,
            stderr=output,
        )
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


def enter(root: Path, proof: str, stage: str) -> None:
    """Go through a stage inside the machine, with nothing of this environment but how to reach a registry."""
    registry = [name for name in os.environ if name.lower().endswith("_proxy") or name == "PIP_INDEX_URL"]
    kept = {name: os.environ[name] for name in registry}
    subprocess.run(
        ["chroot", root, "/usr/bin/python3", INSIDE / "tests/machines.py", proof, "--stage", stage],
        env=kept
        | {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "FLEET_PORT": str(PORT),
        },
        check=True,
    )


def prove_fresh() -> None:
    """Refusal without rights, the console, the demo, a part of the tests."""
    expect_refusal({"FLEET_NO_APT": "1"}, "this Python has no venv support")
    prove_start()
    run_fleet_demo()
    run("./run", "check")
    run("./run", "test", "tests/architecture", "tests/web", "tests/processes")


def prove_trixie() -> None:
    """Debian 13's Python 3.13."""
    prove_start()
    run("./run", "check")
    run("./run", "test", "tests/architecture", "tests/domain", "tests/agent", "tests/web", "tests/services")


def prove_bullseye() -> None:
    """Python 3.9: too old for the console, which says so, and enough for relayctl."""
    expect_refusal({}, "Python 3.11 or newer is needed (Python 3.9")
    run("apt-get", "-qq", "update")
    run("apt-get", "-qq", "install", "--yes", "--no-install-recommends", "python3-pytest")
    # Neither this repository's settings for pytest nor tests/conftest.py: both are for the console's Python.
    pytest = [
        "python3",
        "-m",
        "pytest",
        "-q",
        "-c",
        "/dev/null",
        "--rootdir",
        ".",
        "--confcutdir",
        "tests/agent",
    ]
    # How relayctl is built and released is the console's business; real Postfix has the tests marked lab.
    chosen = ["--confcutdir", "tests/agent", "-m", "not lab"]
    chosen += ["--ignore", "tests/agent/test_relayctl_build.py", "tests/agent"]
    run(*pytest, *chosen)


def prove_start() -> None:
    """`./run` on a machine that has nothing yet: pages answer, Ctrl-C ends it in time."""
    say("./run")
    with_console([], lambda: page("/readyz")["ready"])


def run_fleet_demo() -> None:
    """`./run demo` until every instance of the rehearsal fleet has been read."""
    say("./run demo")
    with_console(["demo"], every_instance_was_read)
    namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, check=True).stdout
    assert not namespaces, f"left behind: {namespaces!r}"


def every_instance_was_read() -> bool:
    """Tell whether the matrix has figures for at least the eight instances of the issue."""
    matrix = json.loads(
        subprocess.run(
            ["./run", "manage", "fleet", "--json"], cwd=INSIDE, capture_output=True, check=True
        ).stdout
    )
    return len([row for row in matrix["instances"] if row["sampled_at"]]) >= 8


def with_console(arguments: list[str], works: Callable[[], bool]) -> None:
    """Start it, wait until it works, end it by Ctrl-C; nothing may be left."""
    before = processes()
    mounts = Path("/proc/mounts").read_text().count("\n")
    started = time.monotonic()
    console = subprocess.Popen(["./run", *arguments], cwd=INSIDE, start_new_session=True)
    while not ready(works):
        assert console.poll() is None, "it ended"
        assert time.monotonic() - started < 600, "it is not up after 10 minutes"
        time.sleep(1)
    say(f"up after {time.monotonic() - started:.0f} s")
    stopped = time.monotonic()
    os.killpg(console.pid, signal.SIGINT)
    status = console.wait(60)
    took_s = time.monotonic() - stopped
    say(f"ended with status {status} in {took_s:.1f} s")
    assert took_s < STOPS_WITHIN_S
    time.sleep(1)
    assert processes() <= before, f"left behind: {processes() - before}"
    assert Path("/proc/mounts").read_text().count("\n") == mounts, "a mount was left behind"


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


def processes() -> set[str]:
    """Return the commands of all processes but kernel threads and the dead."""
    found: set[str] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                )
            except OSError:
                continue
            if command:
                found.add(f"{entry.name} {command}")
    return found


def expect_refusal(environment: dict[str, str], words: str) -> None:
    """`./run` must end with a status other than 0 and say why in one line."""
    done = subprocess.run(
        ["./run"], cwd=INSIDE, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0, done
    assert words in done.stderr, done
    assert done.stderr.count("\n") == 1, done.stderr


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
