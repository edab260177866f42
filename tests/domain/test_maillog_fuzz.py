"""No line raises, none takes long, and both readers agree, whatever a log holds."""

import random
import time
from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relays.domain.maillog.lines import parse
from relays.domain.maillog.stamps import Stamps
from tests.domain.maillog_cases import NOW, counted, mutated, parsed, recipients, samples

LINES = 20_000
# Of a line's CPU time; a quiet machine takes a thousandth of it.
MOST_S = 0.1

_fragments = st.sampled_from(samples()) | st.binary(max_size=80)


def test_damaged_lines_are_read_alike_by_both_readers() -> None:
    chance = random.Random(20_261_120)
    originals = samples()
    lines = [mutated(originals, chance) for _ in range(LINES)]
    log = b"\n".join(lines) + b"\n"

    whole = counted(log)

    assert whole.lines == LINES
    assert recipients(whole) == parsed(lines)
    assert counted(log, [chance.randrange(len(log)) for _ in range(50)]) == whole


@settings(deadline=None, max_examples=100)
@given(st.lists(_fragments, max_size=12), st.lists(st.integers(0, 4000), max_size=6))
def test_any_bytes_are_counted_alike_however_they_are_cut(fragments: list[bytes], cuts: list[int]) -> None:
    log = b"".join(fragments)

    whole = counted(log)

    assert counted(log, [min(cut, len(log)) for cut in cuts]) == whole
    assert whole.unrecognized <= whole.lines
    assert recipients(whole) == parsed(log.translate(None, b"\0\r").split(b"\n"))


@pytest.mark.parametrize(
    "line",
    [
        b"Nov 20 15:49:02 iron postfix/smtp[1]: 4jWKWh04b5z: to=<" + b'"a' * 4000,
        b"Nov 20 15:49:02 iron postfix/smtp[1]: 4jWKWh04b5z: to=<" + b'"\\' * 4000,
        b"Nov 20 15:49:02 iron postfix/smtp[1]: 4jWKWh04b5z: to=<a>" + b", a=b" * 2000 + b", status",
        b"Nov 20 15:49:02 iron " + b"a/" * 4000 + b"[1]: x",
        b"Nov 20 15:49:02 iron postfix" + b"/a" * 4000 + b"[1]: x",
        b"Nov 20 15:49:02" + b" " * 8000,
        b"a" * 8000,
        b": to=<" * 1500,
        b"Nov 20 15:49:02 iron postfix/smtp[1]: 4jWKWh04b5z" + b": from=<" * 1000,
        b"Nov 20 15:49:02 iron postfix/smtpd[1]: 4jWKWh04b5z: client=" + b"[" * 8000,
        b"Nov 20 15:49:02 iron postfix/smtp[1]: 4jWKWh04b5z: message-id=" + b"a=b, " * 1600,
    ],
)
def test_no_line_takes_long(line: bytes) -> None:
    started = time.thread_time()
    counted(line)
    parse(line, Stamps(now=NOW, zone=UTC))

    assert time.thread_time() - started < MOST_S
