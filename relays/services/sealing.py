"""Secrets that the database must hold, sealed by a key that it does not: fleet.bootstrap makes its file."""

from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings


class CannotUnseal(Exception):
    """A sealed secret that was made with another key, or was changed."""


def seal(secret: str) -> str:
    """Return a secret as the database may hold it."""
    return _box(settings.SEALING_KEY_PATH).encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """Return the secret. Raises CannotUnseal."""
    try:
        return _box(settings.SEALING_KEY_PATH).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise CannotUnseal(
            f"A secret of the database was not sealed with the key in {settings.SEALING_KEY_PATH}: "
            "bring back the key that belongs to this database."
        ) from error


@lru_cache(maxsize=4)
def _box(path: Path) -> Fernet:
    return Fernet(path.read_text().strip())
