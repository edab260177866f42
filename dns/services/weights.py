"""Changes of a relay name's records, as operations: plan, one guarded update, every server verified."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from dns.domain.lasting import hosts_to_keep, served_to
from dns.domain.preview import Preview, preview
from dns.domain.records import Change, RecordSet, difference, same
from dns.domain.safety import Pool, Unsafe, WouldBeEmpty, find_unsafe
from dns.domain.weights import (
    MAX_WEIGHT,
    CannotRender,
    NotOurs,
    Rendered,
    Rendering,
    percent,
    read_back,
    render,
)
from dns.lookup import Reading, read_everywhere
from dns.models import Method, PublishedState, RelayName, Weight
from dns.publishing import Moved
from dns.services.zones import (
    held_by_resolvers,
    longest_ttl,
    publisher_of,
    read_primary,
    remember,
    servers_of,
    what_is_wrong,
)
from relays.domain.health import State
from relays.domain.text import printable
from relays.models import Address, InstanceState, Operation
from relays.models.operation import StepState
from relays.remote.errors import RemoteError
from relays.services import operations
from relays.services.job import Failed, Job, NoResult, Wait
from relays.services.kinds import Plan, PlanRefused, RelayNameKind
from relays.services.sealing import CannotUnseal

_VERIFY_FOR = timedelta(seconds=90)
_LOOK_AGAIN = timedelta(seconds=3)
_LOOK_AGAIN_BY_HAND = timedelta(seconds=20)
# Of a 64-bit id; int() refuses very many digits.
_MAX_ID_DIGITS = 18
# States that speak of the address, and not of what is sent through it.
_REFUSED = (State.BLOCKED, State.THROTTLED)

# Of each address, its weight; 0 is out of DNS.
Wanted = dict[str, int]


class _Publish(RelayNameKind):
    """What all changes of records have in common."""

    permission: ClassVar[str] = "dns.change_weights"
    # Most of it is people's time, where they paste records; the rest takes seconds.
    deadline: ClassVar[timedelta] = timedelta(hours=1)
    # What is written has to be stored and verified, whoever asks for it to stop by then.
    ends_itself: ClassVar[bool] = True
    takes: ClassVar[set[str]]
    may_take: ClassVar[set[str]] = {"override"}

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take this kind's parameters and no others."""
        if unknown := sorted(set(params) - self.takes - self.may_take):
            raise PlanRefused(f"There is no parameter {unknown[0][:40]!r}.")
        if missing := sorted(self.takes - set(params)):
            raise PlanRefused(f"{missing[0]} is missing.")
        return {**params, "override": params.get("override") in (True, "true", "on")}

    @abstractmethod
    def wanted(self, relay_name: RelayName, now: Wanted, params: Mapping[str, Any]) -> Wanted:
        """Return the weights to publish. Raises PlanRefused."""

    def plan_name(self, relay_name: str, params: Mapping[str, Any]) -> Plan:
        """Read the primary, and say which records would come and go."""
        row = _row(relay_name)
        if row.rendering == Rendering.LUA and row.zone.method == Method.RFC2136:
            raise PlanRefused("lua is written by PowerDNS's API: RFC 2136 knows no such record.")
        before = weights_of(row)
        _check_unchanged(row, params.get("made_of", before), before)
        wanted = self.wanted(row, before, params)
        if not any(wanted.values()):
            raise Refusal([WouldBeEmpty("No address would be left: all mail would stop.")])
        try:
            rendered = render(row.name, wanted, rendering=Rendering(row.rendering), ttl=row.ttl)
            reading = read_primary(row, also=_names(rendered.records))
        except (CannotRender, CannotUnseal) as error:
            raise PlanRefused(str(error)) from error
        rendered = _with_hosts_kept(row, reading, rendered)
        _refuse_unsafe(row, reading, rendered, wanted, override=params["override"])
        change = difference(reading.ours(row.name), rendered.records)
        if not change and wanted == before:
            raise NothingToDo(f"{row.name} serves this already: there is nothing to do.")
        return _plan(row, change, rendered, before, wanted)

    def confirmed(self, operation: Operation) -> None:
        """Refuse what was planned by other weights: a lock may have come and gone since. Raises PlanStale."""
        row = _row(operation.relay_name)
        _check_unchanged(row, operation.plan["facts"].get("before"), weights_of(row))

    def page_of(self, relay_name: str) -> str:
        """Return where it is planned from."""
        row = RelayName.objects.filter(name=relay_name).first()
        return reverse("dns:relay-name", args=[row.pk]) if row else ""

    def moved(self, then: Plan, now: Plan) -> str:
        """Allow other names of the zone to change."""
        # Which hosts of old records stay depends on the clock: those that were confirmed are kept.
        is_same = all(then.facts[fact] == now.facts[fact] for fact in ("now", "wanted", "led_to"))
        return "" if is_same else "What is served has changed since the plan was made."

    def run(self, job: Job) -> str:
        """Publish, remember, verify."""
        facts = job.operation.plan["facts"]
        try:
            row = _row(job.operation.relay_name)
            response = self._publish(job, row, facts)
        except (PlanRefused, CannotUnseal) as error:
            raise Failed(str(error)) from error
        job.close()
        self._remember(job, row, facts, response)
        return _verify(job, row, facts) + _stopped_too_late(job)

    def _publish(self, job: Job, row: RelayName, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        change = difference(_sets(facts["now"]), _sets(facts["records"]))
        publisher = publisher_of(row.zone, also=_names(_sets(facts["now"])))
        if publisher is None:
            return _await_by_hand(job, row, change, facts)

        def effect(_req_id: str) -> Mapping[str, Any]:
            try:
                if change:
                    publisher.write(change)
            except Moved:
                # An update of ours that the server made after the connection was lost is no other's change.
                if publisher.read(row.name).ours(row.name) != _sets(facts["records"]):
                    raise
            return _response(publisher.read(row.name), change)

        def look_up(_req_id: str) -> Mapping[str, Any] | None:
            served = publisher.read(row.name)
            if served.ours(row.name) == _sets(facts["records"]):
                return _response(served, change)
            if served.ours(row.name) == _sets(facts["now"]):
                return None
            raise NoResult(f"{row.name} serves neither what it did nor what was to be written")

        return job.step("publish", effect, look_up=look_up, request={"update": change.lines})

    def _remember(
        self, job: Job, row: RelayName, facts: Mapping[str, Any], response: Mapping[str, Any]
    ) -> None:
        """Store the weights and the state that the operation made, once."""
        job.keep()
        with transaction.atomic():
            if PublishedState.objects.filter(operation=job.operation).exists():
                return
            _store(row, facts["wanted"])
            reading = Reading(response["serial"], _sets(facts["records"]))
            old_ttl = longest_ttl(_sets(facts["now"]))
            remember(
                row,
                reading,
                wanted=facts["wanted"],
                at=timezone.now(),
                old_ttl=old_ttl,
                operation=job.operation,
            )


class WeightsApply(_Publish):
    """Weights as somebody, or a ramp, wants them. weights: {address: weight}, 0 for out of DNS.

    made_of: the weights that they were worked out from, where others would make them wrong.
    """

    name: ClassVar[str] = "weights.apply"
    title: ClassVar[str] = "Change weights"
    takes: ClassVar[set[str]] = {"weights"}
    may_take: ClassVar[set[str]] = {"override", "made_of"}

    def wanted(self, relay_name: RelayName, now: Wanted, params: Mapping[str, Any]) -> Wanted:
        """Keep the addresses that are not named as they are."""
        given = params["weights"]
        if not isinstance(given, dict) or not given:
            raise PlanRefused("Give at least one address its weight.")
        for address, weight in given.items():
            if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= MAX_WEIGHT:
                raise PlanRefused(
                    f"The weight of {address[:60]} must be a whole number, 0 to {MAX_WEIGHT:,}."
                )
        return now | given


class AddressOut(_Publish):
    """One address out of DNS; the others share its mail by their weights."""

    name: ClassVar[str] = "address.out"
    title: ClassVar[str] = "Take an address out of DNS"
    takes: ClassVar[set[str]] = {"address"}

    def wanted(self, relay_name: RelayName, now: Wanted, params: Mapping[str, Any]) -> Wanted:
        """Give it nothing."""
        address = _known(relay_name, now, params["address"])
        if not now[address]:
            raise PlanRefused(f"{address} is out of {relay_name.name} already.")
        return now | {address: 0}

    def plan_name(self, relay_name: str, params: Mapping[str, Any]) -> Plan:
        """Add why, where the figures of its instance tell."""
        return replace(super().plan_name(relay_name, params), reason=_evident_reason(params["address"]))


class AddressBack(_Publish):
    """An address that was taken out, with the weight that it had."""

    name: ClassVar[str] = "address.back"
    title: ClassVar[str] = "Put an address back into DNS"
    takes: ClassVar[set[str]] = {"address"}

    def wanted(self, relay_name: RelayName, now: Wanted, params: Mapping[str, Any]) -> Wanted:
        """Give it its weight."""
        address = _known(relay_name, now, params["address"])
        if now[address]:
            raise PlanRefused(f"{address} is in {relay_name.name} already.")
        return now | {address: relay_name.weights.get(address=address).weight}


class WeightsRollback(_Publish):
    """The weights of an earlier state. to: its id."""

    name: ClassVar[str] = "weights.rollback"
    title: ClassVar[str] = "Go back to earlier weights"
    takes: ClassVar[set[str]] = {"to"}

    def wanted(self, relay_name: RelayName, now: Wanted, params: Mapping[str, Any]) -> Wanted:
        """Take what was wanted then; addresses that came since go out."""
        ident = str(params["to"])
        is_id = ident.isdecimal() and len(ident) <= _MAX_ID_DIGITS
        state = relay_name.published.filter(pk=int(ident)).first() if is_id else None
        if state is None:
            raise PlanRefused(f"{relay_name.name} has no such earlier state.")
        then: Wanted = state.wanted
        return dict.fromkeys(now, 0) | then


KINDS = (WeightsApply, AddressOut, AddressBack, WeightsRollback)


def change_by_rule(
    *,
    relay_name: RelayName,
    weights: Mapping[str, int],
    reason: str,
    made_of: Mapping[str, int] | None = None,
    key: str | None = None,
) -> Operation:
    """Have some weights of a relay name changed by a rule of the console's, a ramp's step.

    made_of: all weights, as they were when the new ones were worked out from them; key: the same one gives
    the same operation again. Raises PlanRefused (Busy where another operation has the name, PlanStale where
    its weights have changed meanwhile, NothingToDo where it serves them) and RemoteError.
    """
    params = {"weights": dict(weights)}
    return operations.begin_by_system(
        kind=WeightsApply.name,
        relay_name=relay_name.name,
        params=params if made_of is None else params | {"made_of": dict(made_of)},
        reason=reason,
        idempotency_key=key,
    )


def take_out_by_rule(*, relay_name: RelayName, address: str, reason: str) -> Operation:
    """Have an address taken out by a rule of the console's. Raises as change_by_rule() does."""
    return operations.begin_by_system(
        kind=AddressOut.name, relay_name=relay_name.name, params={"address": address}, reason=reason
    )


def weights_of(relay_name: RelayName) -> Wanted:
    """Return what each address is to carry, 0 for those that are out."""
    return {row.address: row.weight if row.is_on else 0 for row in relay_name.weights.all()}


def pool_of(relay_name: RelayName, wanted: Wanted) -> Pool:
    """Return a relay name's addresses with the weights that are wanted, and what is known of them."""
    warm = {one.address for one in relay_name.weights.all() if one.is_warm}
    known = set(Address.objects.filter(instance__removed_at=None).values_list("ip", flat=True))
    known |= set(weights_of(relay_name))
    return Pool(wanted, warm=warm, known=known, min_warm=relay_name.min_warm)


def preview_weights(*, relay_name: RelayName, given: Mapping[str, Any]) -> Preview:
    """Say what weights would publish, by what was published last; no name server is asked."""
    try:
        wanted = WeightsApply().wanted(relay_name, weights_of(relay_name), {"weights": dict(given)})
    except PlanRefused as error:
        return Preview(refusals=(str(error),))
    state = relay_name.published.first()
    return preview(
        relay_name.name,
        pool_of(relay_name, wanted),
        rendering=Rendering(relay_name.rendering),
        ttl=relay_name.ttl,
        now=_sets(state.records) if state else (),
        held=held_by_resolvers(relay_name, now=timezone.now()),
        allowed=relay_name.zone.allowed_names,
    )


def _row(name: str) -> RelayName:
    row = RelayName.objects.select_related("zone").filter(name=name).first()
    if row is None:
        raise PlanRefused(f"There is no relay name {name[:80]}.")
    return row


def _evident_reason(address: str) -> str:
    """Say that the address is refused, with the figures; "" where nothing is known against it.

    Nothing that a remote server said: these words get into the audit trail as somebody's own.
    """
    found = InstanceState.objects.filter(instance__addresses__ip=address, instance__removed_at=None)
    state = found.select_related("instance__provider").first()
    if state is None or state.state not in _REFUSED:
        return ""
    provider = state.instance.provider
    refused = {State.BLOCKED: state.hour_blocked, State.THROTTLED: state.hour_throttled}[State(state.state)]
    figures = [f"{refused:,} recipients refused so in the last hour"] if refused else []
    figures += [f"{state.deferred:,} messages deferred"] if state.deferred is not None else []
    at = f" at {state.asked_at:%H:%M} UTC" if state.asked_at else ""
    return f"{state.state} at {provider.slug if provider else 'its provider'}: {', '.join(figures)}{at}"


def _check_unchanged(row: RelayName, then: Any, now: Wanted) -> None:
    """Raise PlanStale where other addresses carry mail than those that something was worked out from."""
    if not isinstance(then, dict) or _carrying(then) != _carrying(now):
        raise operations.PlanStale(
            f"The weights of {row.name} have changed since this was worked out: make the plan again."
        )


def _carrying(weights: Wanted) -> Wanted:
    return {address: weight for address, weight in weights.items() if weight}


def _known(relay_name: RelayName, now: Wanted, address: Any) -> str:
    if not isinstance(address, str) or address not in now:
        raise PlanRefused(f"{relay_name.name} has no address {str(address)[:60]}.")
    return address


def _refuse_unsafe(
    row: RelayName, reading: Reading, rendered: Rendered, wanted: Wanted, *, override: bool
) -> None:
    found = find_unsafe(
        pool_of(row, wanted),
        served=_served(row, reading),
        records=rendered.records,
        ttl=row.ttl,
        allowed=row.zone.allowed_names,
    )
    if left := [one for one in found if not (override and one.overridable)]:
        raise Refusal(left)


def _with_hosts_kept(row: RelayName, reading: Reading, rendered: Rendered) -> Rendered:
    """Let the hosts stay without which a resolver that holds what was served before would find none."""
    now = reading.ours(row.name)
    held = [now, *held_by_resolvers(row, now=timezone.now())]
    kept = hosts_to_keep(row.name, rendered.records, now=now, held=held)
    if not kept:
        return rendered
    note = (
        f"{len(kept)} hosts that nothing leads to any more stay for resolvers that hold the old MX records. "
        "The next change after that removes them."
    )
    records = tuple(sorted({*rendered.records, *kept}))
    return replace(rendered, records=records, notes=(*rendered.notes, note))


class NothingToDo(PlanRefused):
    """The name serves this already."""


class Refusal(PlanRefused):
    """Reasons not to publish, each with its figures."""

    def __init__(self, reasons: list[Unsafe]) -> None:
        super().__init__(" ".join(str(one) for one in reasons))
        self.reasons = reasons


def _served(row: RelayName, reading: Reading) -> set[str]:
    try:
        return set(read_back(row.name, reading.records).parts)
    except NotOurs:
        return set()


def _plan(row: RelayName, change: Change, rendered: Rendered, before: Wanted, wanted: Wanted) -> Plan:
    shares = ", ".join(f"{address} {percent(share)}" for address, share in sorted(rendered.published.items()))
    ttl = max((item.ttl for item in change.now), default=row.ttl)
    notes = [*rendered.notes, f"Resolvers hold what was served before for up to {ttl} s."]
    if rendered.error:
        notes.append(f"The greatest error of a share is {percent(rendered.error)}.")
    return Plan(
        f"{row.name} gives {shares}.",
        commands=[line.split() for line in change.lines],
        facts={
            "now": [item.as_json() for item in change.now],
            "records": [item.as_json() for item in rendered.records],
            "led_to": [item.as_json() for item in served_to(row.name, rendered.records)],
            "before": before,
            "wanted": wanted,
        },
        notes=notes,
    )


def _response(reading: Reading, change: Change) -> dict[str, Any]:
    return {"serial": reading.serial, "command": ["update"], "output": "\n".join(change.lines)}


def _await_by_hand(job: Job, row: RelayName, change: Change, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Wait until somebody has written the records. Raises Aborted, and Failed where nobody has in time."""
    request = {"update": change.lines}
    _note(job, "ask for the records", {"command": ["by hand"], "output": "\n".join(change.lines)}, request)
    written = job.operation.steps.filter(name="publish", state=StepState.DONE).exists()
    response = {} if written else _written_by_hand(job, row, change, facts)
    return _note(job, "publish", response, request)


def _written_by_hand(job: Job, row: RelayName, change: Change, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        served = read_primary(row, also=_names(_sets(facts["now"])))
        if same(served.ours(row.name), _sets(facts["records"])):
            return _response(served, change)
        job.progress("Waiting for the records: write them into the zone as the plan shows them.")
    except RemoteError as error:
        job.progress(printable(str(error), 300))
    job.go_on()
    if job.is_late():
        raise Failed("Nobody wrote the records within an hour.")
    raise Wait(timezone.now() + _LOOK_AGAIN_BY_HAND)


def _note(job: Job, name: str, response: Mapping[str, Any], request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write a step down that changes nothing anywhere; return what it was written down with."""
    return job.step(name, lambda _req_id: response, look_up=lambda _req_id: None, request=request)


def _stopped_too_late(job: Job) -> str:
    asked_by = job.abort_asked_by()
    return f" {asked_by} asked for it to stop when it was written already." if asked_by else ""


def _verify(job: Job, row: RelayName, facts: Mapping[str, Any]) -> str:
    """Ask every server until all serve it, or the time for that is up: then the outcome names them."""
    servers = servers_of(row.zone)
    job.progress(f"Asking {len(servers)} name servers.")
    answers = read_everywhere(servers, zone=row.zone.name, name=row.name)
    wrong = {
        str(server): text
        for server, answer in answers.items()
        if (text := what_is_wrong(row, answer, _sets(facts["records"])))
    }
    state = PublishedState.objects.get(operation=job.operation)
    if wrong and timezone.now() - state.at < _VERIFY_FOR:
        job.wait(_LOOK_AGAIN)
    RelayName.objects.filter(pk=row.pk).update(drift=wrong, checked_at=timezone.now())
    if wrong:
        behind = "; ".join(f"{server}: {text}" for server, text in sorted(wrong.items()))
        return f"Written, but not every name server serves it yet. {behind}"
    plural = "s serve" if len(servers) > 1 else " serves"
    return (
        f"{len(servers)} name server{plural} it; effective everywhere from {state.effective_at:%H:%M:%S} UTC."
    )


def _store(row: RelayName, wanted: Wanted) -> None:
    """Write the weights; an address that goes out keeps its weight for when it comes back."""
    for address, weight in wanted.items():
        fields: dict[str, Any] = {"is_on": weight > 0}
        if weight:
            fields["weight"] = weight
        new = {"weight": weight or 1, "is_on": weight > 0, "is_warm": False}
        Weight.objects.update_or_create(relay_name=row, address=address, defaults=fields, create_defaults=new)


def _names(records: Iterable[RecordSet]) -> set[str]:
    return {item.name for item in records}


def _sets(value: Iterable[Any]) -> tuple[RecordSet, ...]:
    return tuple(RecordSet.from_json(item) for item in value)
