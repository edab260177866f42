"""Random forms to every page, seeded: tests send some, `./run bench attacks` many."""

import random

from django.test import Client

from relays.models import Instance, Operation
from tests.web.test_roles import ROUTES, address

HOSTILE = [
    "msn-a;id",
    "../etc/passwd",
    "msn-a\n",
    "ALL",
    "-d",
    "A" * 10_000,
    "m\u0455n-a",
    "\uff11\uff12",
    "msn-a\0",
    "hotmail.com\n* drain:[9.9.9.9]",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "\u202emoc.live",
    "\x1b[31m",
    "' OR 1=1 --",
]
_FIELDS = [
    "name",
    "slug",
    "reason",
    "code",
    "days",
    "scope",
    "session",
    "provider",
    "domain",
    "domains",
    "position",
    "ssh_port",
    "pattern",
    "plan_hash",
    "next",
    "format",
    "addresses",
    "enabled",
    "relay_name",
    "address",
    "schedule",
    "table",
    "start_date",
    "act",
]
# They would end the visit, speak to the network, or take away what the others are about.
_LEFT_OUT = {
    "logout",
    "session-end",
    "relays:host-remove",
    "relays:host-doctor",
    "relays:host-add",
    "relays:host-key",
}


def place_of(instance: Instance) -> dict[str, object]:
    """Return what stands in the addresses of pages: things that exist."""
    operation = Operation.objects.create(
        kind="queue.run", instance=instance, plan_hash="0" * 64, planned_at="2026-01-01T00:00:00Z"
    )
    return {"host": instance.host.name, "instance": instance.pk, "operation": operation.pk}


def send(browser: Client, place: dict[str, object], dice: random.Random) -> str:
    """Send one form somewhere; return what broke, "" where nothing did."""
    name = dice.choice([name for name in ROUTES if name not in _LEFT_OUT])
    values = [*HOSTILE, "1", "-1", "read", "9" * 30]
    form = {field: dice.choice(values) for field in dice.sample(_FIELDS, 6)}
    path = address(name, place)
    answer = browser.post(path, form) if dice.random() < 0.7 else browser.get(path, form)
    return f"{name}: {answer.status_code} for {form}" if answer.status_code >= 500 else ""
