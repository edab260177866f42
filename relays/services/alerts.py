"""Messages to the operators about what cannot wait until somebody looks at a page."""

import logging
from datetime import datetime, timedelta
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.db.models import Q, QuerySet

from relays.domain.text import printable

logger = logging.getLogger(__name__)

_SUBJECT_LENGTH = 200
_ROLES = ("operator", "administrator")
# Whoever began to send longer ago is dead: sending ends by EMAIL_TIMEOUT, which is in seconds.
_SENDING_LASTS = timedelta(minutes=5)


def are_on() -> bool:
    """Whether mail can be sent at all (EMAIL_URL)."""
    return bool(settings.EMAIL_URL)


def send(*, subject: str, text: str) -> bool:
    """Mail a text to the operators; return whether it went out. It is remote text that it may quote.

    To FLEET_ALERTS_TO, or to the addresses of the operators' and administrators' accounts.
    """
    to = settings.ALERTS_TO or _of_accounts()
    if not are_on() or not to:
        return False
    message = EmailMessage(
        f"[Relay Fleet] {printable(subject, _SUBJECT_LENGTH)}",
        "\n".join(printable(line, 1_000) for line in text.splitlines()),
        to=to,
        headers={"Auto-Submitted": "auto-generated"},
    )
    try:
        message.send()
    except (SMTPException, OSError):
        logger.exception("The operators could not be mailed: %s", printable(subject, _SUBJECT_LENGTH))
        return False
    return True


def send_once(rows: QuerySet[Any], *, subject: str, text: str, now: datetime) -> None:
    """Mail what one row is about, which has told_at and telling_since, unless that was done or is being done.

    Of two workers one sends. Killed in between, it is sent again: twice is better than never.
    """
    untold = rows.filter(told_at=None)
    free = untold.filter(Q(telling_since=None) | Q(telling_since__lt=now - _SENDING_LASTS))
    if free.update(telling_since=now) == 1:
        if send(subject=subject, text=text):
            rows.update(told_at=now)
        rows.update(telling_since=None)


def _of_accounts() -> list[str]:
    people = User.objects.filter(is_active=True, groups__name__in=_ROLES).exclude(email="")
    return sorted(set(people.values_list("email", flat=True)))
