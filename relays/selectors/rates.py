"""The rate that an instance is held to: as its host has it, and as the console has set it."""

from dataclasses import dataclass
from datetime import datetime

from relays.domain.words import visible
from relays.models import Instance, Operation
from relays.models.operation import OperationState
from relays.selectors.figures import moment

SETTING = "smtp_transport_rate_delay"
_HOLD = "rate.hold"
_KINDS = (_HOLD, "rate.release")


@dataclass(frozen=True, slots=True)
class Rate:
    """What Postfix is set to: "20s", "" where it is not known. drift: how that is not what the console set.

    by: the operation that set what holds, None for none.
    """

    value: str
    asof: str
    by: int | None
    drift: str

    @property
    def is_held(self) -> bool:
        """Whether deliveries wait for each other at all."""
        return self.value not in {"", "0", "0s"}


def rate_of(instance: Instance, now: datetime) -> Rate:
    """Return an instance's rate by its newest inventory, or by a later change of ours."""
    value = visible(str((instance.inventory or {}).get("limits", {}).get(SETTING, "")))[:40]
    read_at = instance.host.inventory_at
    last = _last(instance)
    if last is None or last.kind != _HOLD:
        return Rate(value, moment(read_at, now), None, "")
    held = f"{last.params['delay_s']}s"
    if read_at is None or (last.ended_at is not None and last.ended_at >= read_at):
        return Rate(held, moment(last.ended_at, now), last.pk, "")
    if value and value != held:
        drift = f"Operation {last.pk} set {held}: somebody has changed it since."
        return Rate(value, moment(read_at, now), None, drift)
    return Rate(value, moment(read_at, now), last.pk, "")


def _last(instance: Instance) -> Operation | None:
    done = Operation.objects.filter(instance=instance, kind__in=_KINDS, state=OperationState.DONE)
    return done.order_by("-ended_at").first()
