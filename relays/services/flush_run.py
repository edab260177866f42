"""A flush while it runs: snapshot, redirect, watch, give back, settle, and account for every recipient.

It runs from its beginning each time a worker has it. What changes a host is a step of the operation; where it
stands beyond its steps is the row's state; whether it is paused, the steps themselves tell. Once the redirect
may be on, every way out gives it back.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

from django.db.models import Q
from django.utils import timezone

from relays.domain.flush import MOST_A_BATCH, Account, At, Message, batch_due, must_end, outcome
from relays.domain.text import printable
from relays.domain.words import count
from relays.models import Flush, FlushRecipient, Instance, OperationStep
from relays.models.flush import FlushState
from relays.models.operation import StepState
from relays.remote import flush as remote
from relays.remote.errors import RemoteError
from relays.remote.flush import Peer
from relays.remote.ssh import Limits
from relays.services import flush_rows
from relays.services.doors import read_target, write_target
from relays.services.job import Aborted, Failed, Job, Unknown
from relays.services.queue_actions import looked_up, response_of

LEASE = timedelta(minutes=15)
# It is renewed when so little is left.
RENEW_BELOW = timedelta(minutes=10)
# What was not handed over at once is tried again so often while the redirect is on.
RETRY_EVERY = timedelta(seconds=60)
# How long a worker watches before another may: the lease of its claim is renewed meanwhile.
WATCH = timedelta(seconds=40)
_LOOK_EVERY_S = 1.0
_SETTLE_WITHIN = timedelta(seconds=90)
# Of a host that does not answer, once the redirect is off.
_ASK_FOR = timedelta(hours=1)
# The redirect is on, and somebody has to see to it.
_WATCHED = (FlushState.ACTIVE, FlushState.PAUSED)
_WITHIN = Limits(wall_s=60)


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of a flush."""

    source: Instance
    target: Instance
    peer: Peer
    # The source's own address, by which the target's log knows it.
    client: str


def run(job: Job, flush: Flush, ends: Ends, *, lease: timedelta = LEASE) -> str:
    """Move what is to be moved, and return what came of it.

    Raises what ends or puts back a run: Aborted, Failed, Unknown, Wait, LeaseLost.
    """
    machine = _Machine(job, flush, ends, lease)
    try:
        machine.snapshot()
        machine.redirect()
        machine.give_back()
        machine.settle()
    except RemoteError as error:
        machine.wait_for_host(error)
    return machine.conclude()


class _Machine:
    def __init__(self, job: Job, flush: Flush, ends: Ends, lease: timedelta) -> None:
        self.job = job
        self.flush = flush
        self.ends = ends
        self.lease = lease

    def snapshot(self) -> None:
        """Write down what is there, and where both logs are, before anything is changed."""
        if self.flush.state != FlushState.PLANNED:
            return
        self.job.progress("Writing down what is to be moved")
        source, target = self.ends.source, self.ends.target
        began = timezone.now()
        source_cursor = remote.log_end(read_target(source.host), instance=source.name, role="source")
        target_cursor = remote.log_end(read_target(target.host), instance=target.name, role="target")
        _, messages = remote.scan(
            read_target(source.host), instance=source.name, domains=self.flush.domains, limits=_WITHIN
        )
        flush_rows.select(self.flush, messages)
        self._move_to(
            FlushState.ARMED,
            began_at=began,
            progressed_at=began,
            source_cursor=source_cursor,
            target_cursor=target_cursor,
            target_began=target_cursor,
        )

    def redirect(self) -> None:
        """Have the redirect on until all has left or something ends it; whatever stops that gives it back."""
        try:
            self.put_on()
            self.watch()
        except (Aborted, Failed, Unknown) as stopped:
            if self.flush.state not in _WATCHED:
                raise
            self._move_to(FlushState.REVERTING, why_ended=str(stopped))

    def put_on(self) -> None:
        """Put the redirect on: lease first, then the map."""
        if self.flush.state != FlushState.ARMED:
            return
        lease_s = int(self.lease.total_seconds())
        now = timezone.now()
        try:
            response = self._change(
                "redirect",
                {"to": self.ends.peer.as_json(), "domains": self.flush.domains, "lease_s": lease_s},
                lambda target, **ids: remote.redirect_set(
                    target,
                    instance=self.ends.source.name,
                    to=self.ends.peer,
                    domains=self.flush.domains,
                    lease_s=lease_s,
                    **ids,
                ),
            )
        except Unknown as stopped:
            # Whether it is on is seen when it is given back.
            self._move_to(FlushState.REVERTING, why_ended=str(stopped))
            return
        if not response["ok"]:
            self._move_to(
                FlushState.REVERTING, why_ended=f"The redirect was not put on: {response['output']}"
            )
            return
        self._move_to(FlushState.ACTIVE, redirected_at=now, lease_until=now + self.lease)

    def watch(self) -> None:
        """Have it tried, and watch until all has left or something ends it."""
        until = timezone.now() + WATCH
        while self.flush.state in _WATCHED:
            self.job.keep()
            self.flush.refresh_from_db(fields=["rate", "paused_by"])
            account = self._look()
            if why := self._why_end(account):
                self._move_to(FlushState.REVERTING, why_ended=why)
                return
            if account.selected == account.left:
                self._move_to(FlushState.REVERTING)
                return
            self._see_to_it()
            if timezone.now() > until:
                self.job.wait(timedelta(seconds=1))
            time.sleep(_LOOK_EVERY_S)

    def _why_end(self, account: Account) -> str:
        now = timezone.now()
        if asked_by := self.job.abort_asked_by():
            return f"{asked_by} asked for it to stop."
        if self.flush.lease_until is not None and now > self.flush.lease_until:
            return "Nobody renewed its lease: the host has given it back."
        paused = self.flush.state == FlushState.PAUSED
        since = 0.0 if paused else (now - (self.flush.progressed_at or now)).total_seconds()
        return must_end(account, since_progress_s=since, past_deadline=self.job.is_late())

    def _see_to_it(self) -> None:
        """Renew the lease, pause or go on as is asked, and have tried what is due."""
        now = timezone.now()
        left = self.flush.lease_until - now if self.flush.lease_until else self.lease
        if left < min(RENEW_BELOW, self.lease / 2):
            self._renew(now)
        self._pause_or_resume()
        if self.flush.state == FlushState.ACTIVE and self._is_time_to_retry(now):
            self._retry(now)

    def _pause_or_resume(self) -> None:
        """Do what is asked for; a step that was begun is ended first, whatever is asked for by now.

        Whether it is paused follows from the last such step, not from the state: that is written later.
        """
        last = self._last("pause ", "resume ")
        paused = last is not None and last.name.startswith("pause ")
        response: Mapping[str, Any] = last.response if last else {"ok": True}
        begun = last is not None and last.state == StepState.BEGUN
        if begun or paused != bool(self.flush.paused_by):
            paused = paused if begun else not paused
            send = remote.redirect_pause if paused else remote.redirect_resume
            response = self._change(
                self._next("pause" if paused else "resume"),
                {},
                lambda target, **ids: send(target, instance=self.ends.source.name, **ids),
            )
        if not response["ok"]:
            what = "be paused" if paused else "go on"
            why = f"It could not {what}, so it was ended: {response['output']}"
            self._move_to(FlushState.REVERTING, why_ended=why)
        elif paused and self.flush.state == FlushState.ACTIVE:
            self._move_to(FlushState.PAUSED)
        elif not paused and self.flush.state == FlushState.PAUSED:
            self._move_to(FlushState.ACTIVE, progressed_at=timezone.now())

    def _renew(self, now: datetime) -> None:
        lease_s = int(self.lease.total_seconds())
        response = self._change(
            self._next("renew"),
            {"lease_s": lease_s},
            lambda target, **ids: remote.redirect_renew(
                target, instance=self.ends.source.name, lease_s=lease_s, **ids
            ),
        )
        if response["ok"]:
            self._move_to(FlushState(self.flush.state), lease_until=now + self.lease)

    def _is_time_to_retry(self, now: datetime) -> bool:
        """Messages that are tried by id go batch by batch, as the rate allows; all else has time to leave."""
        last = self._last("retry ")
        if last is None or last.state == StepState.BEGUN:
            return True
        if not self._due(last, now):
            return False
        if now - last.begun_at > RETRY_EVERY or self._is_before_resume(last):
            return True
        by_id = "up_to" in last.request or self.flush.rate
        return bool(by_id) and bool(self._waiting(last.request.get("up_to", "")))

    def _due(self, last: OperationStep | None, now: datetime) -> int:
        """Return how many messages may be handed out by the rate, by when the last ones were."""
        since_s = None if last is None else (now - last.begun_at).total_seconds()
        return batch_due(self.flush.rate, since_s)

    def _is_before_resume(self, retry: OperationStep) -> bool:
        resumed = self._last("resume ")
        return resumed is not None and resumed.number > retry.number

    def _retry(self, now: datetime) -> None:
        """Have the selected mail tried and no other: by domain, and what that misses by its id."""
        what = self._what_to_retry(now)
        if not next(iter(what.values())):
            return
        shown: dict[str, Any] = dict(what)
        if "ids" in what:
            shown = {"ids": len(what["ids"]), "up_to": what["ids"][-1]}
        self._change(
            self._next("retry"),
            shown,
            lambda target, **ids: remote.retry(target, instance=self.ends.source.name, what=what, **ids),
        )

    def _what_to_retry(self, now: datetime) -> dict[str, list[str]]:
        last = self._last("retry ")
        after = last.request.get("up_to", "") if last else ""
        if self.flush.rate:
            return {"ids": self._by_rate(last, after, now)}
        domains = [domain for domain in self.flush.domains if domain != "*"]
        # The first retry, and the first after a pause, takes all that Postfix knows to wait for the domains.
        first = last is None or self._is_before_resume(last)
        if domains and (first or (last and last.state == StepState.BEGUN and "domains" in last.request)):
            return {"domains": domains}
        ids = self._waiting(after) or self._waiting("")
        return {"ids": ids} if ids else {"domains": domains}

    def _by_rate(self, last: OperationStep | None, after: str, now: datetime) -> list[str]:
        """Return the next ids: what the drain has not had, and then what it could not hand over."""
        if last is not None and last.state == StepState.BEGUN:
            # The rate may be another by now; the time before this batch paid for so many.
            most = last.request.get("ids", 1)
        else:
            most = self._due(last, now)
        for begin, tried in ((after, False), ("", False), (after, True), ("", True)):
            if ids := self._waiting(begin, tried=tried, most=most):
                return ids
        return []

    def _last(self, *kinds: str) -> OperationStep | None:
        """Return the newest step whose name begins with one of these."""
        chosen = Q()
        for kind in kinds:
            chosen |= Q(name__startswith=kind)
        return self.job.operation.steps.filter(chosen).order_by("-number").first()

    def _waiting(self, after: str, *, tried: bool = False, most: int = MOST_A_BATCH) -> list[str]:
        """Return the next ids of what was selected and waits, in order; tried: what the drain has had too."""
        rows = FlushRecipient.objects.filter(
            flush=self.flush, selected=True, at=At.WAITING, queue_id__gt=after
        )
        rows = rows if tried else rows.filter(tries=0)
        return list(rows.values_list("queue_id", flat=True).distinct().order_by("queue_id")[:most])

    def give_back(self) -> None:
        """Give the redirect back, and see that it is; nothing is left before."""
        if self.flush.state != FlushState.REVERTING:
            return
        self.job.close()
        self.job.progress("Giving the redirect back")
        try:
            self._change(
                self._next("give back"),
                {},
                lambda target, **ids: remote.redirect_clear(target, instance=self.ends.source.name, **ids),
            )
        except (Failed, Unknown) as stopped:
            self._note(str(stopped))
        if not self._is_given_back():
            self._give_up_or_wait()
        self._move_to(FlushState.SETTLING, given_back_at=timezone.now())

    def _is_given_back(self) -> bool:
        source = self.ends.source
        try:
            status = remote.status(read_target(source.host))
        except RemoteError as error:
            self._note(str(error))
            return False
        return any(each.instance == source.name and not each.to for each in status.instances)

    def _give_up_or_wait(self) -> NoReturn:
        """Wait for the host; an hour after its lease has ended the redirect, say that nobody can tell."""
        lease_until = self.flush.lease_until or timezone.now()
        if timezone.now() > lease_until + _ASK_FOR:
            raise Unknown(
                f"{self.ends.source.host.name} cannot be asked if the redirect is off: its lease ended it"
                f" at {lease_until:%H:%M} UTC. Look at redirects on the host's page."
            )
        self.job.wait(timedelta(seconds=10))

    def settle(self) -> None:
        """Wait until nothing of it is on its way any more, and both logs are read to their ends."""
        if self.flush.state != FlushState.SETTLING:
            return
        self.job.close()
        messages = self._until_nothing_is_on_its_way()
        self._read_source_again({(m.queue_id, to) for m in messages for to, _ in m.recipients})
        self._read_target_again()
        self._move_to(FlushState.ENDED)

    def _until_nothing_is_on_its_way(self) -> list[Message]:
        """Return what is in the source's queue once none of what was selected is being tried there."""
        source = self.ends.source
        while True:
            self.job.keep()
            self._look()
            _, messages = remote.scan(
                read_target(source.host), instance=source.name, domains=self.flush.domains, limits=_WITHIN
            )
            moving = {message.queue_id for message in messages if message.queue in ("active", "incoming")}
            selected = FlushRecipient.objects.filter(flush=self.flush, selected=True, at="waiting")
            on_their_way = moving & set(selected.values_list("queue_id", flat=True))
            if not on_their_way or self._settles_too_long():
                return messages
            self.job.progress(f"{count(len(on_their_way))} messages are still on their way")
            time.sleep(_LOOK_EVERY_S)

    def _settles_too_long(self) -> bool:
        return timezone.now() > (self.flush.given_back_at or timezone.now()) + _SETTLE_WITHIN

    def _read_source_again(self, queued: set[tuple[str, str]]) -> None:
        """Read the source's log until it has told of all that is not queued: syslog may be behind."""
        while True:
            time.sleep(2 * _LOOK_EVERY_S)
            self.job.keep()
            self._read("source", self.ends.source)
            if not flush_rows.take_queue(self.flush, queued) or self._settles_too_long():
                return

    def _read_target_again(self) -> None:
        """Read all that the target told: of what it told before the source did, no row was found then.

        Its queue is looked at before its log, so that what leaves in between is told of.
        """
        target = self.ends.target
        self.flush.target_cursor = self.flush.target_began
        while True:
            self.job.keep()
            queued = self._queued_at_target()
            # Syslog may be a moment behind the queue.
            time.sleep(2 * _LOOK_EVERY_S)
            self._read("target", target)
            if not flush_rows.take_target_queue(self.flush, queued) or self._settles_too_long():
                return

    def _queued_at_target(self) -> set[str]:
        """Return the ids in its queue; a target that got nothing may be down, and is not asked."""
        if not flush_rows.awaits_target(self.flush):
            return set()
        target = self.ends.target
        _, messages = remote.scan(
            read_target(target.host), instance=target.name, domains=self.flush.domains, limits=_WITHIN
        )
        return {message.queue_id for message in messages}

    def conclude(self) -> str:
        """Return what came of it, or raise what it ended as."""
        account = self._count()
        told = outcome(account, why_ended=self.flush.why_ended)
        if not account.adds_up or not account.adds_up_there:
            raise Unknown(f"{told} It does not add up: see the receipt.")
        if self.flush.why_ended and self.job.abort_asked_by():
            raise Aborted(told)
        if self.flush.why_ended:
            raise Failed(told)
        return told

    def wait_for_host(self, error: RemoteError) -> None:
        """Have it go on once the host can be asked; raise Failed, Unknown or Wait."""
        if self.flush.state == FlushState.PLANNED:
            raise Failed(f"{error} Nothing was done.") from error
        since = self.flush.given_back_at
        if since is not None and timezone.now() > since + _SETTLE_WITHIN:
            raise Unknown(f"The redirect is off; what became of the mail cannot be asked: {error}") from error
        self.job.progress(str(error))
        self.job.wait(timedelta(seconds=10))

    def _look(self) -> Account:
        """Read both logs on, count, and tell how far it is."""
        before = Account.from_json(self.flush.account)
        # The target first: what it tells of is nearly always in the source's log by then.
        target, source = self._piece_if_any("target"), self._piece_if_any("source")
        self._take("source", source)
        self._take("target", target)
        account = self._count()
        if account.left > before.left or account.moved > before.moved:
            self._move_to(FlushState(self.flush.state), progressed_at=timezone.now())
        paused = f"Paused by {self.flush.paused_by}: " if self.flush.state == FlushState.PAUSED else ""
        self.job.progress(
            f"{paused}{count(account.left)} of {count(account.selected)} recipients have left,"
            f" {count(account.there_sent)} are delivered",
            done=account.left,
            total=account.selected,
        )
        return account

    def _read(self, role: str, instance: Instance) -> None:
        while True:
            piece = self._piece(role, instance)
            self._take(role, piece)
            if not piece.more:
                return

    def _piece_if_any(self, role: str) -> remote.LogPiece | None:
        """Return what a log has to tell, None from a host that cannot be asked: the guards see to that."""
        try:
            return self._piece(role, self.ends.source if role == "source" else self.ends.target)
        except RemoteError:
            return None

    def _piece(self, role: str, instance: Instance) -> remote.LogPiece:
        cursor = self.flush.source_cursor if role == "source" else self.flush.target_cursor
        began_at = self.flush.began_at or timezone.now()
        return remote.log(
            read_target(instance.host),
            instance=instance.name,
            role=role,
            cursor=cursor,
            # A host's clock may be behind ours.
            since=int(began_at.timestamp()) - 120,
            client=self.ends.client if role == "target" else "",
            limits=_WITHIN,
        )

    def _take(self, role: str, piece: remote.LogPiece | None) -> None:
        if piece is None:
            return
        take = flush_rows.take_source if role == "source" else flush_rows.take_target
        take(self.flush, piece.events, piece.cursor)

    def _count(self) -> Account:
        account = flush_rows.account(self.flush)
        self.flush.account = account.as_json()
        self.flush.looked_at = timezone.now()
        self.flush.save(update_fields=["account", "looked_at"])
        return account

    def _change(self, name: str, request: Mapping[str, Any], send: Any) -> Mapping[str, Any]:
        """Make a change on the source's host as a step of the operation."""
        operation, source = self.job.operation, self.ends.source
        return self.job.step(
            name,
            lambda req_id: response_of(
                send(
                    write_target(source.host),
                    req_id=req_id,
                    op_id=str(operation.pk),
                    fence=operation.fence,
                    limits=_WITHIN,
                ).entry
            ),
            look_up=lambda req_id: looked_up(self.job, source, req_id),
            request=dict(request),
        )

    def _next(self, what: str) -> str:
        """Return the name of the next step of its kind: one that is begun is to be ended first."""
        steps = self.job.operation.steps.filter(name__startswith=f"{what} ").order_by("number")
        begun = steps.filter(state=StepState.BEGUN).first()
        return begun.name if begun else f"{what} {steps.count() + 1}"

    def _note(self, text: str) -> None:
        if not self.flush.why_ended:
            self._move_to(FlushState(self.flush.state), why_ended=text)

    def _move_to(self, state: FlushState, **fields: Any) -> None:
        if "why_ended" in fields:
            fields["why_ended"] = printable(fields["why_ended"], 500)
        for name, value in {"state": state, **fields}.items():
            setattr(self.flush, name, value)
        self.flush.save(update_fields=["state", *fields])
