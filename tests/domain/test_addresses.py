import pytest

from relays.domain.addresses import BadAddress, check_host, check_lead, normalise_address


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


NOBODYS = [
    "169.254.169.254",
    "fe80::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "2002:a9fe:a9fe::1",
    "64:ff9b::169.254.169.254",
]
OURS = [
    "192.0.2.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "2001:db8::1",
    "fd12::1",
    "64:ff9b::192.0.2.1",
]
LOOPBACK = ["127.0.0.1", "127.0.1.1", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"]


@pytest.mark.parametrize("address", NOBODYS)
def test_nothing_of_ours_is_where_no_machine_can_be(address: str) -> None:
    with pytest.raises(BadAddress, match="no address that a machine of ours can have"):
        check_host(address)
    for host in (address, "rustin.example", "localhost"):
        with pytest.raises(BadAddress, match="no address that a machine of ours can have"):
            check_lead(host, address)


@pytest.mark.parametrize("address", OURS)
def test_relay_hosts_lie_at_public_and_private_addresses(address: str) -> None:
    check_host(address)
    check_lead(address, address)
    check_lead("rustin.example", address)


@pytest.mark.parametrize("address", LOOPBACK)
def test_this_machine_is_reached_where_it_is_named_and_by_no_other_name(address: str) -> None:
    check_host(address)
    for host in (address, "localhost", "LOCALHOST.", "relay.localhost"):
        check_lead(host, address)
    for host in ("rustin.example", "localhost.example", "notlocalhost"):
        with pytest.raises(BadAddress, match=r"leads to .*, which is this machine itself"):
            check_lead(host, address)


@pytest.mark.parametrize("text", ["127.1", "0x7f000001", "2852039166", "a/b", "", "a:22", "-a", "a" * 64])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(BadAddress, match="Give a host name or an IP address"):
        check_host(text)
