"""What an origin needs, as Postfix reads it."""

from dns.domain.origins import Route, mynetworks, relayhost, transport_lines


def test_lines_are_sorted_and_all_other_mail_has_a_relayhost_that_leaves_an_origins_own_mail_alone() -> None:
    routes = [
        Route("therest.smtp.example.org"),
        Route("msn.smtp.example.org", ("live.com", "hotmail.com")),
        Route("other.smtp.example.org", ("live.com", "aol.com")),
    ]
    assert transport_lines(routes) == [
        "aol.com smtp:other.smtp.example.org",
        "hotmail.com smtp:msn.smtp.example.org",
        "live.com smtp:msn.smtp.example.org",
    ]
    assert relayhost(routes) == "therest.smtp.example.org"
    assert (transport_lines([]), relayhost(routes[1:])) == ([], "")


def test_mynetworks_has_ipv6_in_brackets() -> None:
    assert mynetworks(["2001:db8::1", "192.0.2.20", "192.0.2.3", "192.0.2.3"]) == (
        "192.0.2.3, 192.0.2.20, [2001:db8::1]"
    )
