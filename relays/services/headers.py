"""Reading the headers of one message: personal, and so written down before it is done."""

from django.db import transaction

from relays.domain.written import Headers
from relays.models import Instance
from relays.remote import write
from relays.remote.ssh import Limits
from relays.services import audit
from relays.services.audit import Actor
from relays.services.doors import write_target

_WITHIN = Limits(wall_s=20)


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
