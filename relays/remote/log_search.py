"""The client of `log.search`: a piece of a search of one host's logs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from relays.domain import fields
from relays.domain.fields import BadRow
from relays.domain.found_lines import HostLine, parse_line, parse_problem
from relays.remote.errors import Incompatible, Incomplete
from relays.remote.relayctl import Answer, ask, parse
from relays.remote.ssh import Limits, Target

# As many as a request may name.
MAX_NEEDLES = 200
_MAX_PLACE = 2_000


@dataclass(frozen=True, slots=True)
class Piece(Answer):
    """What a piece of a search found. at: where the next goes on, None where all is read.

    read_bytes: what this piece read; total_bytes: what the files are in all, as they lie on the disk.
    """

    lines: tuple[HostLine, ...]
    problems: tuple[str, ...]
    at: Mapping[str, Any] | None
    read_bytes: int
    total_bytes: int


def log_search(  # noqa: PLR0913 - keywords, as the verb has them
    target: Target,
    limits: Limits | None = None,
    *,
    texts: Sequence[str] = (),
    ids: Sequence[str] = (),
    since: int,
    until: int,
    at: Mapping[str, Any] | None = None,
    budget_ms: int = 1_500,
    limit: int = 500,
) -> Piece:
    """Read a host's logs on for a moment. One of texts and ids; times by the host's clock, in seconds.

    Raises Locked while another search reads there, and RemoteError as all verbs do.
    """
    wanted: dict[str, Any] = {"texts": list(texts)} if texts else {"ids": list(ids)}
    wanted |= {"since": since, "until": until, "budget_ms": budget_ms, "limit": limit}
    reply = ask(target, "log.search", wanted | ({} if at is None else {"at": at}), limits)
    if reply.end.get("truncated"):
        raise Incomplete("relayctl stopped in the middle of a piece.")
    try:
        read, total = (
            fields.needed_count(reply.end, key, fields.MAX_SIZE) for key in ("read_bytes", "total_bytes")
        )
        following = None if reply.end.get("at") is None else fields.mapping(reply.end, "at")
    except BadRow as error:
        raise Incompatible(f"relayctl sent something malformed: {error}.") from error
    if following is not None and len(orjson.dumps(following)) > _MAX_PLACE:
        raise Incompatible("relayctl gave a place that is too long to be one.")
    return Piece(
        reply.answer.header,
        reply.answer.clock_skew_s,
        parse(reply.rows, "line", parse_line),
        parse(reply.rows, "problem", parse_problem),
        following,
        read,
        total,
    )
