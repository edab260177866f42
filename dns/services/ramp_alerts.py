"""Telling the operators that a ramp's address was taken out: one message for each time."""

from datetime import datetime, timedelta

from dns.models import Ramp, RampChange, RampDecision
from relays.services import alerts

# What happened longer ago is on the pages; nobody is woken for it when mail is set up later.
_NEWS = timedelta(hours=1)


def tell(*, ramp: Ramp, now: datetime) -> None:
    """Mail what is not told yet. One that could not be sent is tried again at the next look."""
    if not alerts.are_on():
        return
    fresh = ramp.decisions.filter(change=RampChange.TAKE_OUT, told_at=None, at__gt=now - _NEWS)
    for decision in fresh:
        rows = RampDecision.objects.filter(pk=decision.pk)
        alerts.send_once(rows, subject=_subject(ramp), text=_text(ramp, decision), now=now)


def _subject(ramp: Ramp) -> str:
    return f"{ramp.address} is taken out of {ramp.relay_name}"


def _text(ramp: Ramp, decision: RampDecision) -> str:
    lines = [
        f"Ramp {ramp.pk}: {_subject(ramp)}, {decision.at:%Y-%m-%d %H:%M} UTC.",
        *decision.why,
        "It comes back to its first step after a date without a bad sign.",
    ]
    if ramp.trouble:
        lines.append(f"The records could not be changed yet: {ramp.trouble}")
    return "\n".join(lines)
