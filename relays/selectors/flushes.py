"""Flushes as their pages show them: what can be chosen, how far one is, and its receipt."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from relays.domain.flush import MOST_A_MINUTE, Account, Ranked
from relays.domain.words import count, plural, visible
from relays.models import Flush, FlushRecipient, Instance, Operation
from relays.models.flush import FlushState
from relays.selectors.beside import Fact, facts_beside
from relays.selectors.figures import Clock, clock, moment
from relays.selectors.hosts import status_of
from relays.selectors.instances import age_table, newest_snapshot
from relays.selectors.tables import Table, Value
from relays.services.flush_rows import duplicates
from relays.services.flush_steering import STEERED
from relays.services.flushes import candidates

_STAGES = (
    (FlushState.PLANNED, "Snapshot"),
    (FlushState.ARMED, "Redirect on"),
    (FlushState.ACTIVE, "Moving"),
    (FlushState.REVERTING, "Give back"),
    (FlushState.SETTLING, "Verify"),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A recipient domain that could be moved. chosen: by the link that led here."""

    domain: str
    recipients: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class ChoicePage:
    """What is to be chosen before a plan: domains of the source's queue, and targets, the best first."""

    source: Instance
    domains: list[Choice]
    more_domains: int
    targets: list[Ranked]
    chosen_target: int
    moment: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a flush. mark: done, now or next."""

    name: str
    mark: str
    told: str


@dataclass(frozen=True, slots=True)
class FlushPanel:
    """How far a flush is, and where each recipient is. ledger: words, number and what it is a part of."""

    flush: Flush
    headline: str
    percent: int
    gives_back_by: Clock | None
    # Its lease is over, and nobody has seen it given back.
    overdue: bool
    stages: list[Stage]
    ledger: list[tuple[str, str, str]]
    adds_up: str
    moment: str
    duplicates: list[tuple[str, str]]
    # Whether it can still be paused and throttled.
    may_be_steered: bool
    # What was asked for and is not done yet, and how new mail is treated; "" for nothing to say.
    asked: str
    new_mail: str
    most_a_minute: int


def choice_page(source: Instance, now: datetime, *, domains: list[str], target: int) -> ChoicePage:
    """Return what can be moved from an instance. domains, target: what the link that led here asks for."""
    at, body = newest_snapshot(source)
    table = age_table(body, limit=None)
    rows = [(name, total) for name, total, _ in table.rows] if table else []
    known = {name for name, _ in rows}
    every = not domains
    # Beyond the largest domains, which the host names, and in a queue that was never read nothing is known.
    else_there = "not known" if at is None or (table and table.beyond) else "none now"
    missing = [Choice(visible(name), else_there, chosen=True) for name in domains if name not in known]
    shown = [
        Choice(visible(name), count(int(str(total).replace(",", ""))), every or name in domains)
        for name, total in rows[:30]
    ]
    beside = facts_beside(now)
    ranked = [_with_fact(item, beside.get(item.candidate.id)) for item in candidates(source)]
    healthy = [item.candidate.id for item in ranked if not item.problem]
    return ChoicePage(
        source=source,
        domains=[*missing, *shown],
        more_domains=max(0, len(rows) - 30),
        targets=ranked,
        chosen_target=target or (healthy[0] if healthy else 0),
        moment=moment(at, now, stale=not status_of(source.host, now).fresh),
    )


def _with_fact(item: Ranked, fact: Fact | None) -> Ranked:
    """Let what another app says of an instance speak against it: it warms up, say."""
    return item._replace(problem=item.problem or fact.text) if fact else item


def flush_panel(operation: Operation, now: datetime) -> FlushPanel | None:
    """Return how far an operation's flush is; None for an operation that has none."""
    flush = Flush.objects.filter(pk=operation.pk).first()
    if flush is None:
        return None
    account = Account.from_json(flush.account)
    selected = plural(account.selected, "recipient")
    on = flush.state in (FlushState.ACTIVE, FlushState.PAUSED, FlushState.REVERTING)
    overdue = on and flush.lease_until is not None and flush.lease_until < now
    return FlushPanel(
        flush=flush,
        headline=f"{count(account.left)} of {selected} have left {flush.source_name}",
        percent=100 * account.left // account.selected if account.selected else 0,
        gives_back_by=clock(flush.lease_until, now) if on else None,
        overdue=overdue,
        stages=list(_stages(flush, account)),
        ledger=list(_ledger(flush, account)),
        adds_up=_adds_up(flush, account),
        moment=moment(flush.looked_at, now, stale=overdue),
        duplicates=[(visible(item.message_id), item.queue_id) for item in duplicates(flush)[:50]]
        if account.duplicates
        else [],
        may_be_steered=operation.is_live and not operation.abort_requested_by and flush.state in STEERED,
        asked=_asked(flush),
        new_mail=_new_mail(flush),
        most_a_minute=MOST_A_MINUTE,
    )


def _asked(flush: Flush) -> str:
    """Say what the worker has not come to yet."""
    if flush.paused_by and flush.state in STEERED and flush.state != FlushState.PAUSED:
        return f"{flush.paused_by} asked for a pause: what is under way is handed over first."
    if not flush.paused_by and flush.state == FlushState.PAUSED:
        return "It goes on in a moment."
    return ""


def _new_mail(flush: Flush) -> str:
    """Say where mail for the domains goes, that comes in now."""
    if flush.state == FlushState.PAUSED:
        return (
            f"Mail for these domains waits at {flush.source_name}, new mail too: nobody is asked to take it."
            " Its lease and its 5 hours run on."
        )
    if flush.state == FlushState.ACTIVE:
        return f"New mail for these domains goes to {flush.target_name} too."
    return ""


def _stages(flush: Flush, account: Account) -> Iterator[Stage]:
    order = [state for state, _ in _STAGES]
    # A pause is within the move.
    state = FlushState.ACTIVE if flush.state == FlushState.PAUSED else FlushState(flush.state)
    now = order.index(state) if state in order else len(order)
    told = {
        FlushState.PLANNED: plural(account.selected, "recipient") if account.selected else "",
        FlushState.ACTIVE: f"{count(account.moved)} accepted by {flush.target_name},"
        f" {count(account.there_sent)} of them delivered, {count(account.came_back)} came back at least once",
        FlushState.REVERTING: flush.why_ended,
    }
    for number, (state, name) in enumerate(_STAGES):
        mark = "done" if number < now else "now" if number == now else "next"
        paused = mark == "now" and flush.state == FlushState.PAUSED
        yield Stage("Paused" if paused else name, mark, told.get(state, "") if mark != "next" else "")


def _ledger(flush: Flush, account: Account) -> Iterator[tuple[str, str, str]]:
    """Yield every place that a recipient can be in; the zeros that matter are told too."""
    source, target = flush.source_name, flush.target_name
    always = {"selected", "moved", "waiting", "bounced_by_drain", "unknown"}
    # What the move itself bounced is always 0: it stands there so that everybody sees it.
    rows = (
        ("selected", "in the snapshot", ""),
        ("moved", f"handed over to {target}", ""),
        ("there_sent", f"delivered from {target}", "part"),
        ("there_queued", f"queued at {target}", "part"),
        ("there_deferred", f"deferred at {target}", "part"),
        ("there_bounced", f"bounced at {target}", "part"),
        ("there_expired", f"expired at {target}", "part"),
        ("there_unknown", f"not told of by {target} yet", "part"),
        ("direct", f"sent by {source} itself", ""),
        ("waiting", f"still at {source}", ""),
        ("bounced", f"bounced at {source}", ""),
        ("bounced_by_drain", "bounced by the move", ""),
        ("expired", f"expired at {source}", ""),
        ("gone", "taken out by hand", ""),
        ("unknown", "unknown", ""),
        ("duplicates", "messages that went twice", "apart"),
        ("new_moved", "new mail redirected meanwhile", "apart"),
    )
    for name, words, kind in rows:
        number = getattr(account, name)
        if number or name in always:
            yield words, count(number), kind


def _adds_up(flush: Flush, account: Account) -> str:
    if flush.state != FlushState.ENDED:
        return ""
    if account.adds_up and account.adds_up_there:
        return "It adds up: every recipient is in one known place."
    return "It does not add up. The lines that are unknown name what to look for."


def recipients_table(flush: Flush, *, masked: bool) -> Table:
    """Every recipient of a flush and where it went. masked: for whom only domains are to be seen."""
    return Table(
        "flush",
        str(flush.pk),
        f"Recipients of flush {flush.pk}, {flush.source_name} to {flush.target_name}",
        ("queue_id", "recipient", "selected", "at", "target_queue_id", "at_target", "tries", "last_reply"),
        _recipients(flush, masked=masked),
    )


def _recipients(flush: Flush, *, masked: bool) -> Iterator[tuple[Value, ...]]:
    rows = (
        FlushRecipient.objects.filter(flush=flush)
        .order_by("pk")
        .values_list("queue_id", "recipient", "selected", "at", "next_id", "there", "tries", "last_reply")
    )
    for queue_id, recipient, selected, at, next_id, there, tries, reply in rows.iterator(chunk_size=2_000):
        shown = f"…@{recipient.rpartition('@')[2]}" if masked else recipient
        yield (queue_id, visible(shown), selected, at, next_id, there, tries, visible(reply))
