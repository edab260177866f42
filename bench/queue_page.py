"""A real queue of 1,000,000 messages read as the queue page reads it: time, and memory on either side.

The queue is made as in bench/queue.py, on the disk. A real sshd stands before it, whose forced command runs
relayctl in there as an account without rights; a worker's own code asks it and stores the answers, in a
process of its own for each question, so that each has its own greatest memory. What is timed is what an
operator waits for: from the asking to the stored answer.
"""

import getpass
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.figures import Figure, arguments, report
from bench.poll import ROOT, say
from bench.queue import CONFIG, SPOOL, Watcher, fill
from tests.agent.postfix_host import PYZ
from tests.agent.sandbox import Sandbox
from tests.far_side import Sshd

WITHIN_S = 30
MEMORY_MIB = 256
# Of those ages that bench/queue.py gives, about a tenth: few enough to be acted on at once.
PICKED = {"older": "48000s"}
QUESTIONS: dict[str, dict[str, Any]] = {
    "counts of the whole queue": {"what": "groups"},
    "counts of one domain": {"what": "groups", "words": {"domain": "hotmail.com"}},
    "counts of one reason": {"what": "groups", "words": {"reason": "greylisted"}, "readings": 2},
    "first page of messages": {"what": "messages"},
    "a page in the middle": {"what": "messages", "middle": True},
    "all of a filter named for an operation": {"what": "pick", "words": PICKED},
}


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--worker", choices=QUESTIONS, help="ask that question, and print what it took")
    options = parser.parse_args()
    if options.worker:
        return worker(QUESTIONS[options.worker])
    with queue_of(options.messages) as host, far_side(host) as sshd:
        alone_s = listing_alone(host)
        taken = {name: measure(name, sshd) for name in QUESTIONS}
    return report(list(figures(taken, alone_s, options.messages)), as_json=options.json)


def figures(taken: dict[str, dict[str, Any]], alone_s: float, messages: int) -> Iterator[Figure]:
    assert taken["counts of the whole queue"]["messages"] == messages, taken
    yield Figure("postqueue -j alone, which nothing that asks Postfix can undercut", alone_s, "s")
    ratio = taken["counts of the whole queue"]["wall_s"] / alone_s
    yield Figure("counts of the whole queue / postqueue -j alone", ratio, "x", at_most=1.5)
    for name, took in taken.items():
        readings = QUESTIONS[name].get("readings", 1)
        yield Figure(f"{name}, answered", took["wall_s"], "s", at_most=WITHIN_S * readings)
        yield Figure(f"{name}, relayctl's memory", took["relayctl_mib"], "MiB", at_most=MEMORY_MIB)
        yield Figure(f"{name}, the worker's memory", took["worker_mib"], "MiB", at_most=MEMORY_MIB)
        yield Figure(f"{name}, messages", took["messages"], "")


@contextmanager
def queue_of(messages: int) -> Iterator[Sandbox]:
    """Make the queue on the disk: in memory it would take some 10 GB."""
    with (
        tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="fleet-bench-", dir="/var/tmp") as spool,
        Sandbox(Path(folder)) as host,
    ):
        host.run("mkdir", SPOOL)
        host.run("mount", "--bind", spool, SPOOL)
        Path(spool).chmod(0o755)
        began = time.monotonic()
        fill(host, messages)
        say(f"{messages:,} messages lie there after {time.monotonic() - began:.0f} s")
        yield host


def listing_alone(host: Sandbox) -> float:
    """Return the seconds that Postfix's own listing takes, read by nobody."""
    began = time.monotonic()
    subprocess.run(host.command(["postqueue", "-c", CONFIG, "-j"]), stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


@contextmanager
def far_side(host: Sandbox) -> Iterator[Sshd]:
    """Start an sshd whose forced command is relayctl in the sandbox, as an account without rights."""
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        sshd = Sshd(Path(folder), options="LogLevel ERROR")
        sshd.says(f"#!/bin/sh\nexec {shlex.join(host.command([PYZ], as_nobody=True))}\n")
        sshd.start()
        try:
            yield sshd
        finally:
            sshd.stop()


def measure(name: str, sshd: Sshd) -> dict[str, Any]:
    """Have a worker ask one question; return what it took, and the most memory that relayctl had."""
    assert sshd._process is not None
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as data:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "fleet.settings",
            "FLEET_DATA": data,
            "FLEET_READ_KEY": str(sshd.key_path),
            "DATABASE_URL": f"sqlite:///{data}/fleet.sqlite3",
            "BENCH_PORT": str(sshd.port),
            "BENCH_HOST_KEY": sshd.host_key(),
        }
        watcher = Watcher(sshd._process.pid, Path(PYZ).name)
        done = subprocess.run(
            [sys.executable, "-m", "bench.queue_page", "--worker", name],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
        watcher.stop()
    took: dict[str, Any] = json.loads(done.stdout) | {"relayctl_mib": watcher.own_kib / 1024}
    say(f"{name}: {took}")
    return took


def worker(question: dict[str, Any]) -> int:
    """Ask, and print the seconds, the most MiB that this process had, and how many messages were told."""
    import django  # noqa: PLC0415  (Django's settings are the child's)

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from relays.domain.filters import from_words  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    instance, wanted = instance_make(), from_words(question.get("words", {}))
    # The median age that bench/queue.py gives.
    cursor = f"{int(time.time()) - 13_863}-000000" if question.get("middle") else ""
    began = time.monotonic()
    messages = (
        named(instance, wanted)
        if question["what"] == "pick"
        else stored(instance, question["what"], wanted, cursor)
    )
    wall_s = time.monotonic() - began
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"wall_s": wall_s, "worker_mib": memory_mib, "messages": messages}))
    return 0


def instance_make() -> Any:
    """Store the instance that is asked, on the host behind the sshd."""
    from django.utils import timezone  # noqa: PLC0415

    from relays.models import Host, Instance  # noqa: PLC0415

    host = Host.objects.create(
        name="bench",
        ssh_address="127.0.0.1",
        ssh_port=int(os.environ["BENCH_PORT"]),
        ssh_user=getpass.getuser(),
        host_key=os.environ["BENCH_HOST_KEY"],
    )
    return Instance.objects.create(
        host=host, name="bench", config_dir="/etc/postfix-bench", first_seen_at=timezone.now()
    )


def stored(instance: Any, what: str, wanted: Any, cursor: str) -> int:
    """Have the answer read and stored as a worker does; return how many messages it tells of."""
    from relays.services import queue_reads  # noqa: PLC0415

    read = queue_reads.ask(instance=instance, what=what, wanted=wanted, cursor=cursor)
    assert queue_reads.run(read_id=read.pk)
    read.refresh_from_db()
    assert read.state == "done", read.error
    messages = json.loads(read.body)["messages"]
    return messages if isinstance(messages, int) else len(messages)


def named(instance: Any, wanted: Any) -> int:
    """Name the messages that a filter takes, as the plan of an operation does; return how many."""
    from relays.remote import relayctl  # noqa: PLC0415
    from relays.services.doors import read_target  # noqa: PLC0415
    from relays.services.message_actions import PLAN_WITHIN  # noqa: PLC0415

    target = read_target(instance.host)
    return len(relayctl.queue_pick(target, PLAN_WITHIN, instance=instance.name, wanted=wanted).items)


if __name__ == "__main__":
    sys.exit(main())
