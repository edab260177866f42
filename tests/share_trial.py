"""Shares tried on a rehearsal fleet: weights published, mail sent through a real origin, and what came where.

For the lab's tests and for bench/weights.py; Django is set up, and the fleet is registered.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from dns.models import RelayName
from dns.selectors.shares import ShareRow, shares_of
from fleet.rehearsal import Fleet, spec
from relays.models import Accepted, Host, InstanceState, LogSource, Operation
from relays.models.operation import OperationState
from relays.selectors.accepted import BUCKET_S
from relays.services import operations
from relays.services.audit import SYSTEM
from relays.services.collect import poll_host

DOMAIN = "hotmail.com"
_AT_ONCE = 500
_WITHIN_S = 900.0


class ShareTrial:
    """The relay name of msn in one zone, and the origin that uses it."""

    def __init__(self, fleet: Fleet, zone: spec.Zone) -> None:
        self.fleet, self.origin = fleet, fleet.instance(zone.origin)
        self.name = RelayName.objects.select_related("zone").get(name=f"msn.{zone.name}")
        self._instances = {
            instance.spec.address: instance
            for host in fleet.hosts.values()
            for instance in host.instances
            if instance.spec.provider == "msn"
        }
        self.poll()

    def publish(self, weights: Mapping[str, int], *, rendering: str, ttl: int = 60) -> Operation:
        """Publish weights by instance, 0 for the others, and forget what was accepted before."""
        RelayName.objects.filter(pk=self.name.pk).update(rendering=rendering, ttl=ttl)
        user = User.objects.filter(username="trial").first() or User.objects.create_superuser("trial")
        by_address = {address: weights.get(instance.name, 0) for address, instance in self._instances.items()}
        operation = operations.plan_relay_name(
            kind="weights.apply",
            relay_name=self.name.name,
            params={"weights": by_address, "override": True},
            user=user,
            actor=SYSTEM,
        )
        operations.confirm(
            operation=operation, plan_hash=operation.plan_hash, user=user, actor=SYSTEM, reason="a trial"
        )
        operations.run(operation_id=operation.pk)
        operation.refresh_from_db()
        assert operation.state == OperationState.DONE, operation.outcome
        self.name.refresh_from_db()
        self.begin()
        return operation

    def begin(self) -> None:
        """Forget what was accepted before: a busy host's log takes several polls."""
        self.poll()
        while LogSource.objects.filter(behind_bytes__gt=0).exists():
            self.poll()
        Accepted.objects.all().delete()
        self._before = self._logged()
        self._bounced_before = len(self._bounces())

    def send(self, messages: int, *, per_s: float | None = None) -> dict[str, int]:
        """Send messages through the origin; return by instance how many its log says it accepted of them."""
        began, sent = time.monotonic(), 0
        while sent < messages:
            due = messages if per_s is None else min(messages, int((time.monotonic() - began) * per_s) + 1)
            if due > sent:
                sent += len(
                    self.fleet.send(min(_AT_ONCE, due - sent), domain=DOMAIN, via=self.origin.host_name)
                )
            else:
                time.sleep(0.02)
        while sum(self.counted().values()) < messages:
            assert not (bounced := self._bounces()[self._bounced_before :]), bounced
            assert time.monotonic() - began < _WITHIN_S, f"{self.counted()} of {messages} were accepted"
            time.sleep(1)
        return self.counted()

    def _bounces(self) -> list[str]:
        return [line for line in self.origin.log().splitlines() if "status=bounced" in line]

    def counted(self) -> dict[str, int]:
        """Return by instance the messages of the origin that its log tells of since begin()."""
        return {name: number - self._before[name] for name, number in self._logged().items()}

    def shares(self, now: datetime | None = None) -> dict[str, ShareRow]:
        """Return by instance what the page shows once the newest state is in force for an hour."""
        newest = self.name.published.latest("at")
        self.name.published.filter(pk=newest.pk).update(effective_at=timezone.now() - timedelta(hours=1))
        self.poll()
        # All mail is in: as it is when the bucket is over.
        over = now or _bucket_end()
        InstanceState.objects.update(outcomes_at=over)
        rows = shares_of(self.name, now=over).rows
        return {self._instances[row.address].name: row for row in rows}

    def poll(self) -> None:
        """Have the console read the hosts and their logs."""
        for pk in Host.objects.values_list("pk", flat=True):
            poll_host(host_id=pk, force=True)

    def _logged(self) -> dict[str, int]:
        client = f"[{self.origin.spec.address}]"
        return {
            instance.name: sum(
                "/smtpd[" in line and ": client=" in line and client in line
                for line in instance.log().splitlines()
            )
            for instance in self._instances.values()
        }


def _bucket_end() -> datetime:
    return datetime.fromtimestamp((time.time() // BUCKET_S + 1) * BUCKET_S, UTC)
