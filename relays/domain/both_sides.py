"""A host's journal against the console's audit trail: what one has and the other has not."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from relays.domain.written import JournalEntry

# What was planned or refused changed nothing.
_DONE_ON_THE_HOST = {"begun"}


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that only one side knows. host: whose journal; req_id: "" where the line has none."""

    host: str
    req_id: str
    what: str


def differences(
    host: str, entries: Iterable[JournalEntry], done: Mapping[str, str], instances: Mapping[str, str]
) -> Iterator[Difference]:
    """Yield what a host's whole journal and the trail differ in.

    done: instance by request id, of the steps that the trail says were done on this host; instances: the same
    of all steps that it says were begun there.
    """
    seen = set()
    for entry in entries:
        if entry.damaged:
            yield Difference(host, "", f"its journal has a damaged line at byte {entry.offset:,}")
        elif entry.event in _DONE_ON_THE_HOST:
            seen.add(entry.req_id)
            if entry.req_id not in instances:
                who = f"{entry.user} from {entry.address or 'the host itself'}"
                what = f"{entry.verb} on {entry.instance} by {who} is not in the audit trail"
                yield Difference(host, entry.req_id, what)
    for req_id in sorted(set(done) - seen):
        yield Difference(
            host, req_id, f"the audit trail has a change of {done[req_id]}, its journal has none"
        )
