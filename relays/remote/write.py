"""The client of a host's write door: one function a verb, each request over a connection of its own.

Refused, what is derived from it, and KeyChanged mean that nothing was done. After another RemoteError it may
have been: op_result() tells, and the same request may be sent again, which never does it twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from relays.domain import written
from relays.domain.fields import BadRow
from relays.domain.queue_reading import Item
from relays.domain.written import Body, Entry, Headers, JournalEntry, Plan, Readiness, Result
from relays.remote import relayctl, ssh
from relays.remote.errors import Incompatible, Incomplete
from relays.remote.relayctl import Answer, Reply
from relays.remote.ssh import Limits, Target

# Whom relayctl's install makes for it; its key is settings.WRITE_KEY_PATH.
USER = "relay-write"
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Planned(Answer):
    """What a change would do, if it were made now."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class WriteResult(Answer):
    """What came of a change. replayed: by an earlier request of this id, and nothing was done now."""

    entry: Entry
    result: Result

    @property
    def replayed(self) -> bool:
        return self.entry.replayed


@dataclass(frozen=True, slots=True)
class OpResult(Answer):
    """What became of a request."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class JournalPage(Answer):
    """A page of the host's journal.

    cursor: what to pass for the next page, None where there is no journal yet; more: there is another now;
    restarted: the cursor was of another file, or of a longer one, and this page is the journal's first.
    """

    entries: tuple[JournalEntry, ...]
    cursor: str | None
    more: bool
    restarted: bool


@dataclass(frozen=True, slots=True)
class Ready(Answer):
    """Whether changes could be made: on the host at all, and on each of its instances."""

    host: Readiness
    instances: tuple[Readiness, ...]


def plan_queue_run(
    target: Target, *, instance: str, domain: str | None = None, limits: Limits | None = None
) -> Planned:
    """Say what queue_run() would do now. domain: only mail for it; None: the whole deferred queue."""
    return plan(target, "queue.run", {"instance": instance, "domain": domain}, limits)


def queue_run(
    target: Target,
    *,
    req_id: str,
    op_id: str,
    fence: int,
    instance: str,
    domain: str | None = None,
    plan_hash: str | None = None,
    limits: Limits | None = None,
) -> WriteResult:
    """Have Postfix try deferred mail now. plan_hash: of the plan that must still hold."""
    args = {"instance": instance, "domain": domain}
    return change(
        target, "queue.run", args, limits, req_id=req_id, op_id=op_id, fence=fence, plan_hash=plan_hash
    )


def plan_instance_reload(target: Target, *, instance: str, limits: Limits | None = None) -> Planned:
    """Say what instance_reload() would do now: the plan's facts name the configuration it would read."""
    return plan(target, "instance.reload", {"instance": instance}, limits)


def instance_reload(
    target: Target,
    *,
    req_id: str,
    op_id: str,
    fence: int,
    instance: str,
    plan_hash: str | None = None,
    limits: Limits | None = None,
) -> WriteResult:
    """Have an instance read its configuration again. plan_hash: of the plan that must still hold."""
    args = {"instance": instance}
    return change(
        target, "instance.reload", args, limits, req_id=req_id, op_id=op_id, fence=fence, plan_hash=plan_hash
    )


def plan_messages(
    target: Target, verb: str, *, instance: str, items: Sequence[Item], limits: Limits | None = None
) -> Planned:
    """Say what messages() would run now. items: 1 to 1,000."""
    return plan(target, verb, {"instance": instance, "items": list(map(list, items))}, limits)


def messages(
    target: Target,
    verb: str,
    *,
    req_id: str,
    op_id: str,
    fence: int,
    instance: str,
    items: Sequence[Item],
    limits: Limits | None = None,
) -> WriteResult:
    """Do to 1 to 1,000 messages what a verb says (`message.hold` and the like); the result tells of each."""
    args = {"instance": instance, "items": list(map(list, items))}
    return change(target, verb, args, limits, req_id=req_id, op_id=op_id, fence=fence, plan_hash=None)


def message_headers(target: Target, *, instance: str, queue_id: str, limits: Limits | None = None) -> Headers:
    """Read a message's headers; the host writes down that they were read."""
    reply = ask(target, "message.headers", {"instance": instance, "id": queue_id}, limits)
    return _only(reply, "headers", written.parse_headers)


def message_body(target: Target, *, instance: str, queue_id: str, limits: Limits | None = None) -> Body:
    """Read the begin of a message's body; the host writes down that it was read.

    Raises Refused where root does not allow it.
    """
    reply = ask(target, "message.body", {"instance": instance, "id": queue_id}, limits)
    if reply.end.get("truncated"):
        raise Incomplete("relayctl stopped before the end of the body.")
    try:
        return written.parse_body([row for row in reply.rows if row.get("kind") == "body"])
    except BadRow as error:
        raise Incompatible(f"relayctl sent something malformed: {error}.") from error


def op_result(
    target: Target,
    *,
    req_id: str,
    instance: str | None = None,
    fence: int | None = None,
    limits: Limits | None = None,
) -> OpResult:
    """Ask what became of a request.

    With its instance and a fence higher than the request's, what is absent and not running stays absent: the
    request cannot begin any more.
    """
    args = {"req_id": req_id} | ({} if instance is None else {"instance": instance})
    envelope = {} if fence is None else {"fence": fence}
    reply = ask(target, "op.result", args, limits, **envelope)
    entry = _only(reply, "result", written.parse_entry)
    _check_is_of(entry, req_id)
    return OpResult(reply.answer.header, reply.answer.clock_skew_s, entry)


def anchor(target: Target, *, seq: int, head: str, limits: Limits | None = None) -> Answer:
    """Write the head of the audit chain (64 hexadecimal digits) into the host's journal."""
    return ask(target, "audit.anchor", {"seq": seq, "hash": head}, limits).answer


def check(target: Target, limits: Limits | None = None) -> Ready:
    """Ask whether changes could be made. Changes nothing."""
    reply = ask(target, "write.check", {}, limits)
    host = _only(reply, "host", written.parse_host_readiness)
    instances = relayctl.parse(reply.rows, "instance", written.parse_instance_readiness)
    return Ready(reply.answer.header, reply.answer.clock_skew_s, host, instances)


def journal_read(
    target: Target, cursor: str | None = None, *, limit: int = 1000, limits: Limits | None = None
) -> JournalPage:
    """Return entries of the host's journal from a cursor on. target: of the read user, who may ask it."""
    args: dict[str, object] = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
    reply = _whole("journal.read", relayctl.ask(target, "journal.read", args, limits))
    following, more, restarted = (reply.end.get(key) for key in ("cursor", "more", "restarted"))
    if following is not None and (not isinstance(following, str) or len(following) > 100):
        raise Incompatible("relayctl gave a cursor that is no text.")
    found = [
        entry
        for kind in ("entry", "damaged")
        for entry in relayctl.parse(reply.rows, kind, written.parse_journal_row)
    ]
    return JournalPage(
        reply.answer.header,
        reply.answer.clock_skew_s,
        tuple(sorted(found, key=lambda entry: entry.offset)),
        following,
        more is True,
        restarted is True,
    )


def plan(target: Target, verb: str, args: Mapping[str, Any], limits: Limits | None) -> Planned:
    """Say what a change would do. Raises RemoteError."""
    reply = ask(target, verb, args, limits, dry_run=True)
    plan = _only(reply, "plan", written.parse_plan)
    return Planned(reply.answer.header, reply.answer.clock_skew_s, plan)


def change(
    target: Target,
    verb: str,
    args: Mapping[str, Any],
    limits: Limits | None,
    *,
    req_id: str,
    op_id: str,
    fence: int,
    plan_hash: str | None,
) -> WriteResult:
    """Make a change, once for its req_id. Raises RemoteError."""
    expect = {} if plan_hash is None else {"expect": {"plan_hash": plan_hash}}
    reply = ask(target, verb, args, limits, req_id=req_id, op_id=op_id, fence=fence, **expect)
    entry = _only(reply, "result", written.parse_entry)
    _check_is_of(entry, req_id)
    if entry.result is None:
        raise Incompatible(f"relayctl answered {verb} with a request that is not done.")
    return WriteResult(reply.answer.header, reply.answer.clock_skew_s, entry, entry.result)


def ask(target: Target, verb: str, args: Mapping[str, Any], limits: Limits | None, **envelope: Any) -> Reply:
    """Ask the write door for a whole answer. Raises RemoteError."""
    return _whole(verb, relayctl.ask(target, verb, dict(args), limits, send=ssh.request_once, **envelope))


def _whole(verb: str, reply: Reply) -> Reply:
    if reply.end.get("truncated"):
        raise Incomplete(f"relayctl's answer to {verb} was cut off.")
    return reply


def _only(reply: Reply, kind: str, take: Callable[[Mapping[str, Any]], _Row]) -> _Row:
    found = relayctl.parse(reply.rows, kind, take)
    if len(found) != 1:
        raise Incompatible(f"relayctl sent {len(found)} rows of kind {kind} instead of one.")
    return found[0]


def _check_is_of(entry: Entry, req_id: str) -> None:
    if entry.req_id != req_id:
        raise Incompatible("relayctl told of another request than was asked for.")
