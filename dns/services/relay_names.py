"""What is set of a relay name besides its weights: published with the next change of those."""

from collections.abc import Collection
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from dns.domain.safety import ttl_range
from dns.domain.weights import Rendering
from dns.models import Method, RelayName
from dns.services.zones import subject_of
from relays.models import Provider
from relays.services.audit import Actor, record_change


def relay_name_change(  # noqa: PLR0913 - keyword-only, each a setting
    *,
    relay_name: RelayName,
    actor: Actor,
    rendering: str,
    ttl: int,
    min_warm: int,
    warm: Collection[str],
    provider: Provider | None = None,
) -> RelayName:
    """Give a relay name these settings; what is served stays until weights are planned.

    warm: the addresses that are not warming up any more. Raises ValidationError, keyed by field.
    """
    _check(relay_name, rendering, ttl, min_warm)
    # Before is_warm is changed, for a query is read when it is used.
    warm = list(warm)
    with transaction.atomic():
        before = _told(relay_name)
        relay_name.rendering, relay_name.ttl, relay_name.min_warm = rendering, ttl, min_warm
        relay_name.provider = provider
        relay_name.save(update_fields=["rendering", "ttl", "min_warm", "provider"])
        relay_name.weights.update(is_warm=False)
        relay_name.weights.filter(address__in=warm).update(is_warm=True)
        record_change(
            actor=actor,
            action="relay_name.change",
            subject=subject_of(relay_name),
            before=before,
            after=_told(relay_name),
        )
    return relay_name


def _check(relay_name: RelayName, rendering: str, ttl: int, min_warm: int) -> None:
    if rendering not in set(Rendering):
        raise ValidationError({"rendering": f"A rendering is one of {', '.join(Rendering)}."})
    if rendering == Rendering.LUA and relay_name.zone.method == Method.RFC2136:
        raise ValidationError(
            {"rendering": "lua is written by PowerDNS's API: RFC 2136 knows no such record."}
        )
    least, most = ttl_range(Rendering(rendering))
    if not least <= ttl <= most:
        raise ValidationError({"ttl": f"A TTL of {rendering} is {least} to {most} s."})
    if not 1 <= min_warm <= relay_name.weights.count():
        raise ValidationError({"min_warm": "At least one address is warm, and no more than there are."})


def _told(relay_name: RelayName) -> dict[str, Any]:
    return {
        "rendering": str(relay_name.rendering),
        "ttl": relay_name.ttl,
        "min_warm": relay_name.min_warm,
        "provider": relay_name.provider.slug if relay_name.provider else None,
        "warm": sorted(relay_name.weights.filter(is_warm=True).values_list("address", flat=True)),
    }
