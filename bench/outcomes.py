"""Storing what logs brought: a poll's piece at every level against bulk_create, and four hosts at once."""

import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from bench.databases import databases, measured
from bench.figures import Figure, arguments, report
from bench.ingest import milliseconds

if TYPE_CHECKING:
    from relays.domain.log_reading import SourceReading
    from relays.models import Host

LOG = "/var/log/mail.log"
HOSTS, INSTANCES, DOMAINS, REPLIES = 4, 10, 60, 20
PIECES = 12
# Of a bulk_create of the piece's rows into one table; the piece goes to twelve.
LIMIT = 1


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--measure", action="store_true", help="measure on DATABASE_URL and print figures")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
        return 0
    with databases() as urls:
        found = [figure for name, url in urls.items() for figure in figures(name, url)]
    return report(found, as_json=options.json)


def figures(name: str, url: str) -> Iterator[Figure]:
    """Measure in a process of its own: Django knows one default database a process."""
    took = measured("outcomes", url)
    alone, together, bulk = took["alone"], took["together"], took["bulk_create"]
    yield Figure(f"{name}: bulk_create of {took['rows']} rows", bulk, "ms")
    yield Figure(f"{name}: a piece of as many rows at all levels", alone, "ms")
    yield Figure(f"{name}: rows stored a second", 1000 * took["rows"] / alone, "rows/s")
    yield Figure(f"{name}: a piece while {HOSTS} hosts store theirs", together, "ms")
    yield Figure(f"{name}: piece / bulk_create", alone / bulk, "x", at_most=LIMIT)


def measure() -> dict[str, float]:
    """Return medians of milliseconds: a piece alone, a piece while others are stored, and bulk_create."""
    import django  # noqa: PLC0415  (after DATABASE_URL is known)

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from relays.services.providers import load_shipped  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    load_shipped()
    hosts = [make_host(f"host-{number}") for number in range(HOSTS)]
    # The first piece makes the domains and clusters.
    store_pieces(hosts[0], 0, 1)
    rows = len(piece(0).outcomes)
    alone, bulk = [], []
    for number in range(1, PIECES):
        alone += store_pieces(hosts[0], number, number + 1)
        bulk.append(bulk_create(hosts[0], rows, number))
    threads = [threading.Thread(target=store_in_thread, args=[host]) for host in hosts[1:]]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    store_pieces(hosts[0], PIECES, 2 * PIECES)
    for thread in threads:
        thread.join()
    return {
        "rows": rows,
        "alone": statistics.median(alone),
        "together": 1000 * (time.perf_counter() - began) / (HOSTS * PIECES),
        "bulk_create": statistics.median(bulk),
    }


def make_host(name: str) -> "Host":
    from relays.models import Host, Instance, InstanceState  # noqa: PLC0415
    from relays.services.outcomes import log_sources  # noqa: PLC0415

    now = datetime.now(UTC)
    host = Host.objects.create(name=name, ssh_address="127.0.0.1")
    for number in range(INSTANCES):
        instance = Instance.objects.create(
            host=host,
            name=f"i-{number}",
            config_dir=f"/etc/postfix-{number}",
            first_seen_at=now,
            inventory={"log": {"kind": "file", "path": LOG}},
        )
        InstanceState.objects.create(instance=instance)
    log_sources(host=host)
    return host


def store_in_thread(host: "Host") -> None:
    from django.db import connection  # noqa: PLC0415

    try:
        store_pieces(host, 0, PIECES)
    finally:
        connection.close()


def store_pieces(host: "Host", first: int, end: int) -> list[float]:
    from relays.services.outcomes import store_log  # noqa: PLC0415

    def store(number: int) -> None:
        was = cursor(number - 1) if number else ""
        assert store_log(host=host, source=piece(number), cursor_was=was, at=datetime.now(UTC))

    return [milliseconds(lambda number=number: store(number)) for number in range(first, end)]  # type: ignore[misc]


def cursor(number: int) -> str:
    return json.dumps({"offset": number})


def piece(number: int) -> "SourceReading":
    """Return what a busy host writes in a minute: sent, deferred and bounced by instance and domain."""
    from relays.domain.log_reading import AcceptedRow, DelayRow, OutcomeRow, ReplyRow, SourceReading  # noqa: PLC0415

    now = int(time.time())
    ts = now - now % 300
    texts = [f"host mx said: 450 4.2.{n} of the kind {chr(97 + n)}" for n in range(REPLIES)]
    replies = [ReplyRow(sha256(t.encode()).hexdigest()[:16], t, t, 450, "4.2.1", ts, now) for t in texts]
    names = [f"i-{n}" for n in range(INSTANCES)]
    domains = [f"d{n}.example" for n in range(DOMAINS - 2)] + ["hotmail.com", "gmail.com"]
    outcomes = [
        OutcomeRow(name, ts, domain, outcome, "2.0.0", digest, 3, 9000)
        for name in names
        for place, domain in enumerate(domains)
        for outcome, digest in (("sent", ""), ("deferred", replies[place % REPLIES].digest))
    ]
    return SourceReading(
        source=LOG,
        cursor=cursor(number),
        lines=5_000,
        unrecognized=0,
        samples=(),
        bytes=1_000_000,
        behind_bytes=0,
        first=ts,
        last=now,
        conditions=(),
        outcomes=tuple(outcomes),
        delays=tuple(DelayRow(name, ts, domain, (3, *[0] * 15)) for name in names for domain in domains),
        accepted=tuple(AcceptedRow(name, ts, "192.0.2.1", 100) for name in names),
        replies=tuple(replies),
    )


def bulk_create(host: "Host", rows: int, number: int) -> float:
    from relays.models import DomainOutcomesHour, RecipientDomain  # noqa: PLC0415

    instance_id = host.instances.values_list("pk", flat=True)[0]
    domain_id = RecipientDomain.objects.values_list("pk", flat=True)[0]
    first = number * rows
    return milliseconds(
        lambda: DomainOutcomesHour.objects.bulk_create(
            DomainOutcomesHour(instance_id=instance_id, domain_id=domain_id, ts=first + n, sent=3)
            for n in range(rows)
        )
    )


if __name__ == "__main__":
    sys.exit(main())
