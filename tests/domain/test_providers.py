import pytest

from relays.domain.providers import BadDomain, ProviderTable, normalise_domain, provider_of_instance

SLUGS = {"msn", "yahoo", "yahoo-jp", "therest"}
TABLE = ProviderTable(
    domains={"hotmail.com": "msn", "ymail.com": "yahoo"},
    mx_suffixes={"yahoodns.net": "yahoo", "mx-aol.mail.gm0.yahoodns.net": "aol", "outlook.com": "msn"},
    catch_all="therest",
)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("msn-a", "msn"),
        ("msn", "msn"),
        ("yahoo-a", "yahoo"),
        ("yahoo-jp-a", "yahoo-jp"),
        ("therest-b", "therest"),
        ("default", None),
        ("msnbc-a", None),
        ("", None),
    ],
)
def test_an_instance_is_matched_by_the_longest_slug_its_name_begins_with(name: str, slug: str | None) -> None:
    assert provider_of_instance(name, SLUGS) == slug


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Hotmail.COM", "hotmail.com"),
        (" gmail.com. ", "gmail.com"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_domain_becomes_lower_case_a_labels(text: str, domain: str) -> None:
    assert normalise_domain(text) == domain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "com",
        "*",
        "*.example.com",
        ".hotmail.com",
        "a b.example",
        "hotmail.com\n* drain:[9.9.9.9]",
        "-a.example",
        "a-.example",
        "a..example",
        "[192.0.2.1]",
        "a" * 64 + ".example",
        "a." * 126 + "example",
        "\u2024.example",
        "a_b.example",
        "a\x00.example",
    ],
)
def test_what_is_no_domain_name_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadDomain, match="is not a domain name"):
        normalise_domain(text)


@pytest.mark.parametrize(
    ("domain", "mx_host", "slug"),
    [
        ("hotmail.com", "", "msn"),
        ("hotmail.com", "mta5.am0.yahoodns.net", "msn"),
        ("acme.example", "mta5.am0.yahoodns.net", "yahoo"),
        ("acme.example", "mx-aol.mail.gm0.yahoodns.net", "aol"),
        ("acme.example", "outlook.com", "msn"),
        ("acme.example", "mx.notoutlook.com", "therest"),
        ("acme.example", "198.51.100.25", "therest"),
        ("sub.hotmail.com", "", "therest"),
        ("(other)", "", "therest"),
    ],
)
def test_a_domain_belongs_to_its_own_provider_then_to_its_relay_hosts(
    domain: str, mx_host: str, slug: str
) -> None:
    assert TABLE.of_domain(domain, mx_host) == slug


def test_where_nothing_catches_all_a_strange_domain_belongs_to_nobody() -> None:
    assert ProviderTable({"hotmail.com": 1}, {}, None).of_domain("acme.example") is None
