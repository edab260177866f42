"""Anchors: the head of the audit chain, written down where no change to the database reaches.

The chain itself tells a changed or missing event, but not that its end was cut off: whoever cuts it sets
the head back too. So the newest head stands in a file beside the keys, and every five minutes in the
application log and in each host's journal.
"""

import fcntl
import json
import logging
import os
from pathlib import Path
from typing import NamedTuple

from django.conf import settings

from relays.models import AuditHead, Host
from relays.remote import write
from relays.remote.errors import RemoteError
from relays.remote.ssh import Limits
from relays.services.doors import write_target

logger = logging.getLogger(__name__)
_WITHIN = Limits(wall_s=20)


class Anchor(NamedTuple):
    """An event that is known to have been the newest; place: who says so."""

    seq: int
    hash: str
    place: str


def note_head(seq: int, own_hash: str) -> None:
    """Write the head to the anchor file, unless a newer one stands there: writers commit in any order."""
    path = Path(settings.AUDIT_ANCHOR_PATH)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if seq <= _parse(file.read())[0]:
            return
        # In place and of one length: a write this short is never half on the disk.
        file.seek(0)
        file.write(json.dumps([seq, own_hash]).ljust(128))


def noted_head() -> Anchor | None:
    """Return the head that the anchor file holds; None where there is none yet."""
    try:
        seq, own_hash = _parse(Path(settings.AUDIT_ANCHOR_PATH).read_text())
    except FileNotFoundError:
        return None
    return Anchor(seq, own_hash, "anchor file") if seq else None


def anchor_everywhere() -> list[str]:
    """Write the head of the chain to the application log and into each host's journal; return those hosts.

    A host that cannot be reached, or has no write door yet, has its older anchors.
    """
    head = AuditHead.objects.first()
    if head is None or not head.seq:
        return []
    logger.info("The audit trail stands at event %s with hash %s", head.seq, head.hash)
    hosts = Host.objects.filter(enabled=True).exclude(host_key="")
    return [host.name for host in hosts if _anchored(host, head)]


def _anchored(host: Host, head: AuditHead) -> bool:
    try:
        write.anchor(write_target(host), seq=head.seq, head=head.hash, limits=_WITHIN)
    except RemoteError as error:
        logger.info("%s took no anchor of the audit trail: %s", host.name, error)
        return False
    return True


def _parse(text: str) -> tuple[int, str]:
    try:
        seq, own_hash = json.loads(text)
        return int(seq), str(own_hash)
    except (ValueError, TypeError):
        return 0, ""
