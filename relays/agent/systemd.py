"""systemd's part of an installation: the guard as a unit, and the timer that starts it every minute."""

from __future__ import annotations

import os

from relays.agent import items
from relays.agent.items import Directory, File, Item, Timer

UNITS = "/etc/systemd/system"
SERVICE = f"{UNITS}/relay-fleet-guard.service"
TIMER = f"{UNITS}/relay-fleet-guard.timer"
LEASE_SERVICE = f"{UNITS}/relay-fleet-lease.service"
LEASE_TIMER = f"{UNITS}/relay-fleet-lease.timer"


def runs_host() -> bool:
    """Tell whether systemd is what started this host: sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def guard(program: str, *, overwrite: bool) -> list[Item]:
    """Return what makes systemd run `program guard`, in order: to count, and to end redirects."""
    return [
        Directory(UNITS),
        Unit(SERVICE, _SERVICE.format(program=program), overwrite=overwrite),
        Unit(TIMER, _TIMER, overwrite=overwrite),
        Timer(os.path.basename(TIMER)),
        Unit(LEASE_SERVICE, _LEASE_SERVICE.format(program=program), overwrite=overwrite),
        Unit(LEASE_TIMER, _LEASE_TIMER, overwrite=overwrite),
        Timer(os.path.basename(LEASE_TIMER)),
    ]


class Unit(File):
    """A unit's file, which systemd reads again when it was written."""

    def __init__(self, key: str, text: str, *, overwrite: bool) -> None:
        super().__init__(key, text.encode(), 0o644, overwrite=overwrite)

    def apply(self) -> None:
        super().apply()
        reload()


def is_unit(path: str) -> bool:
    """Tell whether a file is one that systemd reads, so that it must hear of its end."""
    return os.path.dirname(path) == UNITS


def reload() -> None:
    """Have a running systemd read its units again."""
    if runs_host():
        items.command("systemctl", "daemon-reload")


# It reads what is 0700 and writes one file in /run; all else is taken from it, but what postconf(1) and
# postmulti(1) need. Without the host's network they end with "no local interface found" wherever an instance
# has inet_interfaces of its own, so no PrivateNetwork; /proc/locks tells which run, so no ProcSubset.
_SERVICE = """\
# Made by relayctl install; relayctl uninstall removes it.
[Unit]
Description=Relay Fleet guard: counts what only root can see

[Service]
Type=oneshot
ExecStart={program} guard --only corrupt
TimeoutStartSec=50
UMask=0022
RuntimeDirectory=relay-fleet
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
CapabilityBoundingSet=CAP_DAC_READ_SEARCH
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""

_TIMER = """\
# Made by relayctl install; relayctl uninstall removes it.
[Unit]
Description=Relay Fleet guard, once a minute

[Timer]
OnActiveSec=1s
OnUnitActiveSec=60s
AccuracySec=5s

[Install]
WantedBy=timers.target
"""

# It reloads Postfix, which checks owners and modes of the whole spool: little can be taken from it.
_LEASE_SERVICE = """\
# Made by relayctl install; relayctl uninstall removes it.
[Unit]
Description=Relay Fleet guard: ends redirects whose lease has run out
Before=postfix.service

[Service]
Type=oneshot
ExecStart={program} guard --only redirects
TimeoutStartSec=50
UMask=0022
RuntimeDirectory=relay-fleet
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
LockPersonality=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
"""

_LEASE_TIMER = """\
# Made by relayctl install; relayctl uninstall removes it.
[Unit]
Description=Relay Fleet guard of redirects, every 15 seconds

[Timer]
OnActiveSec=0s
OnUnitInactiveSec=15s
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
