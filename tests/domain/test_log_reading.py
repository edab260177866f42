"""Rows of `log.read` as values: whole, by source, and nothing of a row that lies."""

from typing import Any

import pytest

from relays.domain import log_reading
from relays.domain.fields import BadRow

LOG = "/var/log/mail.log"
DIGEST = "0123456789abcdef"
TS = 1_795_188_300


def log_row(source: str = LOG, **changed: Any) -> dict[str, Any]:
    return {
        "kind": "log",
        "source": source,
        "cursor": {"v": 1, "places": []},
        "lines": 3,
        "unrecognized": 1,
        "samples": ["what\x1b[2J is this"],
        "bytes": 300,
        "behind_bytes": 0,
        "first": TS + 1,
        "last": TS + 2.5,
        "conditions": [],
        **changed,
    }


def table(kind: str, *rows: list[Any], source: str = LOG, **changed: Any) -> dict[str, Any]:
    return {"kind": kind, "source": source, "instance": "msn-a", "ts": TS, "rows": list(rows), **changed}


SENT = ["hotmail.com", "sent", "2.0.0", "", 2, 2_700]
DEFERRED = ["hotmail.com", "deferred", "4.7.0", DIGEST, 1, 1_350]
REPLY = [DIGEST, "421 4.7.0 rate limited <ip>", "421 4.7.0 rate limited 1.2.3.4", 421, "4.7.0", TS, TS + 1]


def test_all_rows_of_a_source_make_one_reading() -> None:
    (source,) = log_reading.parse_sources(
        [
            table("outcomes", SENT),
            table("outcomes", DEFERRED, ts=TS + 300),
            table("delays", ["hotmail.com", [1] * 16]),
            table("accepted", ["198.51.100.30", 3], ["", 1]),
            table("denied", ["198.51.100.31", 2]),
            table("clients", ["2001:DB8::0:1", "leslie.example"]),
            table("mx", ["hotmail.com", "mx.hotmail.com"]),
            table("replies", REPLY),
            log_row(),
        ]
    )
    assert source.source == LOG
    assert source.cursor == '{"places":[],"v":1}'
    assert (source.lines, source.unrecognized, source.bytes, source.behind_bytes) == (3, 1, 300, 0)
    assert source.samples == ("what\\x1b[2J is this",)
    assert source.outcomes == (
        ("msn-a", TS, "hotmail.com", "sent", "2.0.0", "", 2, 2_700),
        ("msn-a", TS + 300, "hotmail.com", "deferred", "4.7.0", DIGEST, 1, 1_350),
    )
    assert source.delays == (("msn-a", TS, "hotmail.com", (1,) * 16),)
    assert source.accepted == (("msn-a", TS, "198.51.100.30", 3), ("msn-a", TS, "", 1))
    assert source.denied == (("msn-a", TS, "198.51.100.31", 2),)
    assert source.clients == {"2001:db8::1": "leslie.example"}
    assert source.mx == {"hotmail.com": "mx.hotmail.com"}
    assert source.replies == (tuple(REPLY),)


def test_sources_are_kept_apart_and_in_order() -> None:
    readings = log_reading.parse_sources(
        [
            log_row("journal", cursor=None, behind_bytes=None),
            table("outcomes", SENT, source="journal"),
            log_row(),
        ]
    )
    assert [(r.source, r.cursor, len(r.outcomes)) for r in readings] == [
        ("journal", "", 1),
        (LOG, '{"places":[],"v":1}', 0),
    ]


def test_a_condition_of_a_log_is_told() -> None:
    told = {"code": "lost", "what": "log", "detail": "gone"}
    (source,) = log_reading.parse_sources([log_row(conditions=[told])])
    assert [(c.code, c.detail) for c in source.conditions] == [("lost", "gone")]


@pytest.mark.parametrize(
    "rows",
    [
        [table("outcomes", SENT)],
        [log_row(), log_row()],
        [log_row("../etc/passwd")],
        [log_row("/var/log/\nmail")],
        [log_row(lines=-1)],
        [log_row(lines=None)],
        [log_row(bytes="300")],
        [log_row(cursor=[])],
        [log_row(cursor={"mark": "a" * 2_048})],
        [log_row(samples=[1])],
        [log_row(samples=["a"] * 6)],
        [log_row(first="yesterday")],
        [log_row(), table("outcomes", SENT, ts=TS + 1)],
        [log_row(), table("outcomes", SENT, ts=2**31 + 100)],
        [log_row(), table("outcomes", SENT, instance="../msn-a")],
        [log_row(), table("outcomes", SENT[:5])],
        [log_row(), table("outcomes", [*SENT[:4], True, 1])],
        [log_row(), table("outcomes", [*SENT[:4], -1, 1])],
        [log_row(), table("outcomes", [*SENT[:4], 2**31, 1])],
        [log_row(), table("outcomes", [*SENT[:5], 2**62 + 1])],
        [log_row(), table("outcomes", ["hotmail.com", "delivered", "2.0.0", "", 1, 1])],
        [log_row(), table("outcomes", ["hotmail.com", "sent", "9.9.9", "", 1, 1])],
        [log_row(), table("outcomes", ["hotmail.com", "sent", "2.0.0", "<script>", 1, 1])],
        [log_row(), table("outcomes", ["hotmail.com", "sent", ["2.0.0"], "", 1, 1])],
        [log_row(), {**table("outcomes"), "rows": ["hotmail.com"]}],
        [log_row(), table("delays", ["hotmail.com", [1] * 15])],
        [log_row(), table("delays", ["hotmail.com", [-1] * 16])],
        [log_row(), table("accepted", ["localhost", 1])],
        [log_row(), table("denied", ["198.51.100.31", -1])],
        [log_row(), table("clients", ["1.2.3.4", 1])],
        [log_row(), table("replies", [*REPLY[:3], 42, *REPLY[4:]])],
        [log_row(), table("replies", [*REPLY[:5], -1, TS])],
    ],
)
def test_a_row_that_lies_is_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(BadRow):
        log_reading.parse_sources(rows)


def test_long_and_invisible_texts_are_cut_and_spelled_out() -> None:
    long = ["x" * 300, "sent", "", "", 1, 1]
    (source,) = log_reading.parse_sources(
        [
            log_row(),
            table("outcomes", long),
            table("replies", [DIGEST, "\u202e", "s" * 3_000, None, "", 0, 0]),
        ]
    )
    assert len(source.outcomes[0].domain) == 255
    assert source.replies[0].masked == "\\u202e"
    assert len(source.replies[0].sample) == 2_048
