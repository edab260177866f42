import pytest

from relays.domain.words import count, plural, size, span, visible


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_a_span_is_told_in_its_largest_fitting_unit(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (1204, "1,204"), (None, "?")])
def test_a_count_that_is_not_known_is_no_number(number: int | None, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 << 30, "3.0 GiB"),
        (5000 << 40, "5,000.0 TiB"),
    ],
)
def test_a_size_is_told_in_binary_units(octets: int | None, text: str) -> None:
    assert size(octets) == text


def test_one_is_singular() -> None:
    assert [plural(n, "host") for n in (0, 1, 2)] == ["0 hosts", "1 host", "2 hosts"]


def test_text_that_turns_its_neighbours_round_is_spelled_out() -> None:
    assert visible("a\u202eb\nc") == "a\\u202eb\\x0ac"
    assert visible("Grüße, 日本") == "Grüße, 日本"
