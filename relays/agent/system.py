"""What the host itself tells: boot id, load, spool space, who holds a lock. Nothing here needs root."""

from __future__ import annotations

import os
import re
from typing import Any

# "1: FLOCK  ADVISORY  WRITE 278 fe:00:2204186 0 EOF": device in hexadecimal, inode in decimal.
_LOCK = re.compile(r"^\d+: FLOCK +\w+ +WRITE +\d+ ([0-9a-f]+):([0-9a-f]+):(\d+) ", re.MULTILINE)


def boot_id() -> str | None:
    """Return the kernel's boot id: another one means that the host was started anew."""
    return (read_text("/proc/sys/kernel/random/boot_id") or "").strip() or None


def read_text(path: str, limit: int = 1 << 20) -> str | None:
    """Return the start of a file as text, None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return None


def is_locked(path: str) -> bool | None:
    """Tell whether anybody holds an exclusive flock on a file, which needs no right to open it.

    None: it cannot be told. Taking the lock to find out would make a Postfix that starts just then fail.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    locks = read_text("/proc/locks", 16 << 20)
    if locks is None:
        return None
    device = (os.major(status.st_dev), os.minor(status.st_dev))
    holders = [
        (int(major, 16), int(minor, 16))
        for major, minor, inode in _LOCK.findall(locks)
        if int(inode) == status.st_ino
    ]
    if not holders:
        return False
    # btrfs and overlayfs show a file under another device than its lock: the inode alone proves nothing.
    return True if device in holders else None


def load() -> list[float] | None:
    """Return the load averages of 1, 5 and 15 minutes."""
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return None


def spools(directories: list[str]) -> list[dict[str, Any]]:
    """Return the space of each file system that these directories lie on, by its mount point."""
    rows: dict[str, dict[str, Any]] = {}
    for directory in directories:
        mount = mount_point(directory)
        if mount in rows:
            continue
        try:
            space = os.statvfs(mount)
        except OSError:
            continue
        rows[mount] = {
            "path": mount,
            "size_bytes": space.f_blocks * space.f_frsize,
            "free_bytes": space.f_bavail * space.f_frsize,
            "inodes": space.f_files,
            "inodes_free": space.f_favail,
        }
    return list(rows.values())


def mount_point(path: str) -> str:
    """Return the mount point that a path lies under."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
