"""A real sshd on loopback whose forced command is a script of the test: the far side of relays/remote."""

import getpass
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relays.remote.ssh import Target

SHA256 = "ab" * 32
BOOT_ID = "6a8c2f9e-0000-4000-8000-000000000001"
# Reads the request, which has no newline, and tells its req_id and verb to what follows.
READ_REQUEST = r"""#!/bin/sh
IFS= read -r request
req_id=${request#*\"req_id\":\"}; req_id=${req_id%%\"*}
verb=${request#*\"verb\":\"}; verb=${verb%%\"*}
"""


class Sshd:
    """An sshd of its own: host key, log-in key, port and configuration under one folder."""

    def __init__(self, folder: Path, *, options: str = "", listen: Sequence[str] = ("127.0.0.1",)) -> None:
        self.folder = folder
        self.port = free_port()
        self.script = folder / "far-side"
        self.key_path = folder / "client_ed25519"
        self._options = options
        self._listen = listen
        self._process: subprocess.Popen[bytes] | None = None
        make_key(folder / "host_ed25519")
        make_key(self.key_path)
        public = self.key_path.with_suffix(".pub").read_text()
        (folder / "authorized_keys").write_text(f'restrict,command="{self.script}" {public}')
        self.says(READ_REQUEST)

    def says(self, script: str) -> None:
        """Set what the forced command runs: the whole text of a script."""
        # A new file under the old name: the old one may be running, and could not be written.
        fresh = self.script.with_suffix(".new")
        fresh.write_text(script)
        fresh.chmod(0o755)
        fresh.rename(self.script)

    def answers(self, rows: Mapping[str, Sequence[Mapping[str, Any]]], **header: Any) -> None:
        """Answer each verb named in rows as relayctl does."""
        self.says(reply_script(self.folder, rows, **header))

    def target(self, address: str = "127.0.0.1") -> Target:
        return Target(address, self.port, getpass.getuser(), self.host_key(), self.key_path)

    def host_key(self) -> str:
        return " ".join((self.folder / "host_ed25519.pub").read_text().split()[:2])

    def start(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        config = self.folder / "sshd_config"
        listen = "\n".join(f"ListenAddress {address}:{self.port}" for address in self._listen)
        # sshd takes the first of two settings.
        config.write_text(
            f"{self._options}\n{listen}\nHostKey {self.folder}/host_ed25519\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nStrictModes no\nPermitRootLogin yes\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 500:30:1000\n"
            # bash reads ~/.bashrc under sshd: the test's own, where it writes one.
            f"SetEnv HOME={self.folder}\n"
        )
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert sshd, "openssh-server is not installed"
        log = (self.folder / "sshd.log").open("ab")
        self._process = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=log)
        log.close()
        self._wait_until_up()

    def stop(self) -> None:
        """End the listener; connections that are open go on, as with a real restart."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def change_host_key(self) -> None:
        """Come back with another key on the same port."""
        self.stop()
        make_key(self.folder / "host_ed25519")
        self.start()

    def _wait_until_up(self) -> None:
        for _ in range(200):
            with socket.socket() as sock:
                if sock.connect_ex((self._listen[0], self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self.folder / "sshd.log").read_text())


def reply_script(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], **header: Any) -> str:
    """Return a script that answers each verb with stored rows, under the header of a real relayctl.

    `now` in the header is the real time plus clock_ahead_s; every other key is as given.
    """
    ahead = header.pop("clock_ahead_s", 0)
    fixed = {
        "v": 1,
        "ok": True,
        "relayctl": "0.1.0",
        "sha256": SHA256,
        "boot_id": BOOT_ID,
        "postfix": "3.7.11",
    }
    start = json.dumps(fixed | header, separators=(",", ":")).removesuffix("}")
    cases = []
    for verb, replies in {"hello": [], **rows}.items():
        stored = folder / f"{verb}.rows"
        lines = [json.dumps(row, separators=(",", ":")) for row in replies]
        lines.append(json.dumps({"end": True, "rows": len(replies), "truncated": False}))
        stored.write_text("\n".join(lines) + "\n")
        cases.append(f"{verb}) cat {stored};;")
    return (
        READ_REQUEST
        + f"now=$(($(date +%s) + {ahead}))\n"
        + f"""printf '%s,"req_id":"%s","verb":"%s","now":%s}}\\n' '{start}' "$req_id" "$verb" "$now"\n"""
        + f"case $verb in {' '.join(cases)} esac\n"
    )


def inventory_row(name: str, **other: Any) -> dict[str, Any]:
    """Return a row of `inventory` for an instance in good order."""
    last = sum(name.encode()) % 250 + 1
    return {
        "kind": "instance",
        "name": name,
        "config_dir": f"/etc/postfix-{name}",
        "running": True,
        "multi_instance_name": f"postfix-{name}",
        "multi_instance_group": "",
        "multi_instance_enable": True,
        "myhostname": f"{name}.rustin.example",
        "helo_name": f"{name}.rustin.example",
        "bind_addresses": [f"198.51.100.{last}"],
        "bind_addresses6": [],
        "inet_interfaces": [f"198.51.100.{last}"],
        "syslog_name": f"postfix-{name}",
        "log": {"kind": "file", "path": f"/var/log/postfix-{name}.log"},
        "queue_directory": f"/var/spool/postfix-{name}",
        "data_directory": f"/var/lib/postfix-{name}",
        "long_queue_ids": True,
        "transport_maps": "",
        "relayhost": "",
        "limits": {"maximal_queue_lifetime": "5d"},
        "conditions": [],
    } | other


def snapshot_row(name: str, **other: Any) -> dict[str, Any]:
    """Return a row of `snapshot` for an instance with 412 deferred messages, sampled now."""
    return {
        "kind": "instance",
        "name": name,
        "config_dir": f"/etc/postfix-{name}",
        "running": True,
        "sampled_at": time.time(),
        "took_ms": 41,
        "queues": {"incoming": 0, "active": 3, "deferred": 412, "hold": 0, "corrupt": None},
        "oldest_s": 2280,
        "size_bytes": 551233,
        "domains": {
            "total": 415,
            "distinct": 1,
            "rows": [["hotmail.com", 415, [3, 0, 12, 400, 0, 0, 0, 0, 0, 0]]],
            "other": [0, [0] * 10],
        },
        "replies": {
            "total": 412,
            "rows": [["host mx.hotmail.com[203.0.113.10] said: 421 4.7.0 rate limited", 412]],
            "other": 0,
            "sampled": 412,
        },
        "conditions": [{"code": "not_readable", "what": "corrupt", "detail": ""}],
    } | other


def unread_row(name: str, code: str, what: str = "queue", *, running: bool = True) -> dict[str, Any]:
    """Return a row of `snapshot` for a queue that could not be read."""
    return snapshot_row(
        name,
        running=running,
        queues=dict.fromkeys(("incoming", "active", "deferred", "hold", "corrupt")),
        oldest_s=None,
        size_bytes=None,
        domains=None,
        replies=None,
        conditions=[{"code": code, "what": what, "detail": "for this test"}],
    )


def host_row(**other: Any) -> dict[str, Any]:
    """Return the host's own row of `snapshot`."""
    spool = {
        "path": "/var/spool",
        "size_bytes": 10**10,
        "free_bytes": 5 * 10**9,
        "inodes": 0,
        "inodes_free": 0,
    }
    return {"kind": "host", "load": [0.1, 0.2, 0.3], "cpus": 2, "conditions": [], "spools": [spool]} | other


def log_row(source: str, offset: int, **other: Any) -> dict[str, Any]:
    """Return the row of a log in `log.read`: 100 lines, read to the end."""
    return {
        "kind": "log",
        "source": source,
        "cursor": {"v": 1, "offset": offset},
        "lines": 100,
        "unrecognized": 1,
        "samples": ["what is this"],
        "bytes": 12_000,
        "behind_bytes": 0,
        "first": time.time() - 60,
        "last": time.time() - 1,
        "conditions": [],
    } | other


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def make_key(path: Path) -> None:
    """Make an ed25519 key pair, in place of what was there."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
