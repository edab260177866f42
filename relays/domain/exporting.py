"""Text as a spreadsheet may be given it."""

# What makes a spreadsheet read a cell as a formula: OWASP, "CSV Injection". Some skip tab, CR and LF before
# they look, and some read the full-width forms as the plain ones.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def formula_safe(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: a ' before what looks like the start of one."""
    return f"'{text}" if text.startswith(_FORMULA) else text
