"""Up, down and what lies between: fleets beside each other, and nothing left of one that is gone."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.rehearsal import Fleet, cli, namespaces, spec
from fleet.rehearsal.errors import NotUp, RehearsalError
from fleet.rehearsal.namespaces import CORE
from fleet.rehearsal.spec import HostSpec, InstanceSpec

from .conftest import Wait, guarded

pytestmark = pytest.mark.lab

_ONE_HOST = (HostSpec("solo", 10, "rfc3339", (InstanceSpec("msn-a", "msn", "198.51.100.11"),)),)


@pytest.fixture
def beside() -> Iterator[Fleet]:
    """A small second fleet, not up yet; its one instance has the address of another fleet's."""
    with guarded(Fleet(f"t{os.getpid()}b", hosts=_ONE_HOST, origins=(), logs="postlogd")) as fleet:
        yield fleet


def _traces(name: str) -> dict[str, set[str]]:
    """What a fleet of this name has on the machine; others may come and go beside it."""
    mark = f"fleet-rehearsal-{name}-"
    links = json.loads(_output("ip", "-json", "link"))
    interfaces = {link["ifname"] for link in links if link.get("ifalias", "").startswith(mark)}
    routes = _output("ip", "-4", "route")
    mounts = Path("/proc/self/mountinfo").read_text()
    folder = f"/run/fleet-rehearsal/{name}"
    return {
        "interfaces": interfaces,
        "routes": {line for line in routes.splitlines() if interfaces & set(line.split())},
        "mounts": {line for line in mounts.splitlines() if f"{folder}/" in line},
        "processes": {command for command in _commands() if mark in command},
        "files": {str(path) for path in Path(folder).parent.glob(f"{name}/**")},
    }


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _commands() -> set[str]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.add((folder / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


def _processes_of(fleet: Fleet) -> set[tuple[str, str]]:
    """PID and start time of every process in the fleet's PID namespaces, whatever it is called."""
    found = namespaces.find(fleet.state.token() or "-").values()
    own = {Path(f"/proc/{each.pid}/ns/pid").readlink() for each in found}
    return {process for process, namespace in _living() if namespace in own}


def _living() -> Iterator[tuple[tuple[str, str], Path]]:
    """Yield PID and start time, and the PID namespace, of each process of the machine that is no zombie."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            facts = (folder / "stat").read_text().rpartition(")")[2].split()
            if facts[0] not in ("Z", "X"):
                yield (folder.name, facts[19]), (folder / "ns/pid").readlink()
        except OSError:
            continue


def test_two_fleets_side_by_side_share_addresses_and_nothing_else(
    fleet: Fleet, beside: Fleet, until: Wait
) -> None:
    beside.up()
    assert beside.slot != fleet.slot
    beside.provider.set_rule("throttle", provider="msn", source="msn-a")
    here = fleet.send(3, domain="hotmail.com", via="msn-a")
    beside.send(4, domain="hotmail.com", via="msn-a")
    until(lambda: beside.instance("msn-a").counts()["deferred"] == 4, "4 deferred messages beside")
    until(lambda: {each["message_id"] for each in fleet.provider.accepted()} >= set(here), "3 messages here")
    assert beside.provider.accepted() == []
    assert "status=deferred" in beside.instance("msn-a").log(), "postlogd wrote no log"


def test_down_leaves_nothing(beside: Fleet) -> None:
    beside.up()
    during = _traces(beside.name)
    own = _processes_of(beside)
    assert during["processes"]
    assert during["files"]
    assert during["routes"]
    assert len(own) >= 8
    beside.down()
    assert not any(_traces(beside.name).values())
    assert not own & {process for process, _namespace in _living()}
    with pytest.raises(NotUp):
        beside.attach()


def test_a_fleet_whose_core_was_killed_goes_and_comes_back(beside: Fleet) -> None:
    beside.up()
    core = namespaces.find(beside.state.token() or "-")[CORE]
    os.kill(core.pid, signal.SIGKILL)
    beside.up()
    assert beside.instance("msn-a").running()
    beside.down()
    assert not any(_traces(beside.name).values())


def test_an_up_that_was_killed_half_way_leaves_nothing_after_down(beside: Fleet, until: Wait) -> None:
    up = subprocess.Popen(
        [sys.executable, "-m", "fleet.rehearsal", "up", "--no-register", "--name", beside.name],
        stdout=subprocess.DEVNULL,
    )
    until(lambda: len(namespaces.find(beside.state.token() or "-")) >= 2, "the first host of the fleet")
    up.kill()
    up.wait(timeout=10)
    beside.down()
    assert not any(_traces(beside.name).values())


def test_a_failed_up_leaves_nothing(beside: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = HostSpec("solo", 10, "rfc3339", (InstanceSpec("msn-a", "msn", "198.51.100.300"),))
    with pytest.raises(RehearsalError, match=r"198\.51\.100\.300"):
        Fleet(beside.name, hosts=(broken,), origins=()).up()
    assert not any(_traces(beside.name).values())


def test_status_tells_hosts_queues_providers_and_dns(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", "--json", "--name", fleet.name]) == 0
    status = json.loads(capsys.readouterr().out)
    relays = {host["name"]: host for host in status["hosts"] if not host["origin"]}
    assert {name: len(host["instances"]) for name, host in relays.items()} == {
        "rustin": 4,
        "cleveland": 4,
        "leslie": 1,
    }
    assert relays["rustin"]["host_key"].startswith("ssh-ed25519 AAAA")
    assert relays["leslie"]["instances"][0]["queues"].keys() == {"incoming", "active", "deferred", "hold"}
    assert {zone["server"] for zone in status["dns"]["zones"]} == {"bind", "powerdns"}
    assert status["errors"] == []
    assert cli.main(["status", "--name", fleet.name]) == 0
    assert "msn-a" in capsys.readouterr().out


def test_rules_are_switched_on_the_command_line(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    name = ["--name", fleet.name]
    assert cli.main(["provider", "set", "msn", "block", "--source", "msn-b", *name]) == 0
    assert fleet.provider.rules()[0]["source"] == "msn-b"
    assert cli.main(["provider", "set", "msn", "closed", "--source", "msn-b", *name]) == 1
    assert "a port is closed for everybody" in capsys.readouterr().err
    assert cli.main(["provider", "clear", "msn", *name]) == 0
    assert fleet.provider.rules() == []


def test_bulk_mail_is_switched_on_the_command_line(fleet: Fleet, until: Wait) -> None:
    name = ["--name", fleet.name]
    before = sum(fleet.traffic("show")["sent"].values())
    assert cli.main(["traffic", "rate", "20", *name]) == 0
    assert cli.main(["traffic", "start", *name]) == 0
    until(lambda: sum(fleet.traffic("show")["sent"].values()) >= before + 20, "20 more messages")
    assert cli.main(["traffic", "stop", *name]) == 0
    assert not fleet.traffic("show")["running"]


def test_a_command_runs_on_a_host(fleet: Fleet) -> None:
    argv = [
        sys.executable,
        "-m",
        "fleet.rehearsal",
        "exec",
        "--name",
        fleet.name,
        "cleveland",
        "--",
        "hostname",
    ]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "cleveland\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["status", "--name", "nowhere"], "no rehearsal fleet 'nowhere' is up"),
        (["up", "--name", "No Such"], "cannot name a fleet"),
        (["status", "--state", "/run/a:b"], "cannot be a state folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_a_missing_package_and_missing_rights_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "fleet.rehearsal.requirements._PACKAGES", {"bind9": "/nowhere/named", "postfix": "/bin/sh"}
    )
    assert cli.main(["up"]) == 1
    assert "these Debian packages are missing: bind9 (" in capsys.readouterr().err
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["up"]) == 1
    assert "run it as root" in capsys.readouterr().err


def test_the_demo_is_as_the_documentation_says() -> None:
    assert sum(len(host.instances) for host in spec.HOSTS) == 9
    assert [instance.name for instance in spec.HOSTS[2].instances] == ["default"]
