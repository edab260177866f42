"""Reading reasons: the rules, what each reason stands for, and the replies that were heard of late."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Sum
from django.utils.text import slugify

from relays.domain.reasons import FAULTS, Reason, Rule, RuleTable, Verdict, hear
from relays.domain.words import count, visible
from relays.models import ReasonRule, ReplyCluster, ReplyCountsHour
from relays.selectors.figures import moment
from relays.services.reasons import main_providers, rule_table, shipped_table, table_with

WINDOW = timedelta(days=7)
# The most heard ones. A fleet hears a few hundred texts in a week; a hostile server can make far more.
CLUSTERS_TRIED = 5000
CLUSTERS_SHOWN = 100

_PLACEHOLDER = re.compile(r"<[a-z@]*>")
_SUGGESTED_CHARS = 60


@dataclass(frozen=True, slots=True)
class HeardCluster:
    """A reply cluster with how often it was heard in the window."""

    digest: str
    text: str
    count: str
    providers: str
    reason: Reason
    rule: str
    hard: bool
    moment: str


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """One line of the table of reasons."""

    reason: Reason
    fault: str
    action: str
    clusters: str
    count: str


@dataclass(frozen=True, slots=True)
class Change:
    """A cluster whose reason a rule would change."""

    text: str
    count: str
    was: str
    becomes: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What a rule would have done in the window. cut: not all clusters were tried, only the most heard."""

    changes: list[Change]
    more: int
    changed: str
    replies: str
    fitting: str
    tried: str
    cut: bool


def reason_rows(now: datetime) -> list[ReasonRow]:
    """Return all reasons with how often each was heard in the window, the most heard first."""
    clusters: dict[str, int] = defaultdict(int)
    heard: dict[str, int] = defaultdict(int)
    for cluster, number in _heard(now):
        clusters[cluster.reason] += 1
        heard[cluster.reason] += number
    table = shipped_table()
    return [
        ReasonRow(
            reason,
            FAULTS[reason.fault],
            table.actions[reason.action],
            count(clusters[reason.slug]),
            count(heard[reason.slug]),
        )
        for reason in sorted(table.reasons.values(), key=lambda reason: (-heard[reason.slug], reason.title))
    ]


def clusters_of(reason: str, now: datetime) -> list[HeardCluster]:
    """Return the clusters of a reason in the window, the most heard first."""
    return _shown([pair for pair in _heard(now) if pair[0].reason == reason], now)


def unclassified(now: datetime) -> list[HeardCluster]:
    """Return the clusters in the window that no rule knows by its text, the most heard first."""
    guesses = {rule.id for rule in shipped_table().rules if not rule.texts}
    return _shown([pair for pair in _heard(now) if not pair[0].rule or pair[0].rule in guesses], now)


def trial(rule: ReasonRule, now: datetime) -> Trial:
    """Return which clusters of the window a rule would give another reason. Raises ValidationError."""
    table, checked = table_with(rule=rule)
    pairs = _heard(now)
    tried = pairs[:CLUSTERS_TRIED]
    providers = main_providers(cluster.digest for cluster, _ in tried)
    fitting = 0
    changes: list[tuple[ReplyCluster, int, Verdict]] = []
    for cluster, number in tried:
        provider = providers.get(cluster.digest, "")
        fits = checked.fits(hear(cluster.text), provider)
        fitting += fits
        if not fits and cluster.rule != checked.id:
            continue
        verdict = table.classify(cluster.text, provider=provider)
        if (verdict.reason, verdict.hard) != (cluster.reason, cluster.hard):
            changes.append((cluster, number, verdict))
    return Trial(
        changes=[_change(table, *change) for change in changes[:CLUSTERS_SHOWN]],
        more=max(0, len(changes) - CLUSTERS_SHOWN),
        changed=count(len(changes)),
        replies=count(sum(number for _, number, _ in changes)),
        fitting=count(fitting),
        tried=count(len(tried)),
        cut=len(pairs) > len(tried),
    )


def suggested_rule(cluster: ReplyCluster) -> dict[str, str]:
    """Return the fields of a rule for a cluster: the longest piece of its text that does not vary."""
    heard = hear(cluster.text)
    bare = heard.text.removeprefix(heard.code).lstrip(" -").removeprefix(heard.enhanced)
    piece = max(_PLACEHOLDER.split(bare), key=len).strip(" .,:;-")
    if len(piece) > _SUGGESTED_CHARS:
        piece = piece[:_SUGGESTED_CHARS].rsplit(" ", 1)[0]
    return {
        "slug": slugify(" ".join(piece.split()[:4]))[:50],
        # re.escape would escape spaces too, which nobody wants to read.
        "pattern": re.escape(piece).replace("\\ ", " ").replace("\\-", "-"),
        "codes": heard.code,
    }


def own_rules() -> list[tuple[ReasonRule, str]]:
    """Return the administrator's rules in order, each with the title of its reason."""
    reasons = shipped_table().reasons
    return [
        (rule, reasons[rule.reason].title if rule.reason in reasons else rule.reason)
        for rule in ReasonRule.objects.all()
    ]


def shipped_rules() -> list[tuple[Rule, str]]:
    """Return the shipped rules in order, each with the title of its reason."""
    table = shipped_table()
    return [(rule, table.reasons[rule.reason].title) for rule in table.rules]


def rules_of(reason: str) -> list[Rule]:
    """Return the rules that give a reason now, own ones first."""
    return [rule for rule in rule_table().rules if rule.reason == reason]


def _heard(now: datetime) -> list[tuple[ReplyCluster, int]]:
    """Return the clusters of the window with how often they were heard, the most heard first."""
    since = int((now - WINDOW).timestamp()) // 3600 * 3600
    heard = dict(
        ReplyCountsHour.objects.filter(ts__gte=since)
        .values_list("cluster_id")
        .annotate(count=Sum(F("deferred") + F("bounced") + F("softbounce")))
        .values_list("cluster_id", "count")
    )
    clusters = ReplyCluster.objects.filter(last_seen_at__gte=now - WINDOW).defer("sample")
    pairs = [(cluster, heard[cluster.digest]) for cluster in clusters if heard.get(cluster.digest)]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0].digest))


def _shown(pairs: Iterable[tuple[ReplyCluster, int]], now: datetime) -> list[HeardCluster]:
    shown = list(pairs)[:CLUSTERS_SHOWN]
    providers = main_providers(cluster.digest for cluster, _ in shown)
    reasons = shipped_table().reasons
    return [
        HeardCluster(
            cluster.digest,
            visible(cluster.text),
            count(number),
            providers.get(cluster.digest, ""),
            reasons.get(cluster.reason, reasons["other"]),
            cluster.rule,
            cluster.hard,
            moment(cluster.last_seen_at, now),
        )
        for cluster, number in shown
    ]


def _change(table: RuleTable, cluster: ReplyCluster, number: int, verdict: Verdict) -> Change:
    return Change(
        visible(cluster.text),
        count(number),
        _words(table, cluster.reason, cluster.hard),
        _words(table, verdict.reason, verdict.hard),
    )


def _words(table: RuleTable, reason: str, hard: bool) -> str:
    title = table.reasons[reason].title if reason in table.reasons else reason
    return f"{title}, hard" if hard else title
