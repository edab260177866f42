"""What the benches of flushes share: mail that one instance defers, its flush, and who took it in the end."""

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.faults import Rehearsal

if TYPE_CHECKING:
    from relays.models import Operation

SOURCE, TARGET, HOST = "msn-a", "msn-b", "rustin"
MOVED_DOMAINS = ("hotmail.com", "outlook.com")
STEP_S = 0.5
_SEND_AT_ONCE = 500
_WITHIN_S = 900


def quiet(rehearsal: Rehearsal) -> None:
    """Have one provider refuse the source, and no ordinary retry fall into the run."""
    rehearsal.fleet.traffic("stop")
    rehearsal.fleet.provider.clear()
    rehearsal.fleet.provider.set_rule("throttle", provider="msn", source=SOURCE)
    rehearsal.fleet.instance(SOURCE).set(
        minimal_backoff_time="4h", maximal_backoff_time="4h", queue_run_delay="4h"
    )


def deferred(rehearsal: Rehearsal, messages: dict[str, int]) -> dict[str, list[str]]:
    """Have the source defer so many messages a domain, by its own tries; return their Message-IDs."""
    sent: dict[str, list[str]] = {domain: [] for domain in messages}
    for domain, wanted in messages.items():
        while len(sent[domain]) < wanted:
            more = min(_SEND_AT_ONCE, wanted - len(sent[domain]))
            sent[domain] += rehearsal.fleet.send(more, domain=domain, via=SOURCE)
    total = sum(messages.values())
    wait_until(lambda: rehearsal.fleet.instance(SOURCE).counts()["deferred"] >= total, "mail to be deferred")
    return sent


def confirmed(domains: tuple[str, ...]) -> "Operation":
    """Plan and confirm a flush, for the console's worker to run."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from relays.models import Instance  # noqa: PLC0415
    from relays.services import operations  # noqa: PLC0415
    from relays.services.audit import Actor  # noqa: PLC0415

    user = User.objects.filter(username="bench").first() or User.objects.create_superuser("bench")
    actor = Actor("user", "bench", user.pk)
    source, target = (Instance.objects.select_related("host").get(name=name) for name in (SOURCE, TARGET))
    params = {"target": target.pk, "domains": list(domains)}
    operation = operations.plan(kind="flush", instance=source, params=params, user=user, actor=actor)
    return operations.confirm(
        operation=operation,
        plan_hash=operation.plan_hash,
        user=user,
        actor=actor,
        reason="a bench",
        typed_name=SOURCE,
    )


def is_live(operation: "Operation") -> bool:
    operation.refresh_from_db()
    return operation.is_live


def arrived(rehearsal: Rehearsal, wanted: list[str]) -> Counter[str]:
    """Return how often providers took each of these messages, by their own record."""
    asked = set(wanted)
    records = rehearsal.fleet.provider.accepted()
    return Counter(record["message_id"] for record in records if record["message_id"] in asked)


def redirect_lines(rehearsal: Rehearsal) -> int:
    text = rehearsal.fleet.host(HOST).path(f"/var/lib/relay-fleet/redirects/{SOURCE}").read_text()
    return sum(not line.startswith("#") for line in text.splitlines())


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + _WITHIN_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"waited {_WITHIN_S} s for {what}")
        time.sleep(STEP_S)
