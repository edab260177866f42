"""Notes about addresses, as people write them."""

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from dns.models import AddressNote
from relays.domain.text import printable
from relays.services import audit
from relays.services.audit import Actor, Subject

MAX_LENGTH = 500


def note_add(*, address: str, text: str, user: User, actor: Actor) -> AddressNote:
    """Write a note down; notes are not changed. Raises ValidationError for an empty one."""
    if not text.strip():
        raise ValidationError("Write what is to be noted.")
    note = AddressNote(
        address=address,
        text=printable(text.strip(), MAX_LENGTH),
        by=user.get_username(),
        at=timezone.now(),
    )
    with transaction.atomic():
        note.save()
        audit.record(
            actor=actor,
            action="address.note",
            phase="succeeded",
            subject=Subject("address", address, address),
            params={"text": note.text},
        )
    return note
