"""Tracing a recipient of one day over hosts with 1 GB of log each: time to the first rows, CPU, memory.

The log is the generated one of bench/maillog.py, on the disk, in a sandbox with a Postfix instance that logs
to it. A real sshd listens at one address a host, and its forced command runs a relayctl of that host's own,
with its own lock; all read the one file. The search is the worker's own. The hosts share this machine's
processors, which ten real ones do not: so one host alone has the limits, and ten are told beside it.
"""

import getpass
import json
import os
import re
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
from bench.maillog import START, Writer
from bench.poll import ROOT, say
from bench.queue import Spent, run
from relays.agent.build import build
from tests.agent.postfix_host import make_default, make_instance
from tests.agent.sandbox import Sandbox
from tests.far_side import Sshd

GB = 1_000_000_000
HOSTS = 10
LOG = "/var/log/postfix-msn-a.log"
ADDRESSES = [f"127.0.5.{n}" for n in range(1, HOSTS + 1)]
WITHIN_S = 2
# Where in the log the recipient's mail lies: early, in the middle, near the end of the day.
PLACES = (0.1, 0.5, 0.9)
_TO = re.compile(rb" to=<([^>]{8,})>, ")


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--bytes", type=int, default=GB)
    parser.add_argument("--worker", metavar="JSON", help="search, and print what it took")
    options = parser.parse_args()
    if options.worker:
        return worker(json.loads(options.worker))
    with log_of(options.bytes) as (host, log), far_side(host) as sshd:
        asked = {place: recipient_at(log, place) for place in PLACES}
        until = START + 86_400
        alone = {p: searched(sshd, 1, text, until) for p, text in asked.items()}
        spent = {p: first_piece(host, text, until) for p, text in asked.items()}
        ten = {p: searched(sshd, HOSTS, text, until) for p, text in asked.items()}
    return report(list(figures(alone, spent, ten)), as_json=options.json)


def figures(
    alone: dict[float, dict[str, Any]], spent: dict[float, Spent], ten: dict[float, dict[str, Any]]
) -> Iterator[Figure]:
    for place, took in alone.items():
        where = f"{place:.0%} into the day"
        yield Figure(f"one host, {where}: first rows", took["first_s"], "s", at_most=WITHIN_S)
        yield Figure(f"one host, {where}: all read", took["all_s"], "s")
        yield Figure(f"one piece, {where}: relayctl's CPU", spent[place].cpu_s, "s", at_most=3)
        yield Figure(f"one piece, {where}: relayctl's memory", spent[place].own_mib, "MiB", at_most=64)
        yield Figure(f"ten hosts on one machine, {where}: first rows", ten[place]["first_s"], "s")
        yield Figure(f"ten hosts on one machine, {where}: all read", ten[place]["all_s"], "s")
        yield Figure(f"ten hosts, {where}: the worker's memory", ten[place]["mib"], "MiB", at_most=256)


@contextmanager
def log_of(size: int) -> Iterator[tuple[Sandbox, Path]]:
    """Write the log of an instance in a sandbox."""
    with (
        tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="fleet-bench-", dir="/var/tmp") as disk,
        Sandbox(Path(folder)) as host,
    ):
        log = Path(disk) / "log"
        Path(disk).chmod(0o755)
        say(f"writing {size:,} bytes of log")
        Writer(log, rfc3339=True).write(size)
        make_default(host, make_instance(host, "msn-a", 2525))
        host.write(LOG, "", 0o644)
        host.run("mount", "--bind", str(log), LOG)
        yield host, log


@contextmanager
def far_side(host: Sandbox) -> Iterator[Sshd]:
    """Start an sshd at each host's address; a relayctl of the host's own answers at each."""
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        for address in ADDRESSES:
            host.write(f"/usr/local/relayctl-{address}.pyz", build(), 0o755)
        sshd = Sshd(Path(folder), listen=ADDRESSES, options="LogLevel ERROR")
        entered = shlex.join(host.command([], as_nobody=True))
        sshd.says(f"#!/bin/sh\nset -- $SSH_CONNECTION\nexec {entered} /usr/local/relayctl-$3.pyz\n")
        sshd.start()
        try:
            yield sshd
        finally:
            sshd.stop()


def recipient_at(log: Path, place: float) -> str:
    """Return a recipient whose first line lies there."""
    with log.open("rb") as file:
        file.seek(int(log.stat().st_size * place))
        found = _TO.search(file.read(1 << 20))
    assert found is not None, place
    return found[1].decode()


def searched(sshd: Sshd, hosts: int, text: str, until: int) -> dict[str, Any]:
    """Have a worker search so many hosts; return what it took."""
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as data:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "fleet.settings",
            "FLEET_DATA": data,
            "FLEET_READ_KEY": str(sshd.key_path),
            "DATABASE_URL": f"sqlite:///{data}/fleet.sqlite3",
        }
        asked = {"port": sshd.port, "key": sshd.host_key(), "hosts": hosts, "text": text, "until": until}
        command = [sys.executable, "-m", "bench.trace", "--worker", json.dumps(asked)]
        done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    took: dict[str, Any] = json.loads(done.stdout)
    say(f"{hosts} hosts, {text}: {took}")
    return took


def first_piece(host: Sandbox, text: str, until: int) -> Spent:
    """Run relayctl for the first piece of a search that has the longest time; return what it spent."""
    args = {"texts": [text], "since": START, "until": until, "budget_ms": 3_000}
    asked = host.inside("/root/request")
    asked.write_text(json.dumps({"v": 1, "req_id": "0123456789", "verb": "log.search", "args": args}))
    relayctl = f"/usr/local/relayctl-{ADDRESSES[0]}.pyz"
    return run(host, [relayctl], stdin=asked, as_nobody=True, expect=b'"end":true')


def worker(asked: dict[str, Any]) -> int:
    """Search, and print the seconds to the first rows and to the end, and this process's most MiB."""
    import django  # noqa: PLC0415  (Django's settings are the child's)

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from relays.domain.trace_question import question  # noqa: PLC0415
    from relays.models import Host  # noqa: PLC0415
    from relays.services.tracing import DONE, Tracing  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    hosts = [
        Host.objects.create(
            name=f"host-{n}",
            ssh_address=address,
            ssh_port=asked["port"],
            ssh_user=getpass.getuser(),
            host_key=asked["key"],
        )
        for n, address in enumerate(ADDRESSES[: asked["hosts"]])
    ]
    tracing = Tracing(question("recipient", asked["text"], START, asked["until"]), hosts, {})
    began, first_s = time.monotonic(), None
    for lines in tracing.run():
        if lines and first_s is None:
            first_s = time.monotonic() - began
    all_s = time.monotonic() - began
    assert all(host.state == DONE for host in tracing.hosts), [host.as_json() for host in tracing.hosts]
    assert all(host.lines for host in tracing.hosts), [host.as_json() for host in tracing.hosts]
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"first_s": first_s, "all_s": all_s, "mib": mib}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
