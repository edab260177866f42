"""60 of the acceptance tests: whatever is asked of relayctl, it answers whole, and runs nothing it may not.

A seeded sample; `./run bench attacks` asks 100,000 times.
"""

from tests.hostile_requests import answer_all

# What it runs to look at Postfix; none of it changes anything.
LOOKING = {"postconf", "postmulti", "postqueue", "journalctl", "postfix"}


def test_60_random_requests_are_answered_whole_and_run_nothing_else() -> None:
    found = answer_all(1_500, "60")
    assert found["wrong"] == []
    assert set(found["commands"]) <= LOOKING
    assert len(found["codes"]) >= 3
