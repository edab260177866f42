"""Messages to the operators about what cannot wait until somebody looks at a page."""

import logging
from smtplib import SMTPException

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage

from relays.domain.text import printable

logger = logging.getLogger(__name__)

_SUBJECT_LENGTH = 200
_ROLES = ("operator", "administrator")


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


def _of_accounts() -> list[str]:
    people = User.objects.filter(is_active=True, groups__name__in=_ROLES).exclude(email="")
    return sorted(set(people.values_list("email", flat=True)))
