"""What counts are told by: recipient domains, reply clusters and clients, rows that all hosts share.

Each is written by one statement in the order of its key, so that two workers wait for each other instead of
locking crosswise. Call these inside the transaction that writes the counts, with texts that are checked
(domain/log_reading.py).
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime

from relays.domain.log_reading import ReplyRow
from relays.domain.maillog.tables import OTHER
from relays.domain.text import printable
from relays.models import Client, Provider, RecipientDomain, ReplyCluster
from relays.services import reasons
from relays.services.providers import provider_table
from relays.services.statements import run, stamp

# Stands for a client whose address Postfix could not tell.
NO_ADDRESS = "::"


class Domains:
    """The recipient domains of a reading: whose each is, by its name, else its relay host, else nobody's."""

    def __init__(self, names: Iterable[str], mx_hosts: Mapping[str, str]) -> None:
        self.slugs = dict(Provider.objects.values_list("pk", "slug"))
        self._table = provider_table()
        self._catch_all = self._table.catch_all or catch_all_id()
        self._seen = {name: host.lower() for name, host in mx_hosts.items()}
        rows = RecipientDomain.objects.filter(name__in=set(names))
        self._stored = {
            name: (pk, mx_host, provider_id)
            for pk, name, mx_host, provider_id in rows.values_list("pk", "name", "mx_host", "provider_id")
        }
        self._providers: dict[str, int] = {}

    def provider_id(self, name: str) -> int:
        """Return the provider that a domain's mail counts for."""
        if name not in self._providers:
            self._providers[name] = self._table.of_domain(name, self._mx_host(name)) or self._catch_all
        return self._providers[name]

    def store(self, names: Iterable[str], *, at: datetime) -> dict[str, int]:
        """Return the rows' ids by name; new domains are made, and those that moved are changed."""
        wanted = set(names)
        changed = sorted(name for name in wanted if self._differs(name))
        rows = [(name, self._mx_host(name), self.provider_id(name), stamp(at)) for name in changed]
        run(_DOMAIN, _DOMAIN_COLUMNS, rows)
        ids = {name: self._stored[name][0] for name in wanted if name in self._stored}
        new = [name for name in changed if name not in ids]
        return ids | dict(RecipientDomain.objects.filter(name__in=new).values_list("name", "pk"))

    def _mx_host(self, name: str) -> str:
        known = self._stored[name][1] if name in self._stored else ""
        seen = self._seen.get(name, "")
        # Hosts of one site take turns, which is no news.
        return known if not seen or _site(seen) == _site(known) else seen

    def _differs(self, name: str) -> bool:
        if name not in self._stored:
            return True
        _, mx_host, provider_id = self._stored[name]
        return (mx_host, provider_id) != (self._mx_host(name), self.provider_id(name))


def store_clusters(
    heard: Mapping[str, str], replies: Mapping[str, ReplyRow], times: Mapping[str, tuple[datetime, datetime]]
) -> dict[str, str]:
    """Make the clusters that are new, note when known ones were heard, and return the reason of each.

    heard: slug of a provider that each digest was heard for. replies: those that are told; a digest
    without one stands for all others. times: first and last.
    """
    rows = ReplyCluster.objects.filter(digest__in=heard).values_list(
        "digest", "reason", "hard", "rule", "rules_version"
    )
    verdicts: dict[str, tuple[str, bool, str, str]] = {
        digest: (reason, hard, rule, version) for digest, reason, hard, rule, version in rows
    }
    if new := heard.keys() - verdicts.keys():
        table = reasons.rule_table()
        for digest in new:
            verdict = table.classify(_text(replies, digest), provider=heard[digest])
            verdicts[digest] = (verdict.reason, verdict.hard, verdict.rule, table.version)
    written = []
    for digest in sorted(heard):
        text, reply = _text(replies, digest), replies.get(digest)
        sample, code, enhanced = (reply.sample, reply.code, reply.dsn) if reply else (text, None, "")
        seen = map(stamp, times[digest])
        written.append((digest, text, sample, code, enhanced, *verdicts[digest], *seen))
    run(_CLUSTER, _CLUSTER_COLUMNS, written)
    return {digest: verdict[0] for digest, verdict in verdicts.items()}


def catch_all_id() -> int:
    """Return the provider for what nobody claims; it is made where the shipped ones were never loaded."""
    found = Provider.objects.filter(catch_all=True).first()
    if found is None:
        the_rest = {"name": "The rest", "catch_all": True}
        found = Provider.objects.get_or_create(slug="therest", defaults=the_rest)[0]
    return int(found.pk)


def trusted(replies: Iterable[ReplyRow]) -> dict[str, ReplyRow]:
    """Return the clusters whose digest is really that of their text: no host may name another's words."""
    return {r.digest: r for r in replies if hashlib.sha256(r.masked.encode()).hexdigest()[:16] == r.digest}


def store_clients(times: Mapping[str, tuple[datetime, datetime]], names: Mapping[str, str]) -> dict[str, int]:
    """Return the clients' ids by address; new ones are made. times: first and last by address."""
    rows = [(ip, printable(names.get(ip, ""), 253), *map(stamp, times[ip])) for ip in sorted(times)]
    run(_CLIENT, _CLIENT_COLUMNS, rows)
    return dict(Client.objects.filter(ip__in=times).values_list("ip", "pk")) if times else {}


def known_clients(ips: Iterable[str]) -> dict[str, int]:
    """Return the ids of those addresses that are clients already."""
    wanted = set(ips)
    return dict(Client.objects.filter(ip__in=wanted).values_list("ip", "pk")) if wanted else {}


def _site(host: str) -> list[str]:
    return host.split(".")[-2:]


def _text(replies: Mapping[str, ReplyRow], digest: str) -> str:
    return replies[digest].masked if digest in replies else OTHER


_SEEN = """
    first_seen_at = CASE WHEN excluded.first_seen_at < old.first_seen_at
        THEN excluded.first_seen_at ELSE old.first_seen_at END,
    last_seen_at = CASE WHEN excluded.last_seen_at > old.last_seen_at
        THEN excluded.last_seen_at ELSE old.last_seen_at END"""

_DOMAIN_COLUMNS = {"name": "text", "mx_host": "text", "provider_id": "bigint", "at": "timestamptz"}
_DOMAIN = """
INSERT INTO relays_recipientdomain (name, mx_host, provider_id, first_seen_at)
SELECT {name}, {mx_host}, {provider_id}, {at} {source} WHERE true
ON CONFLICT (name) DO UPDATE SET mx_host = excluded.mx_host, provider_id = excluded.provider_id"""

_CLUSTER_COLUMNS = {
    "digest": "text",
    "masked": "text",
    "sample": "text",
    "code": "smallint",
    "enhanced": "text",
    "reason": "text",
    "hard": "boolean",
    "rule": "text",
    "rules_version": "text",
    "first": "timestamptz",
    "last": "timestamptz",
}
_CLUSTER = f"""
INSERT INTO relays_replycluster AS old
    (digest, text, sample, code, enhanced, reason, hard, rule, rules_version, first_seen_at, last_seen_at)
SELECT {{digest}}, {{masked}}, {{sample}}, {{code}}, {{enhanced}}, {{reason}}, {{hard}}, {{rule}},
    {{rules_version}}, {{first}}, {{last}} {{source}} WHERE true
ON CONFLICT (digest) DO UPDATE SET {_SEEN}"""

_CLIENT_COLUMNS = {"ip": "inet", "name": "text", "first": "timestamptz", "last": "timestamptz"}
_CLIENT = f"""
INSERT INTO relays_client AS old (ip, name, first_seen_at, last_seen_at)
SELECT {{ip}}, {{name}}, {{first}}, {{last}} {{source}} WHERE true
ON CONFLICT (ip) DO UPDATE SET {_SEEN},
    name = CASE WHEN excluded.name = '' THEN old.name ELSE excluded.name END"""
