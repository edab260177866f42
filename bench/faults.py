"""Random kills and cuts under live operations: each ends truthful in two minutes, and nothing is done twice.

Rounds of queue runs on every instance of a rehearsal fleet, through a console with its real processes, while
workers and relayctl are killed with -9, SSH is cut, the broker is emptied and the database locked. What was
done is added to a results file, so that a run which was ended goes on where it was (--resume).
"""

import copy
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures import Figure, arguments, report

if TYPE_CHECKING:
    from fleet.rehearsal import Fleet
    from relays.models import Operation
    from tests.processes.console import Console

KILLS = 200
TRUTHFUL_WITHIN_S = 120
# As long as a lock may last that every writer waits for (20 s), and longer.
_LOCKED_S = (1, 30)
_RELAYCTL = "^/usr/bin/python3 -I /dev/fd/"
_LIMITS = {"domain_runs_in_5_min": 300}
_NOTHING_YET: dict[str, Any] = {
    "kills": {},
    "operations": 0,
    "ended": {},
    "stuck": 0,
    "doubled": [],
    "unexplained": [],
    "slowest_s": 0.0,
}


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, default=KILLS, help="go on until the results have so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("var/faults.json"))
    parser.add_argument("--resume", action="store_true", help="go on with what is kept there")
    options = parser.parse_args()
    done = begin(options.results, resume=options.resume)
    with ExitStack() as stack:
        rehearsal = stack.enter_context(Rehearsal())
        # A resumed run must not repeat the faults of the one before.
        chance = random.Random(f"{options.seed} {sum(done['kills'].values())}")
        while sum(done["kills"].values()) < options.kills:
            one_round(rehearsal, chance, done)
            options.results.write_text(json.dumps(done, indent=1))
            print(f"{sum(done['kills'].values())} faults, {done['operations']} operations", file=sys.stderr)
    return report(figures(done, options.kills), as_json=options.json)


def begin(results: Path, *, resume: bool) -> dict[str, Any]:
    """Return what was done before, or nothing yet."""
    results.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = json.loads(results.read_text()) if resume and results.exists() else {}
    return copy.deepcopy(_NOTHING_YET) | kept


def figures(done: dict[str, Any], kills: int) -> list[Figure]:
    """Return what the results file says, beside its limits."""
    kinds = [Figure(f"faults: {name}", number, "") for name, number in sorted(done["kills"].items())]
    ends = [
        Figure(f"operations that ended {name}", number, "") for name, number in sorted(done["ended"].items())
    ]
    return [
        *kinds,
        Figure("faults in all", sum(done["kills"].values()), "", at_least=kills),
        *ends,
        Figure(
            "the longest from the last fault to an end", done["slowest_s"], "s", at_most=TRUTHFUL_WITHIN_S
        ),
        Figure("operations that were stuck", done["stuck"], "", at_most=0),
        Figure("requests that began twice", len(done["doubled"]), "", at_most=0),
        Figure("differences of trail and journals", len(done["unexplained"]), "", at_most=0),
    ]


class Rehearsal:
    """A rehearsal fleet and a console with its processes, in a folder of their own."""

    fleet: "Fleet"
    console: "Console"

    def __enter__(self) -> "Rehearsal":
        with ExitStack() as stack:
            self.data = (
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-faults-"))) / "data"
            )
            os.environ |= {"FLEET_DATA": str(self.data), "DJANGO_SETTINGS_MODULE": "fleet.settings"}
            self._bring_up(stack)
            self._stack = stack.pop_all()
        return self

    def _bring_up(self, stack: ExitStack) -> None:
        # All of these know Django, whose settings are read from the environment above.
        from fleet.rehearsal import Fleet, register  # noqa: PLC0415
        from tests.processes.console import Console  # noqa: PLC0415

        self.fleet = Fleet(f"b{os.getpid()}")
        read_key, write_key = register.prepare(self.fleet)
        stack.callback(self.fleet.down)
        self.fleet.up(read_key=read_key, write_key=write_key)
        register.register(self.fleet)
        for host in self.fleet.hosts.values():
            host.run(["mkdir", "-p", "/etc/relay-fleet"])
            host.path("/etc/relay-fleet/limits.json").write_text(json.dumps(_LIMITS))
        self.console = Console(self.data, {})
        self.console.start()
        stack.callback(self.console.stop)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def worker(self) -> int | None:
        """Return the process id of the console's worker; None where there is none at the moment."""
        process = self.console.process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text() if process else ""
        for pid in map(int, children.split()):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"celery" in words and b"worker" in words:
                return pid
        return None


def one_round(rehearsal: Rehearsal, chance: random.Random, done: dict[str, Any]) -> None:
    """Have every instance try its mail, harm what runs for a while, and look at what came of it."""
    operations = ask_for_all()
    harm_until = time.monotonic() + chance.uniform(5, 40)
    while time.monotonic() < harm_until:
        time.sleep(chance.uniform(0, 3))
        name = chance.choice(sorted(FAULTS))
        if FAULTS[name](rehearsal, chance):
            done["kills"][name] = done["kills"].get(name, 0) + 1
    took = wait_for_ends(operations, done)
    done["operations"] += len(operations)
    done["slowest_s"] = max(done["slowest_s"], round(took, 1))
    compare(done)


def ask_for_all() -> list[int]:
    """Plan and confirm a queue run of every instance; return the operations' numbers."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from relays.models import Instance  # noqa: PLC0415
    from relays.remote.errors import RemoteError  # noqa: PLC0415
    from relays.services import operations  # noqa: PLC0415
    from relays.services.audit import Actor  # noqa: PLC0415

    user = User.objects.filter(username="faults").first() or User.objects.create_superuser("faults")
    actor, idents = Actor("user", "faults", user.pk), []
    for instance in Instance.objects.select_related("host").filter(removed_at=None):
        try:
            operation = operations.plan(
                kind="queue.run",
                instance=instance,
                params={"domain": "hotmail.com"},
                user=user,
                actor=actor,
            )
        except RemoteError as error:
            print(f"no plan for {instance.name}: {error}", file=sys.stderr)
            continue
        operations.confirm(
            operation=operation,
            plan_hash=operation.plan_hash,
            user=user,
            actor=actor,
            reason="a bench of faults",
        )
        idents.append(operation.pk)
    return idents


def wait_for_ends(idents: list[int], done: dict[str, Any]) -> float:
    """Wait until all have ended; return the seconds that the last took. What has not by then is stuck."""
    began = time.monotonic()
    live = live_ones(idents)
    while live and time.monotonic() - began < TRUTHFUL_WITHIN_S:
        time.sleep(0.5)
        live = live_ones(idents)
    done["stuck"] += len(live)
    ended = Counter(operation.state for operation in _operations(idents) if not operation.is_live)
    done["ended"] = dict(Counter(done["ended"]) + ended)
    return time.monotonic() - began


def live_ones(idents: list[int]) -> list["Operation"]:
    return [operation for operation in _operations(idents) if operation.is_live]


def _operations(idents: list[int]) -> list["Operation"]:
    from relays.models import Operation  # noqa: PLC0415

    return list(Operation.objects.filter(pk__in=idents))


def compare(done: dict[str, Any]) -> None:
    """Hold the audit trail beside the hosts' journals, and count requests that began twice."""
    from relays.models import Host  # noqa: PLC0415
    from relays.remote import write  # noqa: PLC0415
    from relays.services.audit_check import verify  # noqa: PLC0415
    from relays.services.doors import read_target  # noqa: PLC0415
    from relays.services.journals import compare_all  # noqa: PLC0415

    compared = compare_all()
    broken = [f"{found.host}: {found.what}" for found in compared.differences]
    broken += [f"{host}: {why}" for host, why in compared.unasked.items()]
    broken += [f"event {found.seq}: {found.what}" for found in verify(anchors=compared.anchors).breaks]
    done["unexplained"] = sorted({*done["unexplained"], *broken})
    begun: Counter[str] = Counter()
    for host in Host.objects.all():
        page = write.journal_read(read_target(host), limit=10_000)
        begun.update(entry.req_id for entry in page.entries if entry.event == "begun")
    done["doubled"] = sorted({*done["doubled"], *(req_id for req_id, times in begun.items() if times > 1)})


def kill_worker(rehearsal: Rehearsal, _chance: random.Random) -> bool:
    """Kill the worker; its parent starts another."""
    pid = rehearsal.worker()
    if pid is None:
        return False
    os.kill(pid, 9)
    return True


def kill_relayctl(rehearsal: Rehearsal, chance: random.Random) -> bool:
    """Kill relayctl on a host, if it runs there now."""
    host = chance.choice(list(rehearsal.fleet.hosts.values()))
    return host.run(["pkill", "-KILL", "-f", _RELAYCTL]).returncode == 0


def cut_ssh(rehearsal: Rehearsal, chance: random.Random) -> bool:
    """End sshd with its sessions on a host, and start it again."""
    from fleet.rehearsal import faults  # noqa: PLC0415

    faults.restart_sshd(chance.choice(list(rehearsal.fleet.hosts.values())))
    return True


def empty_broker(rehearsal: Rehearsal, _chance: random.Random) -> bool:
    """Lose every message that waits."""
    for message in (rehearsal.data / "broker" / "messages").iterdir():
        message.unlink(missing_ok=True)
    return True


def lock_database(rehearsal: Rehearsal, chance: random.Random) -> bool:
    """Keep everybody from writing for a while."""
    with _locked(rehearsal.data / "fleet.sqlite3"):
        time.sleep(chance.uniform(*_LOCKED_S))
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    locker = sqlite3.connect(path, isolation_level=None, timeout=30)
    locker.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        locker.rollback()
        locker.close()


FAULTS: dict[str, Callable[[Rehearsal, random.Random], bool]] = {
    "broker emptied": empty_broker,
    "database locked": lock_database,
    "relayctl killed": kill_relayctl,
    "SSH cut": cut_ssh,
    "worker killed": kill_worker,
}

if __name__ == "__main__":
    sys.exit(main())
