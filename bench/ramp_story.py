"""A ramp on the rehearsal fleet, its days five minutes long: real origins, a real zone, a console that runs.

The address goes from a sixth to a half, is held and steps back while the provider throttles it, recovers, is
taken out for blocks and starts anew. Its first day ends at a cap. It takes half an hour.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bench.faults import Rehearsal
from bench.figures import Figure, arguments, report

if TYPE_CHECKING:
    from dns.models import Ramp, RampDay

ORIGIN, ADDRESS_OF, DOMAIN = "lists", "msn-b", "hotmail.com"
DAY_S, TTL_S, POLL_S, TICK_S = 300, 60, 10, 60
PER_S, CAP = 5, 100
_SHARE = 1 / 6
# What may still come once the cap is reached: until a poll and the task saw it, and resolvers have let go.
_SEEN_WITHIN_S = POLL_S + TICK_S + TTL_S + 30


def main() -> int:
    parser = arguments(__doc__ or "")
    options = parser.parse_args()
    os.environ |= {
        "FLEET_REHEARSAL": "1",
        "FLEET_RAMP_DAY_S": str(DAY_S),
        "FLEET_POLL_INTERVAL_S": str(POLL_S),
    }
    with Rehearsal() as rehearsal:
        rehearsal.fleet.traffic("stop")
        rehearsal.fleet.provider.clear()
        with mail(rehearsal):
            ramp = begin(rehearsal)
            live(rehearsal, ramp)
            figures = told(ramp)
    return report(figures, as_json=options.json)


def begin(rehearsal: Rehearsal) -> "Ramp":
    """Take the relay name over, and start the ramp as a day begins."""
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from dns.domain.schedule import Step  # noqa: PLC0415
    from dns.services import ramps, zones  # noqa: PLC0415
    from fleet.rehearsal import network, spec  # noqa: PLC0415
    from relays.models import Provider  # noqa: PLC0415
    from relays.services.audit import SYSTEM  # noqa: PLC0415

    fleet, lists = rehearsal.fleet, spec.ZONES[0]
    assert fleet.access is not None
    name = f"msn.{lists.name}"
    zone = zones.zone_save(
        name=lists.name,
        method="rfc2136",
        servers=[network.management_address(fleet.slot, lists.octet)],
        allowed_names=[name],
        tsig_name=fleet.access.key_name,
        tsig_algorithm=fleet.access.algorithm,
        secret=fleet.access.secret,
        actor=SYSTEM,
    )
    msn = Provider.objects.get(slug="msn")
    relay_name = zones.relay_name_import(
        zone=zone, name=name, rendering="mx", ttl=TTL_S, provider=msn, actor=SYSTEM
    )
    # Whole in the first day, and a volume is known.
    time.sleep(DAY_S - time.time() % DAY_S + 1)
    wish = ramps.Wish(
        relay_name=relay_name,
        address=fleet.instance(ADDRESS_OF).spec.address,
        schedule_name="a bench",
        steps=[Step(_SHARE, CAP), Step(0.5, None), Step(0.5, None)],
        start_date=timezone.now().date(),
        largest=0.5,
    )
    user = User.objects.create_superuser("bench")
    return ramps.start(wish=wish, user=user, actor=SYSTEM, reason="a bench")


def live(rehearsal: Rehearsal, ramp: "Ramp") -> None:
    """Live through its days, with a provider that changes its mind."""
    provider = rehearsal.fleet.provider
    await_change(ramp, "start", 1)
    await_change(ramp, "cap", 1)
    await_change(ramp, "advance", 1)
    pause_until_within_day(ramp, 150)
    provider.set_rule("throttle", provider="msn", source=ADDRESS_OF, share=0.6)
    await_change(ramp, "hold", 1)
    pause_until_within_day(ramp, DAY_S - 40)
    provider.clear()
    await_change(ramp, "step_back", 1)
    await_change(ramp, "advance", 2)
    pause_until_within_day(ramp, 150)
    provider.set_rule("block", provider="msn", source=ADDRESS_OF)
    blocked_at = time.monotonic()
    await_change(ramp, "take_out", 1)
    print(f"taken out {time.monotonic() - blocked_at:.0f} s after the first block", file=sys.stderr)
    provider.clear()
    await_change(ramp, "start", 2)


def await_change(ramp: "Ramp", change: str, number: int) -> None:
    """Wait until the ramp has so many decisions of a kind; three days at most."""
    wait_until(lambda: ramp.decisions.filter(change=change).count() >= number, change, 3 * DAY_S)
    newest = ramp.decisions.filter(change=change).first()
    assert newest is not None
    print(f"{newest.at:%H:%M:%S} {change}: {' '.join(newest.why)}", file=sys.stderr)


def pause_until_within_day(ramp: "Ramp", second: float) -> None:
    """Sleep until a second of the day that it is."""
    into = (datetime.now(UTC) - ramp.created_at).total_seconds() + ramp.created_at.timestamp() % DAY_S
    time.sleep(max(0.0, second - into % DAY_S))


def wait_until(condition: Callable[[], bool], what: str, within_s: float) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"waited {within_s:.0f} s for {what}")
        time.sleep(1)


@contextmanager
def mail(rehearsal: Rehearsal) -> Iterator[None]:
    """Have an origin take new mail all the time, which it hands to the relay name."""
    ended = threading.Event()

    def send() -> None:
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            rehearsal.fleet.send(PER_S, domain=DOMAIN, via=ORIGIN)
            due = max(due + 1, time.monotonic() - 5)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def told(ramp: "Ramp") -> list[Figure]:
    """Return what the ramp's rows say of its days."""
    decisions = list(ramp.decisions.order_by("id"))
    days = list(ramp.days.order_by("date"))
    by_rule = [(row.ramp_id, row.local_date) for row in decisions if row.decided_by == "rule"]
    for row in days:
        print(
            f"{row.date}: sent {row.sent} of {row.total}, meant {row.meant}, cap {row.cap}", file=sys.stderr
        )
    operations = [row.operation_id for row in decisions if row.share is not None]
    spent = -(-PER_S * _SEEN_WITHIN_S // 6)
    return [
        Figure("decisions", len(decisions), "", at_least=8),
        Figure("dates decided twice by the schedule", len(by_rule) - len(set(by_rule)), "", at_most=0),
        Figure("changes of records", len(operations), ""),
        Figure("changes that were not written", operations.count(None), "", at_most=0),
        Figure("over the cap on the first day", over_cap(days[0]), "", at_most=spent),
        Figure("steps back", sum(row.change == "step_back" for row in decisions), "", at_least=1),
        Figure("taken out for blocks", sum(row.change == "take_out" for row in decisions), "", at_least=1),
        Figure("from the first step to the half", minutes_to_half(ramp), "min"),
    ]


def over_cap(day: "RampDay") -> int:
    return max(0, day.sent - CAP)


def minutes_to_half(ramp: "Ramp") -> float:
    half = ramp.decisions.filter(step=1).order_by("id").first()
    return (half.at - ramp.created_at) / timedelta(minutes=1) if half else 0.0


if __name__ == "__main__":
    sys.exit(main())
