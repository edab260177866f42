"""Polling 200 hosts over kept connections, beside `ansible -m command` on the same hosts.

The hosts are addresses of 127.0.0.0/8 with one real sshd behind them all. Its forced command replays a
stored reply from /bin/sh, so that what is measured is the console's own cost, on the code path that the
workers run; the same with relayctl itself is printed beside it, without a limit, since both ends then share
this machine's processors. ansible-core comes from PyPI into its own environment.
"""

import getpass
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.figures import Figure, arguments, report
from tests.far_side import (
    BOOT_ID,
    READ_REQUEST,
    SHA256,
    Sshd,
    host_row,
    inventory_row,
    log_row,
    make_key,
    snapshot_row,
)

HOSTS = 200
INSTANCES = 5
# As many as a poll asks for: services/collect.py and docs/relayctl.md.
DOMAINS = 50
REPLIES = 20
THREADS = 25
ROUNDS = 3
ADDRESSES = [f"127.0.{1 + n // 100}.{1 + n % 100}" for n in range(HOSTS)]
ROOT = Path(__file__).parents[1]
ANSIBLE = "ansible-core==2.19.*"


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--client", choices=CLIENTS, help="poll when told to on stdin, and print each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--without-ansible", action="store_true", help="leave the peer out, and its limit")
    options = parser.parse_args()
    if options.client:
        return client(options.client)
    rounds = measure(options.rounds, with_ansible=not options.without_ansible)
    return report(list(figures(rounds)), as_json=options.json)


def figures(rounds: dict[str, list[dict[str, float]]]) -> Iterator[Figure]:
    def median(name: str, key: str) -> float:
        return statistics.median(taken[key] for taken in rounds[name])

    yield Figure("hello, wall", median("hello", "wall_s"), "s")
    yield Figure("hello, client CPU", median("hello", "cpu_s"), "s", at_most=0.5)
    yield Figure("hello, client memory", max(r["rss_mb"] for r in rounds["hello"]), "MB", at_most=80)
    yield Figure("snapshots stored, wall", median("snapshot", "wall_s"), "s")
    yield Figure("snapshots stored, client CPU", median("snapshot", "cpu_s"), "s", at_most=3)
    yield Figure("snapshots stored, client memory", max(r["rss_mb"] for r in rounds["snapshot"]), "MB")
    yield Figure("relayctl itself: hello, wall", median("real", "wall_s"), "s")
    yield Figure("relayctl itself: hello, client CPU", median("real", "cpu_s"), "s")
    if "ansible" in rounds:
        ansible_s = median("ansible", "wall_s")
        yield Figure("ansible -m command, wall", ansible_s, "s")
        yield Figure("ansible / hello, wall", ansible_s / median("hello", "wall_s"), "x", at_least=50)
        yield Figure("ansible / snapshots stored, wall", ansible_s / median("snapshot", "wall_s"), "x")
        yield Figure("ansible / relayctl itself, wall", ansible_s / median("real", "wall_s"), "x")


def measure(count: int, *, with_ansible: bool) -> dict[str, list[dict[str, float]]]:
    """Return the rounds of each client, interleaved so that all see the same machine."""
    with far_side() as sshd, clients(sshd) as ask:
        asked: dict[str, Callable[[], dict[str, float]]] = dict(ask)
        if with_ansible:
            say("installing ansible-core, once")
            asked["ansible"] = ansible(sshd)
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
        for number in range(count):
            for name, poll in asked.items():
                say(f"round {number + 1} of {count}, {name}")
                rounds[name].append(poll())
                say(f"round {number + 1} of {count}, {name}: {rounds[name][-1]['wall_s']:.2f} s")
    return rounds


def say(what: str) -> None:
    """Tell what is going on: a round of ansible is a minute of silence."""
    print(what, file=sys.stderr, flush=True)


@contextmanager
def far_side() -> Iterator[Sshd]:
    """Start the sshd, which replays for one key, runs relayctl for another, and anything for ansible's."""
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        sshd = Sshd(Path(folder), listen=["0.0.0.0"], options="AllowUsers *@127.*\nLogLevel ERROR")
        sshd.says(replay(sshd.folder))
        relayctl = sshd.folder / "relayctl.pyz"
        subprocess.run(
            [sys.executable, "-m", "relays.agent.build", relayctl], check=True, stdout=subprocess.DEVNULL
        )
        _admit(sshd, "real", f'restrict,command="/usr/bin/python3 -I {relayctl}" ')
        _admit(sshd, "ansible", "")
        sshd.start()
        try:
            yield sshd
        finally:
            sshd.stop()


def _admit(sshd: Sshd, name: str, options: str) -> None:
    make_key(sshd.folder / name)
    with (sshd.folder / "authorized_keys").open("a") as file:
        file.write(options + (sshd.folder / f"{name}.pub").read_text())


def replay(folder: Path) -> str:
    """Return a /bin/sh script that answers with stored rows under the request's own id."""
    names = [f"bench-{letter}" for letter in "abcde"[:INSTANCES]]
    log = {"kind": "file", "path": "/var/log/mail.log"}
    rows = {
        "hello": [],
        "inventory": [inventory_row(name, log=log) for name in names],
        # A poll reads the logs too; these have nothing new, and bench/outcomes.py measures those that have.
        "log.read": [log_row(log["path"], 0, lines=0, unrecognized=0, samples=[], bytes=0)],
        "snapshot": [*(full_row(name) for name in names), host_row()],
    }
    for verb, replies in rows.items():
        end = {"end": True, "rows": len(replies), "truncated": False}
        lines = [json.dumps(row, separators=(",", ":")) for row in [*replies, end]]
        (folder / f"{verb}.rows").write_text("\n".join(lines) + "\n")
    known = (
        f'"relayctl":"0.1.0","sha256":"{SHA256}","boot_id":"{BOOT_ID}","postfix":"3.7.11","now":{time.time()}'
    )
    header = f"""printf '{{"v":1,"ok":true,{known},"req_id":"%s","verb":"%s"}}\\n' "$req_id" "$verb"\n"""
    return f"{READ_REQUEST}{header}exec cat {folder}/$verb.rows\n"


def full_row(name: str) -> dict[str, Any]:
    """Return an instance's row with as many domains and replies as a snapshot holds."""
    ages = [3, 0, 12, 40, 80, 9, 0, 0, 1, 2]
    domains = [[f"domain-{n}.of-a-subscriber.example", sum(ages), ages] for n in range(DOMAINS)]
    replies = [
        [f"host mx{n}.example[203.0.113.{n}] said: 421 4.7.0 [TSS04] Messages from * temporarily deferred", 7]
        for n in range(REPLIES)
    ]
    return snapshot_row(
        name,
        domains={
            "total": DOMAINS * sum(ages) + 415,
            "distinct": 2911,
            "rows": domains,
            "other": [415, [0] * 10],
        },
        replies={"total": 412, "rows": replies, "other": 272, "sampled": 412},
    )


@contextmanager
def clients(sshd: Sshd) -> Iterator[dict[str, Callable[[], dict[str, float]]]]:
    """Start each client in a process of its own, connected; yield what makes it poll once."""
    keys = {"hello": sshd.key_path, "snapshot": sshd.key_path, "real": sshd.folder / "real"}
    started = {}
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as data:
        try:
            for name, key in keys.items():
                started[name] = _start(name, key, sshd, Path(data) / name)
            yield {name: _ask(name, process) for name, process in started.items()}
        finally:
            for process in started.values():
                process.communicate()


def _start(name: str, key: Path, sshd: Sshd, data: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "fleet.settings",
        "FLEET_DATA": str(data),
        "FLEET_READ_KEY": str(key),
        "DATABASE_URL": f"sqlite:///{data}/fleet.sqlite3",
        "BENCH_PORT": str(sshd.port),
        "BENCH_HOST_KEY": sshd.host_key(),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "bench.poll", "--client", name],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _ask(name: str, process: "subprocess.Popen[str]") -> Callable[[], dict[str, float]]:
    def poll() -> dict[str, float]:
        assert process.stdin and process.stdout
        process.stdin.write("poll\n")
        process.stdin.flush()
        taken: dict[str, float] = json.loads(process.stdout.readline())
        return taken

    say(f"{name}: connecting to {HOSTS} hosts")
    poll()  # No round.
    return poll


def client(name: str) -> int:
    """Poll all hosts once a line of stdin, and print seconds and megabytes."""
    with ThreadPoolExecutor(THREADS) as pool:
        poll = CLIENTS[name]()
        for _ in sys.stdin:
            wall, cpu = time.perf_counter(), time.process_time()
            done = list(pool.map(poll, range(HOSTS)))
            taken = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            assert all(done), f"{done.count(False)} of {HOSTS} polls failed"
            memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(json.dumps(taken | {"rss_mb": memory_mb}), flush=True)
    return 0


def hello_client() -> Callable[[int], bool]:
    """Return what says hello to one host, as doctor does."""
    from relays.remote import relayctl  # noqa: PLC0415  (Django's settings are the child's)
    from relays.remote.ssh import Target  # noqa: PLC0415

    key_path = Path(os.environ["FLEET_READ_KEY"])
    port, host_key = int(os.environ["BENCH_PORT"]), os.environ["BENCH_HOST_KEY"]
    targets = [Target(address, port, getpass.getuser(), host_key, key_path) for address in ADDRESSES]
    return lambda n: relayctl.hello(targets[n]).header.relayctl != ""


def snapshot_client() -> Callable[[int], bool]:
    """Return what polls one host whole, as a worker does: claimed, asked, stored."""
    import django  # noqa: PLC0415

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from relays.models import Host  # noqa: PLC0415
    from relays.models.host import PollOutcome  # noqa: PLC0415
    from relays.services.collect import poll_host  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    Host.objects.bulk_create(
        Host(
            name=f"host-{n}",
            ssh_address=address,
            ssh_port=int(os.environ["BENCH_PORT"]),
            ssh_user=getpass.getuser(),
            host_key=os.environ["BENCH_HOST_KEY"],
        )
        for n, address in enumerate(ADDRESSES)
    )
    ids = list(Host.objects.order_by("pk").values_list("pk", flat=True))

    def poll(n: int) -> bool:
        taken = poll_host(host_id=ids[n], force=True)
        return taken is not None and taken.outcome == PollOutcome.COMPLETE

    return poll


CLIENTS: dict[str, Callable[[], Callable[[int], bool]]] = {
    "hello": hello_client,
    "snapshot": snapshot_client,
    "real": hello_client,
}


def ansible(sshd: Sshd) -> Callable[[], dict[str, float]]:
    """Install ansible-core; return what runs `ansible -m command` on all hosts once, as fast as it can."""
    program = install_ansible()
    inventory = sshd.folder / "inventory"
    inventory.write_text("\n".join(ADDRESSES) + "\n")
    known = sshd.folder / "known_hosts"
    known.write_text("".join(f"[{address}]:{sshd.port} {sshd.host_key()}\n" for address in ADDRESSES))
    environment = os.environ | {
        "ANSIBLE_HOME": str(sshd.folder / "ansible-home"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_PRIVATE_KEY_FILE": str(sshd.folder / "ansible"),
        "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=60s"
        f" -o KexAlgorithms=curve25519-sha256 -o UserKnownHostsFile={shlex.quote(str(known))}",
        "ANSIBLE_REMOTE_USER": getpass.getuser(),
        "ANSIBLE_REMOTE_PORT": str(sshd.port),
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "LC_ALL": "C.UTF-8",
    }
    command = [program, "all", "-i", inventory, "-f", THREADS, "-m", "command", "-a", "cat /proc/loadavg"]

    def poll() -> dict[str, float]:
        began = time.perf_counter()
        output = subprocess.run(
            list(map(str, command)), env=environment, check=True, capture_output=True, text=True
        ).stdout
        assert output.count("| CHANGED |") == HOSTS, output[-2000:]
        return {"wall_s": time.perf_counter() - began}

    return poll


def install_ansible() -> Path:
    """Return the program `ansible` of an environment of its own, kept in ./var from one run to the next."""
    folder = ROOT / "var" / "bench" / "ansible"
    program = folder / "bin" / "ansible"
    if program.exists():
        return program
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv")
    if uv:
        _run([uv, "venv", "--quiet", folder])
        _run([uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", ANSIBLE])
    else:
        _run([sys.executable, "-m", "venv", folder])
        _run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", ANSIBLE])
    return program


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
