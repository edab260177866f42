"""What tests of ramps share: a name server that serves a relay name, and the days of its mail."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from dns.domain.records import RecordSet, difference
from dns.domain.schedule import Step
from dns.lookup import Server
from dns.models import PublishedState, Ramp, RampDay, RampDecision, RelayName, Weight, Zone
from dns.publishing.rfc2136 import Key, Rfc2136
from dns.services import ramp_run, ramps, zones
from relays.models import Host, Instance, InstanceState, Operation
from relays.models.operation import LIVE
from relays.services import operations
from relays.services.audit import SYSTEM
from tests.dns_servers import ALGORITHM, KEY, SECRET, ZONE, Bind
from tests.factories import host_make, instance_make, outcomes_make, provider_make

MSN = f"msn.{ZONE}"
OLD, NEW = "192.0.2.11", "192.0.2.12"
SHARES = (Step(0.1, None), Step(0.25, None), Step(0.5, None))


def primary_of(bind: Bind) -> Rfc2136:
    """Return the primary, serving the old address alone at the relay name."""
    publisher = Rfc2136(Server("127.0.0.1", bind.port), ZONE, Key(KEY, ALGORITHM, SECRET), within_s=20)
    served = publisher.read(MSN).ours(MSN)
    if change := difference(served, [RecordSet.of(MSN, "A", 600, [OLD])]):
        publisher.write(change)
    return publisher


def relay_name_make(bind: Bind) -> RelayName:
    """Return a relay name that a server serves as it is known here."""
    zone = zones.zone_save(
        name=ZONE,
        method="rfc2136",
        servers=[f"127.0.0.1:{bind.port}"],
        allowed_names=[MSN],
        tsig_name=KEY,
        tsig_algorithm=ALGORITHM,
        secret=SECRET,
        actor=SYSTEM,
    )
    msn = provider_make("msn")
    return zones.relay_name_import(zone=zone, name=MSN, rendering="mx", provider=msn, actor=SYSTEM)


def instances_make() -> tuple[Instance, Instance]:
    """Return the instances of the old and the new address, on one host."""
    host = host_make()
    return instance_make(host, "msn-a", ip=OLD), instance_make(host, "msn-b", ip=NEW)


def ramp_start(msn: RelayName, user: User, **fields: Any) -> Ramp:
    """Return a ramp of the new address that begins tomorrow, UTC, at nine."""
    wish: dict[str, Any] = {
        "relay_name": msn,
        "address": NEW,
        "schedule_name": "a test",
        "steps": SHARES,
        "start_date": tomorrow(),
    }
    return ramps.start(wish=ramps.Wish(**wish | fields), user=user, actor=SYSTEM, reason="a test")


def tomorrow() -> date:
    return (timezone.now() + timedelta(days=1)).date()


def noon(day: date) -> datetime:
    """Return noon of a date, UTC: within every window that opens at nine."""
    return datetime.combine(day, time(12), UTC)


def mail(day: date, old: int, new: int, **signs: Any) -> None:
    """Have both instances send on a date; signs: what else the new one counted."""
    outcomes_make(Instance.objects.get(name="msn-a"), at=noon(day), sent=old)
    outcomes_make(Instance.objects.get(name="msn-b"), at=noon(day), sent=new, **signs)


def known_to(at: datetime) -> None:
    """Have every log counted up to a time, and every host polled then."""
    InstanceState.objects.update(outcomes_at=at)
    Host.objects.update(last_success_at=at, clock_skew_s=0.1)


def live(ramp: Ramp, at: datetime, *, counted_to: datetime | None = None) -> Ramp:
    """Let the task look at a ramp, and the worker do what it begins."""
    known_to(counted_to or at)
    ramp_run.run(ramp_id=ramp.pk, now=at)
    work()
    ramp_run.run(ramp_id=ramp.pk, now=at)
    ramp.refresh_from_db()
    return ramp


def work() -> None:
    """Run what operations there are to their end."""
    for operation in Operation.objects.filter(state__in=LIVE):
        operations.run(operation_id=operation.pk)


def newest(ramp: Ramp) -> RampDecision:
    decision = ramp.decisions.first()
    assert decision is not None
    return decision


def relay_name_row() -> RelayName:
    """Return a relay name as if a name server had been read; pages ask none."""
    defaults = {"method": "manual", "servers": ["192.0.2.53"], "allowed_names": [MSN]}
    zone, _ = Zone.objects.get_or_create(name=ZONE, defaults=defaults)
    now = timezone.now()
    known = {"zone": zone, "provider": provider_make("msn"), "served_at": now}
    name, _ = RelayName.objects.get_or_create(name=MSN, defaults=known)
    Weight.objects.create(relay_name=name, address=OLD)
    PublishedState.objects.create(
        relay_name=name, at=now, effective_at=now, serial=1, records=[], parts={OLD: 1}, wanted={OLD: 1}
    )
    return name


def ramp_row(name: RelayName, *, days: int = 2, **fields: Any) -> Ramp:
    """Return a ramp on its third day of fourteen, with the dates and decisions that led there."""
    now = timezone.now()
    today = now.date()
    steps = [{"share": round(0.05 + 0.03 * day, 4), "cap": 500 * (day + 1)} for day in range(14)]
    defaults: dict[str, Any] = {
        "address": NEW,
        "schedule_name": "14 days, linear share",
        "source": "docs.example.org/warm-up",
        "steps": steps,
        "largest": 0.5,
        "opens": time(9),
        "start_date": today - timedelta(days=days),
        "step": days,
        "out": "",
        "looked_at": now,
        "before": {"weights": {OLD: 1, NEW: 0}, "warm": None},
        "reason": "a new address",
        "started_by": "otto",
        "created_at": now - timedelta(days=days, hours=3),
    }
    ramp = Ramp.objects.create(relay_name=name, **(defaults | fields))
    for back in range(days, -1, -1):
        _date_row(ramp, today - timedelta(days=back), days - back)
    Weight.objects.update_or_create(
        relay_name=name, address=NEW, defaults={"weight": 1, "is_on": True, "is_warm": False}
    )
    return ramp


def _date_row(ramp: Ramp, day: date, step: int) -> None:
    begins = datetime.combine(day, time(), UTC)
    share, cap = ramp.steps[step]["share"], ramp.steps[step]["cap"]
    sent = round(9_000 * share) - 40 + 5 * step
    RampDay.objects.create(
        ramp=ramp, date=day, begins_at=begins, ends_at=begins + timedelta(days=1), step=step, share=share,
        cap=cap, expected=round(9_000 * share), sent=sent, deferred=12, bounced=3, total=9_000,
        meant=round(9_000 * share), counted_to=timezone.now(),
    )  # fmt: skip
    before = day - timedelta(days=1)
    evidence = {
        "day": before.isoformat(), "coverage": 1.0, "sent": sent, "deferred": 12, "bounced": 3,
        "throttled": 1, "blocked": 0, "meant": sent + 40, "oldest_s": 40, "listed": [], "clock_skew_s": 0.2,
    }  # fmt: skip
    RampDecision.objects.create(
        ramp=ramp, local_date=day, at=begins + timedelta(hours=9), decided_by="rule",
        change="advance" if step else "start", step_before=step - 1 if step else None, step=step,
        why=[f"{sent:,} sent of {sent + 40:,} meant, 1.2 % deferred."] if step else ["Its first date."],
        evidence=evidence if step else None, share=share, is_written=True,
    )  # fmt: skip
