"""What the workers run for zones. A message carries an id and nothing else."""

from celery import shared_task

from dns.services import zones


@shared_task(name="dns.tasks.check_relay_names", queue="collect")  # type: ignore[untyped-decorator]
def check_relay_names() -> None:
    """Compare what every name server serves with what was published last."""
    zones.check_relay_names()
