"""What an origin needs, as Postfix reads it."""

from dns.domain.origins import Route, mynetworks, transport_lines


def test_lines_are_sorted_and_all_other_mail_comes_last() -> None:
    routes = [
        Route("therest.smtp.example.org"),
        Route("msn.smtp.example.org", ("live.com", "hotmail.com")),
        Route("other.smtp.example.org", ("live.com", "aol.com")),
    ]
    assert transport_lines(routes) == [
        "aol.com smtp:other.smtp.example.org",
        "hotmail.com smtp:msn.smtp.example.org",
        "live.com smtp:msn.smtp.example.org",
        "* smtp:therest.smtp.example.org",
    ]
    assert transport_lines([]) == []


def test_mynetworks_has_ipv6_in_brackets() -> None:
    assert mynetworks(["2001:db8::1", "192.0.2.20", "192.0.2.3", "192.0.2.3"]) == (
        "192.0.2.3, 192.0.2.20, [2001:db8::1]"
    )
