"""Flushes: moving deferred mail from one instance to another, as an operation with a plan."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from relays.domain.flush import MOST_A_MINUTE, Candidate, Check, PeerFacts, Ranked, Scanned, rank
from relays.domain.freshness import fresh_for
from relays.domain.providers import BadDomain, normalise_domain
from relays.domain.words import count, plural, span
from relays.models import Flush, Instance, InstanceLock, InstanceRedirect, Operation
from relays.models.flush import FlushState
from relays.models.operation import LIVE
from relays.remote import flush as remote
from relays.remote.errors import RemoteError
from relays.remote.flush import Peer
from relays.remote.ssh import Limits
from relays.services import flush_run
from relays.services.doors import read_target, write_target
from relays.services.flush_run import Ends
from relays.services.job import Failed, Job
from relays.services.kinds import Kind, Plan, PlanRefused
from relays.services.queue_actions import looked_up, refuse_failure, response_of

MAX_DOMAINS = 200
EVERYTHING = "*"
_PLAN_WITHIN = Limits(wall_s=45)
_DO_WITHIN = Limits(wall_s=60)
# Measured on two instances of one machine (docs/flush.md): 670 a second; a plan promises half of that.
_RECIPIENTS_A_S = 300
# A queue lives: a plan still holds when it is a little longer than it was.
_MAY_GROW, _MAY_GROW_BY = 1.2, 50
_DAY_S = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": _DAY_S, "w": 7 * _DAY_S}


class FlushKind(Kind):
    """Deferred mail for some domains goes on to another instance, under a redirect that ends by itself."""

    name: ClassVar[str] = "flush"
    title: ClassVar[str] = "Move deferred mail"
    permission: ClassVar[str] = "relays.flush"
    deadline: ClassVar[timedelta] = timedelta(hours=5)
    ends_itself: ClassVar[bool] = True

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take a target's id and recipient domains, as a list or as text between blanks and commas.

        Optional: rate, messages a minute at most, 0 for no bound.
        """
        if unknown := sorted(set(params) - {"target", "domains", "rate"}):
            raise PlanRefused(f"There is no parameter {unknown[0][:40]!r}.")
        try:
            target = int(params.get("target") or 0)
        except (TypeError, ValueError):
            raise PlanRefused("Say which instance the mail shall go to.") from None
        domains, rate = _domains(params.get("domains")), rate_of(params.get("rate"))
        return {"target": target, "domains": domains, "rate": rate}

    def also_locks(self, params: Mapping[str, Any]) -> list[int]:
        """Lock the target too: what mail comes to it, and where it goes on from there, must not change."""
        return [params["target"]]

    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        """Try the path, count, and say what would be done."""
        ends = ends_of(instance, params)
        _refuse_while_redirected(ends)
        checks, peer = self._tried(ends, params["domains"])
        if failed := [check for check in checks if not check.ok]:
            told = "; ".join(f"{check.detail} ({check.remedy})" for check in failed)
            raise PlanRefused(f"Mail of {instance.name} cannot go there: {told}.")
        scanned = _scanned(ends, params["domains"], peer)
        if not scanned.messages:
            raise PlanRefused(f"{instance.name} has no mail for {_words(params['domains'])} that waits.")
        return _plan(ends, params["domains"], scanned, peer, params.get("rate", 0))

    def _tried(self, ends: Ends, domains: list[str]) -> tuple[tuple[Check, ...], PeerFacts | None]:
        recipients = [f"postmaster@{domain}" for domain in domains if domain != EVERYTHING][:20]
        tried = remote.preflight(
            write_target(ends.source.host),
            instance=ends.source.name,
            to=ends.peer,
            sender="",
            recipients=recipients,
            limits=_PLAN_WITHIN,
        )
        return tried.checks, tried.peer

    def moved(self, then: Plan, now: Plan) -> str:
        """Allow a queue to grow a little, and to shrink."""
        if then.facts != now.facts:
            return "The instances' set-up has changed since the plan was made."
        planned, current = then.counts["messages"], now.counts["messages"]
        if current <= planned * _MAY_GROW + _MAY_GROW_BY:
            return ""
        return f"There are {count(current)} messages now; the plan was made for {count(planned)}."

    def confirmed(self, operation: Operation) -> None:
        """Make the row that keeps where it stands."""
        assert operation.instance is not None  # noqa: S101 - confirm() refuses one that is gone
        target = Instance.objects.get(pk=operation.params["target"])
        Flush.objects.create(
            operation=operation,
            source=operation.instance,
            target=target,
            source_name=operation.instance.name,
            target_name=target.name,
            domains=operation.params["domains"],
            rate=operation.params.get("rate", 0),
        )

    def run(self, job: Job) -> str:
        """Move it."""
        flush = Flush.objects.select_related("source__host", "target__host").get(pk=job.operation.pk)
        if flush.source is None or flush.target is None:
            raise Failed("One of the instances is gone.")
        try:
            ends = ends_of(flush.source, job.operation.params)
        except PlanRefused as error:
            raise Failed(f"{error} Nothing was done.") from error
        return flush_run.run(job, flush, ends, lease=timedelta(seconds=settings.FLUSH_LEASE_S))


class RedirectClear(Kind):
    """An instance's mail goes its own way again, whoever redirected it."""

    name: ClassVar[str] = "redirect.clear"
    title: ClassVar[str] = "Give a redirect back"
    permission: ClassVar[str] = "relays.flush"

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take nothing."""
        if params:
            raise PlanRefused(f"There is no parameter {min(params)[:40]!r}.")
        return {}

    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        """Say what is given back."""
        status = remote.status(read_target(instance.host), _PLAN_WITHIN)
        found = next((each for each in status.instances if each.instance == instance.name), None)
        if found is None or not found.to:
            raise PlanRefused(f"No redirect is on at {instance.name}.")
        return Plan(
            f"{instance.name} sends its mail on its own way again. It goes to {found.to} now, for"
            f" {_words(list(found.domains))}.",
            commands=[["postfix", "reload"]],
            facts={"to": found.to, "op_id": found.op_id},
            notes=["What was deferred and has not left stays deferred here."],
        )

    def run(self, job: Job) -> str:
        """Give it back."""
        operation, instance = job.operation, job.instance
        response = job.step(
            self.name,
            lambda req_id: response_of(
                remote.redirect_clear(
                    write_target(instance.host),
                    instance=instance.name,
                    req_id=req_id,
                    op_id=str(operation.pk),
                    fence=operation.fence,
                    limits=_DO_WITHIN,
                ).entry
            ),
            look_up=lambda req_id: looked_up(job, instance, req_id),
            request={},
        )
        refuse_failure(response)
        return f"{instance.name} sends its mail on its own way again."


def candidates(source: Instance) -> list[Ranked]:
    """Return the instances that mail of this one could go to, the best first."""
    busy = set(InstanceLock.objects.values_list("instance_id", flat=True))
    redirected = set(InstanceRedirect.objects.values_list("instance_id", flat=True))
    others = (
        Instance.objects.filter(removed_at=None, addresses__isnull=False)
        .exclude(pk=source.pk)
        .select_related("host", "state")
        .prefetch_related("addresses")
        .distinct()
    )
    now = timezone.now()
    return rank([
        Candidate(
            id=each.pk,
            name=each.name,
            host=each.host.name,
            address=each.addresses.all()[0].ip,
            same_provider=each.provider_id is not None and each.provider_id == source.provider_id,
            state=each.state.state if hasattr(each, "state") else "unknown",
            fresh=each.host.last_success_at is not None
            and now - each.host.last_success_at <= fresh_for(settings.POLL_INTERVAL_S),
            deferred=each.state.deferred if hasattr(each, "state") else None,
            active=each.state.active if hasattr(each, "state") else None,
            redirected=each.pk in redirected,
            busy=each.pk in busy,
        )
        for each in others
    ])  # fmt: skip


def ends_of(source: Instance, params: Mapping[str, Any]) -> Ends:
    """Return both ends of a flush. Raises PlanRefused where they cannot be."""
    target = Instance.objects.select_related("host").filter(pk=params["target"], removed_at=None).first()
    if target is None:
        raise PlanRefused("The instance that the mail shall go to is gone.")
    if target.pk == source.pk:
        raise PlanRefused("The mail is there already: choose another instance.")
    here, there = _by_family(source), _by_family(target)
    for lacking, known in ((source, here), (target, there)):
        if not known:
            raise PlanRefused(
                f"{lacking.name} sends from no address of its own: set smtp_bind_address there."
            )
    family = next((family for family in (4, 6) if family in here and family in there), None)
    if family is None:
        raise PlanRefused(
            f"{source.name} has an IPv{min(here)} address alone, {target.name} an IPv{min(there)} address: no"
            f" path leads there. Choose another target, or set smtp_bind_address{'6' if 6 in there else ''}"
            f" at {source.name}."
        )
    return Ends(source, target, Peer(there[family]), here[family])


def _by_family(instance: Instance) -> dict[int, str]:
    """Return an instance's first own address of each family, 4 and 6."""
    found: dict[int, str] = {}
    for address in instance.addresses.all():
        found.setdefault(ip_address(address.ip).version, address.ip)
    return found


def _refuse_while_redirected(ends: Ends) -> None:
    """No redirect may lead to or from either end: two of them can make a ring."""
    pks = (ends.source.pk, ends.target.pk)
    live = Flush.objects.exclude(state=FlushState.ENDED).filter(Q(source__in=pks) | Q(target__in=pks))
    # The very same one is this one's own when the plan is made again; of two, the locks let one begin.
    live = live.filter(operation__state__in=LIVE).exclude(source=ends.source, target=ends.target)
    if (other := live.first()) is not None:
        raise PlanRefused(
            f"Flush {other.pk} moves mail from {other.source_name} to {other.target_name}: wait for its end,"
            " or stop it."
        )
    for instance in (ends.target, ends.source):
        try:
            status = remote.status(read_target(instance.host), _PLAN_WITHIN)
        except RemoteError as error:
            raise PlanRefused(f"{instance.host.name} cannot be asked about redirects: {error}") from error
        for found in status.instances:
            if found.instance == instance.name and found.to:
                raise PlanRefused(
                    f"{instance.name} is redirected to {found.to} already: give that back first."
                )


def _scanned(ends: Ends, domains: list[str], peer: PeerFacts | None) -> Scanned:
    limits = ends.source.inventory.get("limits") or {}
    scanned, _ = remote.scan(
        read_target(ends.source.host),
        instance=ends.source.name,
        domains=domains,
        counts_only=True,
        lifetime_s=seconds(str(limits.get("maximal_queue_lifetime", "5d"))),
        size_limit=(peer.size_limit or 0) if peer else 0,
        limits=_PLAN_WITHIN,
    )
    return scanned


def _plan(ends: Ends, domains: list[str], scanned: Scanned, peer: PeerFacts | None, rate: int) -> Plan:
    source, target = ends.source.name, ends.target.name
    takes_s = max(10, scanned.recipients // _RECIPIENTS_A_S)
    takes_s = max(takes_s, 60 * scanned.messages // rate) if rate else takes_s
    at_most = f", at most {count(rate)} a minute" if rate else ""
    to = f"[{ends.peer.address}]:{ends.peer.port}"
    named = [domain for domain in domains if domain != EVERYTHING]
    return Plan(
        f"{plural(scanned.messages, 'message')} for {_words(domains)} go from {source} to {target},"
        f" which sends them on{at_most}. It takes about {span(takes_s)}; then {source} has its own way back.",
        commands=[
            *([domain, f"drain:{ends.peer.nexthop}"] for domain in domains),
            ["postfix", "reload"],
            *([["postqueue", "-i", "ID"]] if rate else (["postqueue", "-s", domain] for domain in named)),
        ],
        counts={"messages": scanned.messages, "recipients": scanned.recipients},
        facts={
            "source": ends.source.config_dir,
            "target": ends.target.config_dir,
            "to": to,
            "domains": domains,
        },
        notes=[
            *_encryption(ends, peer),
            *_staying(ends, scanned, peer),
            *_slowly(ends, rate, takes_s),
            *_side_effects(ends, scanned),
        ],
    )


def _encryption(ends: Ends, peer: PeerFacts | None) -> Iterator[str]:
    if peer is None:
        return
    if peer.encrypts:
        yield f"{ends.target.name} offers TLS, which is used."
        return
    offers = f"offers TLS, which {ends.source.name} does not use" if peer.starttls else "offers no TLS"
    yield f"{ends.target.name} {offers}: the mail goes there in the clear."


def _staying(ends: Ends, scanned: Scanned, peer: PeerFacts | None) -> Iterator[str]:
    """Say what will not leave, or not as the operator means it."""
    target = ends.target.name
    if scanned.near_end:
        yield (
            f"{plural(scanned.near_end, 'message')} will expire within an hour: if {target} does not take"
            " them now, they go back to their senders."
        )
    if scanned.too_large:
        yield f"{plural(scanned.too_large, 'message')} are larger than {target} takes: they stay."
    if scanned.smtputf8 and not (peer and peer.smtputf8):
        yield f"{plural(scanned.smtputf8, 'message')} need SMTPUTF8, which {target} has not: they stay."


def _slowly(ends: Ends, rate: int, takes_s: int) -> Iterator[str]:
    """Say what a rate does not hold back, and what it leaves."""
    if not rate:
        return
    yield (
        f"The rate is of what is handed out here. What {ends.source.name} tries again by itself meanwhile,"
        " and new mail, come on top."
    )
    lasts_s = FlushKind.deadline.total_seconds()
    if takes_s > lasts_s:
        yield f"At this rate it is not done when its {span(lasts_s)} are over: what is left then stays."


def _side_effects(ends: Ends, scanned: Scanned) -> Iterator[str]:
    source, target = ends.source.name, ends.target.name
    if scanned.elsewhere:
        yield (
            f"{plural(scanned.elsewhere, 'message')} have recipients elsewhere too: those are tried from"
            f" {source} as well."
        )
    yield f"New mail for these domains goes to {target} too while it lasts; the receipt counts it apart."
    lease = span(settings.FLUSH_LEASE_S)
    yield f"The redirect ends by itself, at the latest {lease} after the console's last word."
    yield f"At {target} each message's queue lifetime begins anew, and it gets one more Received line."
    yield "Mail that was greylisted waits again: the provider sees another address."


def _domains(value: Any) -> list[str]:
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(words, list) or not words:
        raise PlanRefused("Say which recipient domains' mail shall go.")
    if len(words) > MAX_DOMAINS:
        raise PlanRefused(f"At most {MAX_DOMAINS} domains can be moved at once.")
    try:
        return sorted({word if word == EVERYTHING else normalise_domain(str(word)) for word in words})
    except BadDomain as error:
        raise PlanRefused(str(error)) from error


def rate_of(value: Any) -> int:
    """Return messages a minute; 0, for no bound, where nothing is said. Raises PlanRefused."""
    try:
        rate = int(value or 0)
    except (TypeError, ValueError):
        rate = -1
    if not 0 <= rate <= MOST_A_MINUTE:
        raise PlanRefused(
            f"A rate is 1 to {count(MOST_A_MINUTE)} messages a minute; without one it goes as fast as it can."
        )
    return rate


def _words(domains: list[str]) -> str:
    names = ["every other domain" if domain == EVERYTHING else domain for domain in domains]
    return (
        ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more domains"
    )


def seconds(value: str) -> int:
    """Return a time of Postfix's, "5d", in seconds; 0 for what is none. Days without a unit: postconf(5)."""
    number, unit = (value[:-1], value[-1]) if value[-1:] in _UNITS else (value, "d")
    return int(number) * _UNITS[unit] if number.isdecimal() else 0
