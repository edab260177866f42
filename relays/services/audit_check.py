"""Verifying the audit trail: the chain, its end, the params, and what the hosts' own journals say."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from relays.domain.audit import Break, Link, breaks, digest
from relays.models import AuditEvent, AuditHead, AuditParams
from relays.selectors.audit import links
from relays.services import audit
from relays.services.anchors import Anchor, noted_head

# Breaks after these are counted, not told: one wrong event makes all that follow wrong.
_BREAKS_TOLD = 20
_REPORT_EVERY = 10_000


@dataclass(slots=True)
class Verdict:
    """What was verified. last: seq and hash of the newest event; breaks: where the trail does not hold."""

    events: int = 0
    last: tuple[int, str] = (0, "")
    breaks: list[Break] = field(default_factory=list)
    untold: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.breaks

    def add(self, found: Break) -> None:
        """Note a break, or only that there is one more."""
        if len(self.breaks) < _BREAKS_TOLD:
            self.breaks.append(found)
        else:
            self.untold += 1


def verify(
    *, anchors: Iterable[Anchor] = (), progress: Callable[[int, int], None] = lambda done, total: None
) -> Verdict:
    """Read the whole trail and return what does not hold. progress: events read, and how many there are.

    anchors: heads that hosts or logs have noted, besides the anchor file's.
    """
    verdict = Verdict()
    total = AuditEvent.objects.count()
    wanted = {anchor.seq: anchor for anchor in (noted_head(), *anchors) if anchor is not None}

    def counted() -> Iterator[Link]:
        for link in links():
            verdict.events += 1
            verdict.last = link.event.seq, link.hash
            anchor = wanted.pop(link.event.seq, None)
            if anchor is not None and anchor.hash != link.hash:
                verdict.add(Break(link.event.seq, f"it is not the event that the {anchor.place} knows"))
            if verdict.events % _REPORT_EVERY == 0:
                progress(verdict.events, total)
            yield link

    for found in breaks(counted(), audit.key()):
        verdict.add(found)
    for found in _end(verdict, wanted.values()):
        verdict.add(found)
    for found in _params():
        verdict.add(found)
    return verdict


def _end(verdict: Verdict, missing: Iterable[Anchor]) -> Iterator[Break]:
    """Yield what is wrong with the end of the chain: events that an anchor or the head knows are gone."""
    last_seq, last_hash = verdict.last
    for anchor in missing:
        yield Break(last_seq + 1, f"events up to {anchor.seq:,} are missing: the {anchor.place} knows them")
    head = AuditHead.objects.first()
    if head is not None and head.seq and (head.seq, head.hash) != (last_seq, last_hash):
        yield Break(last_seq + 1, f"the head of the chain is {head.seq:,}, its last event {last_seq:,}")


def _params() -> Iterator[Break]:
    """Yield the events whose params are other than those that were written with them."""
    kept = AuditParams.objects.order_by("event").values_list("event", "text", "event__params_sha256")
    for seq, text, known in kept.iterator():
        if known != digest(text):
            yield Break(seq, "its parameters were changed")
