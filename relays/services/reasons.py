"""Reasons of replies: the shipped rules, and the administrator's own before them."""

import hashlib
import json
import logging
from functools import lru_cache
from pathlib import Path

from relays.domain.reasons import BadRule, Rule, RuleTable, Verdict
from relays.models import ReasonRule

SHIPPED = Path(__file__).parents[1] / "data" / "reasons.json"
logger = logging.getLogger(__name__)

# slug, reason, pattern, providers, codes, enhanced, hard
_Own = tuple[str, str, str, str, str, str, bool | None]


def classify_cluster(text: str, provider_slug: str = "") -> Verdict:
    """Return what a cluster's text means, by the rules that hold now.

    provider_slug: the provider it was heard for first, "" where that is not known.
    """
    return rule_table().classify(text, provider=provider_slug)


@lru_cache(maxsize=1)
def shipped_table() -> RuleTable:
    """Return the shipped rules."""
    return RuleTable.from_json(json.loads(SHIPPED.read_text()))


def rule_table() -> RuleTable:
    """Return the rules that hold now, own ones first.

    One short query each time, because another process may have changed them.
    """
    own = ReasonRule.objects.filter(enabled=True).values_list(
        "slug", "reason", "pattern", "providers", "codes", "enhanced", "hard"
    )
    return _table_with(tuple(own))


@lru_cache(maxsize=4)
def _table_with(own: tuple[_Own, ...]) -> RuleTable:
    shipped = shipped_table()
    if not own:
        return shipped
    digest = hashlib.sha256(repr(own).encode()).hexdigest()[:8]
    rules = [rule for fields in own if (rule := _usable(fields, shipped))]
    return shipped.with_own(rules, f"{shipped.version}+{digest}")


def _usable(fields: _Own, shipped: RuleTable) -> Rule | None:
    """Return an own rule, None for one that does not work: mail is counted whatever a rule says."""
    slug, reason, pattern, providers, codes, enhanced, hard = fields
    if reason not in shipped.reasons:
        logger.warning("rule %s is passed over: there is no reason %r", slug, reason)
        return None
    try:
        return Rule(
            id=f"own:{slug}",
            reason=reason,
            texts=(pattern,) if pattern else (),
            providers=frozenset(_parts(providers)),
            codes=_parts(codes),
            enhanced=_parts(enhanced),
            hard=hard,
        )
    except BadRule as error:
        logger.warning("rule %s is passed over: %s", slug, error)
        return None


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())
