"""What lasts and cannot wait until somebody looks at a page: a changed host key, a forgotten redirect.

The operators are mailed once when it begins, and again only after it was over.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import QuerySet

from relays.domain.words import visible
from relays.models import Alarm, Host, InstanceRedirect, Operation
from relays.models.host import PollOutcome
from relays.models.operation import LIVE
from relays.services import alerts

# A flush that ends, and a guard that gives a redirect back, are seen by the next poll or the one after it.
_REDIRECT_LASTS = timedelta(minutes=5)


class _Trouble(NamedTuple):
    """lasts: what takes less than that is no alarm."""

    key: str
    lasts: timedelta
    subject: str
    text: str


def look(*, now: datetime) -> None:
    """Compare what is wrong with what the operators were told, and mail them what is new.

    Where mail cannot be sent, it is tried again at the next look.
    """
    if not alerts.are_on():
        return
    troubles = [*_changed_keys(), *_forgotten_redirects(now)]
    lasting = {trouble.key for trouble in troubles} | {_key_of(host) for host in _unheard()}
    Alarm.objects.exclude(key__in=lasting).delete()
    for trouble in troubles:
        alarm, _ = Alarm.objects.get_or_create(key=trouble.key, defaults={"since": now})
        if alarm.told_at is None and now - alarm.since >= trouble.lasts:
            rows = Alarm.objects.filter(pk=alarm.pk)
            alerts.send_once(rows, subject=trouble.subject, text=trouble.text, now=now)


def _unheard() -> QuerySet[Host]:
    """Return the hosts whose newest poll tells nothing of their key: all others come after it."""
    return Host.objects.filter(enabled=True, last_outcome=PollOutcome.UNREACHABLE)


def _key_of(host: Host) -> str:
    return f"host-key:{host.pk}"


def _changed_keys() -> Iterator[_Trouble]:
    for host in Host.objects.filter(enabled=True, last_outcome=PollOutcome.KEY_CHANGED):
        yield _Trouble(
            _key_of(host),
            timedelta(0),
            f"{host.name} answers with another host key",
            f"{host.name} ({visible(host.ssh_address)}) answers with a key that is not the pinned one.\n"
            "Nothing was sent to it. Compare the keys on the host's page before you accept the new one.",
        )


def _forgotten_redirects(now: datetime) -> Iterator[_Trouble]:
    for redirect in InstanceRedirect.objects.select_related("instance__host"):
        over = redirect.ends_at is not None and redirect.ends_at < now
        if not over and _is_watched(redirect):
            continue
        where = f"{redirect.instance.name} on {redirect.instance.host.name}"
        why = "No flush of this console that runs has put it on."
        if over:
            why = (
                f"Its time was over at {redirect.ends_at:%Y-%m-%d %H:%M} UTC: the guard on the host is gone."
            )
        yield _Trouble(
            f"redirect:{redirect.instance_id}",
            _REDIRECT_LASTS,
            f"Mail of {where} is redirected",
            f"Mail of {where} goes to {visible(redirect.to)}, as of {redirect.seen_at:%Y-%m-%d %H:%M} UTC.\n"
            f"{why}\n{visible(redirect.problem)}\nEnd it on the instance's page.",
        )


def _is_watched(redirect: InstanceRedirect) -> bool:
    return Operation.objects.filter(pk=redirect.operation_id, kind="flush", state__in=LIVE).exists()
