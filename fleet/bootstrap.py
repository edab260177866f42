"""What must exist before the first start: the data folder, the secret key, the broker's folders.

Standard library only, because the settings call it before Django is set up.
"""

import base64
import os
import secrets
import tempfile
from pathlib import Path


class DataDirUnusable(SystemExit):
    """The data folder cannot be made or written: one line for the operator, no traceback."""


def prepare_data_dir(data_dir: Path) -> None:
    """Make the data folder (0700) and what the processes expect in it.

    Raises DataDirUnusable, whose text names the folder and the way out.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("broker/messages", "broker/control", "keys", "static"):
            (data_dir / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirUnusable(
            f"The data folder {data_dir} cannot be used ({error.strerror}): "
            "set FLEET_DATA to a folder this user may write."
        ) from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise DataDirUnusable(
            f"The data folder {data_dir} is not writable: set FLEET_DATA to a folder this user may write."
        )


def secret_key(data_dir: Path) -> str:
    """Return Django's secret key from the data folder, making it on the first start (0600).

    Raises DataDirUnusable where another user's start has made it.
    """
    return _secret(data_dir / "secret_key", secrets.token_urlsafe(50))


def make_audit_key(path: Path) -> None:
    """Make the key of the audit trail's chain on the first start: 32 bytes in hexadecimal, 0600.

    Without it no event can be written or verified, so it belongs into the backup, apart from the database's.
    Raises DataDirUnusable where another user's start has made it.
    """
    _secret(path, secrets.token_hex(32))


def make_sealing_key(path: Path) -> None:
    """Make the key that seals secrets in the database on the first start: a Fernet key, 0600.

    Without it no second factor works any more, so it belongs into the backup, apart from the database's.
    Raises DataDirUnusable where another user's start has made it.
    """
    _secret(path, base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())


def _secret(path: Path, fresh: str) -> str:
    """Return the text of a secret file, writing `fresh` to it where there is none yet."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return _create_once(path, fresh)
    except PermissionError as error:
        raise DataDirUnusable(
            f"{path} belongs to another user: start as that user, or set FLEET_DATA to another folder."
        ) from error


def _create_once(path: Path, text: str) -> str:
    """Write text to a new file, or return what another process wrote first: two starts share one key."""
    # Mode 0600, and a name that nothing left behind can have, unlike one made of the process' number.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        try:
            # link, not rename: it fails when the file has come to be meanwhile.
            os.link(file.name, path)
        except FileExistsError:
            return path.read_text().strip()
    return text
