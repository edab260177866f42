"""What we count as sent is what the providers accepted, whatever becomes of logs, hosts and our processes."""

import gzip
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fleet.rehearsal import Fleet, syslog
from fleet.rehearsal.host import Host
from fleet.rehearsal.providers import source_addresses

from .conftest import Wait, guarded

pytestmark = pytest.mark.lab

_CHECKOUT = Path(__file__).resolve().parents[2]
_SENT = """
    SELECT h.name, i.name, d.name, SUM(o.sent)
    FROM relays_domainoutcomeshour o
    JOIN relays_instance i ON i.id = o.instance_id JOIN relays_host h ON h.id = i.host_id
    JOIN relays_recipientdomain d ON d.id = o.domain_id
    GROUP BY 1, 2, 3 HAVING SUM(o.sent) > 0
"""
_LOGS = """
    SELECT h.name, s.lines, s.condition
    FROM relays_logsource s JOIN relays_host h ON h.id = s.host_id
"""


class Console:
    """A console of its own: its data in a folder, its work done by processes that can be killed."""

    def __init__(self, folder: Path) -> None:
        self._environment = {**os.environ, "FLEET_DATA": str(folder)}
        self._database = folder / "fleet.sqlite3"

    def run(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, *arguments],
            env=self._environment,
            cwd=_CHECKOUT,
            check=True,
            capture_output=True,
        )

    def collect(self) -> None:
        self.run("manage.py", "collect")

    def collect_and_be_killed(self, after_s: float) -> bool:
        """Kill a poll of all hosts after a time; tell whether it was still at work."""
        process = subprocess.Popen(
            [sys.executable, "manage.py", "collect"],
            env=self._environment,
            cwd=_CHECKOUT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait() == -signal.SIGKILL

    def query(self, sql: str) -> list[tuple[str | int, ...]]:
        with closing(sqlite3.connect(self._database)) as database:
            return database.execute(sql).fetchall()

    def sent(self) -> Counter[tuple[str, str]]:
        """Return recipients sent by instance and domain; an instance called `default` by its host's name."""
        found: Counter[tuple[str, str]] = Counter()
        for host, instance, domain, sent in self.query(_SENT):
            found[str(host if instance == "default" else instance), str(domain)] += int(sent)
        return found


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Console:
    return Console(tmp_path_factory.mktemp("console"))


@pytest.fixture(scope="module")
def own_fleet(console: Console) -> Iterator[Fleet]:
    """A fleet of this module's own, registered in the console: its logs are counted from their first line."""
    name = f"o{os.getpid()}"
    with guarded(Fleet(name)):
        console.run("-m", "fleet.rehearsal", "up", "--name", name)
        yield Fleet(name).attach()


def accepted(fleet: Fleet) -> Counter[tuple[str, str]]:
    """Return what the providers accepted, by the instance that it came from and the recipient's domain."""
    names = {address: name for name, address in source_addresses(fleet._specs).items()}
    origins = {instance.spec.address for origin in fleet.origins.values() for instance in origin.instances}
    return Counter(
        (names[record["source"]], record["recipient"].rpartition("@")[2])
        for record in fleet.provider.accepted()
        if record["source"] not in origins
    )


def is_idle(host: Host) -> bool:
    return all(
        not (counts["active"] or counts["incoming"]) for counts in (i.counts() for i in host.instances)
    )


def lines_written(host: Host) -> int:
    """Return how many lines the host's mail log and all its rotations have."""
    logs = host.path("/var/log").glob("mail.log*")
    contents = [gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in logs]
    return sum(content.count(b"\n") for content in contents)


def test_sent_is_what_the_providers_accepted_through_rotations_kills_and_a_reboot(
    own_fleet: Fleet, console: Console, until: Wait
) -> None:
    fleet = own_fleet
    rustin, cleveland, leslie = (fleet.host(name) for name in ("rustin", "cleveland", "leslie"))
    fleet.provider.set_rule("throttle", provider="msn", source="msn-a", share=0.4)
    fleet.provider.set_rule("unknown", provider="therest", share=0.2)
    fleet.provider.set_rule("block-mail", provider="yahoo", share=0.2)
    fleet.traffic("rate", per_s=15)
    fleet.traffic("start")
    time.sleep(3)
    console.collect()

    syslog.rotate(rustin.namespace)
    syslog.rotate(leslie.namespace)
    time.sleep(2)
    killed = [console.collect_and_be_killed(after_s) for after_s in (1.5, 2.0, 2.5, 3.0)]
    assert any(killed)
    syslog.rotate(cleveland.namespace, copy=True)
    syslog.rotate(rustin.namespace)
    console.collect()
    syslog.rotate(cleveland.namespace, copy=True)

    # Stopping ends a delivery at once: were there one, the provider might have taken what no log tells.
    fleet.traffic("stop")
    for host in (rustin, *fleet.origins.values()):
        until(lambda host=host: is_idle(host), f"{host.name} is idle", timeout_s=60)
    rustin.reboot()
    fleet.traffic("start")
    time.sleep(3)
    syslog.rotate(rustin.namespace)
    console.collect()

    fleet.traffic("stop")
    for host in (*fleet.origins.values(), *fleet.hosts.values()):
        until(lambda host=host: is_idle(host), f"{host.name} is idle", timeout_s=60)
    until(lambda: all_is_read(console, fleet), "all lines are counted", timeout_s=120)

    took = accepted(fleet)
    assert console.sent() == took
    assert sum(took.values()) > 200
    assert len({instance for instance, _ in took}) == len(source_addresses(fleet._specs))


def all_is_read(console: Console, fleet: Fleet) -> bool:
    """Poll, and tell whether each line of each log has been read; never is one read twice."""
    console.collect()
    written = {host.name: lines_written(host) for host in fleet.hosts.values()}
    logs = console.query(_LOGS)
    assert {condition for *_, condition in logs} == {""}
    read = {str(host): int(lines) for host, lines, *_ in logs}
    assert all(read[host] <= written[host] for host in written), (read, written)
    return read == written
