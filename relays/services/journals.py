"""The hosts' own journals beside the audit trail: each change must stand on both sides."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from relays.domain.both_sides import Difference, differences
from relays.domain.written import JournalEntry
from relays.models import AuditEvent, Host
from relays.remote import write
from relays.remote.errors import RemoteError
from relays.services.anchors import Anchor
from relays.services.doors import read_target


@dataclass(slots=True)
class Compared:
    """What the hosts' journals told. unasked: why a host could not be compared, by its name."""

    hosts: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    anchors: list[Anchor] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)


def compare_all() -> Compared:
    """Read every host's journal whole and compare it with the trail."""
    compared = Compared()
    for host in Host.objects.exclude(host_key=""):
        try:
            entries = list(_journal(host))
        except RemoteError as error:
            compared.unasked[host.name] = str(error)
            continue
        compared.hosts.append(host.name)
        compared.anchors += [_anchor(host, entry) for entry in entries if entry.event == "anchor"]
        compared.differences += differences(
            host.name, entries, _requests(host, "succeeded"), _requests(host, "begun")
        )
    return compared


def _journal(host: Host) -> Iterator[JournalEntry]:
    target, cursor, more = read_target(host), None, True
    while more:
        page = write.journal_read(target, cursor)
        yield from page.entries
        cursor, more = page.cursor, page.more


def _anchor(host: Host, entry: JournalEntry) -> Anchor:
    return Anchor(int(entry.row.get("seq", 0)), str(entry.row.get("hash", "")), f"journal of {host.name}")


def _requests(host: Host, phase: str) -> dict[str, str]:
    """Return the instance by request id of the steps that the trail has in this phase."""
    events = AuditEvent.objects.filter(host=host.name, phase=phase, action__startswith="operation.")
    found = {}
    for details, instance in events.values_list("details", "instance"):
        if req_id := json.loads(details).get("req_id"):
            found[req_id] = instance
    return found
