"""SPF records read for an address: the results, terms and limits of RFC 7208."""

from collections.abc import Sequence

import pytest

from dns.domain.spf import Result, Unclear, check

ZONE: dict[tuple[str, str], Sequence[str]] = {
    ("lists.example", "A"): ["192.0.2.12", "198.51.100.7"],
    ("lists.example", "AAAA"): ["2001:db8::12"],
    ("lists.example", "MX"): ["10 mx1.example", "20 mx2.example"],
    ("mx2.example", "A"): ["192.0.2.12"],
    ("_spf.example", "TXT"): ["v=spf1 ip4:192.0.2.0/28 -all"],
    ("weak.example", "TXT"): ["v=spf1 ip4:192.0.2.0/28 ~all"],
    ("none.example", "TXT"): ["google-site-verification=x", "v=spf10 +all"],
    ("two.example", "TXT"): ["v=spf1 -all", "v=spf1 +all"],
    ("loop.example", "TXT"): ["v=spf1 include:loop.example -all"],
}


def result(record: str, address: str = "192.0.2.12") -> Result:
    zone = ZONE | {("lists.example", "TXT"): ["hello", record]}
    return check("lists.example", address, lambda name, kind: zone.get((name, kind), ()))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("v=spf1 ip4:192.0.2.12 -all", "pass"),
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass"),
        ("V=SPF1 IP4:192.0.2.12 -ALL", "pass"),
        ("v=spf1 ip4:203.0.113.0/24 -all", "fail"),
        ("v=spf1 ip4:203.0.113.0/24 ~all", "softfail"),
        ("v=spf1 ip4:203.0.113.0/24 ?all", "neutral"),
        ("v=spf1 -ip4:192.0.2.12 +all", "fail"),
        ("v=spf1", "neutral"),
        ("v=spf1 ip6:2001:db8::/32 -all", "fail"),
        ("v=spf1 a -all", "pass"),
        ("v=spf1 a:lists.example/24 -all", "pass"),
        ("v=spf1 mx -all", "pass"),
        ("v=spf1 mx/24//64 -all", "pass"),
        ("v=spf1 include:_spf.example -all", "pass"),
        # The other's -all and ~all decide nothing here.
        ("v=spf1 include:weak.example -all", "pass"),
        ("v=spf1 redirect=_spf.example", "pass"),
        ("v=spf1 redirect=_spf.example ?all", "neutral"),
        ("v=spf1 exists:lists.example -all", "pass"),
        ("v=spf1 exp=why.example ip4:192.0.2.12", "pass"),
        ("v=spf1 x-y.z_1=%{i} other= ip4:192.0.2.12", "pass"),
        ("v=spf1 redirect=_spf.example redirect=weak.example", "permerror"),
        ("v=spf1 redirect=", "permerror"),
        ("v=spf1 include:none.example -all", "permerror"),
        ("v=spf1 include:two.example -all", "permerror"),
        ("v=spf1 redirect=none.example", "permerror"),
        ("v=spf1 include:loop.example -all", "permerror"),
        ("v=spf1 a:x.example a:y.example a:z.example +all", "permerror"),
        ("v=spf1 ip4:300.0.2.12 +all", "permerror"),
        ("v=spf1 ip4 +all", "permerror"),
        ("v=spf1 include: +all", "permerror"),
        ("v=spf1 a/99 +all", "permerror"),
        ("v=spf1 a/x +all", "permerror"),
        ("v=spf1 senders +all", "permerror"),
    ],
)
def test_what_a_record_says(record: str, expected: str) -> None:
    assert result(record) == expected


def test_an_ipv6_address_is_looked_for_among_its_own() -> None:
    assert result("v=spf1 a -all", "2001:db8::12") is Result.PASS
    assert result("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::99") is Result.PASS
    assert result("v=spf1 a//120 -all", "2001:db8::1") is Result.PASS
    assert result("v=spf1 ip4:192.0.2.0/24 -all", "2001:db8::99") is Result.FAIL


def test_without_a_record_there_is_none() -> None:
    assert check("none.example", "192.0.2.12", lambda name, kind: ZONE.get((name, kind), ())) is Result.NONE


@pytest.mark.parametrize("term", ["exists:%{i}.example", "ptr", "include:%{d}.example", "a:%{h}"])
def test_what_only_a_delivery_tells_is_unclear_unless_another_term_decides_first(term: str) -> None:
    with pytest.raises(Unclear):
        result(f"v=spf1 {term} -all")
    assert result(f"v=spf1 ip4:192.0.2.12 {term} -all") is Result.PASS


def test_more_than_ten_hosts_of_an_mx_are_too_many() -> None:
    zone = {
        ("a.example", "TXT"): ["v=spf1 mx +all"],
        ("a.example", "MX"): [f"{n} m{n}.example" for n in range(11)],
    }
    assert check("a.example", "192.0.2.12", lambda name, kind: zone.get((name, kind), ())) is Result.PERMERROR
