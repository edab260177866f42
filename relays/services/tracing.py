"""Tracing a message over all hosts at once: each reads its logs piece by piece, and every find leads on.

Nothing is stored here: traces.py does that for pages, `manage.py trace` prints.
"""

import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from typing import Any

from relays.domain.fields import MAX_COUNT
from relays.domain.text import printable
from relays.domain.trace import FoundLine, Lead, Place, leads, messages
from relays.domain.trace_question import QUEUE_ID, Question, arrival_of
from relays.models import Address, Host
from relays.remote.errors import Locked, RemoteError
from relays.remote.log_search import MAX_NEEDLES, Piece, log_search
from relays.remote.ssh import Limits
from relays.services.doors import read_target

THREADS = 25
# The first piece is short, so that a page has something to show; the others pay for fewer round trips.
FIRST_PIECE_MS, PIECE_MS = 1_000, 3_000
DEADLINE_S = 300
# More is no message that somebody looks for: the question is too wide.
MOST_MESSAGES, MOST_LINES = 1_000, 5_000
_LIMITS = Limits(wall_s=40)
_LOCKED_PAUSE_S = 0.3
_TICK_S = 1.0
_PROBLEMS_KEPT = 10
# A line may be written a little before the time that an id tells.
_SLACK_S = 120

WAITING, READING, DONE, FAILED, CUT = "waiting", "reading", "done", "failed", "cut"


@dataclass(slots=True)
class HostSearch:
    """How far a host's logs are read. state: waiting, reading, done, failed, or cut (stopped before its end).

    read_bytes counts what was decompressed, total_bytes what lies on the disk.
    """

    name: str
    state: str = WAITING
    lines: int = 0
    read_bytes: int = 0
    total_bytes: int = 0
    error: str = ""
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Ask:
    """One pass over a host's logs. Times by our clock."""

    texts: tuple[str, ...]
    ids: tuple[str, ...]
    since: int
    until: int


def places() -> dict[str, Place]:
    """Return the fleet's instances by the addresses they send from."""
    present = Address.objects.filter(instance__removed_at=None)
    rows = present.values_list("ip", "instance__host__name", "instance__name")
    return {ip: Place(host, name) for ip, host, name in rows}


def asked_hosts() -> list[Host]:
    """Return the hosts whose logs a trace reads: all that are enabled."""
    return list(Host.objects.filter(enabled=True).order_by("name"))


class Tracing:
    """A search under way: run() yields lines as they are found; hosts and cut tell how far it is."""

    def __init__(self, question: Question, hosts: Sequence[Host], places: dict[str, Place]) -> None:
        self.cut = False
        self._question = question
        self._places = places
        self._readers = {host.name: _Reader(host) for host in hosts}
        self._seen: set[tuple[str, str]] = set()
        self._ids: set[tuple[str, str]] = set()
        self._lines = 0

    @property
    def hosts(self) -> list[HostSearch]:
        """How far each host is, in the order in which they were given."""
        return [reader.told for reader in self._readers.values()]

    def run(self) -> Generator[list[FoundLine]]:
        """Yield new lines, and an empty list each second at least. Closing it ends the search."""
        deadline = time.monotonic() + DEADLINE_S
        pool = ThreadPoolExecutor(max(1, min(THREADS, len(self._readers))))
        try:
            for reader in self._readers.values():
                self._begin(reader)
            while running := self._submitted(pool):
                done = wait(running, _TICK_S, FIRST_COMPLETED).done
                yield [line for future in done for line in self._take(running[future], future)]
                if time.monotonic() > deadline:
                    self._cut_off(f"not read to the end within {DEADLINE_S // 60} minutes")
                    return
                if self._lines >= MOST_LINES:
                    self.cut = True
                    self._cut_off(f"{MOST_LINES:,} lines were found: the question is too wide")
                    return
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, reader: "_Reader") -> None:
        asked = self._question
        if asked.kind != QUEUE_ID:
            reader.asks.append(_Ask(asked.texts, (), asked.since, asked.until))
            return
        at = arrival_of(asked.text)
        self._look_for(Lead(reader.told.name, asked.text, since=asked.since if at is None else at - _SLACK_S))

    def _submitted(self, pool: ThreadPoolExecutor) -> dict["Future[Piece]", "_Reader"]:
        """Have each host that has more to read do so; return what runs."""
        for reader in self._readers.values():
            reader.go_on(pool)
        return {reader.future: reader for reader in self._readers.values() if reader.future is not None}

    def _take(self, reader: "_Reader", future: "Future[Piece]") -> list[FoundLine]:
        found = []
        for line in reader.take(future):
            key = (line.host, line.text)
            if key not in self._seen and self._lines < MOST_LINES:
                self._seen.add(key)
                self._lines += 1
                reader.told.lines += 1
                found.append(line)
        self._follow(found)
        return found

    def _follow(self, found: Sequence[FoundLine]) -> None:
        """Look for all lines of the messages that were found, and for where these went on or came from."""
        for line in found:
            if line.queue_id not in ("", "NOQUEUE"):
                at = arrival_of(line.queue_id)
                since = self._question.since if at is None else at - _SLACK_S
                self._look_for(Lead(line.host, line.queue_id, since=since))
        for lead in leads(messages(found), self._places, upstream=self._question.kind == QUEUE_ID):
            self._look_for(lead)

    def _look_for(self, lead: Lead) -> None:
        reader = self._readers.get(lead.host)
        key = (lead.host, lead.queue_id or lead.text)
        if reader is None or key in self._ids:
            return
        if len(self._ids) >= MOST_MESSAGES:
            self.cut = True
            for each in self._readers.values():
                each.stop_reading_for_texts()
            return
        self._ids.add(key)
        reader.leads.append(lead)

    def _cut_off(self, why: str) -> None:
        for reader in self._readers.values():
            if reader.told.state in (WAITING, READING):
                reader.told.state, reader.told.error = CUT, why


class _Reader:
    """One host's part: one request at a time, until nothing is left to be asked."""

    def __init__(self, host: Host) -> None:
        self.told = HostSearch(host.name)
        self.asks: list[_Ask] = []
        self.leads: list[Lead] = []
        self.future: Future[Piece] | None = None
        self._host = host
        self._target = read_target(host)
        self._skew_s = round(host.clock_skew_s or 0)
        self._ask: _Ask | None = None
        self._at: Any = None
        self._pieces = 0
        self._locked = False
        self._no_texts = False

    def stop_reading_for_texts(self) -> None:
        """Find no more messages: what was found is looked up to its end."""
        self._no_texts = True
        if self.future is None and self._ask is not None and self._ask.texts:
            self._ask = None

    def go_on(self, pool: ThreadPoolExecutor) -> None:
        """Submit the next piece, if none runs and there is one."""
        if self.future is not None or self.told.state in (FAILED, CUT):
            return
        if self._ask is None:
            self._ask, self._at = self._next_ask(), None
        if self._ask is None:
            self.told.state = DONE
            return
        self.told.state = READING
        self.future = pool.submit(self._piece, self._ask, self._at, _LOCKED_PAUSE_S if self._locked else 0)

    def take(self, future: "Future[Piece]") -> list[FoundLine]:
        """Return the lines that a piece brought; what went wrong stands with the host."""
        self.future = None
        try:
            piece = future.result()
        except Locked:
            self._locked = True
            self.told.error = "waits: another search reads this host's logs"
            return []
        except RemoteError as error:
            self.told.state, self.told.error = FAILED, printable(str(error), 300)
            return []
        self._locked, self.told.error = False, ""
        self._at = piece.at
        if piece.at is None or (self._no_texts and self._ask is not None and self._ask.texts):
            self._ask = None
        self.told.read_bytes += piece.read_bytes
        self.told.total_bytes = max(self.told.total_bytes, piece.total_bytes)
        self.told.problems = _distinct([*self.told.problems, *piece.problems])
        return [
            FoundLine(self.told.name, self._our_time(line.time), line.instance, line.queue_id, line.text)
            for line in piece.lines
        ]

    def _our_time(self, seconds: int) -> int:
        return min(max(0, seconds - self._skew_s), MAX_COUNT)

    def _next_ask(self) -> _Ask | None:
        if self.asks and not self._no_texts:
            return self.asks.pop(0)
        ids = [lead for lead in self.leads if lead.queue_id][:MAX_NEEDLES]
        chosen = ids or self.leads[:MAX_NEEDLES]
        if not chosen:
            return None
        self.leads = [lead for lead in self.leads if lead not in chosen]
        # What became of a message is asked for up to now, whatever span it was looked for in.
        until = [lead.until or int(time.time()) + _SLACK_S for lead in chosen]
        return _Ask(
            () if ids else tuple(lead.text for lead in chosen),
            tuple(lead.queue_id for lead in ids),
            max(0, min(lead.since for lead in chosen)),
            max(until),
        )

    def _piece(self, ask: _Ask, at: Any, pause_s: float) -> Piece:
        time.sleep(pause_s)
        self._pieces += 1
        return log_search(
            self._target,
            _LIMITS,
            texts=ask.texts,
            ids=ask.ids,
            since=min(max(0, ask.since + self._skew_s), MAX_COUNT),
            until=min(max(0, ask.until + self._skew_s), MAX_COUNT),
            at=at,
            budget_ms=FIRST_PIECE_MS if self._pieces == 1 else PIECE_MS,
        )


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))[:_PROBLEMS_KEPT]
