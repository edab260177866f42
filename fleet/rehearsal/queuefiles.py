"""Deferred mail made by the ten thousand: copies of one message that Postfix itself deferred.

A copy is a queue file under the name that Postfix would give it (mail_queue.h: time and inode in base 52 and
51), and a file beside it with the reason. Another name would be changed at the next start or reload, and a
queue run in that moment would miss the message.
"""

import os
import re
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fleet.rehearsal.errors import RehearsalError
from fleet.rehearsal.postfix import Instance

# No vowels: an id must not come to be a word. "z" parts time and inode, so the inode goes without.
_ALPHABET = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_RETRY_IN_S = 3600
# Not a queue id, so Postfix leaves it alone.
_HIDDEN = "rehearsal.new"


@dataclass(frozen=True)
class _Template:
    message: bytes
    reason: bytes
    recipient: bytes
    unique: bytes
    arrival: bytes
    domain: str
    owner: int
    group: int


def queue_id(seconds: int, microseconds: int, inode: int) -> str:
    """Return the long queue id of a file (enable_long_queue_ids = yes)."""
    return f"{_encode(seconds, 52, 6)}{_encode(microseconds, 52, 4)}z{_encode(inode, 51, 1)}"


def clone(instance: Instance, template_id: str, copies: int, *, oldest_s: int = 0) -> list[str]:
    """Copy a deferred message and return the Message-IDs of its copies.

    Each copy has a recipient of its own in the same domain. Their ages are spread from the template's own to
    oldest_s; Postfix retries them in an hour, or when it is told to. Raises RehearsalError where the template
    is no deferred message of the rehearsal's own traffic. At most a million copies: each has its microsecond.
    """
    queue = instance.namespace.root / instance.queue_directory.lstrip("/")
    template = _read(queue, template_id)
    made = []
    # Relative to open folders: a path through /proc costs more than the file itself.
    with ExitStack() as stack:
        deferred = _open_folders(stack, queue / "deferred", template)
        reasons = _open_folders(stack, queue / "defer", template)
        for number in range(copies):
            unique = secrets.token_hex(8)
            arrival = int(template.arrival) - (oldest_s * number // copies)
            folder = f"{_microseconds(number):05X}"[0]
            name = _write_message(template, deferred[folder], unique=unique, number=number, arrival=arrival)
            _write_reason(template, reasons[folder], name=name, number=number)
            # Only now: Postfix must not meet a message before its reason.
            os.rename(_HIDDEN, name, src_dir_fd=deferred[folder], dst_dir_fd=deferred[folder])
            made.append(f"{unique}@{template.domain}")
    return made


def _read(queue: Path, template_id: str) -> _Template:
    found = next((queue / "deferred").glob(f"*/{template_id}"), None)
    if found is None:
        raise RehearsalError(f"{template_id} is not in the deferred queue")
    message = found.read_bytes()
    recipient = re.search(rb"R.([a-z0-9.]+@[a-z0-9.-]+)M\0", message)
    unique = re.search(rb"bounce-([0-9a-f]{16})@", message)
    arrival = re.search(rb"create_time=([0-9]{10})", message)
    domain = re.search(rb"Message-ID: <[0-9a-f]{16}@([a-z.]+)>", message)
    if recipient is None or unique is None or arrival is None or domain is None:
        raise RehearsalError(f"{template_id} is not of the rehearsal's own traffic")
    stat = found.stat()
    reason = (queue / "defer" / found.parent.name / template_id).read_bytes()
    return _Template(
        message, reason, recipient[1], unique[1], arrival[1], domain[1].decode(), stat.st_uid, stat.st_gid
    )


def _open_folders(stack: ExitStack, queue: Path, template: _Template) -> dict[str, int]:
    """Open the folders of a queue, each by the digit that queue ids hash to (hash_queue_depth = 1)."""
    opened = {}
    for digit in "0123456789ABCDEF":
        folder = queue / digit
        if not folder.exists():
            folder.mkdir(mode=0o700)
            os.chown(folder, template.owner, template.group)
        opened[digit] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, opened[digit])
    return opened


def _write_message(template: _Template, folder: int, *, unique: str, number: int, arrival: int) -> str:
    """Write the message under a name that no queue id has, and return the id that belongs to its inode."""
    # Every replacement is as long as what it replaces: the file's records tell their lengths.
    message = template.message.replace(template.recipient, _recipient(template, number))
    message = message.replace(template.unique, unique.encode())
    message = message.replace(template.arrival, str(arrival).encode())
    descriptor = os.open(_HIDDEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700, dir_fd=folder)
    try:
        os.write(descriptor, message)
        os.fchown(descriptor, template.owner, template.group)
        # The time of a deferred file is that of its next try.
        retry = time.time() + _RETRY_IN_S
        os.utime(descriptor, (retry, retry))
        return queue_id(arrival, _microseconds(number), os.fstat(descriptor).st_ino)
    finally:
        os.close(descriptor)


def _write_reason(template: _Template, folder: int, *, name: str, number: int) -> None:
    reason = template.reason.replace(template.recipient, _recipient(template, number))
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    try:
        os.write(descriptor, reason)
        os.fchown(descriptor, template.owner, template.group)
    finally:
        os.close(descriptor)


def _microseconds(number: int) -> int:
    """Return another microsecond for each copy, spread over all folders."""
    # 7919 shares no factor with a million.
    return number * 7919 % 1_000_000


def _recipient(template: _Template, number: int) -> bytes:
    local_part, _, domain = template.recipient.partition(b"@")
    return str(number).rjust(len(local_part), "0").encode() + b"@" + domain


def _encode(number: int, base: int, digits: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, base)
        text = _ALPHABET[digit] + text
    return text.rjust(digits, _ALPHABET[0])
