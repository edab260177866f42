"""Faults of a host, for tests and rehearsals: each with what ends it."""

import os
from pathlib import Path

from fleet.rehearsal import files, network, spec, ssh
from fleet.rehearsal.errors import Unsuitable
from fleet.rehearsal.host import Host
from fleet.rehearsal.postfix import Instance

_SKEW = "/etc/ssh/sshd_config.d/00-clock.conf"
_SPOOL = "/var/spool"


def skew_clock(host: Host, seconds: float) -> None:
    """Let every new SSH session of the host see a clock that is `seconds` off.

    Namespaces share the machine's clock, so libfaketime turns it for what the session runs; the monotonic
    clock and programs that gain rights keep the true one. Raises Unsuitable without libfaketime.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise Unsuitable("turning a clock needs the Debian package libfaketime")
    shift = f"SetEnv LD_PRELOAD={library} FAKETIME={seconds:+g}s FAKETIME_DONT_FAKE_MONOTONIC=1\n"
    files.write(host.namespace.root, _SKEW, shift)
    restart_sshd(host)


def true_clock(host: Host) -> None:
    """End skew_clock."""
    host.path(_SKEW).unlink(missing_ok=True)
    restart_sshd(host)


def restart_sshd(host: Host) -> None:
    """End sshd with all its sessions and start it again."""
    ssh.stop(host.namespace)
    ssh.start(host.namespace)


def stop_sshd(host: Host) -> None:
    """End sshd with all its sessions: connections are refused until restart_sshd."""
    ssh.stop(host.namespace)


def change_host_key(host: Host) -> None:
    """Give the host another key, as a new installation or an impostor would have."""
    ssh.new_key(host.namespace)
    restart_sshd(host)


def suspend_sshd(host: Host) -> None:
    """Suspend sshd and its sessions: the kernel accepts connections, nobody answers."""
    ssh.signal_all(host.namespace, "STOP")


def resume_sshd(host: Host) -> None:
    """End suspend_sshd."""
    ssh.signal_all(host.namespace, "CONT")


def black_hole(host: Host) -> None:
    """Let every packet from the host to the console vanish: no refusal, no answer."""
    network.change_route(host.namespace, "add", _way_to_console(host))


def end_black_hole(host: Host) -> None:
    network.change_route(host.namespace, "del", _way_to_console(host))


def fill_spool(host: Host, *, free_bytes: int = 0) -> None:
    """Shrink the disk under the queues until only about free_bytes are left."""
    disk = os.statvfs(host.path(_SPOOL))
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    _resize_spool(host, f"{used + max(free_bytes, disk.f_frsize)}")


def empty_spool(host: Host) -> None:
    """End fill_spool; what is in the queues stays."""
    _resize_spool(host, host.spool_size)


def kill_instance(instance: Instance) -> None:
    """End an instance's processes by SIGKILL, as the kernel does when memory runs out."""
    pid_file = instance.namespace.root / instance.queue_directory.lstrip("/") / "pid/master.pid"
    # The master leads its process group, and its daemons are in it.
    instance.namespace.run("/usr/bin/kill", "-KILL", "--", f"-{pid_file.read_text().strip()}")


def _resize_spool(host: Host, size: str) -> None:
    host.namespace.run("/usr/bin/mount", "-o", f"remount,size={size}", _SPOOL)


def _way_to_console(host: Host) -> str:
    slot = int(host.ssh_address.removeprefix(f"{spec.MANAGEMENT_NET}.").partition(".")[0])
    return f"blackhole {network.management_address(slot, 1)}/32"
