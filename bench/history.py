"""A provider's chart over 90 days of 2,000 instances, on SQLite and PostgreSQL: server time, warm and not.

The time is that of the whole stack in one process, as in bench/matrix.py. History is filled in by SQL: the
outcomes of each instance in each hour (4.3 million rows), and what belongs to them. The page itself and other
ranges are told beside.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench.databases import databases, measured, viewer
from bench.figures import Figure, arguments, report
from bench.matrix import make_fleet

INSTANCES = 2000
DAYS = 90
LIMIT_MS = 100
WARM_UP, ROUNDS = 2, 15
CHART = "/providers/provider-00/outcomes.json"
# Five clusters and five domains an instance, which is what an instance of one provider has in an hour.
CLUSTERS = DOMAINS = 5
ASKED = {
    "90 days": (CHART, "90d"),
    "30 days": (CHART, "30d"),
    "24 hours": (CHART, "24h"),
    "6 hours": (CHART, "6h"),
    "90 days of an instance": ("/instances/{instance}/outcomes.json", "90d"),
    "the page, 24 hours": ("/providers/provider-00/", "24h"),
    "the page, 90 days": ("/providers/provider-00/", "90d"),
}


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--measure", action="store_true", help="measure on DATABASE_URL")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
        return 0
    with databases() as urls:
        found = [figure for name, url in urls.items() for figure in figures(name, url)]
    return report(found, as_json=options.json)


def figures(name: str, url: str) -> Iterator[Figure]:
    """Fill and measure in a process of its own."""
    took = measured("history", url)
    yield Figure(f"{name}: rows of outcomes by the hour", took.pop("rows") / 1e6, "M")
    yield Figure(f"{name}: filling them in", took.pop("fill"), "s")
    for what in ASKED:
        limit = LIMIT_MS if what == "90 days" else None
        yield Figure(f"{name}: {what}", took[what]["median"], "ms", at_most=limit)
        yield Figure(f"{name}: {what}, CPU of this process", took[what]["cpu"], "ms")
    yield Figure(f"{name}: 90 days, the first time", took["90 days"]["first"], "ms")
    yield Figure(f"{name}: 90 days, bytes of the answer", took["90 days"]["bytes"] / 1024, "KiB")


def measure() -> dict[str, Any]:
    """Return milliseconds of what ASKED names: the first time, and the median of ROUNDS."""
    import django  # noqa: PLC0415  (after DATABASE_URL is known)

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.test import Client, override_settings  # noqa: PLC0415

    from relays.models import Instance, OutcomesHour, Provider  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    make_fleet(INSTANCES)
    began = time.monotonic()
    make_history()
    took: dict[str, Any] = {"fill": time.monotonic() - began, "rows": OutcomesHour.objects.count()}
    instance = Instance.objects.filter(provider=Provider.objects.get(slug="provider-00")).first()
    client = Client(SERVER_NAME="localhost")
    client.force_login(viewer())
    plain_files = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    with override_settings(STORAGES=plain_files):
        for what, (path, chosen) in ASKED.items():
            address = path.format(instance=instance.pk if instance else 0)
            took[what] = times_of(client, f"{address}?range={chosen}")
    return took


def times_of(client: Any, address: str) -> dict[str, float]:
    first, answer = timed(client, address)
    if answer.status_code != 200 or b"sent" not in answer.content:
        raise SystemExit(f"{address} did not answer with outcomes")
    for _ in range(WARM_UP):
        timed(client, address)
    began = time.process_time()
    rounds = [timed(client, address)[0] for _ in range(ROUNDS)]
    cpu = 1000 * (time.process_time() - began) / ROUNDS
    return {
        "first": first,
        "median": statistics.median(rounds),
        "cpu": cpu,
        "bytes": len(answer.content),
    }


def timed(client: Any, address: str) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = client.get(address)
    return 1000 * (time.perf_counter() - began), answer


def make_history() -> None:
    """Fill every table of outcomes for make_fleet's instances, by SQL that both databases understand."""
    from django.db import connection  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from relays.models import (  # noqa: PLC0415
        InstanceState,
        Outcomes,
        OutcomesDay,
        OutcomesHour,
        Provider,
        ProviderOutcomesDay,
        ProviderOutcomesHour,
        RecipientDomain,
        ReplyCluster,
    )

    now = timezone.now()
    hour = int(now.timestamp()) // 3600 * 3600
    day = hour // 86400 * 86400
    ReplyCluster.objects.bulk_create(
        ReplyCluster(digest=f"{i:016}", text=f"450 text {i}", first_seen_at=now, last_seen_at=now)
        for i in range(CLUSTERS)
    )
    RecipientDomain.objects.bulk_create(
        RecipientDomain(name=f"d{i}-{owner.slug}.example", provider=owner, first_seen_at=now)
        for owner in Provider.objects.all()
        for i in range(DOMAINS)
    )
    InstanceState.objects.update(outcomes_at=now)
    spans = {
        Outcomes: [hour - 6 * 3600, 300, hour],
        OutcomesHour: [hour - DAYS * 86400, 3600, hour],
        OutcomesDay: [day - DAYS * 86400, 86400, day],
    }
    with connection.cursor() as cursor:
        for statement in _WHILE_FILLING[connection.vendor]:
            cursor.execute(statement)
        for model, span in spans.items():
            cursor.execute(_outcomes(model), span)
        cursor.execute(_summed(ProviderOutcomesHour, OutcomesHour))
        cursor.execute(_summed(ProviderOutcomesDay, OutcomesDay))
        for suffix, span in (("hour", [hour - 86400, 3600, hour]), ("day", [day - 8 * 86400, 86400, day])):
            cursor.execute(_REPLIES.format(suffix=suffix), span)
            cursor.execute(_DOMAINS.format(suffix=suffix), span)
            cursor.execute(_FLEET_DOMAINS.format(suffix=suffix))
            cursor.execute(_PROVIDER_REPLIES.format(suffix=suffix))
        # As autovacuum does within minutes: PostgreSQL plans by what it knows of the tables.
        cursor.execute("ANALYZE")
    # What was set for the filling ends with its connection.
    connection.close()


_SPANS = "WITH RECURSIVE span(ts) AS (SELECT %s UNION ALL SELECT ts + %s FROM span WHERE ts < %s)"
# Of millions of rows, neither the checks of foreign keys nor the usual 2 MB of cache are to be waited for.
_WHILE_FILLING = {
    "sqlite": ["PRAGMA foreign_keys = OFF", "PRAGMA cache_size = -500000"],
    "postgresql": ["SET session_replication_role = replica", "SET synchronous_commit = off"],
}
_KINDS = "sent, deferred, suspended, bounced, expired, handed_over, softbounce"
_SENT = "(instance.id * 13 + span.ts / 300 * 7) %% 900"
_VALUES = {
    "sent": _SENT,
    "deferred": "instance.id %% 40",
    "suspended": "instance.id %% 9",
    "bounced": "3",
    "size_bytes": f"{_SENT} * 8000",
    **{f"delay_{number:02}": f"{_SENT} / 16" for number in range(16)},
}
_REPLIES = f"""{_SPANS}
INSERT INTO relays_replycounts{{suffix}}
    (instance_id, provider_id, cluster_id, ts, deferred, suspended, bounced, softbounce)
SELECT instance.id, instance.provider_id, cluster.digest, span.ts, instance.id %% 50 + 1, 0, 1, 0
FROM relays_instance AS instance CROSS JOIN span CROSS JOIN relays_replycluster AS cluster"""
_DOMAINS = f"""{_SPANS}
INSERT INTO relays_domainoutcomes{{suffix}} (instance_id, domain_id, ts, {_KINDS})
SELECT instance.id, domain.id, span.ts, instance.id %% 90, domain.id %% 7, 0, 1, 0, 0, 0
FROM relays_instance AS instance CROSS JOIN span
JOIN relays_recipientdomain AS domain ON domain.provider_id = instance.provider_id"""

_FLEET_DOMAINS = f"""INSERT INTO relays_fleetdomainoutcomes{{suffix}} (domain_id, ts, {_KINDS})
SELECT domain_id, ts, {", ".join(f"SUM({kind})" for kind in _KINDS.split(", "))}
FROM relays_domainoutcomes{{suffix}} GROUP BY domain_id, ts"""
_PROVIDER_REPLIES = """INSERT INTO relays_providerreplycounts{suffix}
    (provider_id, cluster_id, ts, deferred, suspended, bounced, softbounce)
SELECT provider_id, cluster_id, ts, SUM(deferred), SUM(suspended), SUM(bounced), SUM(softbounce)
FROM relays_replycounts{suffix} GROUP BY provider_id, cluster_id, ts"""


def _outcomes(model: type[Any]) -> str:
    columns = _counts(model)
    return f"""{_SPANS}
INSERT INTO {model._meta.db_table} (instance_id, provider_id, ts, {", ".join(columns)})
SELECT instance.id, instance.provider_id, span.ts, {", ".join(_VALUES.get(name, "0") for name in columns)}
FROM relays_instance AS instance CROSS JOIN span
ORDER BY instance.id, span.ts"""


def _summed(model: type[Any], source: type[Any]) -> str:
    columns = _counts(model)
    return f"""INSERT INTO {model._meta.db_table} (provider_id, ts, {", ".join(columns)})
SELECT provider_id, ts, {", ".join(f"SUM({name})" for name in columns)}
FROM {source._meta.db_table} GROUP BY provider_id, ts"""


def _counts(model: type[Any]) -> list[str]:
    keys = {"instance_id", "provider_id", "ts"}
    return [
        field.column for field in model._meta.concrete_fields if field.column and field.column not in keys
    ]


if __name__ == "__main__":
    sys.exit(main())
