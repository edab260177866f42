"""The client of what a flush needs of a relay host. docs/relayctl.md, "The flush", is the protocol."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from relays.domain import flush
from relays.domain.fields import BadRow
from relays.domain.flush import Check, Event, Message, PeerFacts, RedirectFacts, Scanned
from relays.remote import relayctl, write
from relays.remote.errors import Incompatible, Incomplete
from relays.remote.relayctl import Reply
from relays.remote.ssh import Limits, Target
from relays.remote.write import WriteResult


@dataclass(frozen=True, slots=True)
class Peer:
    """Where the target listens."""

    address: str
    port: int = 25

    @property
    def nexthop(self) -> str:
        """How a transport map names it: smtp(8), "SMTP DESTINATION SYNTAX"."""
        return f"[{'ipv6:' if ':' in self.address else ''}{self.address}]:{self.port}"

    def as_json(self) -> dict[str, Any]:
        """Return the peer as a request names it."""
        return {"address": self.address, "port": self.port}


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was tried over the real path. peer: None where the target was not reached."""

    checks: tuple[Check, ...]
    peer: PeerFacts | None


@dataclass(frozen=True, slots=True)
class Status:
    """Every instance of a host; guard_age_s: since the guard looked, None where it never did."""

    instances: tuple[RedirectFacts, ...]
    guard_age_s: float | None


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Events since a cursor. cursor: JSON text for the next; more: there is more to read now."""

    events: tuple[Event, ...]
    cursor: str
    more: bool


def status(target: Target, limits: Limits | None = None) -> Status:
    """Return what redirects are on. target: of the read user. Raises RemoteError, as all do."""
    reply = relayctl.ask(target, "redirect.status", {}, limits)
    age = reply.end.get("guard_age_s")
    rows = relayctl.parse(reply.rows, "redirect", flush.parse_redirect)
    return Status(rows, float(age) if isinstance(age, int | float) else None)


def scan(  # noqa: PLR0913
    target: Target,
    *,
    instance: str,
    domains: Iterable[str],
    counts_only: bool = False,
    lifetime_s: int = 0,
    size_limit: int = 0,
    limits: Limits | None = None,
) -> tuple[Scanned, list[Message]]:
    """Return what of these domains is in an instance's queue. Raises Incomplete where it is too much."""
    args = {"instance": instance, "domains": list(domains), "counts_only": counts_only}
    reply = relayctl.ask(
        target, "flush.scan", args | {"lifetime_s": lifetime_s, "size_limit": size_limit}, limits
    )
    _refuse_truncated(reply, "there are more messages than a reply holds: choose fewer domains")
    messages = [
        each for rows in relayctl.parse(reply.rows, "messages", flush.parse_messages) for each in rows
    ]
    try:
        return flush.parse_scan(reply.end), messages
    except BadRow as error:
        raise Incompatible(f"relayctl sent something malformed: {error}.") from error


def log(  # noqa: PLR0913
    target: Target,
    *,
    instance: str,
    role: str,
    cursor: str,
    since: int,
    client: str = "",
    limits: Limits | None = None,
) -> LogPiece:
    """Return events since a cursor ("": from the beginning of the log) and the next cursor."""
    args: dict[str, object] = {"instance": instance, "role": role, "since": since}
    args |= {"client": client} if client else {}
    args |= {"cursor": orjson.loads(cursor)} if cursor else {}
    reply = relayctl.ask(target, "flush.log", args, limits)
    _refuse_truncated(reply, "its events were cut off")
    events = tuple(each for rows in relayctl.parse(reply.rows, "events", flush.parse_events) for each in rows)
    return LogPiece(events, _cursor(reply.end), bool(reply.end.get("behind_bytes")))


def log_end(target: Target, *, instance: str, role: str, limits: Limits | None = None) -> str:
    """Return the cursor behind what an instance has logged so far, "" where there is none yet."""
    args = {"instance": instance, "role": role, "at_end": True}
    return _cursor(relayctl.ask(target, "flush.log", args, limits).end)


def preflight(  # noqa: PLR0913
    target: Target,
    *,
    instance: str,
    to: Peer,
    sender: str,
    recipients: Iterable[str],
    limits: Limits | None = None,
) -> Preflight:
    """Try the path from an instance to a peer, up to RCPT. target: of the write user."""
    args = {"instance": instance, "to": to.as_json(), "sender": sender, "recipients": list(recipients)}
    rows = write.ask(target, "flush.preflight", args, limits).rows
    peers = relayctl.parse(rows, "peer", flush.parse_peer)
    return Preflight(relayctl.parse(rows, "check", flush.parse_check), peers[0] if peers else None)


def redirect_set(
    target: Target, *, instance: str, to: Peer, domains: Iterable[str], lease_s: int, **ids: Any
) -> WriteResult:
    """Put a redirect on. ids: req_id, op_id and fence, as for every change."""
    args = {"instance": instance, "to": to.as_json(), "domains": list(domains), "lease_s": lease_s}
    return _change(target, "redirect.set", args, ids)


def redirect_renew(target: Target, *, instance: str, lease_s: int, **ids: Any) -> WriteResult:
    """Have a redirect hold for so long from now."""
    return _change(target, "redirect.renew", {"instance": instance, "lease_s": lease_s}, ids)


def redirect_pause(target: Target, *, instance: str, **ids: Any) -> WriteResult:
    """Have redirected mail wait where it is."""
    return _change(target, "redirect.pause", {"instance": instance}, ids)


def redirect_resume(target: Target, *, instance: str, **ids: Any) -> WriteResult:
    """Have redirected mail go on to the peer again."""
    return _change(target, "redirect.resume", {"instance": instance}, ids)


def redirect_clear(target: Target, *, instance: str, **ids: Any) -> WriteResult:
    """Give back: the instance's mail goes its own way again."""
    return _change(target, "redirect.clear", {"instance": instance}, ids)


def retry(target: Target, *, instance: str, what: Mapping[str, list[str]], **ids: Any) -> WriteResult:
    """Have redirected mail tried now. what: {"domains": [...]} or {"ids": [...]}."""
    return _change(target, "flush.retry", {"instance": instance, **what}, ids)


def _change(target: Target, verb: str, args: Mapping[str, Any], ids: Mapping[str, Any]) -> WriteResult:
    return write.change(
        target,
        verb,
        args,
        ids.get("limits"),
        req_id=ids["req_id"],
        op_id=ids["op_id"],
        fence=ids["fence"],
        plan_hash=None,
    )


def _refuse_truncated(reply: Reply, what: str) -> None:
    if reply.end.get("truncated"):
        raise Incomplete(f"relayctl's answer is not whole: {what}.")


def _cursor(end: Mapping[str, Any]) -> str:
    cursor = end.get("cursor")
    text = orjson.dumps(cursor).decode() if isinstance(cursor, dict) else ""
    if len(text) > 4_096:
        raise Incompatible("relayctl gave a cursor that is too long.")
    return text
