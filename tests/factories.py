"""Rows for tests: a fleet as a poll would leave it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import F, Model
from django.utils import timezone

from relays.domain.filters import from_words, to_words
from relays.models import (
    Accepted,
    AcceptedDay,
    AcceptedHour,
    Address,
    Client,
    DomainOutcomesDay,
    DomainOutcomesHour,
    FleetDomainOutcomesDay,
    FleetDomainOutcomesHour,
    Host,
    Instance,
    InstanceState,
    Operation,
    OperationStep,
    Origin,
    Outcomes,
    OutcomesDay,
    OutcomesHour,
    PendingDeletion,
    Provider,
    ProviderHour,
    ProviderOutcomesDay,
    ProviderOutcomesHour,
    ProviderReplyCountsDay,
    ProviderReplyCountsHour,
    QueueRead,
    QueueSnapshot,
    RecipientDomain,
    ReplyCluster,
    ReplyCountsDay,
    ReplyCountsHour,
    Sample,
    SampleHour,
)
from relays.services.audit import Actor, Subject, record

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2XF2vJ5vLbQ1u1pS7k7m9gq0b6hC0mQ1X2b6H0x0aA"
THROTTLE = "host mx.hotmail.com[198.51.100.25] said: 421 4.7.0 Try again later (in reply to RCPT TO command)"


def provider_make(slug: str, **fields: Any) -> Provider:
    """Return a provider, made on first use."""
    return Provider.objects.get_or_create(slug=slug, defaults={"name": slug.title(), **fields})[0]


def host_make(name: str = "rustin", *, age_s: float = 12, **fields: Any) -> Host:
    """Return a host whose newest poll was complete `age_s` ago."""
    at = timezone.now() - timedelta(seconds=age_s)
    defaults: dict[str, Any] = {
        "ssh_address": f"{name}.example",
        "host_key": HOST_KEY,
        "last_attempt_at": at,
        "last_success_at": at,
        "last_outcome": "complete",
        "outcome_since": at - timedelta(days=2),
        "last_duration_ms": 48,
        "relayctl_version": "0.1.0",
        "postfix_version": "3.7.11",
        "clock_skew_s": 0.2,
        "inventory_at": at,
        "facts": {
            "load": [0.12, 0.2, 0.31],
            "cpus": 2,
            "spools": [
                {
                    "path": "/var/spool",
                    "size_bytes": 40 << 30,
                    "free_bytes": 31 << 30,
                    "inodes": 2_600_000,
                    "inodes_free": 2_400_000,
                }
            ],
        },
    }
    return Host.objects.create(name=name, **(defaults | fields))


def instance_make(
    host: Host,
    name: str,
    deferred: int | None = 0,
    oldest_s: int | None = None,
    state: str = "ok",
    *,
    ip: str = "",
    provider: str | None = "",
    age_s: float = 12,
    removed_at: datetime | None = None,
    **fields: Any,
) -> Instance:
    """Return an instance with its newest figures; its provider is told by its name unless given."""
    now = timezone.now()
    slug = name.rsplit("-", 1)[0] if provider == "" else provider
    instance = Instance.objects.create(
        host=host,
        name=name,
        config_dir=f"/etc/postfix-{name}",
        provider=provider_make(slug) if slug else None,
        myhostname=f"{name}.{host.name}.example",
        helo_name=f"{name}.{host.name}.example",
        syslog_name=f"postfix-{name}",
        queue_directory=f"/var/spool/postfix-{name}",
        first_seen_at=now - timedelta(days=30),
        removed_at=removed_at,
        inventory=inventory_row(host, name, ip),
    )
    if ip:
        Address.objects.create(instance=instance, ip=ip)
    at = now - timedelta(seconds=age_s)
    known = deferred is not None
    counts: dict[str, Any] = {
        "incoming": 0 if known else None,
        "active": 3 if known else None,
        "deferred": deferred,
        "hold": 0 if known else None,
        "oldest_s": oldest_s,
        "size_bytes": None if deferred is None else 1350 * deferred,
        "sampled_at": at if known else None,
        "asked_at": at,
        "state": state,
        "state_since": now - timedelta(minutes=40),
    }
    InstanceState.objects.create(instance=instance, **(counts | fields))
    return instance


def inventory_row(host: Host, name: str, ip: str) -> dict[str, Any]:
    """Return an inventory row as docs/relayctl.md shows it."""
    return {
        "kind": "instance",
        "name": name,
        "config_dir": f"/etc/postfix-{name}",
        "running": True,
        "multi_instance_name": f"postfix-{name}",
        "multi_instance_enable": True,
        "myhostname": f"{name}.{host.name}.example",
        "helo_name": f"{name}.{host.name}.example",
        "bind_addresses": [ip] if ip else [],
        "inet_interfaces": [ip] if ip else ["all"],
        "syslog_name": f"postfix-{name}",
        "log": {"kind": "file", "path": f"/var/log/postfix-{name}.log"},
        "queue_directory": f"/var/spool/postfix-{name}",
        "long_queue_ids": True,
        "transport_maps": "",
        "relayhost": "",
        "limits": {
            "maximal_queue_lifetime": "5d",
            "qmgr_message_active_limit": "20000",
            "default_destination_concurrency_limit": "20",
        },
        "conditions": [],
    }


def snapshot_make(
    instance: Instance, domains: list[tuple[str, list[int]]], replies: list[tuple[str, int]]
) -> QueueSnapshot:
    """Return an instance's queue by domain and age (10 counts a domain), and its replies."""
    rows = [[domain, sum(counts), counts] for domain, counts in domains]
    sampled = sum(number for _, number in replies)
    body = {
        "domains": {
            "total": sum(sum(counts) for _, counts in domains),
            "distinct": len(rows),
            "rows": rows,
            "other": [0, [0] * 10],
        },
        "replies": {
            "total": sampled,
            "rows": [list(pair) for pair in replies],
            "other": 0,
            "sampled": sampled,
        },
    }
    return QueueSnapshot.objects.create(
        instance=instance, at=timezone.now() - timedelta(seconds=12), body=json.dumps(body)
    )


def samples_make(instance: Instance, hours: int = 24) -> None:
    """Make 5-minute samples of the last hours, a queue that grows and is drained, and their roll-ups."""
    now = int(timezone.now().timestamp())
    first = (now - hours * 3600) // 300 * 300
    figures = [(ts, 40 + (ts // 300 * 7) % 400) for ts in range(first, now, 300)]
    counts = {"instance": instance, "incoming": 0, "active": 3, "hold": 0}
    Sample.objects.bulk_create(Sample(ts=ts, deferred=d, oldest_s=d * 5, **counts) for ts, d in figures)
    SampleHour.objects.bulk_create(
        SampleHour(ts=ts, deferred=d, deferred_max=d, oldest_s=d * 5, **counts)
        for ts, d in figures
        if ts % 3600 == 0
    )


def trend_make(provider: Provider, counts: list[int]) -> None:
    """Make a provider's newest hours, the last of them now."""
    now = int(timezone.now().timestamp()) // 3600 * 3600
    ProviderHour.objects.bulk_create(
        ProviderHour(provider=provider, ts=now - 3600 * back, active=1, deferred=number, deferred_max=number)
        for back, number in enumerate(reversed(counts))
    )


def outcomes_make(
    instance: Instance,
    *,
    at: datetime | None = None,
    provider: Provider | None = None,
    domain: str = "",
    delays: list[int] | None = None,
    size_bytes: int = 0,
    **counts: int,
) -> None:
    """Add outcomes (sent, deferred, suspended, bounced, ...) of one time, a minute ago, at every level.

    throttled and blocked are kept for five minutes alone. provider: the recipients', the instance's own
    unless given; domain: theirs, where the rows of domains are wanted too; delays: 16 counts. The last hour's
    figures follow where `at` is within it.
    """
    now = timezone.now()
    at = at or now - timedelta(minutes=1)
    provider = provider or instance.provider
    assert provider is not None
    refused = {name: counts.pop(name) for name in ("throttled", "blocked") if name in counts}
    whole = counts | {"size_bytes": size_bytes}
    whole |= {f"delay_{place:02}": number for place, number in enumerate(delays or [])}
    one = {"instance": instance, "provider": provider}
    _add(Outcomes, 300, at, one, whole | refused)
    _add(OutcomesHour, 3600, at, one, whole)
    _add(OutcomesDay, 86400, at, one, whole)
    _add(ProviderOutcomesHour, 3600, at, {"provider": provider}, whole)
    _add(ProviderOutcomesDay, 86400, at, {"provider": provider}, whole)
    if domain:
        row = RecipientDomain.objects.get_or_create(
            name=domain, defaults={"provider": provider, "first_seen_at": at}
        )[0]
        _add(DomainOutcomesHour, 3600, at, {"instance": instance, "domain": row}, counts)
        _add(DomainOutcomesDay, 86400, at, {"instance": instance, "domain": row}, counts)
        _add(FleetDomainOutcomesHour, 3600, at, {"domain": row}, counts)
        _add(FleetDomainOutcomesDay, 86400, at, {"domain": row}, counts)
    if now - at < timedelta(hours=1):
        _add_to_last_hour(instance, now, counts)


def recipient_domain_make(name: str, provider: str = "therest", *, mx_host: str = "") -> RecipientDomain:
    """Return a domain that mail went to, of a provider that is made on first use."""
    return RecipientDomain.objects.create(
        name=name, mx_host=mx_host, provider=provider_make(provider), first_seen_at=timezone.now()
    )


def reply_cluster_make(
    text: str, *, reason: str = "other", hard: bool = False, rule: str = "", sample: str = ""
) -> ReplyCluster:
    """Return the cluster of a masked text, made on first use."""
    now = timezone.now()
    defaults = {
        "text": text,
        "sample": sample or text,
        "reason": reason,
        "hard": hard,
        "rule": rule,
        "first_seen_at": now - timedelta(days=3),
        "last_seen_at": now - timedelta(minutes=1),
    }
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return ReplyCluster.objects.get_or_create(digest=digest, defaults=defaults)[0]


def replies_make(
    instance: Instance,
    cluster: ReplyCluster,
    *,
    at: datetime | None = None,
    provider: Provider | None = None,
    **counts: int,
) -> None:
    """Add how often an instance heard a cluster (deferred, suspended, bounced, softbounce), a minute ago."""
    at = at or timezone.now() - timedelta(minutes=1)
    whole = {"provider": provider or instance.provider, "cluster": cluster}
    keys = {"instance": instance} | whole
    _add(ReplyCountsHour, 3600, at, keys, counts)
    _add(ReplyCountsDay, 86400, at, keys, counts)
    _add(ProviderReplyCountsHour, 3600, at, whole, counts)
    _add(ProviderReplyCountsDay, 86400, at, whole, counts)


def accepted_make(
    instance: Instance,
    ip: str,
    messages: int,
    *,
    at: datetime | None = None,
    name: str = "",
    denied: int = 0,
) -> Client:
    """Add messages that an instance accepted from a client, a minute ago; return the client.

    denied: recipients that it was not allowed to relay to.
    """
    at = at or timezone.now() - timedelta(minutes=1)
    client = Client.objects.get_or_create(
        ip=ip, defaults={"name": name, "first_seen_at": at, "last_seen_at": at}
    )[0]
    for model, span_s in ((Accepted, 300), (AcceptedHour, 3600), (AcceptedDay, 86400)):
        counts = {"messages": messages, "denied": denied}
        _add(model, span_s, at, {"instance": instance, "client": client}, counts)
    return client


def client_make(ip: str, name: str = "", *, origin: Origin | None = None, age_s: float = 60) -> Client:
    """Return a client that a relay accepted mail from `age_s` ago, and first a week before."""
    seen = timezone.now() - timedelta(seconds=age_s)
    return Client.objects.create(
        ip=ip, name=name, origin=origin, first_seen_at=seen - timedelta(days=7), last_seen_at=seen
    )


def origins_make(instances: dict[str, Instance]) -> dict[str, Origin]:
    """Make what hands mail to the fleet of fleet_make(): two origins, a stranger, and the fleet itself."""
    made = {name: Origin.objects.create(name=name) for name in ("list1.example.org", "list2.example.org")}
    client_make("192.0.2.31", "list1.example.org", origin=made["list1.example.org"])
    client_make("2001:db8::32", "list2.example.org", origin=made["list2.example.org"], age_s=4000)
    client_make("192.0.2.77", "list3.example.org")
    client_make("198.51.100.12", "msn-b.rustin.example")
    client_make("127.0.0.1", "localhost")
    now = timezone.now()
    for at, part in ((now, 1), (now - timedelta(hours=2), 9)):
        accepted_make(instances["msn-a"], "192.0.2.31", 71 * part, at=at)
        accepted_make(instances["msn-b"], "192.0.2.31", 24 * part, at=at)
        accepted_make(instances["therest-a"], "192.0.2.77", 12 * part, at=at)
        accepted_make(instances["msn-c"], "198.51.100.12", 400 * part, at=at)
        accepted_make(instances["therest-b"], "127.0.0.1", 3 * part, at=at)
    accepted_make(instances["msn-c"], "2001:db8::32", 50, at=now - timedelta(hours=5))
    return made


def operation_make(instance: Instance, *, state: str = "done") -> Operation:
    """Return an operation of one step, with its events; `planned`: one that waits for its yes."""
    now = timezone.now()
    planned = state == "planned"
    operation = Operation.objects.create(
        kind="queue.run",
        host=instance.host,
        instance=instance,
        host_name=instance.host.name,
        instance_name=instance.name,
        params={"domain": "hotmail.com"},
        plan={
            "summary": f"{instance.name} tries 1,204 deferred messages for hotmail.com again.",
            "commands": [["/usr/sbin/postqueue", "-c", "/etc/postfix-msn-a", "-s", "hotmail.com"]],
            "counts": {"messages": 1_204},
            "facts": {},
            "notes": ["A throttled address is tried again with all of them."],
        },
        plan_hash="0" * 64,
        planned_at=now,
        requested_by_name="anna",
        reason="" if planned else "the provider takes mail again",
        state=state,
        confirmed_at=None if planned else now,
        started_at=None if planned else now,
        ended_at=None if planned else now,
        fence=0 if planned else 7,
        outcome="" if planned else "Postfix tries them now.",
    )
    if not planned:
        OperationStep.objects.create(
            operation=operation,
            number=1,
            name="queue.run",
            state="done",
            fence=7,
            begun_at=now,
            ended_at=now,
            response={"command": operation.plan["commands"][0], "output": "queued"},
        )
    subject = Subject("operation", str(operation.pk), str(operation), instance.host.name, instance.name)
    actor = Actor("user", "anna", 1, {"ip": "192.0.2.7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64)"})
    record(actor=actor, action="operation.queue.run", phase="requested", subject=subject, reason="<b>why</b>")
    return operation


def _add(model: type[Model], span_s: int, at: datetime, keys: dict[str, Any], counts: dict[str, int]) -> None:
    ts = int(at.timestamp()) // span_s * span_s
    rows = model._default_manager
    row = rows.filter(**keys, ts=ts)
    if not row.update(**{name: F(name) + number for name, number in counts.items()}):
        rows.create(**keys, ts=ts, **counts)


def _add_to_last_hour(instance: Instance, now: datetime, counts: dict[str, int]) -> None:
    state = InstanceState.objects.get(instance=instance)
    state.outcomes_at = now
    for name in ("sent", "deferred", "suspended", "bounced", "expired", "handed_over"):
        setattr(state, f"hour_{name}", (getattr(state, f"hour_{name}") or 0) + counts.get(name, 0))
    state.hour_accepted = state.hour_accepted or 0
    state.save()


def fleet_make() -> dict[str, Instance]:
    """Make the fleet most pages are tested with: three hosts, nine instances, some in trouble."""
    rustin = host_make("rustin")
    cleveland = host_make("cleveland", age_s=31)
    ohara = host_make(
        "ohara",
        age_s=840,
        last_outcome="unreachable",
        last_error="ohara.example port 22: no answer within 10 s",
        outcome_since=timezone.now() - timedelta(minutes=13),
    )
    made = [
        instance_make(
            rustin,
            "msn-a",
            412,
            2280,
            "throttled",
            ip="198.51.100.11",
            top_reply=THROTTLE,
            top_reply_count=398,
        ),
        instance_make(rustin, "msn-b", 3, 130, ip="198.51.100.12"),
        instance_make(rustin, "aol-a", 7, 540, ip="198.51.100.13"),
        instance_make(rustin, "therest-a", 5311, 172_800, "slow", ip="198.51.100.14", hold=12),
        instance_make(cleveland, "msn-c", 0, ip="198.51.100.21", age_s=31),
        instance_make(cleveland, "gmail-a", 28, 660, ip="198.51.100.22", age_s=31),
        instance_make(
            cleveland,
            "yahoo-a",
            1904,
            18_000,
            "blocked",
            ip="198.51.100.23",
            age_s=31,
            top_reply=(
                "host mta5.yahoo.example[203.0.113.5] refused to talk to me: "
                "553 5.7.1 [BL21] Connections will not be accepted from this address"
            ),
            top_reply_count=1904,
        ),
        instance_make(
            cleveland,
            "therest-b",
            93,
            840,
            "stopped",
            ip="198.51.100.24",
            age_s=31,
            condition="stopped",
            condition_detail="the Postfix mail system is not running",
        ),
        instance_make(ohara, "default", 14, 600, provider=None, ip="198.51.100.31", age_s=840),
    ]
    for slug, counts in {
        "msn": list(range(24)),
        "yahoo": [5] * 12 + [1904] * 12,
        "gmail": [20, 30] * 12,
    }.items():
        trend_make(provider_make(slug), counts)
    return {instance.name: instance for instance in made}


def queue_read_make(
    instance: Instance,
    *,
    replies: Sequence[tuple[str, int]] = (),
    senders: Sequence[tuple[str, int]] = (),
    domains: Sequence[tuple[str, int]] = (),
    messages: Sequence[Mapping[str, Any]] | None = None,
    cursor: str | None = None,
    state: str = "done",
    error: str = "",
    **words: str,
) -> QueueRead:
    """Return a reading of a queue as a worker leaves it: groups, or a page of messages where some are given.

    words: the filter that was asked for.
    """
    now = timezone.now()
    query = urlencode(to_words(from_words(words)))
    if messages is None:
        what, body = "groups", groups_body(replies, senders, domains)
    else:
        what = "messages"
        body = {"now": now.timestamp(), "cursor": cursor, "messages": list(messages)}
    return QueueRead.objects.create(
        instance=instance,
        what=what,
        key=hashlib.sha256(query.encode()).hexdigest(),
        words=query,
        state=state,
        asked_at=now,
        read_at=now - timedelta(seconds=4),
        error=error,
        body=json.dumps(body),
    )


def groups_body(
    replies: Sequence[tuple[str, int]],
    senders: Sequence[tuple[str, int]],
    domains: Sequence[tuple[str, int]],
) -> dict[str, Any]:
    """Return the body of a reading of groups; of each table (key or text, messages)."""

    def ages(number: int) -> list[int]:
        return [0, number - number // 3, 0, 0, number // 3, 0, 0, 0, 0, 0]

    def table(rows: list[list[Any]]) -> dict[str, Any]:
        return {"rows": rows, "distinct": len(rows), "dropped": 0}

    total = sum(number for _, number in domains)
    keyed = {
        "domain": [[key, number, ages(number), ""] for key, number in domains],
        "sender": [[key, number, ages(number), ""] for key, number in senders],
        "sender_domain": [[key.rpartition("@")[2], number, ages(number), ""] for key, number in senders],
        "queue": [["deferred", total, ages(total), ""]],
        "reply": [
            [hashlib.sha256(text.encode()).hexdigest()[:16], number, ages(number), text]
            for text, number in replies
        ],
    }
    return {
        "read_at": timezone.now().timestamp(),
        "messages": total,
        "recipients": total,
        "size_bytes": 1350 * total,
        "oldest": int(timezone.now().timestamp()) - 7200,
        "ages": ages(total),
        "of": total + 9,
        "unparsable": 0,
        "tables": {name: table(rows) for name, rows in keyed.items()},
    }


def queued_message(queue_id: str = "4jWKWh04b5z1T1", **fields: Any) -> dict[str, Any]:
    """Return a message of a page's reading."""
    return {
        "queue": "deferred",
        "queue_id": queue_id,
        "arrival": int(timezone.now().timestamp()) - 3600,
        "size_bytes": 1350,
        "sender": "list@lists.example",
        "recipients": [
            ["anna.private@hotmail.com", "host mx[192.0.2.1] said: 452 4.2.2 <x@y.example> is full"]
        ],
        "recipients_total": 1,
        **fields,
    }


def deletion_make(instance: Instance, *, messages: int = 12, in_s: float = 3600) -> PendingDeletion:
    """Return messages that an operation put on hold to be deleted."""
    operation = operation_make(instance)
    operation.kind = "message.delete"
    operation.plan["counts"] = {"messages": messages}
    operation.save()
    return PendingDeletion.objects.create(
        operation=operation, messages=messages, due_at=timezone.now() + timedelta(seconds=in_s)
    )
