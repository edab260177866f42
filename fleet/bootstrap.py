"""What must exist before the first start: the data folder, the secret key, the broker's folders.

Standard library only, because the settings call it before Django is set up.
"""

import os
import secrets
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
    """Return Django's secret key from the data folder, making it on the first start (0600)."""
    path = data_dir / "secret_key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return _create_once(path, secrets.token_urlsafe(50))


def _create_once(path: Path, text: str) -> str:
    """Write text to a new file, or return what another process wrote first: two starts share one key."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        # link, not rename: it fails when the file has come to be meanwhile.
        os.link(temporary, path)
    except FileExistsError:
        return path.read_text().strip()
    finally:
        temporary.unlink()
    return text
