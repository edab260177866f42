import pytest

from relays.domain.addresses import BadAddress, normalise_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" 192.0.2.1 ", "192.0.2.1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str) -> None:
    assert normalise_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "list1.example.org",
        "192.0.2.256",
        "192.0.2.1:25",
        "192.000.002.001",
        "192.0.2.1 192.0.2.2",
        "<b>",
        "1",
    ],
)
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadAddress, match="is not an IP address"):
        normalise_address(text)


def test_a_network_is_refused_with_the_way_out() -> None:
    with pytest.raises(BadAddress, match="each address of a network by itself"):
        normalise_address("192.0.2.0/24")


def test_an_address_of_one_link_is_refused() -> None:
    with pytest.raises(BadAddress, match="on one link only"):
        normalise_address("fe80::1%eth0")
