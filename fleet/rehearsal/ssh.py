"""A host's sshd: configured as a plain Debian server, listening on every address, with a key of its own."""

from fleet.rehearsal import files
from fleet.rehearsal.namespaces import Namespace, wait_until

PORT = 22
_KEY = "/etc/ssh/ssh_host_ed25519_key"
_CONFIGURATION = f"""Include /etc/ssh/sshd_config.d/*.conf
Port {PORT}
HostKey {_KEY}
PidFile /run/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
# The console's tests open hundreds of connections at once.
MaxStartups 500:30:1000
"""


def configure(host: Namespace) -> None:
    """Write sshd's configuration and make its key, once in a host's life."""
    for left in (host.root / "etc/ssh").glob("ssh_host_*"):
        left.unlink()
    for left in (host.root / "etc/ssh/sshd_config.d").glob("*"):
        left.unlink()
    files.write(host.root, "/etc/ssh/sshd_config", _CONFIGURATION)
    new_key(host)


def new_key(host: Namespace) -> None:
    """Make a new host key; a running sshd has the old one until it is started again."""
    for name in (_KEY, f"{_KEY}.pub"):
        (host.root / name.lstrip("/")).unlink(missing_ok=True)
    host.run("/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", _KEY)


def public_key(host: Namespace) -> str:
    """Return the host key as the console pins it: `ssh-ed25519 AAAA...`."""
    return " ".join((host.root / f"{_KEY}.pub".lstrip("/")).read_text().split()[:2])


def start(host: Namespace) -> None:
    pid_file = host.root / "run/sshd.pid"
    pid_file.unlink(missing_ok=True)
    host.run("/usr/sbin/sshd")
    wait_until(pid_file.exists, "sshd's PID file")


def signal_all(host: Namespace, name: str) -> None:
    """Send a signal to the listener and to every session of this host."""
    # pkill sees only this host's processes: it runs in their PID namespace.
    host.run("/usr/bin/pkill", f"-{name}", "-x", "sshd", check=False)


def stop(host: Namespace) -> None:
    """End the listener and every session, and wait for it: a kill takes effect a moment after it is sent."""
    signal_all(host, "KILL")
    wait_until(lambda: host.run("/usr/bin/pgrep", "-x", "sshd", check=False).returncode != 0, "sshd's end")
