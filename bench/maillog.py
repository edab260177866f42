"""Reading a big log of many instances: relayctl's counting against pflogsumm, CPU, time and memory.

The log is generated, the same each time, with its true counts, which what is counted must equal. Both readers
run over the same file as whole processes, one after the other, so that a busy moment of the machine meets
both. pflogsumm is Debian's and is installed where it is missing.
"""

import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

from bench.figures import Figure, arguments, report
from relays.agent.log_follow import Budget, follow
from relays.agent.log_place import Cursor, parse_cursor
from relays.domain.maillog.counts import Counter
from relays.domain.maillog.tables import BUCKET_S, DELAY_BOUNDS, RowKey

START = int(datetime(2026, 11, 20, 6, 0, tzinfo=UTC).timestamp())
NOW = START + 86_400
PER_SECOND = 24
FLEET = ("198.51.100.12", "198.51.100.21")
CHUNK = 1 << 20

# Instances by what they deliver to: a provider's few domains, or the long tail.
_DOMAINS = {
    "msn": ["hotmail.com", "outlook.com", "live.com", "msn.com", "hotmail.co.uk", "outlook.de"],
    "google": ["gmail.com", "googlemail.com"],
    "yahoo": ["yahoo.com", "aol.com", "yahoo.co.uk", "ymail.com", "yahoo.fr"],
    "therest": [f"host{n}.example" for n in range(400)],
}
_INSTANCES = [f"{provider}-{letter}" for provider in _DOMAINS for letter in "ab"]
_THROTTLED = (
    "host {mx} said: 421 4.7.0 [TSS04] Messages from 198.51.100.11 temporarily deferred due to unexpected"
    " volume or user complaints - 4.16.55.1; see https://postmaster.example/error-codes (in reply to MAIL"
    " FROM command)"
)
_GREYLISTED = (
    "host {mx} said: 450 4.2.0 <{to}>: Recipient address rejected: Greylisted for {n} seconds"
    " (in reply to RCPT TO command)"
)
_SUSPENDED = "delivery temporarily suspended: host {mx} refused to talk to me: 421 4.7.0 try again later"
_UNKNOWN = (
    "host {mx} said: 550 5.1.1 <{to}>: Recipient address rejected: User unknown, status=sent (id {token:x})"
    " (in reply to RCPT TO command)"
)
_TRAP = (
    "host {mx} said: 550 5.7.1 our records say to=<x@hotmail.com>, relay=none, delay=1, status=sent (250 Ok)"
)


class _Fate(NamedTuple):
    """What becomes of a recipient, how it is logged, and how often."""

    outcome: str
    status: str
    dsn: str
    reply: str
    share: float


_FATES = (
    _Fate("sent", "sent", "2.0.0", "250 2.0.0 OK {token:x} az9-v6si5976496plb.190 - gsmtp", 0.86),
    _Fate("handed_over", "sent", "2.0.0", "250 2.0.0 Ok: queued as 4jWJg{token:x}", 0.02),
    _Fate("deferred", "deferred", "4.7.0", _THROTTLED, 0.05),
    _Fate("deferred", "deferred", "4.2.0", _GREYLISTED, 0.02),
    _Fate("suspended", "deferred", "4.7.0", _SUSPENDED, 0.03),
    _Fate("bounced", "bounced", "5.1.1", _UNKNOWN, 0.014),
    _Fate("bounced", "bounced", "5.7.1", _TRAP, 0.002),
    _Fate("softbounce", "SOFTBOUNCE", "5.1.1", _UNKNOWN, 0.002),
    _Fate("", "undeliverable", "5.1.1", _UNKNOWN, 0.002),
)


class Truth:
    """What a log holds, told by its writer."""

    def __init__(self) -> None:
        self.lines = 0
        self.unrecognized = 0
        self.rows: dict[tuple[int, str, str, str, str], list[int]] = {}
        self.delays: dict[tuple[int, str, str], list[int]] = {}
        self.accepted: Tally[tuple[int, str, str]] = Tally()

    def add(self, place: tuple[int, str, str], outcome: str, dsn: str, size: int) -> None:
        row = self.rows.setdefault((*place, outcome, dsn), [0, 0])
        row[0] += 1
        row[1] += size

    def add_delay(self, place: tuple[int, str, str], delay: str) -> None:
        bins = self.delays.setdefault(place, [0] * (len(DELAY_BOUNDS) + 1))
        bins[bisect_left(DELAY_BOUNDS, float(delay))] += 1

    def digest(self) -> str:
        """Return one text for all counts: equal where they are."""
        heads = [self.lines, self.unrecognized]
        return digest(heads, in_order(self.rows), in_order(self.delays), in_order(self.accepted))


def digest(heads: list[int], *tables: Iterator[tuple[Any, Any]]) -> str:
    """Return one text for these, with no copy of them: the memory that the counting takes is measured."""
    told = hashlib.sha256(json.dumps(heads).encode())
    for table in tables:
        while rows := list(islice(table, 1000)):
            told.update(json.dumps(rows).encode())
    return told.hexdigest()


def in_order(table: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    return ((key, table[key]) for key in sorted(table))


class Mail(NamedTuple):
    """A message of one recipient in a queue."""

    instance: str
    queue_id: str
    domain: str
    size: int


class Writer:
    """Writes a log of mail through all instances, PER_SECOND messages a second."""

    def __init__(self, path: Path, *, rfc3339: bool) -> None:
        self.truth = Truth()
        self._path = path
        self._rfc3339 = rfc3339
        self._chance = random.Random(3)  # the same log each time
        self._number = 0
        self._waiting: deque[tuple[int, Mail]] = deque()
        self._out: list[str] = []

    def write(self, size: int) -> Truth:
        """Write at least so many bytes."""
        now, written = START, 0
        with self._path.open("wb") as file:
            while written < size:
                self._second(now)
                now += 1
                text = "".join(self._out).encode()
                self.truth.lines += len(self._out)
                self._out.clear()
                written += file.write(text)
        return self.truth

    def _second(self, now: int) -> None:
        stamps = self._stamps(now)
        for nth in range(PER_SECOND):
            instance = _INSTANCES[self._chance.randrange(len(_INSTANCES))]
            self._message(now, next(stamps), instance, nth)
        if now % 60 == 0:
            self._out.append(f"{next(stamps)} iron dovecot: imap-login: Login: user=<u>\n")
            self._out.append(
                f"{next(stamps)} iron postfix-msn-a/smtp[1]: 4jWKWh04b5z: to=<u@a.example>, rel\n"
            )
            self.truth.unrecognized += 2

    def _stamps(self, now: int) -> Iterator[str]:
        moment = datetime.fromtimestamp(now, UTC)
        micros = 0
        while True:
            micros += 31_337
            yield (
                f"{moment:%Y-%m-%dT%H:%M:%S}.{micros:06}+00:00"
                if self._rfc3339
                else f"{moment:%b %e %H:%M:%S}"
            )

    def _message(self, now: int, stamp: str, instance: str, nth: int) -> None:
        """Write a message that comes in and is tried, and another try of one that waits."""
        chance, line = self._chance, self._out.append
        self._number += 1
        number = self._number
        domains = _DOMAINS[instance[:-2]]
        nth_domain = int(chance.expovariate(0.03 if len(domains) > 9 else 1))
        domain = domains[min(nth_domain, len(domains) - 1)]
        mail = Mail(instance, f"4jW{number:09x}z", domain, chance.randrange(900, 90_000))
        pid = number // 700 % 30_000
        client = f"lists{number % 5}.relay.test[192.0.2.{number % 5}]"
        head = f"{stamp} iron postfix-{instance}"
        if nth % 4 == 0:
            line(f"{head}/smtpd[{pid}]: connect from {client}\n")
        line(f"{head}/smtpd[{pid}]: {mail.queue_id}: client={client}\n")
        line(f"{head}/cleanup[{pid + 1}]: {mail.queue_id}: message-id=<20261120.{number}@lists.relay.test>\n")
        self._try(now, stamp, mail)
        if nth % 4 == 3:
            line(f"{head}/smtpd[{pid}]: disconnect from {client} ehlo=1 mail=4 rcpt=4 data=4 commands=13\n")
        self.truth.accepted[now - now % BUCKET_S, instance, f"192.0.2.{number % 5}"] += 1
        if self._waiting and self._waiting[0][0] < now - 600:
            self._try(now, stamp, self._waiting.popleft()[1])

    def _try(self, now: int, stamp: str, mail: Mail) -> None:
        chance, line, number = self._chance, self._out.append, self._number
        head, pid = f"{stamp} iron postfix-{mail.instance}", number // 1500 % 30_000
        place = now - now % BUCKET_S, mail.instance, mail.domain
        (fate,) = chance.choices(_FATES, _SHARES)
        to = f"member{number * 7919 % 300_000}@{mail.domain}"
        mx = f"mx{len(mail.domain) % 3}.{mail.domain}[203.0.113.{len(mail.domain)}]"
        relay = "none" if fate.outcome == "suspended" else f"{mx}:25"
        if fate.outcome == "handed_over":
            relay = f"{FLEET[number % 2]}[{FLEET[number % 2]}]:25"
        reply = fate.reply.format(mx=mx, to=to, n=chance.randrange(60, 600), token=chance.getrandbits(40))
        delay = str(chance.randrange(10, 40_000) if number % 20 == 0 else chance.randrange(1, 99) / 10)
        line(
            f"{head}/qmgr[311]: {mail.queue_id}: from=<bounces-{number % 900}@lists.relay.test>,"
            f" size={mail.size}, nrcpt=1 (queue active)\n"
        )
        if number % 3 == 0:
            line(
                f"{head}/smtp[{pid}]: Untrusted TLS connection established to {mx}:25: TLSv1.3 with cipher"
                " TLS_AES_256_GCM_SHA384 (256/256 bits)\n"
            )
        line(
            f"{head}/smtp[{pid}]: {mail.queue_id}: to=<{to}>, relay={relay}, delay={delay},"
            f" delays=0.01/0.02/0.4/0.3, dsn={fate.dsn}, status={fate.status} ({reply})\n"
        )
        if fate.outcome:
            self.truth.add(place, fate.outcome, fate.dsn, mail.size)
        if fate.outcome in ("sent", "handed_over"):
            self.truth.add_delay(place, delay)
        self._end_try(now, head, mail, fate)

    def _end_try(self, now: int, head: str, mail: Mail, fate: _Fate) -> None:
        """Write that a message is done, or has waited too long, or have it wait."""
        if fate.outcome not in ("deferred", "suspended", "softbounce"):
            self._out.append(f"{head}/qmgr[311]: {mail.queue_id}: removed\n")
        elif self._number % 50 or fate.outcome == "softbounce":
            self._waiting.append((now, mail))
        else:
            sender = "from=<bounces@lists.relay.test>"
            self._out.append(
                f"{head}/qmgr[311]: {mail.queue_id}: {sender}, status=expired, returned to sender\n"
            )
            self.truth.add((now - now % BUCKET_S, mail.instance, mail.domain), "expired", "", mail.size)


_SHARES = [fate.share for fate in _FATES]


class Spent(NamedTuple):
    """CPU and wall seconds of a process and its greatest memory in MiB."""

    cpu_s: float
    wall_s: float
    mib: float


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--read", metavar="LOG", help="only count this log, and print the digest of its counts"
    )
    options = parser.parse_args()
    if options.read:
        print(digest_of(Path(options.read)))
        return 0
    need_pflogsumm()
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        return report(list(figures(Path(folder), options.megabytes, options.rounds)), as_json=options.json)


def figures(folder: Path, megabytes: int, rounds: int) -> Iterator[Figure]:
    log = folder / "mail.log"
    lines, truth = write(log, megabytes, rfc3339=False)
    spent = [(run(pflogsumm(log)), run(ours(log), expect=truth)) for _ in range(rounds)]
    peer, own = (Spent(*map(statistics.median, zip(*side, strict=True))) for side in zip(*spent, strict=True))
    yield Figure("the log", log.stat().st_size / 1e6, "MB", at_least=megabytes)
    yield Figure("its lines", lines / 1e6, "M")
    yield Figure("pflogsumm", peer.cpu_s, "CPU s")
    yield Figure("counting", own.cpu_s, "CPU s")
    yield Figure("pflogsumm / counting, CPU", median_ratio(spent, "cpu_s"), "x", at_least=10)
    yield Figure("pflogsumm / counting, wall", median_ratio(spent, "wall_s"), "x", at_least=10)
    yield Figure("counting, memory", own.mib, "MiB", at_most=96)
    yield Figure("pflogsumm / counting, memory", peer.mib / own.mib, "x", at_least=10)
    yield from tail_figures(log)
    log.unlink()
    _, other = write(log, megabytes // 5, rfc3339=True)
    own = run(ours(log), expect=other)
    yield Figure("counting a fifth with RFC 3339 stamps", own.cpu_s, "CPU s")
    # run() raises where one digest differs.
    yield Figure("logs whose counts equal the truth", 2, "logs", at_least=2)


def median_ratio(spent: list[tuple[Spent, Spent]], what: str) -> float:
    ratios: list[float] = [getattr(peer, what) / getattr(own, what) for peer, own in spent]
    return statistics.median(ratios)


def write(log: Path, megabytes: int, *, rfc3339: bool) -> tuple[int, str]:
    """Write a log; return the number of its lines and the digest of its true counts.

    In a process of its own: the greatest memory of a program begins with that of the process that starts it
    (ru_maxrss outlives exec), and this one shall stay small.
    """
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(_write, log, megabytes, rfc3339=rfc3339).result()


def _write(log: Path, megabytes: int, *, rfc3339: bool) -> tuple[int, str]:
    truth = Writer(log, rfc3339=rfc3339).write(megabytes * 1_000_000)
    return truth.lines, truth.digest()


def need_pflogsumm() -> None:
    if shutil.which("pflogsumm") is None:
        subprocess.run(["apt-get", "-qq", "install", "--yes", "pflogsumm"], check=True, stdout=sys.stderr)


def pflogsumm(log: Path) -> list[str]:
    return ["pflogsumm", r"--syslog-name=postfix-\w+-\w", str(log)]


def ours(log: Path) -> list[str]:
    return [sys.executable, "-m", "bench.maillog", "--read", str(log)]


def run(command: list[str], *, expect: str = "") -> Spent:
    """Run a command; raise where it fails or doesn't say what it should."""
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        # The end of a long report is enough: what is read here would count as the next one's memory.
        output.seek(max(0, output.tell() - 500))
        said = output.read().decode("utf-8", "replace")
    if process.returncode != 0 or expect not in said:
        raise RuntimeError(f"{command} ended with {process.returncode}: {said}")
    return Spent(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def digest_of(log: Path) -> str:
    counter = new_counter()
    with log.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            counter.feed(chunk)
    counts = counter.finish()
    rows = (
        (place, [sum(counts.rows[key][of] for key in keys) for of in (0, 1)])
        for place, [*keys] in groupby(sorted(counts.rows), key=without_digest)
    )
    heads = [counts.lines, counts.unrecognized]
    return digest(heads, rows, in_order(counts.delays), in_order(counts.accepted))


def without_digest(row: RowKey) -> tuple[int, str, str, str, str]:
    return row[:5]


def new_counter() -> Counter:
    return Counter({}, FLEET, now=NOW, zone=UTC)


def tail_figures(log: Path) -> Iterator[Figure]:
    """Measure, in this process, what a poll costs that finds a megabyte more in a log, and none."""
    with log.open("rb") as file:
        file.seek(-20_000_000, os.SEEK_END)
        appended = file.read(12_000_000).partition(b"\n")[2]
    read_all = Budget(1 << 40, time.monotonic() + 600)
    cursor = parse_cursor(follow(str(log), None, read_all, lambda _: None).cursor)
    costs: dict[str, list[float]] = {"a megabyte": [], "nothing": []}
    for nth in range(9):
        with log.open("ab") as file:
            file.write(appended[nth * 1_000_000 : (nth + 1) * 1_000_000])
        cursor = poll(log, cursor, costs["a megabyte"])
        cursor = poll(log, cursor, costs["nothing"])
    yield Figure("a megabyte appended", statistics.median(costs["a megabyte"]), "CPU ms", at_most=60)
    yield Figure("nothing appended", statistics.median(costs["nothing"]), "CPU ms", at_most=1)


def poll(log: Path, cursor: Cursor, costs: list[float]) -> Cursor:
    started = time.process_time()
    counter = new_counter()
    piece = follow(str(log), cursor, Budget(1 << 30, time.monotonic() + 60), counter.feed)
    counter.finish()
    costs.append((time.process_time() - started) * 1000)
    return parse_cursor(piece.cursor)


if __name__ == "__main__":
    sys.exit(main())
