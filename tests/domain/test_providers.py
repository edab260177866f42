import pytest

from relays.domain.providers import BadDomain, normalise_domain, provider_of_instance

SLUGS = {"msn", "yahoo", "yahoo-jp", "therest"}


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
