"""Host keys as text, and the two key pairs that the console reads and changes hosts with."""

import base64
import binascii
import hashlib
import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)


class BadHostKey(ValueError):
    """Text that is no SSH host key; the message says why."""


def normalise_host_key(text: str) -> str:
    """Return "type base64" of a host key as ssh-keyscan, known_hosts' last fields or a .pub file give it.

    Raises BadHostKey.
    """
    fields = text.split()
    if len(fields) < 2 or fields[0] not in HOST_KEY_TYPES:
        raise BadHostKey(f"A host key is one of {', '.join(HOST_KEY_TYPES)} and its base64 text.")
    _key_blob(fields[0], fields[1])
    return f"{fields[0]} {fields[1]}"


def fingerprint(host_key: str) -> str:
    """Return "SHA256:…" of a host key, as ssh-keygen -l prints it. Raises BadHostKey."""
    key_type, encoded = normalise_host_key(host_key).split()
    digest = hashlib.sha256(_key_blob(key_type, encoded)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def read_key_path() -> Path:
    """Return the path of the console's private read key, making the pair (0600) on first use.

    Raises OSError where the folder cannot be written.
    """
    return _made(Path(settings.READ_KEY_PATH))


def write_key_path() -> Path:
    """Return the path of the console's private write key, as read_key_path() does."""
    return _made(Path(settings.WRITE_KEY_PATH))


def read_public_key() -> str:
    """Return the console's public read key, "ssh-ed25519 AAAA… relay-fleet-read"."""
    return f"{_public(read_key_path())} relay-fleet-read"


def write_public_key() -> str:
    """Return the console's public write key, "ssh-ed25519 AAAA… relay-fleet-write"."""
    return f"{_public(write_key_path())} relay-fleet-write"


def _made(path: Path) -> Path:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create_once(path, Ed25519PrivateKey.generate())
    return path


def _public(path: Path) -> str:
    key = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()


def _key_blob(key_type: str, encoded: str) -> bytes:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise BadHostKey(f"The key's text is not base64: {error}.") from error
    name = key_type.encode()
    # RFC 4253, 6.6: the blob begins with its own type, so a text pasted under another type is told.
    if not blob.startswith(len(name).to_bytes(4, "big") + name):
        raise BadHostKey(f"The key's text is not that of a {key_type} key.")
    return blob


def _create_once(path: Path, key: Ed25519PrivateKey) -> None:
    """Write the key, or leave the one that another process wrote first."""
    # 0600, and a name of its own for each thread that comes here at once.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )
        file.flush()
        os.fsync(file.fileno())
    try:
        # link, not rename: it fails when the file has come to be meanwhile.
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        Path(temporary).unlink()
