"""Reading the headers or the body of one message: personal, and so written down before it is done."""

from django.db import transaction

from relays.domain.written import Body, Headers
from relays.models import Host, Instance
from relays.remote import write
from relays.remote.ssh import Limits
from relays.services import audit
from relays.services.audit import Actor
from relays.services.doors import write_target

_WITHIN = Limits(wall_s=20)


class BodyNotAllowed(Exception):
    """No administrator has allowed bodies of this host's messages to be read."""


def headers_read(*, instance: Instance, queue_id: str, actor: Actor) -> Headers:
    """Return a message's headers. Raises RemoteError."""
    with transaction.atomic():
        audit.record(
            actor=actor,
            action="message.headers",
            phase="noted",
            subject=audit.instance_subject(instance),
            details={"queue_id": queue_id},
        )
    return write.message_headers(
        write_target(instance.host), instance=instance.name, queue_id=queue_id, limits=_WITHIN
    )


def body_read(*, instance: Instance, queue_id: str, actor: Actor) -> Body:
    """Return the begin of a message's body.

    Raises BodyNotAllowed, which is written down as well, and RemoteError: Refused where root forbids it.
    """
    with transaction.atomic():
        # As it stands now: the page may be older than an administrator's decision.
        allowed = Host.objects.filter(pk=instance.host_id, bodies_allowed=True).exists()
        audit.record(
            actor=actor,
            action="message.body",
            phase="noted" if allowed else "denied",
            subject=audit.instance_subject(instance),
            details={"queue_id": queue_id},
        )
    if not allowed:
        raise BodyNotAllowed
    return write.message_body(
        write_target(instance.host), instance=instance.name, queue_id=queue_id, limits=_WITHIN
    )
