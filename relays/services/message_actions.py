"""Operations on single messages: on all that a filter takes when they are planned, and on no others.

The messages are named when the plan is made. The host compares each with its queue right before it acts, so
what was delivered meanwhile is told, and nothing that came later is touched.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar

from django.utils import timezone

from relays.domain.filters import KEYS, BadFilter, described, from_words, span_of, to_words
from relays.domain.queue_reading import Item
from relays.domain.words import count, plural, span
from relays.models import Instance, MessageBatch, Operation, OperationStep, PendingDeletion
from relays.models.message import DeletionState
from relays.models.operation import OperationState
from relays.remote import relayctl, write
from relays.remote.ssh import Limits
from relays.services.doors import read_target, write_target
from relays.services.job import Failed, Job, NoResult, Unknown
from relays.services.kinds import Kind, Plan, PlanRefused
from relays.services.queue_actions import looked_up, response_of
from relays.services.queue_filters import resolved

# A page waits for a plan, a worker for each batch; the host answers nothing while it reads its queue.
PLAN_WITHIN = Limits(wall_s=120, idle_s=118)
_DO_WITHIN = Limits(wall_s=60, idle_s=58)
BATCH = 1_000
GRACE = timedelta(hours=24)
_SHORTEST_GRACE, _LONGEST_GRACE = timedelta(minutes=1), timedelta(days=30)
# What is known of messages that were left alone, for people.
LEFT = {
    "gone": "had left the queue",
    "mismatched": "had an id that is another message's now",
    "elsewhere": "lay in another queue, or were being delivered",
    "already": "were on hold before",
    "failed": "could not be changed",
}


@dataclass(slots=True)
class Done:
    """What came of messages so far: how many were acted upon, and how many were left alone, by why."""

    acted: int = 0
    left: dict[str, int] = field(default_factory=dict)

    def add(self, response: Mapping[str, Any]) -> None:
        """Add one batch's answer."""
        self.acted += response["counts"].get("acted") or 0
        for why, ids in response.get("left", {}).items():
            self.left[why] = self.left.get(why, 0) + len(ids)

    def told(self, done: str) -> str:
        """Return it in a sentence. done: what was done to them, in the past participle."""
        left = [
            f"{count(number)} {LEFT.get(why, why)}" for why, number in sorted(self.left.items()) if number
        ]
        return f"{plural(self.acted, 'message')} {done}" + (f"; {', '.join(left)}" if left else "")


class MessageKind(Kind):
    """One verb on the messages that a filter takes; batch by batch, each a step."""

    plans_again: ClassVar[bool] = False
    deadline: ClassVar[timedelta] = timedelta(hours=1)
    permission: ClassVar[str] = "relays.act_on_messages"
    # The host's verb, and that which is asked whether it would be allowed.
    verb: ClassVar[str]
    # Where messages lie that it acts upon.
    queues: ClassVar[tuple[str, ...]]
    # "are held": of the plan; "were held": of the outcome.
    does: ClassVar[str]
    did: ClassVar[str]
    notes: ClassVar[tuple[str, ...]] = ()

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take the words of a filter, in the one spelling of each."""
        if unknown := sorted(set(params) - set(KEYS)):
            raise PlanRefused(f"There is no parameter {unknown[0][:40]!r}.")
        try:
            return to_words(from_words({key: str(value) for key, value in params.items()}))
        except BadFilter as error:
            raise PlanRefused(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error

    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        """Name every message, and ask the host whether it would act on them."""
        wanted = from_words({key: value for key, value in params.items() if key in KEYS})
        here = tuple(queue for queue in wanted.queues if queue in self.queues)
        if not here:
            raise PlanRefused(f"This is done to messages in {' or '.join(self.queues)}.")
        wanted = resolved(instance, replace(wanted, queues=here), PLAN_WITHIN)
        picked = relayctl.queue_pick(
            read_target(instance.host), PLAN_WITHIN, instance=instance.name, wanted=wanted
        )
        if not picked.items:
            raise PlanRefused(f"There are no messages {described(wanted)}: nothing is left to do.")
        planned = write.plan_messages(
            write_target(instance.host),
            self.verb,
            instance=instance.name,
            items=picked.items[:BATCH],
            limits=PLAN_WITHIN,
        ).plan
        return Plan(
            f"{plural(len(picked.items), 'message')} of {instance.name}, {described(wanted)}, {self.does}.",
            commands=[list(words) for words in planned.commands],
            counts={"messages": len(picked.items)} | {q: n for q, n in picked.queues.items() if n},
            facts=dict(planned.facts),
            notes=[*self.notes_for(params), *_samples(instance, picked)],
            items=picked.items,
        )

    def notes_for(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Return what to know before it is confirmed."""
        return self.notes

    def keep(self, operation: Operation, plan: Plan) -> None:
        """Store the messages, a batch a row."""
        MessageBatch.objects.bulk_create(
            MessageBatch(
                operation=operation,
                number=number,
                messages=len(items),
                items=json.dumps(list(map(list, items))),
            )
            for number, items in enumerate(_batched(plan.items), 1)
        )

    def run(self, job: Job) -> str:
        """Act on one batch after the other."""
        return f"{self.act(job).told(self.did)}."

    def act(self, job: Job) -> Done:
        """Act on each batch once. Raises Failed, which says how many were acted upon before."""
        done, seen, total = Done(), 0, job.operation.plan["counts"]["messages"]
        for batch in MessageBatch.objects.filter(operation=job.operation):
            try:
                done.add(_act_on(job, self.verb, batch))
            except Failed as error:
                if done.acted:
                    raise Failed(f"{done.told(self.did)}; then it stopped: {error}") from error
                raise
            seen += batch.messages
            job.progress(f"{done.told(self.did)}, of {count(total)}", done=seen, total=total)
        return done


def _batched(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for at in range(0, len(items), BATCH):
        yield items[at : at + BATCH]


def _act_on(job: Job, verb: str, batch: MessageBatch) -> Mapping[str, Any]:
    """Act on one batch. Where the host was killed within it, look at its messages again: that does no harm.

    Each message is compared with the queue again, so what was done is found done, and the rest is done now.
    """
    response = _request(job, verb, batch, _step_name(verb, batch))
    if response.get("begun"):
        response = _request(job, verb, batch, _again(_step_name(verb, batch)))
    if response.get("begun"):
        raise Failed("the host was killed twice within the same messages")
    if not response["ok"] and not response["counts"].get("acted"):
        raise Failed(response["output"] or "the command failed")
    return response


def _request(job: Job, verb: str, batch: MessageBatch, name: str) -> Mapping[str, Any]:
    operation, instance = job.operation, job.instance

    def send(req_id: str) -> Mapping[str, Any]:
        result = write.messages(
            write_target(instance.host),
            verb,
            req_id=req_id,
            op_id=str(operation.pk),
            fence=operation.fence,
            instance=instance.name,
            items=[Item(*item) for item in json.loads(batch.items)],
            limits=_DO_WITHIN,
        )
        return response_of(result.entry)

    def look_up(req_id: str) -> Mapping[str, Any] | None:
        try:
            return looked_up(job, instance, req_id)
        except NoResult:
            return {
                "begun": True,
                "output": "The host was killed within it: its messages are looked at again.",
            }

    return job.step(name, send, look_up=look_up, request={"verb": verb, "messages": batch.messages})


def _step_name(verb: str, batch: MessageBatch) -> str:
    return f"{verb} {batch.number}"


def _again(name: str) -> str:
    return f"{name} again"


def acted_on(operation: Operation, verb: str, *, also: frozenset[str] = frozenset()) -> Iterator[Item]:
    """Yield the messages that an operation's steps acted upon; also: or left alone for these reasons."""
    steps = {step.name: step for step in OperationStep.objects.filter(operation=operation, state="done")}
    for batch in MessageBatch.objects.filter(operation=operation):
        name = _step_name(verb, batch)
        again = steps.get(_again(name))
        step = again or steps.get(name)
        if step is None:
            continue
        # What a second look found on hold, the first has put there.
        fine = also | {"already"} if again else also
        left = step.response.get("left", {})
        others = {queue_id for why, ids in left.items() if why not in fine for queue_id in ids}
        yield from (Item(*item) for item in json.loads(batch.items) if item[0] not in others)


def _number(items: Iterable[Item]) -> int:
    return sum(1 for _ in items)


def _samples(instance: Instance, picked: relayctl.Picked) -> list[str]:
    """Return the first of the messages, by id: an address is nobody's business who reads a plan."""
    now = picked.header.now
    first = [f"{item.queue_id} ({span(now - item.arrival)} old)" for item in picked.items[:3]]
    more = len(picked.items) - len(first)
    return [f"Among them: {', '.join(first)}{f' and {count(more)} more' if more else ''}."]


class Hold(MessageKind):
    """Nobody tries to deliver them until they are released."""

    name: ClassVar[str] = "message.hold"
    verb: ClassVar[str] = "message.hold"
    title: ClassVar[str] = "Hold"
    queues: ClassVar[tuple[str, ...]] = ("incoming", "deferred")
    does: ClassVar[str] = "are put on hold"
    did: ClassVar[str] = "put on hold"
    notes: ClassVar[tuple[str, ...]] = (
        "Held mail is not tried and does not expire until it is released. What is active is being delivered, "
        "and is left.",
    )


class Release(MessageKind):
    """They are deferred mail again."""

    name: ClassVar[str] = "message.release"
    verb: ClassVar[str] = "message.release"
    title: ClassVar[str] = "Release"
    queues: ClassVar[tuple[str, ...]] = ("hold",)
    does: ClassVar[str] = "are released from hold"
    did: ClassVar[str] = "released"
    notes: ClassVar[tuple[str, ...]] = (
        "What was held for more than half of the queue lifetime is requeued under a new id, or its first "
        "failure would send it back.",
    )


class Retry(MessageKind):
    """Postfix tries exactly these now."""

    name: ClassVar[str] = "message.retry"
    verb: ClassVar[str] = "message.retry"
    title: ClassVar[str] = "Try now"
    queues: ClassVar[tuple[str, ...]] = ("deferred",)
    does: ClassVar[str] = "are tried again now, from its own address"
    did: ClassVar[str] = "handed to the queue manager"
    notes: ClassVar[tuple[str, ...]] = (
        "A throttled or blocked address is tried again with all of them: that can make it worse.",
    )


class Requeue(MessageKind):
    """They pass through cleanup(8) again, and get their route anew."""

    name: ClassVar[str] = "message.requeue"
    verb: ClassVar[str] = "message.requeue"
    title: ClassVar[str] = "Requeue"
    queues: ClassVar[tuple[str, ...]] = ("deferred", "hold")
    does: ClassVar[str] = "are requeued: each gets a new id and its route anew"
    did: ClassVar[str] = "requeued"
    notes: ClassVar[tuple[str, ...]] = ("They are tried at once, also those on hold.",)


class Expire(MessageKind):
    """They go back to their senders."""

    name: ClassVar[str] = "message.expire"
    verb: ClassVar[str] = "message.expire"
    title: ClassVar[str] = "Send back to the senders"
    permission: ClassVar[str] = "relays.remove_messages"
    queues: ClassVar[tuple[str, ...]] = ("deferred", "hold")
    does: ClassVar[str] = "go back to their senders with a bounce, at their next try"
    did: ClassVar[str] = "marked to go back at their next try"
    notes: ClassVar[tuple[str, ...]] = ("This cannot be undone.",)


class Delete(MessageKind):
    """They are held now, and deleted when the grace time is over unless somebody undoes it."""

    name: ClassVar[str] = "message.delete"
    verb: ClassVar[str] = "message.delete"
    title: ClassVar[str] = "Delete"
    permission: ClassVar[str] = "relays.remove_messages"
    queues: ClassVar[tuple[str, ...]] = ("incoming", "deferred", "hold")
    does: ClassVar[str] = "are put on hold now, and deleted when the grace time is over"
    did: ClassVar[str] = "put on hold"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take a filter, and how long to wait."""
        others = {key: value for key, value in params.items() if key != "grace"}
        try:
            grace = timedelta(seconds=span_of(str(params.get("grace") or "24h")))
        except BadFilter as error:
            raise PlanRefused(f"{error}.") from error
        if not _SHORTEST_GRACE <= grace <= _LONGEST_GRACE:
            raise PlanRefused("The grace time is from 1 minute to 30 days.")
        return {**super().clean(others), "grace": str(params.get("grace") or "24h").strip()}

    def notes_for(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Say what it means to delete mail."""
        return (
            f"They are deleted {params['grace']} after they are put on hold; one click undoes it until then.",
            "No sender is told: who expects an answer waits for ever.",
        )

    def run(self, job: Job) -> str:
        """Hold them, and leave a row that says when they are due."""
        try:
            done = Hold().act(job)
        except Unknown as stopped:
            # Nothing releases them by itself: somebody may have had some of them on hold before.
            raise Unknown(
                f"{stopped} Look at what is on hold there, and release what is to go on."
            ) from stopped
        messages = _number(acted_on(job.operation, Hold.verb, also=frozenset({"already"})))
        if not messages:
            return f"{done.told(self.did)}. Nothing is left to delete."
        pending = PendingDeletion.objects.filter(operation=job.operation).first()
        if pending is None:
            grace = timedelta(seconds=span_of(job.operation.params["grace"]))
            pending = PendingDeletion.objects.create(
                operation=job.operation, messages=messages, due_at=timezone.now() + grace
            )
        return f"{done.told(self.did)}. They are deleted at {pending.due_at:%Y-%m-%d %H:%M} UTC."

    def ended(self, operation: Operation) -> None:
        """Have what was held so far released where it was stopped or failed: nobody else knows of it."""
        held = _number(acted_on(operation, Hold.verb))
        if operation.state == OperationState.DONE or not held:
            return
        PendingDeletion.objects.update_or_create(
            operation=operation,
            defaults={
                "state": DeletionState.UNDONE,
                "undone_by": operation.requested_by_name,
                "messages": held,
                "due_at": timezone.now(),
            },
        )


class Purge(MessageKind):
    """The second half of a deletion; nobody asks for it but the clock."""

    name: ClassVar[str] = "message.purge"
    verb: ClassVar[str] = "message.delete"
    title: ClassVar[str] = "Delete what was held to be deleted"
    permission: ClassVar[str] = "relays.remove_messages"
    queues: ClassVar[tuple[str, ...]] = ("hold",)
    does: ClassVar[str] = "are deleted"
    did: ClassVar[str] = "deleted"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse: only the deletion that it follows may begin it."""
        raise PlanRefused("This begins by itself when a deletion's grace time is over.")


KINDS: tuple[type[MessageKind], ...] = (Hold, Release, Retry, Requeue, Expire, Delete, Purge)
