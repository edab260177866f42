"""The shipped data file keeps the rules that the tables would refuse it by."""

import json
from collections import Counter
from pathlib import Path

from relays.domain.providers import normalise_domain

SHIPPED = Path(__file__).parents[2] / "relays" / "data" / "providers.json"


def test_shipped_domains_and_suffixes_are_normal_and_belong_to_one_provider() -> None:
    providers = json.loads(SHIPPED.read_text())["providers"]
    for key in ("domains", "mx"):
        names = Counter(name for provider in providers for name in provider[key])
        assert [name for name, times in names.items() if times > 1] == []
        assert [name for name in names if normalise_domain(name) != name] == []


def test_exactly_one_shipped_provider_catches_all_else() -> None:
    providers = json.loads(SHIPPED.read_text())["providers"]
    assert [p["slug"] for p in providers if p.get("catch_all")] == ["therest"]
    assert len({p["slug"] for p in providers}) == len(providers)
