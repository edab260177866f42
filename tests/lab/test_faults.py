"""Faults that tests and rehearsals ask of a host: each really happens, and ends."""

import socket
import subprocess
import time
from pathlib import Path

import pytest

from fleet.rehearsal import Fleet, faults
from fleet.rehearsal.host import Host

from .conftest import Wait

pytestmark = pytest.mark.lab


@pytest.fixture
def visitor(fleet: Fleet, tmp_path: Path) -> "Visitor":
    """Somebody with an account on leslie."""
    return Visitor(fleet.host("leslie"), tmp_path)


class Visitor:
    """An SSH client with a key of its own that trusts only the host's own key."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)], check=True)
        host.run(["useradd", "--create-home", "--password", "*", "--shell", "/bin/sh", "visitor"])
        host.run(["mkdir", "-p", "/home/visitor/.ssh"])
        host.path("/home/visitor/.ssh/authorized_keys").write_text(self._key.with_suffix(".pub").read_text())
        self.trust(host.host_key)

    def trust(self, host_key: str) -> None:
        (self._folder / "known").write_text(f"{self._host.ssh_address} {host_key}\n")

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        options = ["-F", "none", "-i", str(self._key), "-o", f"UserKnownHostsFile={self._folder / 'known'}"]
        options += ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=3"]
        argv = ["ssh", *options, f"visitor@{self._host.ssh_address}", command]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)


def test_the_console_reaches_a_host_by_ssh_and_its_key_is_known(visitor: Visitor) -> None:
    assert visitor.run("hostname").stdout == "leslie\n"


def test_a_skewed_clock_shows_to_ssh_sessions_and_to_nothing_else(visitor: Visitor, fleet: Fleet) -> None:
    host = fleet.host("leslie")
    faults.skew_clock(host, 3600)
    try:
        skew = int(visitor.run("date +%s").stdout) - time.time()
        assert 3590 < skew < 3610
        assert abs(int(host.run(["date", "+%s"]).stdout) - time.time()) < 10
    finally:
        faults.true_clock(host)
    assert abs(int(visitor.run("date +%s").stdout) - time.time()) < 10


def test_a_changed_host_key_is_noticed(visitor: Visitor, fleet: Fleet) -> None:
    host = fleet.host("leslie")
    before = host.host_key
    faults.change_host_key(host)
    assert host.host_key != before
    refused = visitor.run("hostname")
    assert refused.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr
    visitor.trust(host.host_key)
    assert visitor.run("hostname").stdout == "leslie\n"


def test_a_suspended_sshd_accepts_and_says_nothing(fleet: Fleet) -> None:
    host = fleet.host("leslie")
    faults.suspend_sshd(host)
    try:
        with socket.create_connection((host.ssh_address, host.ssh_port), timeout=3) as connection:
            connection.settimeout(1)
            with pytest.raises(TimeoutError):
                connection.recv(20)
    finally:
        faults.resume_sshd(host)
    with socket.create_connection((host.ssh_address, host.ssh_port), timeout=3) as connection:
        assert connection.recv(4) == b"SSH-"


def test_in_a_black_hole_a_connection_gets_no_answer_at_all(fleet: Fleet) -> None:
    host = fleet.host("leslie")
    faults.black_hole(host)
    try:
        with pytest.raises(TimeoutError):
            socket.create_connection((host.ssh_address, host.ssh_port), timeout=1)
    finally:
        faults.end_black_hole(host)
    socket.create_connection((host.ssh_address, host.ssh_port), timeout=5).close()


def test_a_stopped_sshd_refuses(fleet: Fleet) -> None:
    host = fleet.host("leslie")
    faults.stop_sshd(host)
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host.ssh_address, host.ssh_port), timeout=3)
    finally:
        faults.restart_sshd(host)


def test_a_full_spool_takes_no_mail_and_loses_none(fleet: Fleet) -> None:
    host = fleet.host("leslie")
    faults.fill_spool(host)
    try:
        assert fleet.send(1, domain="gmail.com", via="leslie") == []
        written = host.run(["dd", "if=/dev/zero", "of=/var/spool/more", "bs=64k", "count=8"])
        assert "No space left on device" in written.stderr
    finally:
        host.path("/var/spool/more").unlink(missing_ok=True)
        faults.empty_spool(host)
    assert len(fleet.send(1, domain="gmail.com", via="leslie")) == 1


def test_an_instance_is_killed_stopped_and_started_alone(fleet: Fleet, until: Wait) -> None:
    killed, other = fleet.instance("aol-a"), fleet.instance("therest-a")
    faults.kill_instance(killed)
    until(lambda: not killed.running(), "the end of aol-a")
    assert other.running()
    killed.start()
    assert killed.running()
    killed.stop()
    assert not killed.running()
    killed.start()


def test_a_reboot_keeps_the_queue_and_changes_the_boot_id(fleet: Fleet, until: Wait) -> None:
    host = fleet.host("leslie")
    fleet.provider.set_rule("throttle", source="leslie")
    fleet.send(3, domain="gmail.com", via="leslie")
    until(lambda: fleet.instance("leslie").counts()["deferred"] >= 3, "3 deferred messages")
    queued = {message["queue_id"] for message in fleet.instance("leslie").postqueue()}
    boot_id = host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    key = host.host_key
    host.reboot()
    assert host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout != boot_id
    assert {message["queue_id"] for message in fleet.instance("leslie").postqueue()} == queued
    assert host.host_key == key
    socket.create_connection((host.ssh_address, host.ssh_port), timeout=5).close()
