"""Reasons of replies: the shipped rules, and the administrator's own before them."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Sum

from relays.domain.reasons import BadRule, Rule, RuleTable, hear
from relays.models import Provider, ReasonRule, ReplyCluster, ReplyCountsDay
from relays.services.audit import SYSTEM, Actor, Subject, record_change

SHIPPED = Path(__file__).parents[1] / "data" / "reasons.json"
OWN = "own:"
# Each batch is one short write. What a run leaves is the next one's.
CLUSTERS_A_BATCH = 500
CLUSTERS_A_RUN = 5000

logger = logging.getLogger(__name__)

_CONDITIONS = ("slug", "reason", "pattern", "providers", "codes", "enhanced", "hard")
# The values of _CONDITIONS.
_Own = tuple[str, str, str, str, str, str, bool | None]


@dataclass(frozen=True, slots=True)
class Reclassified:
    """Clusters that were given another reason or hardness, and those that are still to be looked at."""

    changed: int
    left: int


@lru_cache(maxsize=1)
def shipped_table() -> RuleTable:
    """Return the shipped rules."""
    return RuleTable.from_json(json.loads(SHIPPED.read_text()))


def rule_table() -> RuleTable:
    """Return the rules that hold now, own ones first.

    One short query each time, because another process may have changed them.
    """
    return _table_with(tuple(ReasonRule.objects.filter(enabled=True).values_list(*_CONDITIONS)))


def table_with(*, rule: ReasonRule) -> tuple[RuleTable, Rule]:
    """Return the rules as they would be with this one, saved or not, and the rule as they have it.

    Raises django's ValidationError, keyed by field.
    """
    checked = _checked(rule)
    others = ReasonRule.objects.filter(enabled=True).exclude(pk=rule.pk)
    own = sorted([*others, rule], key=lambda each: (each.position, each.slug))
    return _table_with(tuple(map(_conditions, own))), checked


def rule_save(*, rule: ReasonRule, actor: Actor = SYSTEM) -> Reclassified:
    """Add or change an own rule, and give clusters the reasons that hold then.

    Raises django's ValidationError, keyed by field.
    """
    _checked(rule)
    known = ReasonRule.objects.filter(pk=rule.pk).first()
    with transaction.atomic():
        rule.save()
        record_change(
            actor=actor,
            action="rule.change" if known else "rule.add",
            subject=_subject(rule),
            before=_told(known) if known else None,
            after=_told(rule),
        )
    return reclassify()


def rule_remove(*, rule: ReasonRule, actor: Actor = SYSTEM) -> Reclassified:
    """Forget an own rule, and give clusters the reasons that hold then."""
    with transaction.atomic():
        record_change(actor=actor, action="rule.remove", subject=_subject(rule), before=_told(rule))
        rule.delete()
    return reclassify()


def _subject(rule: ReasonRule) -> Subject:
    return Subject(type="rule", id=rule.slug[:64], name=rule.slug)


def _told(rule: ReasonRule) -> dict[str, Any]:
    names = ("slug", "reason", "pattern", "providers", "codes", "enhanced", "hard", "position", "enabled")
    return {name: getattr(rule, name) for name in names}


def reclassify(*, at_most: int = CLUSTERS_A_RUN) -> Reclassified:
    """Give clusters that other rules judged the reasons that hold now, in batches.

    It may run twice, and beside the storing of new clusters: what that writes by rules of a moment ago is
    seen by its version, and done again.
    """
    table = rule_table()
    stale = ReplyCluster.objects.exclude(rules_version=table.version)
    changed = done = 0
    while done < at_most and (batch := list(stale.order_by("digest")[:CLUSTERS_A_BATCH])):
        changed += _judge(batch, table)
        done += len(batch)
    return Reclassified(changed, stale.count() if done >= at_most else 0)


def main_providers(digests: Iterable[str]) -> dict[str, str]:
    """Return the slug of the provider that each cluster was heard from most."""
    heard = (
        ReplyCountsDay.objects.filter(cluster_id__in=list(digests))
        .values_list("cluster_id", "provider__slug")
        .annotate(count=Sum("deferred") + Sum("bounced") + Sum("softbounce"))
        .order_by("count", "provider__slug")
    )
    return {digest: slug for digest, slug, _ in heard}


def _conditions(rule: ReasonRule) -> _Own:
    return (
        rule.slug,
        rule.reason,
        rule.pattern,
        rule.providers,
        rule.codes,
        rule.enhanced,
        rule.hard,
    )


def _judge(clusters: list[ReplyCluster], table: RuleTable) -> int:
    providers = main_providers(cluster.digest for cluster in clusters)
    changed = 0
    for cluster in clusters:
        verdict = table.classify(cluster.text, provider=providers.get(cluster.digest, ""))
        changed += (cluster.reason, cluster.hard) != (verdict.reason, verdict.hard)
        cluster.reason, cluster.hard, cluster.rule = verdict.reason, verdict.hard, verdict.rule
        cluster.rules_version = table.version
    ReplyCluster.objects.bulk_update(clusters, ["reason", "hard", "rule", "rules_version"])
    return changed


def _checked(rule: ReasonRule) -> Rule:
    """Return a rule as the table takes it. Raises ValidationError."""
    errors: dict[str, list[str]] = {}
    try:
        rule.full_clean(exclude=["hard"])  # empty is one of its three values
    except ValidationError as error:
        errors = dict(error.message_dict)
    if rule.reason not in shipped_table().reasons:
        errors.setdefault("reason", []).append("There is no such reason.")
    for field in ("pattern", "codes", "enhanced"):
        try:
            _rule({"slug": "checked", "reason": "other", field: getattr(rule, field)})
        except BadRule as error:
            errors.setdefault(field, []).append(str(error))
    known = set(Provider.objects.values_list("slug", flat=True))
    for slug in _parts(rule.providers):
        if slug not in known:
            errors.setdefault("providers", []).append(f"There is no provider {slug!r}.")
    if errors:
        raise ValidationError(errors)
    checked = _rule(dict(zip(_CONDITIONS, _conditions(rule), strict=True)))
    if checked.fits(hear(""), ""):
        raise ValidationError({"pattern": "This is found in every reply."})
    return checked


@lru_cache(maxsize=4)
def _table_with(own: tuple[_Own, ...]) -> RuleTable:
    shipped = shipped_table()
    if not own:
        return shipped
    digest = hashlib.sha256(repr(own).encode()).hexdigest()[:8]
    rules = [
        rule for values in own if (rule := _usable(dict(zip(_CONDITIONS, values, strict=True)), shipped))
    ]
    return shipped.with_own(rules, f"{shipped.version}+{digest}")


def _usable(fields: Mapping[str, Any], shipped: RuleTable) -> Rule | None:
    """Return an own rule, None for one that does not work: mail is counted whatever a rule says."""
    if fields["reason"] not in shipped.reasons:
        logger.warning("rule %s is passed over: there is no reason %r", fields["slug"], fields["reason"])
        return None
    try:
        return _rule(fields)
    except BadRule as error:
        logger.warning("rule %s is passed over: %s", fields["slug"], error)
        return None


def _rule(fields: Mapping[str, Any]) -> Rule:
    pattern = fields.get("pattern", "")
    return Rule(
        id=f"{OWN}{fields['slug']}",
        reason=fields["reason"],
        texts=(pattern,) if pattern else (),
        providers=frozenset(_parts(fields.get("providers", ""))),
        codes=_parts(fields.get("codes", "")),
        enhanced=_parts(fields.get("enhanced", "")),
        hard=fields.get("hard"),
    )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())
