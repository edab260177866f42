"""What tests of ramps share: a name server that serves a relay name, and the days of its mail."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from dns.domain.records import RecordSet, difference
from dns.domain.schedule import Step
from dns.lookup import Server
from dns.models import Ramp, RampDecision, RelayName
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
