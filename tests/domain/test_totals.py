"""Sums over logs of any length."""

import pytest

from relays.domain import totals
from relays.domain.maillog.tables import Counts, Reply
from relays.domain.providers import ProviderTable
from relays.domain.totals import Totals

TABLE = ProviderTable({"hotmail.com": "msn"}, {"yahoodns.net": "yahoo"}, "therest")
SLUGS = {"msn", "yahoo", "therest"}


def counts(*rows: tuple[str, str, str, str, str, int], **fields: object) -> Counts:
    """Return counts of (instance, domain, outcome, dsn, digest, number), each in a bucket of its own."""
    made = Counts(**fields)  # type: ignore[arg-type]
    made.rows = {(300 * at, *row[:5]): [row[5], 0] for at, row in enumerate(rows)}
    return made


def reply(text: str, first: int, last: int) -> Reply:
    return Reply(text, text, 421, "4.7.0", first, last)


def test_parts_of_a_log_are_summed() -> None:
    summed = Totals()
    summed.add(
        counts(
            ("msn-a", "hotmail.com", "sent", "2.0.0", "", 5),
            ("msn-a", "hotmail.com", "deferred", "4.7.0", "d1", 2),
            ("msn-a", "hotmail.com", "suspended", "4.7.0", "d1", 3),
            accepted={(0, "msn-a", "192.0.2.1"): 4},
            replies={"d1": reply("try again", 200, 300)},
            lines=14,
            unrecognized=1,
            unrecognized_samples=["?"],
            first=200,
            last=300,
        )
    )
    summed.add(
        counts(
            ("msn-a", "hotmail.com", "deferred", "4.7.0", "d1", 1),
            ("msn-b", "hotmail.com", "bounced", "", "d2", 1),
            replies={"d1": reply("try again", 100, 400), "d2": reply("no such user", 400, 400)},
            lines=2,
            first=100,
            last=400,
        )
    )
    assert (summed.lines, summed.unrecognized, summed.samples) == (16, 1, ["?"])
    assert (summed.first, summed.last) == (100, 400)
    named = summed.by_instance(lambda name: name)
    assert {name: number for name, number in named["msn-a"].items() if number} == {
        "sent": 5,
        "deferred": 6,
        "accepted": 4,
    }
    assert summed.suspended == {"msn-a": 3}
    assert summed.dsn == {"2.0.0": 5, "4.7.0": 6}
    (first, again), (second, _) = summed.heard()
    assert (first, again.count, again.outcomes) == ("d1", 6, {"deferred": 3, "suspended": 3})
    assert (again.reply.first, again.reply.last, second) == (100, 400, "d2")


def test_a_provider_is_told_by_domain_then_by_relay_host_even_one_that_is_learned_later() -> None:
    summed = Totals()
    summed.add(
        counts(("x", "acme.example", "deferred", "", "d1", 2), ("x", "hotmail.com", "sent", "", "", 1))
    )
    summed.add(counts(("x", "acme.example", "sent", "", "", 3), mx={"acme.example": "mta5.yahoodns.net"}))
    summed.add(counts(("msn-a", "strange.example", "sent", "", "", 1), accepted={(0, "msn-a", "::1"): 9}))
    found = summed.by_provider(TABLE, SLUGS, summed.by_instance(lambda name: name))
    assert {slug: (sums["sent"], sums["deferred"], sums["accepted"]) for slug, sums in found.items()} == {
        "msn": (1, 0, 9),
        "therest": (1, 0, 0),
        "yahoo": (3, 2, 0),
    }


def test_two_names_of_one_instance_are_one() -> None:
    summed = Totals()
    summed.add(counts(("postfix-a", "x.example", "sent", "", "", 1), ("a", "x.example", "sent", "", "", 2)))
    assert summed.by_instance(lambda name: name.removeprefix("postfix-"))["a"]["sent"] == 3


def test_memory_is_bounded_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MAX_INSTANCES", "MAX_DOMAINS", "MAX_CODES", "MAX_REPLIES"):
        monkeypatch.setattr(totals, limit, 3)
    summed = Totals()
    for n in range(10):
        row = (f"i{n}", f"d{n}.example", "bounced", f"5.1.{n}", f"r{n}", 1)
        summed.add(counts(row, replies={f"r{n}": reply(f"text {n}", 0, 0)}, mx={f"d{n}.example": "mx"}))
    assert {name: sums["bounced"] for name, sums in summed.instances.items()} == {
        "i0": 1,
        "i1": 1,
        "i2": 1,
        "(other)": 7,
    }
    assert (len(summed.domains), summed.domains["(other)"]["bounced"]) == (4, 7)
    assert (len(summed.mx), len(summed.dsn), summed.dsn["(other)"]) == (3, 4, 7)
    assert {digest: heard.count for digest, heard in summed.heard()} == {
        "other": 7,
        "r0": 1,
        "r1": 1,
        "r2": 1,
    }
