"""A filter's reason told to the host: by the digests of the replies that have it."""

from dataclasses import replace

from relays.domain.filters import QueueFilter
from relays.domain.queue_reading import Group
from relays.models import Instance
from relays.remote import relayctl
from relays.remote.ssh import Limits
from relays.services.doors import read_target
from relays.services.reasons import rule_table

REPLIES_LOOKED_AT = 1_000


def reason_of(reply: Group, provider: str) -> str:
    """Return the slug of what a reply means. provider: slug of whose server it was, "" where not known."""
    return rule_table().classify(reply.text, provider=provider).reason


def resolved(
    instance: Instance, wanted: QueueFilter, limits: Limits, progress: relayctl.Progress | None = None
) -> QueueFilter:
    """Return the filter as the host takes it: with its reason as the replies that have it now.

    progress: told how many messages were read for it. Raises RemoteError.
    """
    if not wanted.reason:
        return wanted
    groups = relayctl.queue_groups(
        read_target(instance.host),
        limits,
        instance=instance.name,
        wanted=replace(wanted, reason=""),
        limit=REPLIES_LOOKED_AT,
        progress=progress,
    ).groups
    provider, table = instance.provider.slug if instance.provider else "", rule_table()
    return wanted.resolved(
        row.key
        for row in groups.tables["reply"].rows
        if table.classify(row.text, provider=provider).reason == wanted.reason
    )
