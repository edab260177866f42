"""relayctl install --write-key: the door through sudo, its upgrade and its end, with a real sshd."""

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from relays.agent.build import build
from tests.agent.sandbox import Sandbox
from tests.agent.test_relayctl_install import (
    _KILLED,
    KEY,
    PROGRAM,
    PYZ,
    _ssh,
    _wait_for_port,
    install,
    refusal,
    state,
)
from tests.agent.write_host import JOURNAL, journal, request

pytestmark = pytest.mark.lab

RULE = "/etc/sudoers.d/relay-fleet"
KEYS = "/etc/ssh/relay-fleet/relay-write.keys"
SNIPPET = "/etc/ssh/sshd_config.d/61-relay-fleet-write.conf"
DOOR = ("--write-key", KEY)
# Another program that does the same.
NEWER = build().replace(b"python3 -I", b"python3  -I", 1)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "host") as sandbox:
        sandbox.write(PYZ, build(), 0o755)
        sandbox.run("ssh-keygen", "-A")
        sandbox.run("mkdir", "/etc/relay-fleet")
        yield sandbox


def sha256(program: bytes) -> str:
    return hashlib.sha256(program).hexdigest()


def hello(host: Sandbox) -> str:
    """Return the SHA-256 that relayctl says it has, asked through sudo."""
    door = ["setpriv", "--reuid=relay-write", "--regid=relay-write", "--clear-groups", "--"]
    done = host.run(*door, "sudo", "-n", PROGRAM, stdin=request("hello"))
    told: str = json.loads(done.stdout.splitlines()[0])["sha256"]
    return told


def test_without_a_write_key_there_is_no_write_door(host: Sandbox) -> None:
    install(host, "--yes")

    assert not host.inside(RULE).exists()
    assert not host.inside(KEYS).exists()
    assert host.run("id", "relay-write", check=False).returncode != 0


def test_the_door_is_listed_first_made_then_and_complete_the_second_time(host: Sandbox) -> None:
    before = state(host)
    planned = install(host, *DOOR)
    assert state(host) == before
    for thing in (RULE, KEYS, SNIPPET, "relay-write", "/var/log/relay-fleet (root:relay-read, 2750)"):
        assert any(thing in change for change in planned), thing

    assert install(host, *DOOR, "--yes") == planned
    assert install(host, *DOOR, "--yes") == []
    assert hello(host) == sha256(build())
    assert host.inside(RULE).stat().st_mode & 0o7777 == 0o440
    assert host.inside(KEYS).read_text() == (
        f'restrict,command="/usr/bin/sudo -n {PROGRAM}" {KEY} relay-fleet\n'
    )
    assert host.run("id", "-nG", "relay-write").stdout.split() == [b"relay-write"]
    for folder in ("ops", "instances"):
        assert host.inside(f"/var/lib/relay-fleet/{folder}").stat().st_mode & 0o7777 == 0o700


def test_uninstall_takes_the_door_away_and_keeps_what_was_written_down(host: Sandbox) -> None:
    before = state(host)
    install(host, *DOOR, "--yes")
    host.run(PYZ, "uninstall", "--yes")
    assert state(host) == before

    install(host, *DOOR, "--yes")
    host.write(JOURNAL, "{}\n", 0o640)
    host.run(PYZ, "uninstall", "--yes")
    assert host.inside(JOURNAL).read_text() == "{}\n"
    assert not host.inside(RULE).exists()
    host.run("rm", "-r", str(Path(JOURNAL).parent))
    assert state(host) == before


def test_an_upgrade_leaves_the_new_digest_alone(host: Sandbox) -> None:
    install(host, *DOOR, "--yes")
    host.write(PYZ, NEWER, 0o755)
    changes = install(host, *DOOR, "--yes")

    # Both first, then the program, then the new one alone.
    assert [change.split()[1] for change in changes] == [RULE, PROGRAM, RULE]
    assert sha256(build()) not in host.inside(RULE).read_text()
    assert hello(host) == sha256(NEWER)
    assert install(host, *DOOR) == []


@pytest.mark.usefixtures("unmeasured")
def test_an_upgrade_killed_anywhere_leaves_a_door_that_opens_and_another_completes_it(host: Sandbox) -> None:
    arguments = ["install", "--read-key", KEY, *DOOR, "--yes"]
    for calls in range(60):
        host.write(PYZ, build(), 0o755)
        install(host, *DOOR, "--yes")
        host.write(PYZ, NEWER, 0o755)
        program = _KILLED.format(pyz=PYZ, calls=calls, arguments=arguments)
        killed = host.run("python3", "-c", program, check=False)
        assert hello(host) in (sha256(build()), sha256(NEWER)), f"after {calls} calls"
        install(host, *DOOR, "--yes")
        assert hello(host) == sha256(NEWER)
        assert sha256(build()) not in host.inside(RULE).read_text()
        if killed.returncode == 0:
            break
    assert killed.returncode == 0
    assert calls > 5


def test_an_upgrade_without_the_write_key_keeps_the_door_open(host: Sandbox) -> None:
    install(host, *DOOR, "--yes")
    host.write(PYZ, NEWER, 0o755)
    install(host, "--yes")

    assert hello(host) == sha256(NEWER)
    assert KEY in host.inside(KEYS).read_text()


@pytest.mark.usefixtures("unmeasured")
def test_a_first_install_killed_anywhere_is_completed_or_removed(host: Sandbox) -> None:
    before = state(host)
    arguments = ["install", "--read-key", KEY, *DOOR, "--yes"]
    for calls in range(0, 120, 9):
        program = _KILLED.format(pyz=PYZ, calls=calls, arguments=arguments)
        killed = host.run("python3", "-c", program, check=False)
        host.run("visudo", "-c", "-q")
        if calls % 2:
            install(host, *DOOR, "--yes")
            assert hello(host) == sha256(build())
        host.run(PYZ, "uninstall", "--yes")
        assert state(host) == before, f"after {calls} calls"
        if killed.returncode == 0:
            break
    assert killed.returncode == 0


def test_a_rule_that_was_changed_by_hand_is_not_overwritten(host: Sandbox) -> None:
    install(host, *DOOR, "--yes")
    host.write(RULE, "# mine\n", 0o440)
    host.write(PYZ, NEWER, 0o755)

    assert RULE in refusal(host, "install", "--read-key", KEY, *DOOR, "--yes")
    assert host.inside(PROGRAM).read_bytes() == build()


def test_a_rule_that_another_one_undoes_is_taken_back(host: Sandbox) -> None:
    host.write("/etc/sudoers.d/zz-site", "relay-write ALL = (ALL) !ALL\n", 0o440)

    assert "sudo -n -l -U relay-write" in refusal(host, "install", "--read-key", KEY, *DOOR, "--yes")
    assert not host.inside(RULE).exists()
    assert not host.inside(KEYS).exists()


def test_sudo_that_reads_no_rules_or_is_broken_is_refused_with_nothing_changed(host: Sandbox) -> None:
    before = state(host)
    sudoers = host.inside("/etc/sudoers")
    original = sudoers.read_text()
    sudoers.write_text("root ALL=(ALL:ALL) ALL\n")
    assert "@includedir /etc/sudoers.d" in refusal(host, "install", "--read-key", KEY, *DOOR, "--yes")
    sudoers.write_text(original)
    host.write("/etc/sudoers.d/site", "nonsense\n", 0o440)
    assert "visudo" in refusal(host, "install", "--read-key", KEY, *DOOR, "--yes")
    host.inside("/etc/sudoers.d/site").unlink()
    host.run("mount", "--bind", "/dev/null", "/usr/bin/sudo")
    assert "needs sudo" in refusal(host, "install", "--read-key", KEY, *DOOR, "--yes")
    assert state(host) == before


def test_a_write_key_that_is_none_is_refused(host: Sandbox) -> None:
    assert "--write-key" in refusal(
        host, "install", "--read-key", KEY, "--write-key", "ssh-rsa AAAA", "--yes"
    )


def test_the_write_key_reaches_the_write_verbs_and_nothing_else(host: Sandbox) -> None:
    sshd = subprocess.Popen(host.command(["/usr/sbin/sshd", "-D", "-o", "ListenAddress=127.0.0.1"]))
    try:
        host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key")
        public = host.inside("/root/key.pub").read_text()
        _wait_for_port(host)
        host.run(PYZ, "install", "--read-key", KEY, "--write-key", public, "--yes")
        write = "relay-write@127.0.0.1"
        asked = _ssh(host, request("write.check"), write, "rm -rf / ; id")
        assert [json.loads(line).get("kind") for line in asked.stdout.splitlines()][1] == "host"
        assert asked.stderr == b""
        refused = _ssh(host, request("queue.run", op_id="1", fence=1, args={"instance": "no-such"}), write)
        assert b"no instance no-such" in refused.stdout
        assert refused.returncode == 10
        assert journal(host)[-1]["from"] == "127.0.0.1"
        for arguments in (
            ["-W", "127.0.0.1:22", write],
            ["-N", "-o", "ExitOnForwardFailure=yes", "-R", "9:h:9", write],
        ):
            assert _ssh(host, b"", *arguments).returncode == 255
        for arguments in ([write, "-tt", "sh"], ["-s", write, "sftp"], [write, f"sudo {PROGRAM} install"]):
            done = _ssh(host, b"id\n", *arguments)
            assert b'"bad_request"' in done.stdout or b"PTY allocation request failed" in done.stderr
            assert b"uid=" not in done.stdout
        # A client's variables reach neither the shell nor root.
        env = ["-o", "SetEnv=SSH_CONNECTION=203.0.113.1 LANG=de_DE LD_PRELOAD=/x.so PYTHONPATH=/x", write]
        assert _ssh(host, b"{", *env).returncode == 13
        assert journal(host)[-1]["from"] == "127.0.0.1"
        assert _ssh(host, request("hello"), "relay-read@127.0.0.1").returncode == 255
        host.run(PYZ, "uninstall", "--yes")
        assert _ssh(host, request("hello"), write).returncode == 255
    finally:
        sshd.send_signal(signal.SIGTERM)
        sshd.wait(10)
