"""Sending work to the workers: the one place where services meet the broker."""

import logging
from functools import partial

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)


def send_on_commit(task: str, *, ident: int, queue: str, expires_s: float) -> None:
    """Send `task` with one id once the transaction under way has committed.

    A message may be lost or come twice, here or in the broker: whoever calls this has a row in the
    database from which the work is found again.
    """
    transaction.on_commit(partial(_send, task, ident, queue, expires_s))


def _send(task: str, ident: int, queue: str, expires_s: float) -> None:
    try:
        current_app.send_task(task, args=[ident], queue=queue, expires=expires_s, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("The broker took no %s for %s: %s", task, ident, error)
