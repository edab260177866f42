"""The tables of a queue page as plain values."""

import json
from collections.abc import Sequence

from relays.domain.queue_reading import Groups
from relays.models import Instance, QueueRead
from relays.selectors.instances import AGES
from relays.selectors.queue_groups import grouped
from relays.selectors.queues import address, arrived, reply
from relays.selectors.tables import Table

_ALL = 10_000


def groups_table(name: str, by: str, readings: Sequence[tuple[Instance, Groups]], *, may_see: bool) -> Table:
    """Return messages by one thing and by age."""
    lines = grouped(by, readings, may_see=may_see, limit=_ALL).lines
    ages = [
        f"messages_{'older' if age == 'older' else age.removesuffix(' min').replace(',', '')}" for age in AGES
    ]
    return Table(
        "queue",
        f"{name}-by-{by.replace('_', '-')}",
        f"Messages by {by.replace('_', ' ')}",
        (by, "label", "messages", *ages),
        ((line.key, line.label, line.messages, *line.ages) for line in lines),
    )


def messages_table(read: QueueRead, *, may_see: bool) -> Table:
    """Return a page of messages, a line a recipient that is shown."""
    body = json.loads(read.body) if read.body else {"messages": []}
    return Table(
        "messages",
        read.instance.name,
        f"Messages of {read.instance.name}",
        ("id", "queue", "arrived", "size_bytes", "sender", "recipient", "reply"),
        (
            (
                message["queue_id"],
                message["queue"],
                arrived(message["arrival"]),
                message["size_bytes"],
                address(message["sender"], may_see),
                address(who, may_see),
                reply(text, may_see),
            )
            for message in body["messages"]
            for who, text in message["recipients"]
        ),
    )
