"""Random kills and cuts under live operations: each ends truthful in two minutes, and nothing is done twice.

Rounds of queue runs on every instance of a rehearsal fleet, through a console with its real processes, while
the worker, relayctl and sshd with its sessions are killed with -9, the broker is emptied and the database
locked. What was done is added to a results file: a run that was ended goes on where it was (--resume).
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from bench.figures import Figure, arguments, report

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from fleet.rehearsal import Fleet
    from relays.models import Instance, Operation
    from tests.processes.console import Console

KILLS = 200
TRUTHFUL_WITHIN_S = 120
# So long a round harms before it waits for the ends: a lease that a kill left behind takes 80 s to run out.
HARM_S = 90
# As long as a lock may last that every writer waits for (20 s), and longer; mostly a short one.
_LOCKED_S = (1, 30, 1)
# A worker renewed its lease so shortly ago that it is within the operation now.
_JUST_NOW = timedelta(seconds=0.1)
# What no worker has renewed for so long is left behind by one, with --hurry.
_A_WHILE = timedelta(seconds=4)
_LIMITS = {"domain_runs_in_5_min": 300}
# Kills relayctl behind the write door as soon as it runs, or a moment later; 1 where none did within 3 s.
_KILL_RELAYCTL = """\
for _ in $(seq 60); do
    if pgrep -f "^/usr/bin/python3 -I /dev/fd/" >/dev/null; then
        sleep "$1"
        exec pkill -KILL -f "^/usr/bin/python3 -I /dev/fd/"
    fi
    sleep 0.05
done
exit 1
"""
_NOTHING_YET: dict[str, Any] = {
    "kills": {},
    "operations": 0,
    "ended": {},
    # Why what was not done was not, and how often.
    "not_done": {},
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
    parser.add_argument("--harm-s", type=float, default=HARM_S, help="harm so long in each round")
    parser.add_argument(
        "--hurry", action="store_true", help="end leases that a kill left behind instead of waiting for them"
    )
    options = parser.parse_args()
    done = begin(options.results, resume=options.resume)
    # A resumed run must not repeat the faults of the one before.
    chance = random.Random(f"{options.seed} {kills_of(done)}")
    with Rehearsal() as rehearsal:
        while kills_of(done) < options.kills:
            one_round(rehearsal, chance, done, harm_s=options.harm_s, hurry=options.hurry)
            options.results.write_text(json.dumps(done, indent=1))
            print(f"{kills_of(done)} kills in all, {done['operations']} operations", file=sys.stderr)
    return report(figures(done, options.kills), as_json=options.json)


def begin(results: Path, *, resume: bool) -> dict[str, Any]:
    """Return what was done before, or nothing yet."""
    results.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = json.loads(results.read_text()) if resume and results.exists() else {}
    return copy.deepcopy(_NOTHING_YET) | kept


def kills_of(done: dict[str, Any]) -> int:
    """Return how many faults were kills: a broker that is emptied or a lock is told, but counts as none."""
    return sum(number for name, number in done["kills"].items() if name.endswith("killed"))


def figures(done: dict[str, Any], kills: int) -> list[Figure]:
    """Return what the results file says, beside its limits."""
    kinds = [Figure(f"faults: {name}", number, "") for name, number in sorted(done["kills"].items())]
    ends = [
        Figure(f"operations that ended {name}", number, "") for name, number in sorted(done["ended"].items())
    ]
    return [
        *kinds,
        Figure("kills in all", kills_of(done), "", at_least=kills),
        Figure("operations", done["operations"], "", at_least=1),
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


def one_round(
    rehearsal: Rehearsal, chance: random.Random, done: dict[str, Any], *, harm_s: float, hurry: bool
) -> None:
    """Have every instance try its mail again and again, harm what runs, and look at what came of it."""
    harmed = Event()
    with ThreadPoolExecutor(max_workers=1) as asking:
        asked = asking.submit(ask_until, harmed)
        try:
            harm(rehearsal, chance, done, harm_s)
        finally:
            harmed.set()
        operations = asked.result()
    took = wait_for_ends(operations, done, hurry=hurry)
    done["operations"] += len(operations)
    done["slowest_s"] = max(done["slowest_s"], round(took, 1))
    compare(done)


def harm(rehearsal: Rehearsal, chance: random.Random, done: dict[str, Any], harm_s: float) -> None:
    """Do one thing after another to the console and its hosts, and count what was done."""
    names, weights = zip(*sorted((name, weight) for name, (weight, _) in FAULTS.items()), strict=True)
    harm_until = time.monotonic() + harm_s
    while time.monotonic() < harm_until:
        time.sleep(chance.uniform(0, 1))
        name = chance.choices(names, weights)[0]
        if FAULTS[name][1](rehearsal, chance):
            done["kills"][name] = done["kills"].get(name, 0) + 1


def ask_until(harmed: Event) -> list[int]:
    """Plan and confirm queue runs, an instance at a time that has none, until told; return their numbers.

    One at a time: a kill leaves few behind, whose leases keep their instances for 80 s.
    """
    from django.db import DatabaseError  # noqa: PLC0415

    from relays.models import Instance  # noqa: PLC0415

    idents: list[int] = []
    while not harmed.wait(0.1):
        try:
            free = Instance.objects.select_related("host").filter(removed_at=None, write_lock=None)
            if (instance := free.order_by("?").first()) is not None:
                idents += ask_for(instance)
        except DatabaseError as error:
            # It is locked for longer than anybody waits: what was not written was not asked for.
            print(f"no operation while the database fails: {error}", file=sys.stderr)
    return idents


def ask_for(instance: "Instance") -> list[int]:
    """Plan and confirm a queue run; return its number, or nothing where the host cannot be asked."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from relays.remote.errors import RemoteError  # noqa: PLC0415
    from relays.services import operations  # noqa: PLC0415
    from relays.services.audit import Actor  # noqa: PLC0415

    user = User.objects.filter(username="faults").first() or User.objects.create_superuser("faults")
    actor = Actor("user", "faults", user.pk)
    try:
        operation = operations.plan(
            kind="queue.run", instance=instance, params={"domain": "hotmail.com"}, user=user, actor=actor
        )
    except RemoteError as error:
        print(f"no plan for {instance.name}: {error}", file=sys.stderr)
        return []
    operations.confirm(
        operation=operation,
        plan_hash=operation.plan_hash,
        user=user,
        actor=actor,
        reason="a bench of faults",
    )
    return [operation.pk]


def wait_for_ends(idents: list[int], done: dict[str, Any], *, hurry: bool) -> float:
    """Wait until all have ended; return the seconds that the last took. What has not by then is stuck."""
    began = time.monotonic()
    while (live := live_ones(idents)) and time.monotonic() - began < TRUTHFUL_WITHIN_S:
        time.sleep(0.5)
        if hurry:
            end_leases(idents)
    done["stuck"] += len(live)
    ended = Counter(operation.state for operation in _rows(idents) if not operation.is_live)
    done["ended"] = dict(Counter(done["ended"]) + ended)
    why = Counter(row.outcome for row in _rows(idents) if not row.is_live and row.state != "done")
    done["not_done"] = dict(Counter(done["not_done"]) + why)
    return time.monotonic() - began


def end_leases(idents: list[int]) -> None:
    """Let what nobody has renewed for some seconds be claimed again at once, and send it."""
    from django.utils import timezone  # noqa: PLC0415

    from relays.services import operations  # noqa: PLC0415
    from relays.services.job import LEASE  # noqa: PLC0415

    now = timezone.now()
    left = _rows(idents).filter(state="running", lease_until__lt=now + LEASE - _A_WHILE)
    if left.update(lease_until=now):
        operations.sweep()


def live_ones(idents: list[int]) -> list["Operation"]:
    return [operation for operation in _rows(idents) if operation.is_live]


def _rows(idents: list[int]) -> "QuerySet[Operation]":
    from relays.models import Operation  # noqa: PLC0415

    return Operation.objects.filter(pk__in=idents)


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
    """Kill the worker while it has an operation in its hands; its parent starts another."""
    pid = rehearsal.worker()
    if pid is None or not _somebody_works(within_s=5):
        return False
    os.kill(pid, 9)
    return True


def _somebody_works(within_s: float) -> bool:
    """Wait until a worker has just renewed the lease of an operation."""
    from django.utils import timezone  # noqa: PLC0415

    from relays.models import Operation  # noqa: PLC0415
    from relays.services.job import LEASE  # noqa: PLC0415

    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if Operation.objects.filter(lease_until__gt=timezone.now() + LEASE - _JUST_NOW).exists():
            return True
        time.sleep(0.01)
    return False


def kill_relayctl(rehearsal: Rehearsal, chance: random.Random) -> bool:
    """Kill relayctl on a host within a change that it makes there."""
    host = chance.choice(list(rehearsal.fleet.hosts.values()))
    late = f"{chance.uniform(0, 0.15):.3f}"
    return host.run(["sh", "-c", _KILL_RELAYCTL, "kill", late]).returncode == 0


def kill_sshd(rehearsal: Rehearsal, chance: random.Random) -> bool:
    """Kill sshd with its sessions on a host, and start it again."""
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
        time.sleep(chance.triangular(*_LOCKED_S))
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


# How often each is chosen beside the others.
FAULTS: dict[str, tuple[int, Callable[[Rehearsal, random.Random], bool]]] = {
    "broker emptied": (3, empty_broker),
    "database locked": (1, lock_database),
    "relayctl killed": (10, kill_relayctl),
    "sshd and its sessions killed": (5, kill_sshd),
    "worker killed": (10, kill_worker),
}

if __name__ == "__main__":
    sys.exit(main())
