"""The guard's count of corrupt messages: published by root, believed by a snapshot only while it is true."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relays.agent import (
    children,
    commands,
    corrupt,
    drain,
    exclusive,
    guard,
    install,
    items,
    lease,
    postfix,
    snapshot,
    systemd,
)
from relays.agent.__main__ import main
from relays.agent.manifest import Manifest, write_file
from tests.agent import systemctl

SPOOL = "/var/spool/postfix-a"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the guard publishes in this test, as the user who runs it; nothing is there yet."""
    path = tmp_path / "relay-fleet/guard.json"
    monkeypatch.setattr(corrupt, "PATH", str(path))
    monkeypatch.setattr(corrupt, "_OWNER", os.geteuid())
    monkeypatch.setattr(items, "refuse_unsafe", lambda _directory: None)
    return path


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The queue directory of the one instance, a, of this host."""
    path = tmp_path / "spool"
    (path / "corrupt").mkdir(parents=True)
    monkeypatch.setattr(postfix, "places", lambda: [postfix.Place("a", "/etc/postfix-a")])
    monkeypatch.setattr(postfix, "parameters", lambda *_: {"queue_directory": str(path)})
    return path


def publish(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o644)


def published_now(**counts: Any) -> dict[str, Any]:
    return {"at": time.time(), "corrupt": {SPOOL: 7, **counts}}


# What the guard publishes


def test_files_are_counted_however_the_queue_is_hashed(spool: Path) -> None:
    (spool / "corrupt/4").mkdir()
    for name in ("one", "4/two", "4/three"):
        (spool / "corrupt" / name).touch()

    assert corrupt.count(str(spool)) == 3


def test_a_count_is_published_for_all_to_read(published: Path, spool: Path) -> None:
    (spool / "corrupt/one").touch()
    assert guard.run(None, "corrupt") == 0
    fields = json.loads(published.read_text())

    assert fields["corrupt"] == {str(spool): 1}
    assert 0 <= time.time() - fields["at"] < 20
    assert (published.stat().st_mode & 0o7777, published.parent.stat().st_mode & 0o7777) == (0o644, 0o755)
    assert [path.name for path in published.parent.iterdir()] == ["guard.json"]
    assert corrupt.published(str(spool)) == 1


def test_an_instance_that_cannot_be_counted_is_left_out(
    published: Path, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (spool / "corrupt").rmdir()
    guard.publish()

    assert json.loads(published.read_text())["corrupt"] == {}
    assert "a is not counted" in capsys.readouterr().err


def test_what_was_published_is_withdrawn(published: Path, spool: Path) -> None:
    guard.publish()
    guard.withdraw()
    guard.withdraw()

    assert spool.exists()
    assert not published.parent.exists()


class _Rounds:
    """Stands for time.sleep: ends the process by SIGTERM after so many rounds."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Rounds]:
    before = signal.getsignal(signal.SIGTERM)
    three = _Rounds(3)
    monkeypatch.setattr(time, "sleep", three)
    yield three
    signal.signal(signal.SIGTERM, before)


def test_it_goes_on_after_a_failed_round_and_ends_on_sigterm(
    published: Path, spool: Path, rounds: _Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_at_first(*arguments: Any) -> None:
        if not rounds.slept:
            raise OSError(28, "No space left on device")
        write_file(*arguments)

    monkeypatch.setattr(guard, "write_file", full_at_first)
    with pytest.raises(SystemExit) as ended:
        guard.run(20.0, "corrupt")

    assert (ended.value.code, rounds.slept) == (0, [20.0, 20.0, 20.0])
    assert json.loads(published.read_text())["corrupt"] == {str(spool): 0}


@pytest.mark.usefixtures("published", "spool")
def test_it_goes_on_when_nobody_listens(rounds: _Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **_more: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(guard, "write_file", fail)
    monkeypatch.setattr("builtins.print", fail)
    with pytest.raises(SystemExit):
        guard.run(20.0, "corrupt")

    assert len(rounds.slept) == 3


@pytest.mark.usefixtures("spool", "rounds")
def test_no_alarm_is_left_to_end_it_once_it_has_given_a_redirect_back(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((drain, "redirects"), (exclusive, "instances")):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(module, "DIRECTORY", str(tmp_path / name))
    monkeypatch.setattr(lease, "PUBLISHED", str(published.with_name("redirects.json")))
    monkeypatch.setattr(postfix, "is_running", lambda _queue_directory: False)
    monkeypatch.setattr(children, "find_program", lambda name: f"/usr/sbin/{name}")
    (tmp_path / "redirects/a").write_text("hotmail.com drain:[127.0.0.1]:2526\n")
    with pytest.raises(SystemExit):
        guard.run(20.0, "redirects")

    assert (tmp_path / "redirects/a").read_text() == drain.map_text(None)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


# Who may run it


def test_it_is_root_s_command_on_the_host_itself(
    published: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["guard"]) == 10
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "guard")
    assert main(["guard"]) == 10
    said = capsys.readouterr().err
    assert "only root" in said
    assert "forced command" in said
    assert not published.exists()

    monkeypatch.delenv("SSH_ORIGINAL_COMMAND")
    assert main(["guard", "--only", "corrupt"]) == 0
    assert str(spool) in published.read_text()


def test_a_disk_that_takes_nothing_is_told(
    published: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SSH_ORIGINAL_COMMAND", raising=False)
    published.parent.write_text("")

    assert spool.exists()
    assert commands.run(["guard", "--only", "corrupt"], None) == 30
    assert str(published.parent) in capsys.readouterr().err


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf", "91", "soon"])
def test_an_interval_that_would_let_the_count_grow_old_is_refused(every: str) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.run(["guard", "--every", every], None)

    assert ended.value.code == 2


# What a snapshot believes


def test_a_fresh_count_of_root_s_is_believed(published: Path) -> None:
    publish(published, published_now())

    assert corrupt.published(SPOOL) == 7


def refusal(queue_directory: str = SPOOL) -> str:
    with pytest.raises(corrupt.Unknown) as unknown:
        corrupt.published(queue_directory)
    return str(unknown.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not what the guard writes"),
        ("[]", "not what the guard writes"),
        ("[" * 100_000, "not what the guard writes"),
        ({"at": None, "corrupt": {}}, "not what the guard writes"),
        ({"at": 10**400, "corrupt": {}}, "not what the guard writes"),
        ({"at": 1, "corrupt": []}, "not what the guard writes"),
        ({"at": 1, "corrupt": {SPOOL: 7}}, "s old, over 180 s"),
        ({"at": float("nan"), "corrupt": {SPOOL: 7}}, "nan s old"),
    ],
)
def test_what_is_malformed_or_old_is_not_believed(published: Path, content: object, why: str) -> None:
    publish(published, content)

    assert why in refusal()


@pytest.mark.parametrize("age_s", [181, -3600])
def test_what_is_three_minutes_old_or_of_another_clock_is_not_believed(published: Path, age_s: int) -> None:
    publish(published, {"at": time.time() - age_s, "corrupt": {SPOOL: 7}})

    assert f"the guard's count is {age_s} s old" in refusal()


@pytest.mark.parametrize("counted", [-1, True, "7", 1.5, None])
def test_what_is_no_count_is_not_believed(published: Path, counted: object) -> None:
    publish(published, published_now(**{SPOOL: counted}))

    assert "could not count" in refusal()


def test_an_instance_that_is_not_in_it_is_not_counted_as_none(published: Path) -> None:
    publish(published, published_now())

    assert "could not count /var/spool/postfix-b" in refusal("/var/spool/postfix-b")


def test_without_a_guard_there_is_no_count(published: Path) -> None:
    assert refusal() == f"no guard publishes a count: {published} is not there"


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_is_not_believed(published: Path, mode: int) -> None:
    publish(published, published_now())
    published.chmod(mode)

    assert "only root can write" in refusal()


def test_another_user_s_file_is_not_believed(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(published, published_now())
    monkeypatch.setattr(corrupt, "_OWNER", os.geteuid() + 1)

    assert "only root can write" in refusal()


def test_neither_a_link_nor_a_pipe_is_read(published: Path, tmp_path: Path) -> None:
    publish(tmp_path / "elsewhere/guard.json", published_now())
    published.parent.mkdir()
    published.symlink_to(tmp_path / "elsewhere/guard.json")
    assert "guard.json: " in refusal()

    published.unlink()
    os.mkfifo(published, 0o644)
    assert "only root can write" in refusal()


def test_a_snapshot_says_what_is_known_of_corrupt_messages(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_allowed(_directory: str) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(corrupt, "count", not_allowed)
    row = snapshot._empty_row(postfix.Place("a", "/etc/postfix-a"))
    snapshot._count_corrupt(row, SPOOL)
    assert row["queues"]["corrupt"] is None
    (told,) = row["conditions"]
    assert (told["code"], told["what"]) == ("not_readable", "corrupt")
    assert "no guard" in told["detail"]

    publish(published, published_now())
    snapshot._count_corrupt(row, SPOOL)
    assert row["queues"]["corrupt"] == 7


def test_whoever_may_list_the_directory_needs_no_guard(published: Path, spool: Path) -> None:
    assert not published.exists()
    assert corrupt.number(str(spool)) == 0
    with pytest.raises(corrupt.Unknown, match="No such file"):
        corrupt.number(f"{spool}/gone")


# The units


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where units lie on a host that systemd runs, with a stand-in for systemctl."""
    path, program = tmp_path / "units", tmp_path / "systemctl"
    program.write_text(systemctl.script(units=str(path), state=str(tmp_path / "state")))
    program.chmod(0o755)
    monkeypatch.setattr(systemd, "UNITS", str(path))
    monkeypatch.setattr(systemd, "SERVICE", str(path / "relay-fleet-guard.service"))
    monkeypatch.setattr(systemd, "TIMER", str(path / "relay-fleet-guard.timer"))
    monkeypatch.setattr(systemd, "LEASE_SERVICE", str(path / "relay-fleet-lease.service"))
    monkeypatch.setattr(systemd, "LEASE_TIMER", str(path / "relay-fleet-lease.timer"))
    monkeypatch.setattr(systemd, "runs_host", lambda: True)
    monkeypatch.setattr(children, "find_program", lambda _name: str(program))
    monkeypatch.setattr(items, "refuse_unsafe", lambda _directory: None)
    monkeypatch.setattr(items, "has_mode", lambda _path, _mode: True)
    monkeypatch.setattr("relays.agent.manifest.PATH", str(tmp_path / "manifest/manifest.json"))
    return path


def planned(manifest: Manifest) -> list[install.Step]:
    return install.plan(systemd.guard("/opt/relayctl.pyz", overwrite=False), manifest)


def words(steps: list[install.Step]) -> list[str]:
    return [step.words.partition(" (")[0] for step in steps]


def test_units_are_planned_made_once_and_taken_away(units: Path, published: Path, tmp_path: Path) -> None:
    publish(published, published_now())
    service, timer = units / "relay-fleet-guard.service", units / "relay-fleet-guard.timer"
    manifest = Manifest([])
    steps = planned(manifest)
    assert words(steps) == [
        f"make directory {units}",
        f"write {service}",
        f"write {timer}",
        "enable and start relay-fleet-guard.timer",
        f"write {units / 'relay-fleet-lease.service'}",
        f"write {units / 'relay-fleet-lease.timer'}",
        "enable and start relay-fleet-lease.timer",
    ]

    install.apply(steps, manifest)
    assert "ExecStart=/opt/relayctl.pyz guard --only corrupt\n" in service.read_text()
    assert (units / "timers.target.wants/relay-fleet-guard.timer").is_symlink()
    assert (tmp_path / "state/active/relay-fleet-guard.timer").exists()
    assert planned(manifest) == []

    assert items.removal(manifest.records[-1]) == ("stop and disable relay-fleet-lease.timer", True)
    install.remove(manifest)
    assert not units.exists()
    assert list((tmp_path / "state").glob("*/*")) == []
    assert not published.exists()


@pytest.mark.parametrize("verb", ["stop", "disable"])
def test_a_timer_that_was_stopped_or_disabled_is_started_again(
    units: Path, tmp_path: Path, verb: str
) -> None:
    manifest = Manifest([])
    install.apply(planned(manifest), manifest)
    items.command("systemctl", verb, "relay-fleet-guard.timer")

    steps = planned(manifest)
    assert words(steps) == ["enable and start relay-fleet-guard.timer"]
    install.apply(steps, manifest)
    assert planned(manifest) == []


@pytest.mark.usefixtures("units")
def test_a_timer_is_taken_away_where_systemctl_no_longer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> str:
        raise children.NotInstalled(f"{name} is not here")

    monkeypatch.setattr(children, "find_program", gone)
    items.take_away({"kind": "timer", "key": "relay-fleet-guard.timer"})


def test_where_systemd_does_not_run_it_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    monkeypatch.setattr(items, "command", lambda *_: pytest.fail("systemctl was called"))

    assert not systemd.runs_host()
    systemd.reload()


def test_the_install_says_what_is_left_to_do_by_hand_without_systemd(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(systemd, "runs_host", lambda: False)
    monkeypatch.delenv("SSH_ORIGINAL_COMMAND", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("relays.agent.manifest.PATH", "/no/such/manifest")

    assert commands.run(["uninstall", "--json"], None) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert "relayctl.pyz guard --every 15" in note
    assert commands.run(["uninstall"], None) == 0
    assert capsys.readouterr().out.endswith("relayctl.pyz guard --every 15\n")
