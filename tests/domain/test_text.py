"""Text from a relay shows what is in it, and cannot steer what shows it."""

import pytest

from relays.domain.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00fc", "plain \u00fc"),
        ("bell\x07 esc\x1b[31m", "bell\\x07 esc\\x1b[31m"),
        ("line\nbreak", "line\\x0abreak"),
        ("bidi\u202etxt", "bidi\\u202etxt"),
        ("lone\udc80", "lone\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("a" * 11, "aaaaaaa..."),
        ("a" * 10, "a" * 10),
        ("\x00" * 10, "\\x00\\x0..."),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text: str, shown: str) -> None:
    limit = 10 if len(text) in {10, 11} and text[0] in "a\x00" else 100

    assert printable(text, limit) == shown
