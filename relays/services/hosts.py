"""Hosts: adding one with its key pinned, changing, removing, and asking for a poll."""

import re

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from relays.domain.addresses import BadAddress, check_host
from relays.models import Host
from relays.remote import keys, ssh
from relays.services import dispatch
from relays.services.audit import SYSTEM, Actor, Subject, record_change
from relays.services.collect import QUEUE, TASK, interval_s

_USER = re.compile(r"\A[a-z_][a-z0-9_-]{0,31}\Z")


def probe(*, ssh_address: str, ssh_port: int = 22) -> str:
    """Return the host key that is offered there, "ssh-ed25519 AAAA…", for an administrator to compare.

    Nothing is pinned, and nobody logged in. Raises RemoteError, and django's ValidationError for what is no
    host's address.
    """
    _check_address(ssh_address)
    return ssh.probe(ssh_address, ssh_port)


def host_add(
    *,
    name: str,
    ssh_address: str,
    ssh_port: int = 22,
    ssh_user: str = "relay-read",
    host_key: str,
    actor: Actor = SYSTEM,
) -> Host:
    """Add a host whose key an administrator has accepted, and poll it at once.

    Raises django's ValidationError, keyed by field.
    """
    host = Host(name=name, ssh_address=ssh_address, ssh_port=ssh_port, ssh_user=ssh_user, host_key=host_key)
    return _save(host, "host.add", actor)


def host_change(
    *,
    host: Host,
    name: str | None = None,
    ssh_address: str | None = None,
    ssh_port: int | None = None,
    ssh_user: str | None = None,
    enabled: bool | None = None,
    poll_interval_s: int | None = None,
    actor: Actor = SYSTEM,
) -> Host:
    """Change what is given, and poll at once; poll_interval_s 0: the fleet's. The pinned key stays.

    Raises django's ValidationError, keyed by field.
    """
    given = {
        "name": name,
        "ssh_address": ssh_address,
        "ssh_port": ssh_port,
        "ssh_user": ssh_user,
        "enabled": enabled,
    }
    for field, value in given.items():
        if value is not None:
            setattr(host, field, value)
    if poll_interval_s is not None:
        host.poll_interval_s = poll_interval_s or None
    changed = [field for field, value in given.items() if value is not None]
    return _save(host, "host.change", actor, [*changed, "poll_interval_s"])


def host_allow_bodies(*, host: Host, allowed: bool, actor: Actor = SYSTEM) -> Host:
    """Let the bodies of a host's messages be read, or no more."""
    host.bodies_allowed = allowed
    return _save(host, "host.bodies", actor, ["bodies_allowed"])


def host_accept_key(*, host: Host, host_key: str, actor: Actor = SYSTEM) -> Host:
    """Pin another key in place of the old one, after an administrator has compared it.

    Raises django's ValidationError.
    """
    host.host_key, host.offered_key = host_key, ""
    return _save(host, "host.key", actor, ["host_key", "offered_key"])


def host_remove(*, host: Host, actor: Actor = SYSTEM) -> None:
    """Forget a host with its instances and their history."""
    with transaction.atomic():
        record_change(actor=actor, action="host.remove", subject=_subject(host), before=_told(host))
        host.delete()


def poll_soon(*, host: Host) -> None:
    """Make a host due now and tell the workers; without a broker the next round finds it."""
    Host.objects.filter(pk=host.pk).update(next_poll_at=timezone.now())
    dispatch.send_on_commit(TASK, ident=host.pk, queue=QUEUE, expires_s=interval_s(host))


def _save(host: Host, action: str, actor: Actor, fields: list[str] | None = None) -> Host:
    _check(host)
    try:
        with transaction.atomic():
            known = Host.objects.filter(pk=host.pk).first()
            host.save(update_fields=fields)
            record_change(
                actor=actor,
                action=action,
                subject=_subject(host),
                before=_told(known) if known else None,
                after=_told(host),
            )
            poll_soon(host=host)
    except IntegrityError as error:
        # Somebody else took the name between the check and the writing.
        raise ValidationError({"name": "Another host has this name."}) from error
    return host


def _subject(host: Host) -> Subject:
    return Subject(type="host", id=str(host.pk), name=host.name, host=host.name)


def _told(host: Host) -> dict[str, object]:
    """Return a host as the audit trail keeps it."""
    return {
        "name": host.name,
        "address": host.ssh_address,
        "port": host.ssh_port,
        "user": host.ssh_user,
        "polled": host.enabled,
        "poll_interval_s": host.poll_interval_s,
        "bodies_allowed": host.bodies_allowed,
        "key": keys.fingerprint(host.host_key) if host.host_key else "",
    }


def _check(host: Host) -> None:
    host.full_clean(exclude=["next_poll_at"])
    _check_address(host.ssh_address)
    if not 1 <= host.ssh_port <= 65535:
        raise ValidationError({"ssh_port": "Give a port from 1 to 65535."})
    if not _USER.match(host.ssh_user):
        raise ValidationError({"ssh_user": "Give a Unix user name."})
    if host.poll_interval_s is not None and not 10 <= host.poll_interval_s <= 3600:
        raise ValidationError({"poll_interval_s": "Give 10 to 3,600 seconds."})
    try:
        host.host_key = keys.normalise_host_key(host.host_key)
    except keys.BadHostKey as error:
        raise ValidationError({"host_key": str(error)}) from error


def _check_address(text: str) -> None:
    try:
        check_host(text)
    except BadAddress as error:
        raise ValidationError({"ssh_address": str(error)}) from error
