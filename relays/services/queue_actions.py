"""Operations that ask Postfix for what it offers itself: a queue run, a reload, a held rate. One request."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from relays.domain.providers import BadDomain, normalise_domain
from relays.domain.words import count, plural
from relays.domain.written import Entry, Result
from relays.models import Instance
from relays.remote import write
from relays.remote.ssh import Limits
from relays.services.doors import write_target
from relays.services.job import Failed, Job, NoResult, StillRunning
from relays.services.kinds import Kind, Plan, PlanRefused

# A page waits for a plan, a worker for what it does.
_PLAN_WITHIN = Limits(wall_s=30)
_DO_WITHIN = Limits(wall_s=60)
# A queue lives: a plan still holds when it is a little longer than it was.
_MAY_GROW = 1.2
_MAY_GROW_BY = 50
DAY_S = 86_400
_DELAY_DIGITS = 5


def looked_up(job: Job, instance: Instance, req_id: str) -> Mapping[str, Any] | None:
    """Ask the host what became of a request: its response, or None where it never came there and never will.

    Raises StillRunning, NoResult and RemoteError.
    """
    found = write.op_result(
        write_target(instance.host),
        req_id=req_id,
        instance=instance.name,
        fence=job.operation.fence,
        limits=_DO_WITHIN,
    ).entry
    if found.running:
        raise StillRunning
    if found.state == "begun":
        raise NoResult(f"{instance.host.name} began it and has no result of it")
    return response_of(found) if found.result else None


def response_of(entry: Entry) -> dict[str, Any]:
    """Return what came of a change as a step keeps it."""
    result: Result | None = entry.result
    if result is None:
        raise ValueError("Only a change that is done has a response.")
    return {
        "command": list(result.command),
        "output": result.output,
        "ok": result.ok,
        "exit_status": result.exit_status,
        "timed_out": result.timed_out,
        "took_ms": result.took_ms,
        "counts": dict(result.counts),
        **({"left": {why: list(ids) for why, ids in result.left.items()}} if result.left else {}),
        "params_sha": entry.params_sha,
    }


def refuse_failure(response: Mapping[str, Any]) -> None:
    """Raise Failed where the command itself failed."""
    if not response["ok"]:
        ended = "was killed" if response["timed_out"] else f"ended with status {response['exit_status']}"
        raise Failed(f"{' '.join(response['command'])} {ended}: {response['output'] or 'it said nothing'}")


class QueueRun(Kind):
    """Postfix's own flush: deferred mail is tried now, all of it or that for one domain."""

    name: ClassVar[str] = "queue.run"
    title: ClassVar[str] = "Try deferred mail now"
    permission: ClassVar[str] = "relays.run_queue"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take a domain, or none for the whole queue."""
        _refuse_others(params, {"domain"})
        try:
            domain = normalise_domain(str(params["domain"])) if params.get("domain") else None
        except BadDomain as error:
            raise PlanRefused(str(error)) from error
        return {"domain": domain}

    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        """Count what would be tried."""
        planned = write.plan_queue_run(
            write_target(instance.host), instance=instance.name, domain=params["domain"], limits=_PLAN_WITHIN
        ).plan
        messages = planned.counts.get("messages")
        what = f"for {params['domain']}" if params["domain"] else "of every domain"
        tried = "all deferred messages" if messages is None else plural(messages, "deferred message")
        return Plan(
            f"{instance.name} tries {tried} {what} again, at once and from its own address.",
            commands=[list(words) for words in planned.commands],
            counts=_known(planned.counts),
            facts=dict(planned.facts),
            notes=["A throttled or blocked address is tried again with all of them: that can make it worse."],
        )

    def moved(self, then: Plan, now: Plan) -> str:
        """Allow a queue to grow a little, and to shrink."""
        if then.facts != now.facts:
            return "The instance's set-up has changed since the plan was made."
        planned, current = then.counts.get("messages"), now.counts.get("messages")
        if planned is None or current is None or current <= planned * _MAY_GROW + _MAY_GROW_BY:
            return ""
        return f"There are {count(current)} messages now; the plan was made for {count(planned)}."

    def run(self, job: Job) -> str:
        """Have Postfix try them."""
        domain = job.operation.params["domain"]
        response = _step(
            job,
            self.name,
            {"domain": domain},
            lambda target, instance, **ids: (
                write.queue_run(target, instance=instance.name, domain=domain, limits=_DO_WITHIN, **ids).entry
            ),
        )
        refuse_failure(response)
        return "Postfix tries them now. What comes of it shows on the instance's page with the next polls."


class InstanceReload(Kind):
    """`postfix reload`: the configuration is read again."""

    name: ClassVar[str] = "instance.reload"
    title: ClassVar[str] = "Read the configuration again"
    permission: ClassVar[str] = "relays.reload_instance"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take nothing."""
        _refuse_others(params, set())
        return {}

    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        """Name the configuration that would be read, by its digests."""
        planned = write.plan_instance_reload(
            write_target(instance.host), instance=instance.name, limits=_PLAN_WITHIN
        ).plan
        return Plan(
            f"{instance.name} reads main.cf and master.cf again. Idle processes of it start anew.",
            commands=[list(words) for words in planned.commands],
            counts=_known(planned.counts),
            facts=dict(planned.facts),
            notes=["The queue manager starts anew: messages that are active are scheduled again."],
        )

    def run(self, job: Job) -> str:
        """Have it read its configuration."""
        response = _step(
            job,
            self.name,
            {},
            lambda target, instance, **ids: (
                write.instance_reload(target, instance=instance.name, limits=_DO_WITHIN, **ids).entry
            ),
        )
        refuse_failure(response)
        return "The configuration was read again."


class RateHold(Kind):
    """At most one delivery in so many seconds, by smtp_transport_rate_delay, until it is released."""

    name: ClassVar[str] = "rate.hold"
    title: ClassVar[str] = "Hold the rate"
    permission: ClassVar[str] = "relays.reload_instance"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take whole seconds: Postfix knows no parts of one."""
        _refuse_others(params, {"delay_s"})
        text = str(params.get("delay_s", ""))
        if not (text.isascii() and text.isdecimal() and len(text) <= _DELAY_DIGITS and int(text)):
            raise PlanRefused("Give the seconds between two deliveries as a whole number, 1 or more.")
        return {"delay_s": int(text)}

    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        """Name what is set now, and what comes back when it is released."""
        delay_s = params["delay_s"]
        planned = write.plan(
            write_target(instance.host),
            self.name,
            {"instance": instance.name, "delay_s": delay_s},
            _PLAN_WITHIN,
        ).plan
        before = planned.facts.get("before") or "no line of its own"
        return Plan(
            f"{instance.name} delivers at most one message in {delay_s:,} s, {DAY_S // delay_s:,} a day.",
            commands=[list(words) for words in planned.commands],
            facts=dict(planned.facts),
            notes=[
                "A delivery is one message to one domain, whatever the number of its recipients there.",
                f"Released, main.cf has what it had before: {before}.",
                "The queue manager starts anew, as with a reload. A flush's drain is not slowed down.",
            ],
        )

    def run(self, job: Job) -> str:
        """Have it set, and read."""
        delay_s = job.operation.params["delay_s"]
        response = _change(job, self.name, {"delay_s": delay_s})
        refuse_failure(response)
        return f"At most one delivery in {delay_s:,} s from now on."


class RateRelease(Kind):
    """The rate that was held is given back: main.cf has what it had before."""

    name: ClassVar[str] = "rate.release"
    title: ClassVar[str] = "Release the rate"
    permission: ClassVar[str] = "relays.reload_instance"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take nothing."""
        _refuse_others(params, set())
        return {}

    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        """Name what is held, and what was there before."""
        planned = write.plan(
            write_target(instance.host), self.name, {"instance": instance.name}, _PLAN_WITHIN
        ).plan
        if not planned.facts.get("held"):
            raise PlanRefused(
                f"No rate is held on {instance.name} by the console: there is nothing to release."
            )
        return Plan(
            f"{instance.name} delivers as it did before its rate was held.",
            commands=[list(words) for words in planned.commands],
            facts=dict(planned.facts),
            notes=["What somebody has set by hand meanwhile stays."],
        )

    def run(self, job: Job) -> str:
        """Have it given back, and read."""
        response = _change(job, self.name, {})
        refuse_failure(response)
        return response["output"] if response["output"].startswith("left as") else "The rate is held no more."


def _change(job: Job, verb: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
    return _step(
        job,
        verb,
        args,
        lambda target, instance, **ids: (
            write.change(
                target, verb, {"instance": instance.name, **args}, _DO_WITHIN, plan_hash=None, **ids
            ).entry
        ),
    )


def _step(job: Job, name: str, request: Mapping[str, Any], send: Callable[..., Entry]) -> Mapping[str, Any]:
    """Make the one request of a kind, once."""
    operation, instance = job.operation, job.instance
    return job.step(
        name,
        lambda req_id: response_of(
            send(
                write_target(instance.host),
                instance,
                req_id=req_id,
                op_id=str(operation.pk),
                fence=operation.fence,
            )
        ),
        look_up=lambda req_id: looked_up(job, instance, req_id),
        request=request,
    )


def _known(counts: Mapping[str, int | None]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number is not None}


def _refuse_others(params: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(params) - known):
        raise PlanRefused(f"There is no parameter {unknown[0][:40]!r}.")
