"""relayctl install and uninstall, by root on a machine of its own, with a real sshd."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relays.agent.build import build
from tests.agent import systemctl
from tests.agent.sandbox import Sandbox

pytestmark = pytest.mark.lab

KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
PYZ = "/root/relayctl.pyz"
PROGRAM = "/usr/local/libexec/relay-fleet/relayctl.pyz"
KEYS = "/etc/ssh/relay-fleet/relay-read.keys"
SNIPPET = "/etc/ssh/sshd_config.d/60-relay-fleet.conf"
UNITS = [
    f"/etc/systemd/system/relay-fleet-{unit}.{kind}"
    for unit in ("guard", "lease")
    for kind in ("service", "timer")
]
MANIFEST = "/var/lib/relay-fleet/manifest.json"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Sandbox]:
    """A host that systemd runs, as far as files and a stand-in for systemctl can show it."""
    with Sandbox(tmp_path / "host") as sandbox:
        sandbox.write(PYZ, build(), 0o755)
        sandbox.run("ssh-keygen", "-A")
        sandbox.run("mkdir", "-p", "/run/systemd/system", "/etc/systemd/system")
        sandbox.write("/usr/local/sbin/systemctl", systemctl.script(), 0o755)
        for real in ("/usr/bin/systemctl", "/bin/systemctl"):
            if Path(real).exists():
                sandbox.run("mount", "--bind", "/usr/local/sbin/systemctl", real)
        yield sandbox


def install(host: Sandbox, *more: str, key: str = KEY, check: bool = True) -> list[str]:
    """Run install; return the changes it lists."""
    done = host.run(PYZ, "install", "--read-key", key, "--json", *more, check=check)
    return list(json.loads(done.stdout)["changes"]) if done.stdout else []


def refusal(host: Sandbox, *arguments: str, env: dict[str, str] | None = None) -> str:
    done = host.run(PYZ, *arguments, check=False, env=env)
    assert done.returncode == 10, done
    return done.stderr.decode()


def state(host: Sandbox) -> dict[str, object]:
    """Return all that an installation may change: files below the folders it touches, users and groups."""
    listed = host.run(
        "find", "/etc", "/usr/local", "/var/lib", "-xdev", "-printf", "%p %m %u %g %y %l\\n"
    ).stdout
    # useradd's own back-ups and locks are not ours, nor is the time it notes.
    left = [line for line in listed.decode().splitlines() if not line.split()[0].endswith(("-", ".lock"))]
    active = host.run("find", "/run/stand-in", "-name", "relay-fleet*", check=False).stdout
    accounts = {name: host.inside(f"/etc/{name}").read_text() for name in ("passwd", "group", "shadow")}
    return {"files": sorted(left), "units": active, **accounts}


def test_without_yes_it_lists_the_changes_and_makes_none(host: Sandbox) -> None:
    before = state(host)
    changes = install(host)

    assert state(host) == before
    for thing in (PROGRAM, KEYS, SNIPPET, *UNITS, "relay-read", "adm"):
        assert any(thing in change for change in changes)


def test_with_yes_it_makes_them_and_a_second_time_there_is_nothing_to_do(host: Sandbox) -> None:
    planned = install(host)

    assert install(host, "--yes") == planned
    assert host.inside(PROGRAM).read_bytes() == build()
    assert host.inside(PROGRAM).stat().st_mode & 0o7777 == 0o755
    assert host.inside(KEYS).read_text() == f'restrict,command="{PROGRAM}" {KEY} relay-fleet\n'
    assert host.run("id", "-nG", "relay-read").stdout.split() == [b"relay-read", b"adm"]
    assert ":*:" in next(
        line for line in host.inside("/etc/shadow").read_text().splitlines() if line.startswith("relay-read")
    )
    after = state(host)
    assert install(host, "--yes") == []
    assert state(host) == after


def test_uninstall_leaves_the_host_as_it_was(host: Sandbox) -> None:
    before = state(host)
    install(host, "--yes")
    listed = host.run(PYZ, "uninstall").stdout.decode()
    assert host.inside(PROGRAM).exists()
    host.run(PYZ, "uninstall", "--yes")

    assert PROGRAM in listed
    assert state(host) == before


def test_systemd_starts_the_guard_from_now_on(host: Sandbox) -> None:
    install(host, "--yes")

    assert host.inside("/run/stand-in/active/relay-fleet-guard.timer").exists()
    assert host.run("systemctl", "is-enabled", "relay-fleet-guard.timer", check=False).returncode == 0
    asked = host.inside("/run/stand-in/calls").read_text().splitlines()
    assert asked.index("enable --now relay-fleet-guard.timer") > asked.index("daemon-reload")
    assert host.run(PYZ, "install", "--read-key", KEY, "--json").stdout.endswith(b'"notes": []}\n')


@pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="a host without systemd cannot check its units"
)
def test_systemd_finds_nothing_wrong_with_the_units(host: Sandbox) -> None:
    install(host, "--yes")
    checked = host.run("systemd-analyze", "verify", "--man=no", *UNITS, check=False)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_host_without_systemd_gets_no_unit_but_the_line_for_its_init_script(host: Sandbox) -> None:
    host.run("rmdir", "/run/systemd/system")
    said = host.run(PYZ, "install", "--read-key", KEY, "--yes").stdout.decode()

    assert said.endswith(f"have an init script start, as root: {PROGRAM} guard --every 15\n")
    assert not any(host.inside(unit).exists() for unit in UNITS)
    assert not host.inside("/run/stand-in").exists()


def test_a_unit_that_was_changed_by_hand_is_kept(host: Sandbox) -> None:
    install(host, "--yes")
    host.write(UNITS[0], "# mine\n")

    assert UNITS[0] in refusal(host, "install", "--read-key", KEY, "--yes")
    host.run(PYZ, "uninstall", "--yes")
    assert host.inside(UNITS[0]).read_text() == "# mine\n"
    assert not host.inside(UNITS[1]).exists()


def test_a_key_is_bound_to_where_the_console_is(host: Sandbox) -> None:
    install(host, "--from", "198.51.100.7, 203.0.113.0/24", "--yes")

    assert host.inside(KEYS).read_text().startswith('restrict,from="198.51.100.7,203.0.113.0/24",command=')


def test_another_key_replaces_the_first(host: Sandbox) -> None:
    install(host, "--yes")
    changes = install(host, "--from", "198.51.100.7", "--yes")

    assert len(changes) == 1
    assert changes[0].startswith(f"replace {KEYS}")
    assert "198.51.100.7" in host.inside(KEYS).read_text()


def test_what_was_changed_by_hand_is_not_overwritten_unless_asked(host: Sandbox) -> None:
    install(host, "--yes")
    host.write(KEYS, "# mine\n")

    assert KEYS in refusal(host, "install", "--read-key", KEY, "--yes")
    assert host.inside(KEYS).read_text() == "# mine\n"
    install(host, "--overwrite", "--yes")
    assert KEY in host.inside(KEYS).read_text()


def test_uninstall_keeps_what_was_changed_by_hand_and_says_so(host: Sandbox) -> None:
    install(host, "--yes")
    host.write(KEYS, "# mine\n")
    said = host.run(PYZ, "uninstall", "--yes").stdout.decode()

    assert f"keep {KEYS}: it was changed by hand" in said
    assert host.inside(KEYS).read_text() == "# mine\n"
    assert not host.inside(PROGRAM).exists()
    assert not host.inside(MANIFEST).exists()


def test_a_user_that_was_there_before_is_kept(host: Sandbox) -> None:
    host.run("useradd", "--system", "--password", "*", "relay-read")
    install(host, "--yes")
    host.run(PYZ, "uninstall", "--yes")

    assert b"relay-read" in host.run("id", "-nG", "relay-read").stdout
    assert b"adm" not in host.run("id", "-nG", "relay-read").stdout


def test_a_lost_mode_is_set_again(host: Sandbox) -> None:
    install(host, "--yes")
    host.inside(PROGRAM).chmod(0o777)

    assert [change.partition(" /")[0] for change in install(host, "--yes")] == ["set owner and mode of"]
    assert host.inside(PROGRAM).stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--read-key", "ssh-rsa AAAA"], "--read-key"),
        (["--read-key", "ssh-ed25519 AAAA"], "--read-key"),
        (["--read-key", "ssh-ed25519 !!!!"], "--read-key"),
        (["--read-key", KEY, "--from", '1.2.3.4",command="x'], "--from"),
    ],
)
def test_what_is_no_key_or_no_address_is_refused(host: Sandbox, arguments: list[str], reason: str) -> None:
    assert reason in refusal(host, "install", *arguments, "--yes")


def test_it_is_refused_over_a_forced_command(host: Sandbox) -> None:
    env = {**os.environ, "SSH_ORIGINAL_COMMAND": "install"}

    assert "forced command" in refusal(host, "install", "--read-key", KEY, "--yes", env=env)
    assert "forced command" in refusal(host, "uninstall", "--yes", env=env)


def test_it_is_refused_to_anybody_but_root(host: Sandbox) -> None:
    host.write("/usr/local/relayctl.pyz", build(), 0o755)
    done = host.run(
        "/usr/local/relayctl.pyz", "install", "--read-key", KEY, "--yes", as_nobody=True, check=False
    )

    assert done.returncode == 10
    assert b"only root" in done.stderr


def test_it_is_refused_on_a_host_without_postfix(host: Sandbox) -> None:
    host.run("mount", "--bind", "/dev/null", "/usr/sbin/postqueue")
    before = state(host)

    assert "no Postfix" in refusal(host, "install", "--read-key", KEY, "--yes")
    assert state(host) == before


def test_it_is_refused_where_sshd_does_not_read_snippets(host: Sandbox) -> None:
    host.write("/etc/ssh/sshd_config", "UsePAM yes\n")

    assert "Include /etc/ssh/sshd_config.d/*.conf" in refusal(host, "install", "--read-key", KEY, "--yes")


def test_it_is_refused_where_sshd_s_configuration_is_broken_already(host: Sandbox) -> None:
    host.write("/etc/ssh/sshd_config.d/10-broken.conf", "NoSuchKeyword yes\n")

    assert "NoSuchKeyword" in refusal(host, "install", "--read-key", KEY, "--yes")


def test_a_snippet_that_would_have_no_effect_is_taken_back(host: Sandbox) -> None:
    host.write("/etc/ssh/sshd_config.d/10-first.conf", "Match User relay-read\n  ForceCommand /bin/false\n")

    assert "another setting of sshd" in refusal(host, "install", "--read-key", KEY, "--yes")
    assert not host.inside(SNIPPET).exists()


def test_a_manifest_that_cannot_be_read_stops_everything(host: Sandbox) -> None:
    host.write(MANIFEST, "{broken")

    assert MANIFEST in refusal(host, "uninstall", "--yes")


# Replaces one of the calls that change the host by an end without warning.
_KILLED = """
import os, signal, sys
sys.path.insert(0, {pyz!r})
from relays.agent import commands, items, sshd
left = {calls}
def fatal(function):
    def call(*arguments, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **more)
    return call
for name in ("rename", "mkdir", "unlink", "fsync"):
    setattr(os, name, fatal(getattr(os, name)))
items.command, sshd.reload = fatal(items.command), fatal(sshd.reload)
commands.run({arguments!r}, open({pyz!r}, "rb").read())
"""


# Each takes seconds: the two ends share the points at which it is killed.
@pytest.mark.parametrize(("end", "first"), [("install again", 0), ("uninstall", 3)])
@pytest.mark.usefixtures("unmeasured")
def test_killed_anywhere_it_is_completed_or_removed(host: Sandbox, end: str, first: int) -> None:
    before = state(host)
    arguments = ["install", "--read-key", KEY, "--yes"]
    for calls in range(first, 120, 8):
        killed = host.run(
            "python3", "-c", _KILLED.format(pyz=PYZ, calls=calls, arguments=arguments), check=False
        )
        if end == "install again":
            install(host, "--yes")
            assert host.inside(KEYS).read_text().endswith("relay-fleet\n")
            assert install(host) == []
        host.run(PYZ, "uninstall", "--yes")
        assert state(host) == before, f"after {calls} calls"
        if killed.returncode == 0:
            break
    assert killed.returncode == 0
    assert calls > 15


@pytest.mark.usefixtures("unmeasured")
def test_uninstall_killed_anywhere_is_completed_by_another(host: Sandbox) -> None:
    before = state(host)
    for calls in range(0, 120, 8):
        install(host, "--yes")
        program = _KILLED.format(pyz=PYZ, calls=calls, arguments=["uninstall", "--yes"])
        killed = host.run("python3", "-c", program, check=False)
        host.run(PYZ, "uninstall", "--yes")
        assert state(host) == before, f"after {calls} calls"
        if killed.returncode == 0:
            break
    assert killed.returncode == 0


def test_a_full_disk_is_told_and_the_next_install_goes_on(host: Sandbox) -> None:
    host.run("mkdir", "-p", "/usr/local/libexec")
    host.run("mount", "-t", "tmpfs", "-o", "size=8k,mode=755", "tmpfs", "/usr/local/libexec")
    done = host.run(PYZ, "install", "--read-key", KEY, "--yes", check=False)
    host.run("umount", "/usr/local/libexec")

    assert done.returncode == 30
    assert b"No space left" in done.stderr
    install(host, "--yes")
    assert host.inside(PROGRAM).read_bytes() == build()


def test_a_key_reaches_relayctl_through_sshd_and_nothing_else(host: Sandbox, tmp_path: Path) -> None:
    sshd = subprocess.Popen(host.command(["/usr/sbin/sshd", "-D", "-o", "ListenAddress=127.0.0.1"]))
    try:
        host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key")
        public = host.inside("/root/key.pub").read_text()
        _wait_for_port(host)
        install(host, "--yes", key=public)
        request = b'{"v": 1, "req_id": "0123456789", "verb": "hello"}'
        asked = _ssh(host, request, "relay-read@127.0.0.1", "rm -rf / ; id")
        header = json.loads(asked.stdout.splitlines()[0])
        assert header["verb"] == "hello"
        assert asked.stderr == b""
        assert b"refused" not in asked.stdout
        assert _ssh(host, request, "-W", "127.0.0.1:22", "relay-read@127.0.0.1").returncode == 255
        host.run(PYZ, "uninstall", "--yes")
        assert _ssh(host, request, "relay-read@127.0.0.1", "").returncode == 255
    finally:
        sshd.send_signal(signal.SIGTERM)
        sshd.wait(10)


def _ssh(host: Sandbox, request: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    options = ["-i", "/root/key", "-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
    options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    return host.run("ssh", *options, *arguments, stdin=request, check=False)


def _wait_for_port(host: Sandbox) -> None:
    give_up_at = time.monotonic() + 10
    while b":22 " not in host.run("ss", "-ltn").stdout:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
