"""The lease of a redirect: until when it holds, by a clock that nobody turns. Without one a redirect ends.

/var/lib/relay-fleet/instances/NAME/lease.json is written before the map, and removed after it is emptied. The
guard looks every 15 s and before Postfix starts; what it saw it publishes, for the read user and for the next
redirect.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, NamedTuple

from relays.agent import drain, exclusive, system
from relays.agent.manifest import write_file
from relays.domain.text import printable

# What the guard saw, for everybody to read; as corrupt.PATH, it goes with the host's start.
PUBLISHED = "/run/relay-fleet/redirects.json"
# A guard that was not heard of for so long will not end what is begun now.
MAX_GUARD_AGE_S = 60.0
LEAST_S, MOST_S = 30, 3_600
# Whatever is renewed, a redirect ends so long after it was set.
HARD_END_S = 6 * 3_600
_MAX_BYTES = 64 * 1024
_MODE = 0o600


class Lease(NamedTuple):
    """Until when a redirect holds. Times that end in _bt are seconds since the host started."""

    op_id: str
    fence: int
    boot_id: str
    expires_bt: float
    hard_end_bt: float
    set_at: float
    to: str

    def ended(self, *, boot_id: str | None, now_bt: float) -> str:
        """Say why the lease holds no more; "" where it does."""
        if self.boot_id != boot_id:
            return "the host was started anew"
        if now_bt >= self.hard_end_bt:
            return f"it has lasted for {HARD_END_S // 3600} hours"
        if now_bt >= self.expires_bt:
            return "its lease has run out"
        return ""


def boottime() -> float:
    """Return seconds since the host started, which no change of its clock moves."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def load(instance: str) -> Lease | None:
    """Return an instance's lease, None where there is none. Raises ValueError for one that is damaged."""
    try:
        with open(_path(instance), "rb") as file:
            fields = json.loads(file.read(_MAX_BYTES))
        return Lease(
            op_id=str(fields["op_id"]),
            fence=int(fields["fence"]),
            boot_id=str(fields["boot_id"]),
            expires_bt=float(fields["expires_bt"]),
            hard_end_bt=float(fields["hard_end_bt"]),
            set_at=float(fields["set_at"]),
            to=str(fields["to"]),
        )
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the lease of {instance} is damaged: {error}") from None


def new(*, op_id: str, fence: int, to: str, lease_s: int) -> Lease:
    """Return a lease that begins now."""
    now = boottime()
    return Lease(
        op_id, fence, system.boot_id() or "", now + lease_s, now + HARD_END_S, round(time.time(), 3), to
    )


def save(instance: str, lease: Lease) -> None:
    """Write a lease so that a crash leaves the old one or the new one. Raises OSError."""
    write_file(_path(instance), json.dumps(lease._asdict()).encode() + b"\n", _MODE)


def remove(instance: str) -> None:
    """Forget an instance's lease. Raises OSError."""
    try:
        os.unlink(_path(instance))
    except FileNotFoundError:
        return


def publish(redirects: dict[str, Any]) -> None:
    """Tell everybody on this host that the guard looked, and what it saw by instance. Raises OSError."""
    seen = {"at_bt": round(boottime(), 3), "boot_id": system.boot_id(), "redirects": redirects}
    write_file(PUBLISHED, json.dumps(seen).encode() + b"\n", 0o644)


def published() -> dict[str, Any] | None:
    """Return what the guard published since this host started, with its age_s; None for nothing to trust."""
    try:
        status = os.lstat(PUBLISHED)
        if status.st_uid != 0 or status.st_mode & 0o022:
            return None
        with open(PUBLISHED, "rb") as file:
            seen = json.loads(file.read(1 << 20))
        if seen["boot_id"] != system.boot_id():
            return None
        return {"age_s": max(0.0, boottime() - float(seen["at_bt"])), "redirects": dict(seen["redirects"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def described(instance: str) -> dict[str, Any]:
    """Return what there is of a redirect on an instance: its map, and its lease with what is left of it.

    {"to", "domains", "paused", "op_id", "fence", "set_at", "left_s", "problem"}: to null for none; paused:
    its mail waits here; problem: why it must not go on, "" where it may. Only root can tell: leases are
    root's.
    """
    told = mapped(instance)
    if not told["problem"]:
        _add_lease(instance, told)
    return told


def seen(instance: str, guarded: dict[str, Any] | None) -> dict[str, Any]:
    """Return what described() does as far as the read user knows: the lease by what was published()."""
    current = mapped(instance)
    told = (guarded or {"redirects": {}})["redirects"].get(instance)
    if not isinstance(told, dict) or told.get("to") != current["to"]:
        return current
    # It may have been paused, or gone on, since the guard looked.
    return {**told, "paused": current["paused"]}


def mapped(instance: str) -> dict[str, Any]:
    """Return what described() does as far as everybody may know it: of the map alone."""
    told: dict[str, Any] = {"to": None, "domains": [], "paused": False, "op_id": None, "fence": None}
    told.update(set_at=None, left_s=None, problem="")
    try:
        with open(drain.map_path(instance), "rb") as file:
            redirect = drain.parse_map(file.read(1 << 20).decode("utf-8", "replace"))
    except FileNotFoundError:
        redirect = None
    except ValueError as error:
        return {**told, "to": "?", "problem": printable(f"{drain.map_path(instance)}: {error}", 300)}
    if redirect is not None:
        told.update(to=f"[{redirect.address}]:{redirect.port}", domains=redirect.domains)
        told.update(paused=redirect.paused)
    return told


def _add_lease(instance: str, told: dict[str, Any]) -> None:
    try:
        lease = load(instance)
    except ValueError as error:
        told["problem"] = printable(str(error), 300)
        return
    if lease is not None:
        now = boottime()
        left_s = max(0.0, min(lease.expires_bt, lease.hard_end_bt) - now)
        told.update(op_id=lease.op_id, fence=lease.fence, set_at=lease.set_at, left_s=round(left_s, 1))
        told["problem"] = lease.ended(boot_id=system.boot_id(), now_bt=now)
    elif told["to"] is not None:
        told["problem"] = "it has no lease"


def _path(instance: str) -> str:
    return os.path.join(exclusive.DIRECTORY, instance, "lease.json")
