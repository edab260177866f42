"""A real queue of 100,000 messages: relayctl's reading of it against qshape, CPU and memory.

The queue is made by copying queue files that a real Postfix wrote, under names that Postfix holds for right
(microseconds and inode), with other recipients, arrival times and recorded reasons. What is compared is whole
processes, start included; qshape reads the queue files itself, so what postqueue(1) and showq(8) spend is
told beside the two figures that are about its output, and counted in the one about a whole snapshot.
"""

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.figures import Figure, arguments, report
from relays.agent.build import build
from tests.agent.postfix_host import PYZ, make_default, make_instance, send, start, wait_for_deferred
from tests.agent.sandbox import Sandbox

CONFIG = "/etc/postfix-bench"
SPOOL = "/var/spool/postfix-bench"
LISTING = "/root/listing"

# Of the same length as what stands in for them in a copied queue file, so that its offsets stay true.
_ADDRESS = "recipient-number-{n}-of-a-message@placeholder.example"
_ARRIVAL = re.compile(rb"(T[\x10-\x12])\d{10}(?= )")
_DOMAINS = [
    "hotmail.com",
    "outlook.com",
    "gmail.com",
    "yahoo.com",
    *(f"host{n}.example" for n in range(2900)),
]
_REASONS = (
    "host mx.{domain}[104.47.{n}.33] said: 421 4.7.0 [TSS04] Messages from 198.51.100.11 temporarily deferred"
    " due to unexpected volume or user complaints; see https://postmaster.example/error-codes (in reply to"
    " MAIL FROM command)",
    "host mx.{domain}[104.47.1.33] said: 450 4.2.0 <{address}>: Recipient address rejected: Greylisted for"
    " {n} seconds (in reply to RCPT TO command)",
    "host mx.{domain}[142.250.1.{n}] said: 421-4.7.28 Our system has detected an unusual rate of unsolicited"
    " mail {token:x}si{token}.12 - gsmtp (in reply to end of DATA command)",
    "connect to mx.{domain}[203.0.113.9]:25: Connection timed out",
)

_READ = """
import sys
sys.path.insert(0, {pyz!r})
from relays.domain.queue import QueueSummary
summary = QueueSummary(now={now}, replies={replies})
with open(0, "rb", buffering=0) as listing:
    while chunk := listing.read(65536):
        summary.feed(chunk)
summary.finish()
summary.domains(limit=200, max_bytes=40000), summary.replies(limit=20, max_bytes=16000)
assert summary.counts["deferred"] == {messages} and not summary.unparsable, summary.counts
"""


class Spent(NamedTuple):
    """CPU seconds of a process and its children; the most memory, in MiB, of it alone and of all at once."""

    cpu_s: float
    own_mib: float = 0.0
    all_mib: float = 0.0


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder, Sandbox(Path(folder)) as host:
        fill(host, options.messages)
        rounds = [measure(host, options.messages) for _ in range(options.rounds)]
    medians = {name: median([one[name] for one in rounds]) for name in rounds[0]}
    return report(list(figures(medians, options.messages)), as_json=options.json)


def median(spent: list[Spent]) -> Spent:
    return Spent(*(statistics.median(values) for values in zip(*spent, strict=True)))


def figures(spent: dict[str, Spent], messages: int) -> Iterator[Figure]:
    qshape, snapshot = spent["qshape"], spent["snapshot"]
    yield Figure(f"qshape on {messages} messages", qshape.cpu_s, "CPU s")
    yield Figure("counts and ages from postqueue -j's output", spent["counts"].cpu_s, "CPU s")
    yield Figure("qshape / counts and ages", qshape.cpu_s / spent["counts"].cpu_s, "x", at_least=6)
    yield Figure("the same with top replies", spent["replies"].cpu_s, "CPU s")
    yield Figure("qshape / with top replies", qshape.cpu_s / spent["replies"].cpu_s, "x", at_least=3)
    yield Figure("showq, which Postfix runs for postqueue", spent["showq"].cpu_s, "CPU s")
    yield Figure("whole snapshot: relayctl and its children", snapshot.cpu_s, "CPU s", at_most=qshape.cpu_s)
    whole = snapshot.cpu_s + spent["showq"].cpu_s
    yield Figure("whole snapshot, showq too", whole, "CPU s")
    yield Figure("relayctl's memory", snapshot.own_mib, "MiB", at_most=32)
    yield Figure("relayctl's and its children's memory", snapshot.all_mib, "MiB", at_most=64)


def measure(host: Sandbox, messages: int) -> dict[str, Spent]:
    """Run each reader once, one after the other, so that a busy moment of the machine meets all alike."""
    listing = host.inside(LISTING)
    with listing.open("wb") as file:
        subprocess.run(host.command(["postqueue", "-c", CONFIG, "-j"]), stdout=file, check=True)
    spent = {"qshape": run(host, ["qshape", "-c", CONFIG, "incoming", "active", "deferred", "hold"])}
    for name, replies in (("counts", False), ("replies", True)):
        program = _READ.format(pyz=PYZ, now=time.time(), replies=replies, messages=messages)
        spent[name] = run(host, ["/usr/bin/python3", "-I", "-c", program], stdin=listing)
    before = showq_cpu_s(host)
    request = {
        "v": 1,
        "req_id": "0123456789",
        "verb": "snapshot",
        "args": {"instances": ["bench"]},
        "deadline_s": 300,
    }
    asked = host.inside("/root/request")
    asked.write_text(json.dumps(request))
    spent["snapshot"] = run(
        host, [PYZ], stdin=asked, as_nobody=True, expect=f'"deferred":{messages},'.encode()
    )
    spent["showq"] = Spent(showq_cpu_s(host) - before)
    return spent


def run(
    host: Sandbox,
    command: list[str],
    *,
    stdin: Path | None = None,
    as_nobody: bool = False,
    expect: bytes = b"",
) -> Spent:
    """Run a command in the sandbox; return what it and its children spent."""
    with (stdin or Path("/dev/null")).open("rb") as file, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(host.command(command, as_nobody=as_nobody), stdin=file, stdout=output)
        watcher = Watcher(process.pid, Path(command[0]).name)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.stop()
        output.seek(0)
        said = output.read()
    if process.returncode != 0 or expect not in said:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said[-2000:]!r}")
    return Spent(usage.ru_utime + usage.ru_stime, watcher.own_kib / 1024, watcher.all_kib / 1024)


class Watcher(threading.Thread):
    """Looks every 20 ms at the memory of a process and its descendants."""

    def __init__(self, pid: int, program: str) -> None:
        super().__init__(daemon=True)
        self.own_kib = 0
        self.all_kib = 0
        self._pid = pid
        self._program = program
        self._done = threading.Event()
        self.start()

    def stop(self) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.wait(0.02):
            together = 0
            for pid in descendants(self._pid):
                resident, command = memory(pid)
                together += resident
                if self._program in command:
                    self.own_kib = max(self.own_kib, resident)
            self.all_kib = max(self.all_kib, together)


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and all below it, as far as they still are."""
    yield pid
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in below:
        yield from descendants(int(child))


def memory(pid: int) -> tuple[int, str]:
    """Return a process's resident memory in KiB and its command line; nothing where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return 0, ""
    resident = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(resident[0]) if resident else 0, "" if "nsenter" in command else command


def showq_cpu_s(host: Sandbox) -> float:
    """Return the CPU seconds of the sandbox's showq processes so far."""
    ticks = 0
    for pid in host.run("pgrep", "-x", "showq", check=False).stdout.split():
        stat = host.run("cat", f"/proc/{int(pid)}/stat").stdout.decode().rpartition(")")[2].split()
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def fill(host: Sandbox, messages: int) -> None:
    """Start an instance and fill its deferred queue with copies of messages it deferred itself."""
    host.write(PYZ, build(), 0o755)
    # showq must live through a round, or its CPU time could not be read; nothing may retry the copies.
    make_instance(host, "bench", 2525, extra="max_idle = 1000s\nmax_use = 1000\nqueue_run_delay = 10d\n")
    make_default(host, CONFIG)
    start(host, CONFIG)
    for recipients in (1, 2, 3):
        send(host, CONFIG, *(_ADDRESS.format(n=n) for n in range(recipients)))
    wait_for_deferred(host, CONFIG, 3)
    copy_queue(host.inside(SPOOL), messages)


class Template(NamedTuple):
    """A deferred message's queue file and the file of reasons beside it."""

    message: bytes
    reasons: bytes
    recipients: int


def copy_queue(spool: Path, messages: int) -> None:
    """Replace the deferred messages by this many copies; arrival times go back up to three days."""
    chance = random.Random(4)  # the same queue each time
    templates = sorted(take_templates(spool), key=lambda template: template.recipients)
    for kind in ("deferred", "defer"):
        for digit in "0123456789ABCDEF":
            (spool / kind / digit).mkdir(mode=0o700, exist_ok=True)
            shutil.chown(spool / kind / digit, "postfix")
    now = int(time.time())
    for number in range(messages):
        template = chance.choices(templates, (67, 23, 10))[0]
        arrival = now - int(chance.expovariate(1 / 20_000)) % 259_200
        copy_message(spool, template, number, arrival, chance)


def take_templates(spool: Path) -> Iterator[Template]:
    """Yield the messages that lie there, and remove them."""
    for path in sorted((spool / "deferred").glob("?/*")):
        reasons = spool / "defer" / path.parent.name / path.name
        content = path.read_bytes()
        recipients = sum(_ADDRESS.format(n=n).encode() in content for n in range(3))
        yield Template(content, reasons.read_bytes(), recipients)
        path.unlink()
        reasons.unlink()


def copy_message(spool: Path, template: Template, number: int, arrival: int, chance: random.Random) -> None:
    """Write one message and its reasons, under the name that Postfix would have given it."""
    content = _ARRIVAL.sub(rb"\g<1>%d" % arrival, template.message, count=1)
    reasons = template.reasons
    for index in range(template.recipients):
        placeholder = _ADDRESS.format(n=index)
        domain = _DOMAINS[min(int(chance.expovariate(1 / 40)), len(_DOMAINS) - 1)]
        address = f"user{number}-".ljust(len(placeholder) - len(domain) - 1, "x") + f"@{domain}"
        reason = chance.choice(_REASONS).format(
            domain=domain, n=chance.randrange(64), address=address, token=chance.getrandbits(40)
        )
        content = content.replace(placeholder.encode(), address.encode())
        head, mark, tail = reasons.partition(f"recipient={placeholder}".encode())
        tail = tail.replace(b"reason=deferred transport", b"reason=" + reason.encode(), 1)
        reasons = (head + mark + tail).replace(placeholder.encode(), address.encode())
    write_message(spool, f"{number:05X}", content, reasons)


def write_message(spool: Path, microseconds: str, content: bytes, reasons: bytes) -> None:
    new = spool / "deferred" / "new"
    new.write_bytes(content)
    new.chmod(0o700)
    shutil.chown(new, "postfix", "postfix")
    # The next retry lies a month ahead: the copies stay as they are.
    os.utime(new, (time.time() + 2_592_000,) * 2)
    name = f"{microseconds}{new.stat().st_ino:X}"
    new.rename(spool / "deferred" / name[0] / name)
    log = spool / "defer" / name[0] / name
    log.write_bytes(reasons)
    log.chmod(0o600)
    shutil.chown(log, "postfix", "postfix")


if __name__ == "__main__":
    sys.exit(main())
