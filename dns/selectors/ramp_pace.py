"""How an address's number for the day is spread over it: by the rate of its instance, which people hold."""

from dataclasses import dataclass
from datetime import datetime

from dns.models import Ramp, RampDay
from dns.services.ramp_days import instance_of
from relays.domain.words import visible
from relays.selectors.rates import Rate, rate_of


@dataclass(frozen=True, slots=True)
class Pace:
    """An instance's rate beside the cap of an address of it.

    seconds: between two deliveries that spread the cap over the day, None where there is no cap, or where
    Postfix, which knows whole seconds, can not spread so many.
    """

    instance: int
    name: str
    rate: Rate
    seconds: int | None

    @property
    def is_spread(self) -> bool:
        """Whether the rate that is held is the one that spreads the cap."""
        return self.rate.value == f"{self.seconds}s"


def pace_of(ramp: Ramp, day: RampDay | None, now: datetime) -> Pace | None:
    """Return what to do about the rate; None where there is nothing: no cap of today, and none held by us."""
    instance = instance_of(ramp)
    if instance is None:
        return None
    rate, seconds = rate_of(instance, now), _seconds(day) if ramp.is_live else None
    if seconds is None and rate.by is None:
        return None
    return Pace(instance.pk, visible(instance.name), rate, seconds)


def _seconds(day: RampDay | None) -> int | None:
    if day is None or not day.cap:
        return None
    return int((day.ends_at - day.begins_at).total_seconds()) // day.cap or None
