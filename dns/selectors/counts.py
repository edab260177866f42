"""Messages that the instances of a relay name's addresses accepted, span by span, as their logs tell."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from django.db.models import F, Model, Q, QuerySet, Sum

from relays.models import Accepted, AcceptedDay, AcceptedHour, Address, Instance
from relays.selectors.accepted import BUCKET_S, DAY_S, HOUR_S, fleet_clients

_TABLES: dict[int, type[Model]] = {BUCKET_S: Accepted, HOUR_S: AcceptedHour, DAY_S: AcceptedDay}

# By the start of a span (seconds since 1970), of each address its messages.
Counts = dict[int, dict[str, int]]


def counts_by_span(
    addresses: Iterable[str], *, origins: Sequence[int], span_s: int, first: int, end: int
) -> Counts:
    """Return the counts of the spans that begin from `first` until before `end` and that have any.

    span_s: 300 or a whole multiple of it. origins: ids of those whose mail alone counts, where some are
    given; what the fleet's own instances handed over counts for nobody.
    """
    # Of removed instances too: what they took stays true.
    owners = dict(Address.objects.filter(ip__in=list(addresses)).values_list("instance_id", "ip"))
    sent_by = Q(client__origin__in=origins) if origins else Q()
    table = _TABLES[max(width for width in _TABLES if width <= span_s)]
    rows = (
        table._default_manager.filter(sent_by, instance__in=owners, ts__gte=first, ts__lt=end)
        .exclude(client__in=fleet_clients())
        .annotate(start=F("ts") - F("ts") % span_s)
        .order_by()
        .values_list("start", "instance_id")
        .annotate(Sum("messages"))
    )
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for start, instance, messages in rows:
        counts[start][owners[instance]] += messages
    return {start: dict(counts[start]) for start in sorted(counts)}


def totals(counts: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    """Return each address's messages of all spans."""
    found: dict[str, int] = defaultdict(int)
    for by_address in counts.values():
        for address, messages in by_address.items():
            found[address] += messages
    return dict(found)


def instances_of(addresses: Iterable[str]) -> QuerySet[Instance]:
    """Return the present instances that send from these addresses."""
    owners = Address.objects.filter(ip__in=list(addresses), instance__removed_at=None)
    return Instance.objects.filter(pk__in=owners.values("instance_id"))
