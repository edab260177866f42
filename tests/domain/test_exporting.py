"""Cells that a spreadsheet must not compute."""

import pytest

from relays.domain.exporting import formula_safe


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"],
)
def test_what_looks_like_a_formula_gets_a_quote(text: str) -> None:
    assert formula_safe(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=b", "msn-a", "192.0.2.1", "'=1"])
def test_other_text_stays(text: str) -> None:
    assert formula_safe(text) == text
