"""Whose files root may believe: those that nobody but root can change."""

from __future__ import annotations

import os
import stat

from relays.agent.protocol import Refused

_OWNER = 0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def refuse_untrusted(path: str) -> None:
    """Raise Refused where somebody but root could change a file or directory, or what leads to it.

    Links are followed first: what counts is where they lead. Raises OSError where there is nothing.
    """
    path = os.path.realpath(path)
    while True:
        status = os.lstat(path)
        if not is_roots(status):
            raise Refused(f"{path} must be root's, and neither its group nor others may write to it")
        if path == "/":
            return
        path = os.path.dirname(path)


def is_roots(status: os.stat_result) -> bool:
    """Tell whether only root can change what has this status."""
    return status.st_uid == _OWNER and not status.st_mode & _OTHERS_WRITE
