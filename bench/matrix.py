"""The home page with 200 and with 2,000 instances, on SQLite and PostgreSQL: server time, warm, and queries.

The time is that of the whole stack in one process, from the request to the last byte of the answer:
middleware, session, log-in, queries, template; not the network, nor the other requests of a busy server.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.databases import databases, measured, viewer
from bench.figures import Figure, arguments, report

LIMITS_MS = {200: 50, 2000: 150}
PROVIDERS = 20
INSTANCES_A_HOST = 5
# Of 50 instances one is throttled and one blocked; of 40 hosts one does not answer.
SICK_EVERY = 25
DEAD_EVERY = 40
WARM_UP, ROUNDS = 3, 15


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--measure", type=int, help="measure with so many instances on DATABASE_URL")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return 0
    with databases() as urls:
        found = [figure for name, url in urls.items() for figure in figures(name, url)]
    return report(found, as_json=options.json)


def figures(name: str, url: str) -> Iterator[Figure]:
    """Measure 200, then 2,000 in the same database; each in a process of its own."""
    queries: list[int] = []
    for instances, limit in LIMITS_MS.items():
        took = measured("matrix", url, str(instances))
        queries.append(took["queries"])
        what = f"{name}: {instances:,} instances"
        yield Figure(f"{what}, the page", took["page"], "ms", at_most=limit)
        yield Figure(f"{what}, the page, worst round", took["page_worst"], "ms")
        yield Figure(f"{what}, the page, CPU of this process", took["page_cpu"], "ms")
        yield Figure(f"{what}, a poll that is answered 204", took["unchanged"], "ms")
        yield Figure(f"{what}, bytes of the page", took["bytes"] / 1024, "KiB")
        yield Figure(f"{what}, queries", took["queries"], "")
    yield Figure(f"{name}: queries more with ten times the instances", queries[1] - queries[0], "", at_most=0)


def measure(instances: int) -> dict[str, float]:
    """Return medians of ROUNDS requests by a client that is logged in, in milliseconds."""
    import django  # noqa: PLC0415  (after DATABASE_URL is known)

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415
    from django.test import Client, override_settings  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    make_fleet(instances)
    with connection.cursor() as cursor:
        # As autovacuum does within a minute: PostgreSQL plans by what it knows of the tables.
        cursor.execute("ANALYZE")
    client = Client(SERVER_NAME="localhost")
    client.force_login(viewer())
    plain_files = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    with override_settings(STORAGES=plain_files):
        for _ in range(WARM_UP):
            client.get("/")
        began = time.process_time()
        page = [milliseconds(client, {}) for _ in range(ROUNDS)]
        cpu = 1000 * (time.process_time() - began) / ROUNDS
        with CaptureQueriesContext(connection) as captured:
            answer = client.get("/")
            queries = len(captured)
        if b'id="row-provider-00"' not in answer.content:
            raise SystemExit("the page that was measured is not the matrix")
        unchanged = [unchanged_milliseconds(client) for _ in range(ROUNDS)]
    return {
        "page": statistics.median(page),
        "page_worst": max(page),
        "page_cpu": cpu,
        "unchanged": statistics.median(unchanged),
        "bytes": len(answer.content),
        "queries": queries,
    }


def milliseconds(client: Any, parameters: dict[str, str], **headers: str) -> float:
    began = time.perf_counter()
    client.get("/", parameters, headers=headers)
    return 1000 * (time.perf_counter() - began)


def unchanged_milliseconds(client: Any) -> float:
    from relays.selectors.overview import version_tag  # noqa: PLC0415

    tag = version_tag(datetime.now(UTC))
    return milliseconds(client, {"tag": tag}, **{"HX-Request": "true"})


def make_fleet(instances: int) -> None:
    """Make hosts, instances and their states anew, every tenth day's trouble among them."""
    from relays.models import Address, Host, Instance, InstanceState, Provider, ProviderHour  # noqa: PLC0415

    for model in (Host, Provider):
        model.objects.all().delete()
    now = datetime.now(UTC)
    # As late as a poll may be, so that the measuring itself turns no host late.
    fresh = {"last_attempt_at": now, "last_success_at": now, "outcome_since": now, "poll_interval_s": 3600}
    providers = Provider.objects.bulk_create(
        Provider(slug=f"provider-{i:02}", name=f"Provider {i}", position=i) for i in range(PROVIDERS)
    )
    hosts = Host.objects.bulk_create(
        Host(
            name=f"host-{i:03}",
            ssh_address=f"host-{i:03}.example",
            last_outcome="unreachable" if i % DEAD_EVERY == 1 else "complete",
            last_error="no answer within 10 s" if i % DEAD_EVERY == 1 else "",
            **fresh,
        )
        for i in range(instances // INSTANCES_A_HOST)
    )
    rows = Instance.objects.bulk_create(
        Instance(
            host=hosts[i // INSTANCES_A_HOST],
            name=f"provider-{i % PROVIDERS:02}-{i}",
            config_dir=f"/etc/postfix-{i}",
            provider=providers[i % PROVIDERS],
            first_seen_at=now,
        )
        for i in range(instances)
    )
    Address.objects.bulk_create(
        Address(instance=row, ip=f"10.0.{i // 250}.{i % 250}") for i, row in enumerate(rows)
    )
    InstanceState.objects.bulk_create(
        InstanceState(
            instance=row,
            sampled_at=now - timedelta(seconds=i % 60),
            asked_at=now,
            incoming=i % 3,
            active=i % 40,
            deferred=i * 7 % 500,
            hold=0,
            oldest_s=i * 11 % 9000,
            state=("throttled", "blocked")[i // SICK_EVERY % 2] if i % SICK_EVERY == 0 else "ok",
            state_since=now,
            top_reply="host mx.example[192.0.2.1] said: 421 4.7.0 Try again later (in reply to RCPT TO)",
            top_reply_count=i,
            outcomes_at=now,
            hour_sent=i * 13 % 3000,
            hour_deferred=i * 3 % 200,
            hour_suspended=0,
            hour_bounced=i % 20,
            hour_expired=0,
            hour_handed_over=0,
            hour_accepted=i * 13 % 3000,
        )
        for i, row in enumerate(rows)
    )
    hour = int(now.timestamp()) // 3600 * 3600
    ProviderHour.objects.bulk_create(
        ProviderHour(
            provider=provider, ts=hour - 3600 * back, active=1, deferred=back * 9, deferred_max=back * 9
        )
        for provider in providers
        for back in range(24)
    )


if __name__ == "__main__":
    sys.exit(main())
