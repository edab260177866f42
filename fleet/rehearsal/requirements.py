"""What a machine must offer before a rehearsal fleet can come up on it."""

import os
from pathlib import Path

from fleet.rehearsal.errors import Unsuitable

# A file that proves each Debian package.
_PACKAGES = {
    "bind9": "/usr/sbin/named",
    "iproute2": "/usr/sbin/ip",
    "logrotate": "/usr/sbin/logrotate",
    "openssh-client": "/usr/bin/ssh-keygen",
    "openssh-server": "/usr/sbin/sshd",
    "pdns-backend-sqlite3": "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql",
    "pdns-server": "/usr/sbin/pdns_server",
    "postfix": "/usr/sbin/postfix",
    "procps": "/usr/bin/pkill",
    "python3": "/usr/bin/python3",
    "rsyslog": "/usr/sbin/rsyslogd",
    "sudo": "/usr/bin/sudo",
    "util-linux": "/usr/bin/nsenter",
}


def check() -> None:
    """Raise Unsuitable, in one line with the remedy, where a fleet cannot come up here."""
    if os.geteuid() != 0:
        raise Unsuitable("a rehearsal fleet makes network and mount namespaces: run it as root")
    missing = [package for package, path in _PACKAGES.items() if not Path(path).exists()]
    if missing:
        raise Unsuitable(
            f"these Debian packages are missing: {' '.join(missing)} (./run packages fleet installs them)"
        )
