"""What the workers run for zones. A message carries an id and nothing else."""

from celery import shared_task
from django.utils import timezone

from dns.services import ramp_run, zones


@shared_task(name="dns.tasks.check_relay_names", queue="collect")  # type: ignore[untyped-decorator]
def check_relay_names() -> None:
    """Compare what every name server serves with what was published last."""
    zones.check_relay_names()


@shared_task(name="dns.tasks.run_ramps", queue="operate")  # type: ignore[untyped-decorator]
def run_ramps() -> None:
    """Decide what is due about every ramp, and have its records written."""
    ramp_run.run_all(now=timezone.now())
