"""The second factor: a code from an app, or one of ten recovery codes."""

import hashlib
import secrets
import time
from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from fleet import totp
from fleet.models import RecoveryCode, SecondFactor
from relays.services import audit, sealing
from relays.services.audit import Actor, Subject

RECOVERY_CODES = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


class NotSetUp(Exception):
    """No second factor is being set up: begin anew."""


class CodeBackend(BaseBackend):
    """Lets authenticate() check a code, so that wrong ones count and lock as wrong passwords do.

    The views ask it only after the password was right.
    """

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:
        """Return the user whose code this is; a code counts once. credentials: username, code."""
        name, code = credentials.get("username"), credentials.get("code")
        user = User.objects.filter(username=name, is_active=True).first() if name and code else None
        return user if user is not None and _takes(user, str(code)) else None


def is_on(user: User) -> bool:
    """Return whether this user logs in with a second factor."""
    return SecondFactor.objects.filter(user=user).exclude(confirmed_at=None).exists()


def pending_secret(user: User) -> str | None:
    """Return the secret that is being set up, for the user's own eyes; None where there is none."""
    factor = SecondFactor.objects.filter(user=user, confirmed_at=None).first()
    return sealing.unseal(factor.sealed_secret) if factor else None


def begin(*, user: User) -> None:
    """Make a secret; it counts once confirm() got a code of it. What is in use stays."""
    if is_on(user):
        return
    fields = {"sealed_secret": sealing.seal(totp.new_secret()), "last_step": 0}
    SecondFactor.objects.update_or_create(user=user, defaults=fields)


def confirm(*, user: User, code: str, actor: Actor) -> list[str] | None:
    """Turn the second factor on and return its recovery codes, shown this once; None for a wrong code.

    Raises NotSetUp.
    """
    secret = pending_secret(user)
    if secret is None:
        raise NotSetUp
    step = totp.step_of(secret, _digits(code), time.time())
    if step is None:
        return None
    with transaction.atomic():
        pending = SecondFactor.objects.filter(user=user, confirmed_at=None)
        if not pending.update(confirmed_at=timezone.now(), last_step=step):
            raise NotSetUp
        audit.record(actor=actor, action="second_factor.on", phase="succeeded", subject=_subject(user))
        return _new_codes(user)


def renew_codes(*, user: User, actor: Actor) -> list[str]:
    """Return new recovery codes; the old ones end."""
    with transaction.atomic():
        audit.record(actor=actor, action="second_factor.codes", phase="succeeded", subject=_subject(user))
        return _new_codes(user)


def turn_off(*, user: User, actor: Actor) -> None:
    """Forget a user's second factor and its recovery codes."""
    with transaction.atomic():
        SecondFactor.objects.filter(user=user).delete()
        RecoveryCode.objects.filter(user=user).delete()
        audit.record(actor=actor, action="second_factor.off", phase="succeeded", subject=_subject(user))


def codes_left(user: User) -> int:
    """Return how many recovery codes are unused."""
    return RecoveryCode.objects.filter(user=user, used_at=None).count()


def _takes(user: User, code: str) -> bool:
    factor = SecondFactor.objects.filter(user=user).exclude(confirmed_at=None).first()
    if factor is None:
        return False
    step = totp.step_of(sealing.unseal(factor.sealed_secret), _digits(code), time.time())
    if step is None:
        unused = RecoveryCode.objects.filter(user=user, digest=_digest(code), used_at=None)
        return unused.update(used_at=timezone.now()) == 1
    # Whoever looked over a shoulder may not use the code again: compare and set.
    fresh = SecondFactor.objects.filter(user=user, last_step__lt=step)
    return fresh.update(last_step=step) == 1


def _new_codes(user: User) -> list[str]:
    RecoveryCode.objects.filter(user=user).delete()
    codes = [_new_code() for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, digest=_digest(code)) for code in codes)
    return codes


def _new_code() -> str:
    """Return about 79 random bits in letters that nobody mistakes: abcd-efgh-jkmn-pqrs."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    return "-".join(letters[i : i + 4] for i in range(0, 16, 4))


def _digest(code: str) -> str:
    """Return a recovery code as it is kept. It has too many bits to be guessed from an unsalted digest."""
    return hashlib.sha256(code.strip().lower().replace("-", "").replace(" ", "").encode()).hexdigest()


def _digits(code: str) -> str:
    return code.replace(" ", "")


def _subject(user: User) -> Subject:
    return Subject(type="user", id=str(user.pk), name=user.get_username())
