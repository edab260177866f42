"""The writer against a plain bulk_create: 2,000 instances' samples and states, on SQLite and PostgreSQL."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from bench.databases import databases, measured
from bench.figures import Figure, arguments, report

INSTANCES = 2000
ROUNDS = 5
LIMIT = 1 / 5


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--measure", action="store_true", help="measure on DATABASE_URL and print milliseconds"
    )
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
        return 0
    with databases() as urls:
        found = [figure for name, url in urls.items() for figure in figures(name, url)]
    return report(found, as_json=options.json)


def figures(name: str, url: str) -> Iterator[Figure]:
    """Measure in a process of its own: Django knows one default database a process."""
    took = measured("ingest", url)
    yield Figure(f"{name}: bulk_create of {INSTANCES} samples", took["bulk_create"], "ms")
    yield Figure(f"{name}: the writer, samples and states", took["writer"], "ms")
    yield Figure(f"{name}: the writer's first call of a span", took["writer_first"], "ms")
    yield Figure(f"{name}: writer / bulk_create", took["writer"] / took["bulk_create"], "x", at_most=LIMIT)


def measure() -> dict[str, float]:
    """Return milliseconds a call of either way, rounds interleaved.

    A round is a span of five polls, a minute apart, and counts by its mean, because the writer's first call
    of a span has more to do than the others; of the rounds the median.
    """
    import django  # noqa: PLC0415  (after DATABASE_URL is known)

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    instance_ids = make_instances()
    took: dict[str, list[float]] = {"bulk_create": [], "writer": [], "writer_first": []}
    for number in range(ROUNDS):
        began = datetime(2026, 11, 21, tzinfo=UTC) + timedelta(minutes=5 * number)
        polls = [began + timedelta(minutes=minute) for minute in range(5)]
        # Days earlier, so that neither way writes over the other's rows.
        bulk = [bulk_create(instance_ids, at - timedelta(days=7)) for at in polls]
        ours = [writer(instance_ids, at) for at in polls]
        took["bulk_create"].append(statistics.mean(bulk))
        took["writer"].append(statistics.mean(ours))
        took["writer_first"].append(ours[0])
    return {way: statistics.median(times) for way, times in took.items()}


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def make_instances() -> list[int]:
    from relays.models import Host, Instance, InstanceState  # noqa: PLC0415

    now = datetime.now(UTC)
    host = Host.objects.create(name="bench", ssh_address="127.0.0.1")
    Instance.objects.bulk_create(
        Instance(host=host, name=f"i-{n}", config_dir=f"/etc/postfix-{n}", first_seen_at=now)
        for n in range(INSTANCES)
    )
    InstanceState.objects.bulk_create(InstanceState(instance=instance) for instance in Instance.objects.all())
    return list(Instance.objects.values_list("pk", flat=True))


def bulk_create(instance_ids: list[int], at: datetime) -> float:
    from relays.models import Sample  # noqa: PLC0415

    ts = int(at.timestamp())
    return milliseconds(
        lambda: Sample.objects.bulk_create(
            Sample(instance_id=pk, ts=ts, incoming=1, active=20, deferred=pk % 500, hold=0, oldest_s=90)
            for pk in instance_ids
        )
    )


def writer(instance_ids: list[int], at: datetime) -> float:
    from relays.services.store import Reading, store_readings  # noqa: PLC0415

    readings = [
        Reading(
            instance_id=pk,
            at=at,
            incoming=pk % 3,
            active=pk % 40,
            deferred=pk % 500,
            hold=pk % 2,
            corrupt=None,
            oldest_s=pk % 7200,
            size_bytes=1000 * pk,
            state="throttled" if pk % 10 == 0 else "ok",
            top_reply=f"host mx{pk}.example[203.0.113.10] said: 421 4.7.0 Too much mail from this address",
            top_reply_count=pk % 400,
        )
        for pk in instance_ids
    ]
    return milliseconds(lambda: store_readings(readings))


if __name__ == "__main__":
    sys.exit(main())
