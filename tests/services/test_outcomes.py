"""What a log brought, stored: each count at every level, once, with the cursor or not at all."""

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection, connections
from django.db.models import Model, Sum

from relays.domain.fields import Condition
from relays.domain.log_reading import (
    AcceptedRow,
    DelayRow,
    DeniedRow,
    OutcomeRow,
    ReplyRow,
    SourceReading,
    parse_sources,
)
from relays.domain.maillog.tables import TOP_DOMAINS
from relays.domain.text import printable
from relays.models import (
    Accepted,
    AcceptedDay,
    AcceptedHour,
    Client,
    DomainOutcomesDay,
    DomainOutcomesHour,
    FleetDomainOutcomesDay,
    FleetDomainOutcomesHour,
    Host,
    Instance,
    InstanceState,
    LogSource,
    Outcomes,
    OutcomesDay,
    OutcomesHour,
    Provider,
    ProviderDomain,
    ProviderMxSuffix,
    ProviderOutcomesDay,
    ProviderOutcomesHour,
    ProviderReplyCountsDay,
    ProviderReplyCountsHour,
    RecipientDomain,
    ReplyCluster,
    ReplyCountsDay,
    ReplyCountsHour,
)
from relays.services import levels
from relays.services.outcomes import log_sources, note_unread, store_log
from relays.services.providers import domain_assign, load_shipped
from tests.factories import client_make, host_make, instance_make

pytestmark = pytest.mark.django_db

LOG = "/var/log/postfix-msn-a.log"
AT = datetime(2026, 11, 21, 3, 12, 30, tzinfo=UTC)
TS = int(datetime(2026, 11, 21, 3, 10, tzinfo=UTC).timestamp())
HOUR, DAY = TS - TS % 3600, TS - TS % 86400
MASKED = "host mx.hotmail.com[<ip>] said: 421 4.7.0 Too many connections from your IP"


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def reply(text: str = MASKED, *, sample: str = "", code: int | None = 421, dsn: str = "4.7.0") -> ReplyRow:
    return ReplyRow(digest_of(text), text, sample or text, code, dsn, TS + 1, TS + 100)


def sent(n: int = 1, domain: str = "hotmail.com", *, instance: str = "msn-a", ts: int = TS) -> OutcomeRow:
    return OutcomeRow(instance, ts, domain, "sent", "2.0.0", "", n, 1000 * n)


def refused(
    outcome: str, n: int = 1, domain: str = "hotmail.com", text: str = MASKED, ts: int = TS
) -> OutcomeRow:
    return OutcomeRow("msn-a", ts, domain, outcome, "4.7.0", digest_of(text), n, 0)


def reading(
    *rows: OutcomeRow,
    cursor: str = '{"offset":1}',
    source: str = LOG,
    lines: int = 100,
    behind_bytes: int | None = 0,
    last: float | None = TS + 140,
    **more: object,
) -> SourceReading:
    fixed: dict[str, object] = {
        "unrecognized": 0,
        "samples": (),
        "bytes": 9000,
        "first": TS,
        "conditions": (),
    }
    return SourceReading(
        source=source,
        cursor=cursor,
        lines=lines,
        behind_bytes=behind_bytes,
        last=last,
        outcomes=rows,
        **(fixed | more),  # type: ignore[arg-type]
    )


@pytest.fixture
def host() -> Host:
    load_shipped()
    host = host_make("rustin")
    for name in ("msn-a", "aol-a"):
        instance_make(host, name)
    log_sources(host=host)
    return host


def store(host: Host, source: SourceReading, cursor_was: str = "", **more: object) -> bool:
    return store_log(host=host, source=source, cursor_was=cursor_was, **({"at": AT} | more))  # type: ignore[arg-type]


def totals(*models: type[Model], name: str = "sent") -> list[int]:
    """Return a column's sum in each table."""
    return [model._default_manager.aggregate(total=Sum(name))["total"] or 0 for model in models]


BY_INSTANCE: Any = (Outcomes, OutcomesHour, OutcomesDay)
BY_PROVIDER: Any = (ProviderOutcomesHour, ProviderOutcomesDay)
BY_DOMAIN: Any = (DomainOutcomesHour, DomainOutcomesDay)
FLEET_BY_DOMAIN: Any = (FleetDomainOutcomesHour, FleetDomainOutcomesDay)
BY_REPLY: Any = (ReplyCountsHour, ReplyCountsDay)
PROVIDERS_BY_REPLY: Any = (ProviderReplyCountsHour, ProviderReplyCountsDay)
EVERY_LEVEL = (*BY_INSTANCE, *BY_PROVIDER, *BY_DOMAIN, *FLEET_BY_DOMAIN)


def test_counts_reach_every_level_in_their_span(host: Host) -> None:
    rows = (sent(620), refused("deferred", 12), refused("suspended", 30), refused("bounced", 7))
    delays = (DelayRow("msn-a", TS, "hotmail.com", (600, 20, *[0] * 14)),)
    assert store(host, reading(*rows, delays=delays, replies=(reply(),)))

    for model, ts in zip(BY_INSTANCE, (TS, HOUR, DAY), strict=True):
        row = model.objects.get()
        assert (row.instance.name, row.provider.slug, row.ts) == ("msn-a", "msn", ts)
        assert (row.sent, row.deferred, row.suspended, row.bounced) == (620, 42, 30, 7)
        assert (row.delay_00, row.delay_01, row.delay_02, row.size_bytes) == (600, 20, 0, 620_000)
    for provider_model, ts in zip(BY_PROVIDER, (HOUR, DAY), strict=True):
        whole = provider_model.objects.get()
        assert (whole.provider.slug, whole.ts, whole.sent, whole.delay_01) == ("msn", ts, 620, 20)
    for domain_model, ts in zip((*BY_DOMAIN, *FLEET_BY_DOMAIN), (HOUR, DAY) * 2, strict=True):
        domain = domain_model.objects.get()
        assert (domain.domain.name, domain.ts, domain.sent, domain.deferred) == ("hotmail.com", ts, 620, 42)
    for reply_model, ts in zip((*BY_REPLY, *PROVIDERS_BY_REPLY), (HOUR, DAY) * 2, strict=True):
        heard = reply_model.objects.get()
        assert (heard.cluster.text, heard.provider.slug, heard.ts) == (MASKED, "msn", ts)
        assert (heard.deferred, heard.suspended, heard.bounced, heard.softbounce) == (42, 30, 7, 0)


def test_the_log_says_how_far_it_is_counted(host: Host) -> None:
    samples = ("Nov 21 03:10:00 rustin what is this",)
    store(host, reading(sent(), unrecognized=3, samples=samples, behind_bytes=4096, cursor='{"offset":7}'))
    log = LogSource.objects.get(source=LOG)
    assert (log.cursor, log.lines, log.unrecognized, log.samples) == ('{"offset":7}', 100, 3, list(samples))
    assert (log.behind_bytes, log.read_at, log.condition) == (4096, AT, "")
    assert log.log_time == datetime.fromtimestamp(TS + 140, UTC)


def test_a_reading_that_is_stored_again_adds_nothing(host: Host) -> None:
    piece = reading(sent(5), refused("deferred"), replies=(reply(),))
    assert store(host, piece)
    before = [totals(*EVERY_LEVEL, name=name) for name in ("sent", "deferred")]
    assert store(host, piece) is False
    # Asked again with the new cursor, a host that answers the same has not moved on.
    assert store(host, piece, cursor_was=piece.cursor)
    assert [totals(*EVERY_LEVEL, name=name) for name in ("sent", "deferred")] == before
    log = LogSource.objects.get(source=LOG)
    assert (log.lines, log.condition) == (100, "cursor_stuck")


def test_the_next_piece_adds_to_the_same_spans(host: Host) -> None:
    store(host, reading(sent(5)))
    store(host, reading(sent(7), cursor='{"offset":2}'), cursor_was='{"offset":1}')
    assert totals(*EVERY_LEVEL) == [12] * len(EVERY_LEVEL)
    assert Outcomes.objects.count() == 1
    assert LogSource.objects.get(source=LOG).lines == 200


def test_late_lines_reach_their_own_spans_at_every_level(host: Host) -> None:
    store(host, reading(sent(5)))
    yesterday = TS - 86_400 - 3_600
    store(host, reading(sent(3, ts=yesterday), sent(1), cursor="{}"), cursor_was='{"offset":1}')
    assert totals(*EVERY_LEVEL) == [9] * len(EVERY_LEVEL)
    assert OutcomesDay.objects.get(ts=DAY - 86_400).sent == 3
    assert ProviderOutcomesHour.objects.get(ts=yesterday - yesterday % 3600).sent == 3
    assert OutcomesHour.objects.get(ts=HOUR).sent == 6


def test_a_fault_within_leaves_neither_counts_nor_cursor(host: Host) -> None:
    piece = reading(sent(5), refused("bounced"), replies=(reply(),))
    with mock.patch.object(levels, "add_outcomes", side_effect=RuntimeError), pytest.raises(RuntimeError):
        store(host, piece)
    assert LogSource.objects.get(source=LOG).cursor == ""
    assert totals(*EVERY_LEVEL) == [0] * len(EVERY_LEVEL)
    assert not ReplyCluster.objects.exists() and not RecipientDomain.objects.exists()
    assert store(host, piece)
    assert totals(*EVERY_LEVEL) == [5] * len(EVERY_LEVEL)


def test_the_provider_is_told_by_domain_then_by_relay_host_then_nobody(host: Host) -> None:
    mx = {
        "firm.example": "firm-example.mail.protection.outlook.com",
        "hotmail.com": "mx.somewhere.example",
        "own.example": "mx.own.example",
    }
    store(host, reading(*(sent(1, domain) for domain in mx), mx=mx))
    found = dict(RecipientDomain.objects.values_list("name", "provider__slug"))
    assert found == {"firm.example": "msn", "hotmail.com": "msn", "own.example": "therest"}
    counted = dict(Outcomes.objects.values_list("provider__slug", "sent"))
    assert counted == {"msn": 2, "therest": 1}


def test_the_longest_suffix_of_a_relay_host_wins(host: Host) -> None:
    long, short = Provider.objects.get(slug="aol"), Provider.objects.get(slug="gmail")
    ProviderMxSuffix.objects.create(suffix="mx.example", provider=short)
    ProviderMxSuffix.objects.create(suffix="east.mx.example", provider=long)
    store(host, reading(sent(1, "firm.example"), mx={"firm.example": "a.east.mx.example"}))
    assert RecipientDomain.objects.get().provider == long


def test_a_relay_host_that_was_seen_is_remembered_while_none_answers(host: Host) -> None:
    store(host, reading(sent(1, "firm.example"), mx={"firm.example": "x.mail.protection.outlook.com"}))
    later = reading(refused("deferred", 3, "firm.example"), cursor="{}", replies=(reply(),))
    store(host, later, cursor_was='{"offset":1}')
    assert list(Outcomes.objects.values_list("provider__slug", "sent", "deferred")) == [("msn", 1, 3)]


def test_a_domain_that_moves_counts_for_its_new_provider_from_then_on(host: Host) -> None:
    store(host, reading(sent(5, "firm.example")))
    domain_assign(domain="firm.example", provider=Provider.objects.get(slug="gmail"))
    store(host, reading(sent(2, "firm.example"), cursor="{}"), cursor_was='{"offset":1}')
    ProviderDomain.objects.all().delete()
    moved = reading(
        sent(1, "firm.example"), cursor='{"o":3}', mx={"firm.example": "a.mail.protection.outlook.com"}
    )
    store(host, moved, cursor_was="{}")
    assert dict(Outcomes.objects.values_list("provider__slug", "sent")) == {
        "therest": 5,
        "gmail": 2,
        "msn": 1,
    }
    assert RecipientDomain.objects.get().provider.slug == "msn"
    assert totals(*BY_DOMAIN) == [8, 8]


def test_hosts_of_one_site_that_take_turns_are_no_change(host: Host) -> None:
    store(host, reading(sent(1, "own.example"), mx={"own.example": "mx1.own.example"}))
    second = reading(sent(1, "own.example"), cursor="{}", mx={"own.example": "mx2.own.example"})
    store(host, second, cursor_was='{"offset":1}')
    assert RecipientDomain.objects.get().mx_host == "mx1.own.example"


def test_without_a_catch_all_one_is_made(host: Host) -> None:
    Provider.objects.all().delete()
    assert store(host, reading(sent(1, "own.example")))
    assert Provider.objects.get().catch_all
    assert totals(*EVERY_LEVEL) == [1] * len(EVERY_LEVEL)


def test_domains_beyond_the_cap_are_counted_as_other_and_failures_are_kept(host: Host) -> None:
    many = [sent(2, f"d{number}.example") for number in range(TOP_DOMAINS + 30)]
    store(host, reading(*many, refused("bounced", 1, "worst.example"), replies=(reply(),)))
    assert RecipientDomain.objects.count() == TOP_DOMAINS + 1
    other = DomainOutcomesHour.objects.get(domain__name="(other)")
    assert other.sent == 2 * 31
    assert DomainOutcomesHour.objects.filter(domain__name="worst.example").exists()
    assert totals(*EVERY_LEVEL) == [2 * len(many)] * len(EVERY_LEVEL)


def test_a_new_cluster_has_its_reason_and_its_times(host: Host) -> None:
    store(host, reading(refused("deferred"), replies=(reply(sample="said: 421 4.7.0 Too many"),)))
    cluster = ReplyCluster.objects.get()
    assert (cluster.digest, cluster.text, cluster.code, cluster.enhanced) == (
        digest_of(MASKED),
        MASKED,
        421,
        "4.7.0",
    )
    assert (cluster.reason, cluster.hard, cluster.sample) == (
        "rate-limited",
        False,
        "said: 421 4.7.0 Too many",
    )
    assert cluster.rule and cluster.rules_version
    assert cluster.first_seen_at == datetime.fromtimestamp(TS + 1, UTC)
    assert cluster.last_seen_at == datetime.fromtimestamp(TS + 100, UTC)


def test_a_known_cluster_keeps_its_reason_and_widens_its_times(host: Host) -> None:
    store(host, reading(refused("deferred"), replies=(reply(),)))
    ReplyCluster.objects.update(reason="greylisted", rule="by-hand")
    wider = reply()._replace(first=TS - 7000, last=TS + 130)
    later = reading(refused("deferred"), cursor="{}", replies=(wider,))
    store(host, later, cursor_was='{"offset":1}')
    cluster = ReplyCluster.objects.get()
    assert (cluster.reason, cluster.rule) == ("greylisted", "by-hand")
    assert cluster.first_seen_at == datetime.fromtimestamp(TS - 7000, UTC)
    assert cluster.last_seen_at == datetime.fromtimestamp(TS + 130, UTC)


def test_no_host_may_put_words_under_anothers_digest(host: Host) -> None:
    forged = reply()._replace(masked="250 all is well")
    store(host, reading(refused("bounced", 4), replies=(forged,)))
    cluster = ReplyCluster.objects.get()
    assert (cluster.digest, cluster.text) == ("other", "(other)")
    assert totals(*BY_REPLY, name="bounced") == [4, 4]


@pytest.mark.parametrize(
    "text",
    ["\0 said: 550 NUL", "x" * 10_000, "\u202eabc \u0660", "'); DROP TABLE relays_host; --", '{a}\\"', "%s"],
)
def test_hostile_texts_are_stored_inert(host: Host, text: str) -> None:
    digest = digest_of(printable(text, 400))
    log = {"lines": 9, "unrecognized": 0, "bytes": 900, "behind_bytes": 0, "cursor": {"offset": 9}}
    tables = {
        "outcomes": [[f"d{text}", "bounced", "5.7.1", digest, 2, 0]],
        "accepted": [["192.0.2.1", 1]],
        "clients": [["192.0.2.1", text]],
        "mx": [[f"d{text}", text]],
        "replies": [[digest, text, text, 550, "5.7.1", TS, TS]],
    }
    rows = [{"kind": "log", "source": LOG, **log}]
    rows += [{"kind": k, "source": LOG, "instance": "msn-a", "ts": TS, "rows": r} for k, r in tables.items()]
    assert store(host, parse_sources(rows)[0])
    connection.check_constraints()
    assert totals(*EVERY_LEVEL, name="bounced") == [2] * len(EVERY_LEVEL)
    assert ReplyCluster.objects.get().digest == digest
    for shown in (
        RecipientDomain.objects.get().name,
        RecipientDomain.objects.get().mx_host,
        ReplyCluster.objects.get().text,
        ReplyCluster.objects.get().sample,
        Client.objects.get().name,
    ):
        assert shown.isprintable() and 0 < len(shown) <= 2048


def test_what_was_accepted_is_counted_by_client(host: Host) -> None:
    accepted = (
        AcceptedRow("msn-a", TS, "192.0.2.1", 40),
        AcceptedRow("msn-a", TS - 300, "192.0.2.1", 2),
        AcceptedRow("msn-a", TS, "2001:db8::1", 1),
        AcceptedRow("msn-a", TS, "", 5),
    )
    names = {"192.0.2.1": "lists.example", "2001:db8::1": ""}
    store(host, reading(accepted=accepted, clients=names))
    assert totals(Accepted, AcceptedHour, AcceptedDay, name="messages") == [48, 48, 48]
    first = Client.objects.get(ip="192.0.2.1")
    assert (first.name, first.origin) == ("lists.example", None)
    assert first.first_seen_at == datetime.fromtimestamp(TS - 300, UTC)
    assert AcceptedHour.objects.get(client__ip="::").messages == 5
    # A name that the resolver did not give this time is not forgotten.
    again = reading(accepted=accepted[:1], clients={"192.0.2.1": ""}, cursor="{}")
    store(host, again, cursor_was='{"offset":1}')
    assert Client.objects.get(ip="192.0.2.1").name == "lists.example"


def test_a_stranger_that_may_not_relay_is_no_client(host: Host) -> None:
    client_make("192.0.2.1", age_s=9000)
    was = Client.objects.get().last_seen_at
    denied = tuple(
        DeniedRow(name, TS, ip, 3) for name in ("msn-a", "gone") for ip in ("192.0.2.1", "192.0.2.66", "")
    )
    store(host, reading(denied=denied))
    assert totals(Accepted, AcceptedHour, AcceptedDay, name="denied") == [3, 3, 3]
    assert totals(Accepted, AcceptedHour, AcceptedDay, name="messages") == [0, 0, 0]
    assert [(client.ip, client.last_seen_at) for client in Client.objects.all()] == [("192.0.2.1", was)]
    store(
        host,
        reading(accepted=(AcceptedRow("msn-a", TS, "192.0.2.1", 7),), cursor="{}"),
        cursor_was='{"offset":1}',
    )
    row = Accepted.objects.get()
    assert (row.messages, row.denied) == (7, 3)


def state(name: str = "msn-a") -> InstanceState:
    return InstanceState.objects.get(instance__name=name)


def test_the_last_hour_is_summed_up_to_now(host: Host) -> None:
    rows = (
        sent(5),
        sent(7, ts=TS - 3000),
        sent(100, ts=TS - 3600),
        refused("suspended", 3),
        refused("deferred", 2, "gmail.com"),
    )
    accepted = (AcceptedRow("msn-a", TS, "192.0.2.1", 9), AcceptedRow("msn-a", TS - 4000, "192.0.2.1", 50))
    store(host, reading(*rows, accepted=accepted, replies=(reply(),)))
    hour = state()
    assert (hour.outcomes_at, hour.hour_sent, hour.hour_deferred, hour.hour_suspended) == (AT, 12, 5, 3)
    assert (hour.hour_bounced, hour.hour_expired, hour.hour_handed_over, hour.hour_accepted) == (0, 0, 0, 9)
    assert (hour.hour_throttled, hour.hour_blocked) == (5, 0)
    # The other instance writes to a log of its own, which was not read.
    assert (state("aol-a").outcomes_at, state("aol-a").hour_sent) == (None, None)


def test_after_an_hour_without_mail_the_figures_are_zero(host: Host) -> None:
    store(host, reading(sent(5)))
    later = AT + timedelta(minutes=70)
    quiet = reading(cursor='{"offset":1}', lines=0, last=None)
    assert store(host, quiet, cursor_was='{"offset":1}', at=later)
    assert (state().hour_sent, state().outcomes_at) == (0, later)
    assert LogSource.objects.get(source=LOG).read_at == later


def test_a_log_that_was_not_read_leaves_the_figures_with_their_age(host: Host) -> None:
    store(host, reading(sent(5)))
    refusal = (Condition("not_readable", "log", "permission denied"),)
    unread = reading(cursor="", lines=0, behind_bytes=None, last=None, conditions=refusal)
    store(host, unread, cursor_was='{"offset":1}', at=AT + timedelta(hours=2))
    note_unread(host=host, code="unreachable", detail="no answer")
    assert (state().hour_sent, state().outcomes_at) == (5, AT)
    log = LogSource.objects.get(source=LOG)
    assert (log.cursor, log.read_at, log.condition) == ('{"offset":1}', AT, "unreachable")


def test_a_condition_is_named_and_goes_with_its_cause(host: Host) -> None:
    refusal = (Condition("not_readable", "log", "permission denied"),)
    store(host, reading(cursor="", lines=0, behind_bytes=None, last=None, conditions=refusal))
    log = LogSource.objects.get(source=LOG)
    assert (log.condition, log.condition_detail) == ("not_readable", "permission denied")
    store(host, reading(sent()))
    assert LogSource.objects.get(source=LOG).condition == ""


def test_while_it_catches_up_the_hour_is_that_before_the_last_line_counted(host: Host) -> None:
    old = TS - 86_400
    piece = reading(sent(5, ts=old), last=old + 100, behind_bytes=10**9)
    store(host, piece)
    assert (state().hour_sent, state().outcomes_at) == (5, datetime.fromtimestamp(old + 100, UTC))
    store(host, reading(sent(1), cursor="{}"), cursor_was='{"offset":1}')
    assert (state().hour_sent, state().outcomes_at) == (1, AT)


def test_instances_that_share_a_log_are_all_known_by_it(host: Host) -> None:
    for instance in Instance.objects.all():
        instance.inventory["log"] = {"kind": "file", "path": "/var/log/mail.log"}
        instance.save()
    assert [log.source for log in log_sources(host=host)] == ["/var/log/mail.log"]
    store(host, reading(sent(5), source="/var/log/mail.log"))
    assert (state().hour_sent, state("aol-a").hour_sent, state("aol-a").outcomes_at) == (5, 0, AT)


def test_logs_are_listed_once_with_their_cursors(host: Host) -> None:
    Instance.objects.filter(name="aol-a").update(inventory={"log": {"kind": "journal"}})
    store(host, reading(sent(5)))
    assert {log.source: log.cursor for log in log_sources(host=host)} == {"journal": "", LOG: '{"offset":1}'}
    Instance.objects.update(inventory={"log": None})
    assert log_sources(host=host) == []


def test_an_instance_that_was_removed_meanwhile_still_counts(host: Host) -> None:
    Instance.objects.filter(name="msn-a").update(removed_at=AT)
    assert store(host, reading(sent(5)))
    assert OutcomesDay.objects.get().instance.name == "msn-a"


def test_a_present_instance_wins_over_a_removed_one_of_its_name(host: Host) -> None:
    Instance.objects.filter(name="msn-a").update(removed_at=AT)
    present = instance_make(host, "msn-b")
    Instance.objects.filter(pk=present.pk).update(name="msn-a")
    store(host, reading(sent(5)))
    assert OutcomesDay.objects.get().instance_id == present.pk


def test_a_name_that_no_instance_has_is_told_and_the_rest_counts(host: Host) -> None:
    store(
        host, reading(sent(5), sent(3, instance="gone"), accepted=(AcceptedRow("gone", TS, "192.0.2.1", 1),))
    )
    log = LogSource.objects.get(source=LOG)
    assert (log.condition, "4 for gone" in log.condition_detail) == ("unknown_instance", True)
    assert totals(*EVERY_LEVEL) == [5] * len(EVERY_LEVEL)


@pytest.mark.parametrize(("code", "told"), [("lossy", "unknown_instance"), ("lost", "lost")])
def test_a_notice_does_not_hide_what_was_counted_for_nobody(host: Host, code: str, told: str) -> None:
    store(host, reading(sent(3, instance="gone"), conditions=(Condition(code, "log", ""),)))
    assert LogSource.objects.get(source=LOG).condition == told


def test_a_host_that_is_gone_stores_nothing(host: Host) -> None:
    Host.objects.filter(pk=host.pk).delete()
    assert store(host, reading(sent(5))) is False
    assert not RecipientDomain.objects.exists()


def test_nothing_is_counted_in_the_future_and_a_wrong_clock_is_set_right(host: Host) -> None:
    store(host, reading(sent(1, ts=TS + 86_400)))
    assert Outcomes.objects.get().ts == TS
    Outcomes.objects.all().delete()
    slow = reading(sent(1, ts=TS - 7200), cursor="{}", last=TS - 7100)
    store(host, slow, cursor_was='{"offset":1}', clock_skew_s=-7203.4)
    assert Outcomes.objects.get().ts == TS
    assert state().hour_sent == 1


def test_a_lying_host_cannot_make_a_counter_overflow(host: Host) -> None:
    most = 2**31 - 1
    rows = [sent(most)._replace(bytes=2**62), sent(most, "msn.com")._replace(bytes=2**62)]
    store(host, reading(*rows))
    store(host, reading(*rows, cursor="{}"), cursor_was='{"offset":1}')
    row = ProviderOutcomesDay.objects.get()
    assert (row.sent, row.size_bytes) == (most, 2**63 - 1)
    assert state().hour_sent == most


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_with_the_same_piece_one_stores_it(host: Host) -> None:
    piece = reading(sent(5), refused("deferred"), replies=(reply(),))
    assert sorted(at_once([lambda: store(host, piece)] * 4)) == [False, False, False, True]
    assert totals(*EVERY_LEVEL) == [5] * len(EVERY_LEVEL)
    assert LogSource.objects.get(source=LOG).lines == 100


@pytest.mark.django_db(transaction=True)
def test_workers_of_many_hosts_write_the_same_providers_without_a_deadlock() -> None:
    load_shipped()
    hosts = [host_make(f"host-{number}") for number in range(4)]
    for host in hosts:
        instance_make(host, "msn-a")
        log_sources(host=host)
    domains = [f"d{number}.example" for number in range(40)] + ["hotmail.com", "gmail.com", "aol.com"]
    texts = [f"said: 421 4.7.0 reply {chr(97 + number)}" for number in range(20)]

    def work(place: int) -> bool:
        # Each in an order of its own.
        for turn in range(8):
            turned = domains[5 * place + turn :] + domains[: 5 * place + turn]
            rows = [sent(1, domain) for domain in turned]
            rows += [refused("deferred", 1, "aol.com", text) for text in texts[place:] + texts[:place]]
            piece = reading(*rows, cursor=f'{{"o":{turn}}}', replies=tuple(map(reply, texts)))
            assert store(hosts[place], piece, cursor_was=f'{{"o":{turn - 1}}}' if turn else "")
        return True

    assert at_once([lambda place=place: work(place) for place in range(4)]) == [True] * 4  # type: ignore[misc]
    assert totals(*EVERY_LEVEL) == [4 * 8 * len(domains)] * len(EVERY_LEVEL)
    assert totals(*BY_REPLY, name="deferred") == [4 * 8 * len(texts)] * 2


def at_once(jobs: list[Callable[[], bool]]) -> list[bool]:
    """Run each job in a thread with a connection of its own, all begun together."""
    barrier, results = threading.Barrier(len(jobs)), []

    def run(job: Callable[[], bool]) -> None:
        try:
            barrier.wait()
            results.append(job())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
