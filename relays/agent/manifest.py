"""The list of what an installation made, so that it can be taken away again and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import Any

from relays.agent.protocol import Refused

PATH = "/var/lib/relay-fleet/manifest.json"
_VERSION = 1


class Manifest:
    """What was made, as records {"kind", "key"}; a file's also has the hashes of what was written to it.

    It is written before a change is made: a crash leaves it naming too much, never too little, and what it
    names that is not there is passed over.
    """

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records

    @classmethod
    def load(cls) -> Manifest:
        """Return the manifest of this host, an empty one where nothing is installed; raise Refused."""
        try:
            with open(PATH, "rb") as file:
                fields = json.loads(file.read())
            if fields["v"] != _VERSION:
                raise ValueError(f"version {fields['v']}")
            return cls(
                [
                    {**record, "kind": str(record["kind"]), "key": str(record["key"])}
                    for record in fields["made"]
                ]
            )
        except FileNotFoundError:
            return cls([])
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"{PATH} cannot be read ({error}): what was installed is not known") from None

    def find(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the record of a thing that was made here, None where it was not."""
        for record in self.records:
            if (record["kind"], record["key"]) == (kind, key):
                return record
        return None

    def add(self, kind: str, key: str) -> dict[str, Any]:
        """Return the record of a thing, made now where there was none."""
        record = self.find(kind, key)
        if record is None:
            record = {"kind": kind, "key": key}
            self.records.append(record)
        return record

    def save(self) -> None:
        """Write it, or remove it where it is empty."""
        directory = os.path.dirname(PATH)
        if self.records:
            os.makedirs(directory, mode=0o755, exist_ok=True)
            content = json.dumps({"v": _VERSION, "made": self.records}, indent=1).encode()
            write_file(PATH, content, 0o600)
            return
        for path in (temporary(PATH), PATH):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def temporary(path: str) -> str:
    """Return where a file's new content is written: the same each time, so a crash leaves one at most."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.relay-fleet")


def write_file(path: str, content: bytes, mode: int) -> None:
    """Replace a file in one step that a crash cannot halve, owned by whoever runs this."""
    new = temporary(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    # O_EXCL: nobody's link is followed.
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(descriptor, mode)
        file.flush()
        os.fsync(descriptor)
    os.rename(new, path)
    sync_directory(os.path.dirname(path))


def sync_directory(path: str) -> None:
    """Make a rename in a directory last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
