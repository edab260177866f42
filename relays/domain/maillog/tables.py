"""What a log told, as tables: the outcomes that counts.py counts, and what others take of them.

relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from operator import add

BUCKET_S = 300
# Seconds: the bins of delays end here, each with its end, and one more is open.
DELAY_BOUNDS = (0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 900, 1800, 3600, 14400, 86400)

# What is beyond a limit is counted under OTHER, a reply under OTHER_DIGEST, a client under "".
OTHER = "(other)"
OTHER_DIGEST = "other"
# Of a bucket and instance: so many are told of, those with the most recipients of the MAX_DOMAINS counted.
TOP_DOMAINS = 500

# ts, instance, domain, outcome, dsn, digest
RowKey = tuple[int, str, str, str, str, str]


@dataclass
class Reply:
    """Replies that are one masked text.

    sample: the first of them, printable, at most MAX_SAMPLE characters. code: of SMTP. first, last:
    seconds since 1970.
    """

    masked: str
    sample: str
    code: int | None
    dsn: str
    first: int
    last: int

    def hear(self, time: int) -> None:
        """Note that it was heard once more."""
        if time < self.first:
            self.first = time
        elif time > self.last:
            self.last = time


@dataclass
class Counts:
    """What a log told.

    Times are seconds since 1970; ts is the start of a bucket of BUCKET_S. rows: recipients (messages, where
    they expired) and their bytes by (ts, instance, domain, outcome, dsn, digest); digest is "" for what was
    sent or handed over. delays: what was sent or handed over in how long, by (ts, instance, domain), in bins
    that end at DELAY_BOUNDS. accepted: messages by (ts, instance, client's address), "" where it has none.
    denied: by the same, recipients that a client was not allowed to relay to. Bytes are of messages that came
    into the active queue in the same reading, and 0 of others.
    """

    rows: dict[RowKey, list[int]] = field(default_factory=dict)
    delays: dict[tuple[int, str, str], list[int]] = field(default_factory=dict)
    accepted: dict[tuple[int, str, str], int] = field(default_factory=dict)
    denied: dict[tuple[int, str, str], int] = field(default_factory=dict)
    # The name that a client's address was last seen with, and the host that a domain's mail last went to.
    clients: dict[str, str] = field(default_factory=dict)
    mx: dict[str, str] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    lines: int = 0
    # Lines that are not Postfix's, or cut before they told what is counted, with some of them; foreign: those
    # of them that are whole lines of other programs.
    unrecognized: int = 0
    foreign: int = 0
    unrecognized_samples: list[str] = field(default_factory=list)
    # The times of the first and the last line.
    first: int | None = None
    last: int | None = None


def keep_top_domains(counts: Counts, domains: Mapping[tuple[int, str], Collection[str]]) -> None:
    """Sum what a bucket and instance has beyond its TOP_DOMAINS greatest. domains: those of each."""
    crowded = {place for place, names in domains.items() if len(names) > TOP_DOMAINS}
    if not crowded:
        return
    volumes: dict[tuple[int, str], dict[str, int]] = {place: {} for place in crowded}
    for (ts, instance, domain, *_), (n, _) in counts.rows.items():
        volume = volumes.get((ts, instance))
        if volume is not None:
            volume[domain] = volume.get(domain, 0) + n
    kept = {
        place: set(nlargest(TOP_DOMAINS, volume, volume.__getitem__)) for place, volume in volumes.items()
    }

    def name(ts: int, instance: str, domain: str) -> str:
        top = kept.get((ts, instance))
        return domain if top is None or domain in top else OTHER

    rows, counts.rows = counts.rows, {}
    for (ts, instance, domain, outcome, dsn, digest), (n, size) in rows.items():
        row = counts.rows.setdefault((ts, instance, name(ts, instance, domain), outcome, dsn, digest), [0, 0])
        row[0] += n
        row[1] += size
    delays, counts.delays = counts.delays, {}
    for (ts, instance, domain), bins in delays.items():
        key = (ts, instance, name(ts, instance, domain))
        counts.delays[key] = list(map(add, counts.delays.get(key, [0] * len(bins)), bins))
