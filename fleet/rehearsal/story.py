"""What happens in a fleet that nobody has told otherwise: msn throttles msn-a, the rest is a normal day."""

from fleet.rehearsal.rules import Rule

RATE_PER_S = 4.0
FIRST_BURST = 900


def default_rules(addresses: dict[str, str]) -> list[Rule]:
    """Return the rules of the default story. `addresses`: of the instances, by name."""
    rules = [
        Rule("full", provider="therest", share=0.04),
        Rule("unknown", provider="therest", domain="potters.example", share=0.3),
        Rule("greylist", provider="therest", domain="ferrymen.example", wait_s=240),
    ]
    if "msn-a" in addresses:
        rules.append(Rule("throttle", provider="msn", source=addresses["msn-a"]))
    return rules
