"""`./run` in a scratch checkout: how it makes its environment, and what it refuses in one line."""

import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings

# What `run` calls, besides Python, apt-get, sudo and uv: those are each test's own.
TOOLS = (
    *("cat", "cut", "dirname", "dpkg-query", "env", "flock", "grep", "id", "ln", "mkdir", "mktemp", "mv"),
    *("readlink", "rm", "sed", "sh", "sha256sum", "tail", "touch", "tr"),
)
PYTHON = sys.executable


class Checkout:
    """A copy of `run` beside a manage.py that prints its arguments, with a PATH that holds only TOOLS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.bin = folder / "bin"
        self.uv_log = folder / "uv.log"
        for made in (self.folder, self.bin):
            made.mkdir()
        shutil.copy(settings.BASE_DIR / "run", self.folder)
        (self.folder / "manage.py").write_text("import sys; print('manage', *sys.argv[1:])")
        self.require("")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.command("python3", f'exec {PYTHON} "$@"')

    def command(self, name: str, script: str) -> None:
        """Put a command on the PATH, in place of one that may be there."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def require(self, text: str) -> None:
        """Write the runtime's lock file."""
        (self.folder / "requirements.txt").write_text(text)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Start it as a user would, with nothing of this environment."""
        return subprocess.run(
            [self.folder / "run", *arguments],
            env={"PATH": str(self.bin), "HOME": str(self.folder.parent), "FLEET_NO_APT": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def environments(self) -> list[str]:
        """Return the names of the environments' folders."""
        return sorted(path.name for path in self.folder.glob(".venv-*") if path.is_dir())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def assert_refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    """One line, on standard error, after what it said of its progress; and a status that scripts see."""
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("run: ")
    assert words in last
    assert all(line.startswith("run: ") for line in done.stderr.splitlines())


@pytest.fixture
def with_uv(checkout: Checkout) -> Checkout:
    """A machine with uv: a double that logs what it is told, for the real one needs a registry."""
    checkout.command(
        "uv",
        f'echo "$UV_DEFAULT_INDEX $*" >>{checkout.uv_log}\n'
        'case "$1" in venv) for last; do :; done; mkdir -p "$last/bin"; '
        f'ln -s {PYTHON} "$last/bin/python" ;; esac',
    )
    return checkout


def test_the_first_start_builds_the_environment_and_the_second_only_uses_it(checkout: Checkout) -> None:
    first = checkout.run("manage", "check", "a b")
    assert first.stdout == "manage check a b\n", first.stderr
    [name] = checkout.environments()
    assert (checkout.folder / ".venv").readlink() == Path(name)

    started = time.monotonic()
    second = checkout.run("manage", "check")
    assert time.monotonic() - started < 2
    assert second.stderr == ""
    assert checkout.environments() == [name]


def test_a_bench_is_run_by_its_name_with_its_arguments(checkout: Checkout) -> None:
    (checkout.folder / "requirements-dev.txt").touch()
    bench = checkout.folder / "bench" / "speed.py"
    bench.parent.mkdir()
    bench.write_text("import sys; print('bench', *sys.argv[1:])")
    assert checkout.run("bench", "speed", "--json").stdout == "bench --json\n"


def test_a_changed_lock_file_makes_a_new_environment_and_removes_the_old(with_uv: Checkout) -> None:
    with_uv.run("manage")
    [old] = with_uv.environments()
    with_uv.require("# changed\n")
    assert with_uv.run("manage").returncode == 0
    [new] = with_uv.environments()
    assert new != old


def test_an_environment_whose_making_was_killed_is_made_again(with_uv: Checkout) -> None:
    whole = (with_uv.bin / "uv").read_text()
    with_uv.command("uv", f'{whole}\n[ "$1" = venv ] || kill -9 $PPID')
    assert with_uv.run("manage", "check").returncode == -signal.SIGKILL
    [half] = with_uv.environments()
    (with_uv.folder / half / "left").touch()
    assert not (with_uv.folder / ".venv").exists()

    with_uv.command("uv", whole)
    assert with_uv.run("manage", "check").stdout == "manage check\n"
    assert not (with_uv.folder / ".venv" / "left").exists()


def test_starts_at_once_make_one_environment(with_uv: Checkout) -> None:
    double = (with_uv.bin / "uv").read_text()
    with_uv.command("uv", f"sleep 0.3\n{double}")
    (with_uv.bin / "sleep").symlink_to(shutil.which("sleep") or "sleep")
    with ThreadPoolExecutor() as pool:
        starts = list(pool.map(lambda _: with_uv.run("manage", "check"), range(3)))
    assert [start.stdout for start in starts] == ["manage check\n"] * 3
    assert sum("is making the environment" in start.stderr for start in starts) == 2
    assert len(with_uv.uv_log.read_text().splitlines()) == 2


def test_an_unreachable_registry_is_refused_and_the_old_environment_stays(with_uv: Checkout) -> None:
    with_uv.run("manage")
    before = with_uv.environments()
    with_uv.require(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    (with_uv.bin / "uv").unlink()
    with_uv.command("python3", without("ensurepip"))

    registry = "http://127.0.0.1:9/simple"
    done = with_uv.run("manage", PIP_INDEX_URL=registry, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1")

    assert_refused(done, "the package registry cannot be reached")
    assert with_uv.environments() == before
    assert (with_uv.folder / ".venv").readlink() == Path(before[0])


def test_without_ensurepip_the_machines_own_pip_fills_the_environment(checkout: Checkout) -> None:
    checkout.command("python3", without("ensurepip"))
    done = checkout.run("manage", "check")
    assert done.stdout == "manage check\n", done.stderr
    assert not list(checkout.folder.glob(".venv/bin/pip*"))


def test_without_venv_support_and_rights_it_is_refused(checkout: Checkout) -> None:
    checkout.command("python3", without("ensurepip", "-m pip"))
    done = checkout.run("manage")
    assert_refused(done, "no venv support: install the package python3-venv")
    assert checkout.environments() == []


def test_an_old_python_is_refused_by_its_version(checkout: Checkout) -> None:
    checkout.command("python3", '[ "$1" = -V ] && echo Python 3.9.2 || exit 1')
    assert_refused(checkout.run("manage"), "Python 3.11 or newer is needed (Python 3.9.2)")


def test_a_machine_without_python_is_refused(checkout: Checkout) -> None:
    (checkout.bin / "python3").unlink()
    assert_refused(checkout.run("manage"), "Python 3.11 or newer is needed (there is none)")


def test_uv_is_used_where_it_is_and_told_the_registry_meant_for_pip(with_uv: Checkout) -> None:
    done = with_uv.run("manage", "check", PIP_INDEX_URL="http://registry.example/simple")
    assert done.stdout == "manage check\n", done.stderr
    made, filled = with_uv.uv_log.read_text().splitlines()
    assert made.startswith("http://registry.example/simple venv --quiet --python python3 .venv-")
    assert filled.endswith("--require-hashes -r requirements.txt")


@pytest.mark.parametrize("command", ["demo", "fleet", "test", "bench"])
def test_what_needs_root_is_refused_to_others(checkout: Checkout, command: str) -> None:
    checkout.command("id", "echo 1000")
    (checkout.folder / "bench").mkdir()
    (checkout.folder / "bench" / "poll.py").touch()
    arguments = ["bench", "poll"] if command == "bench" else [command]
    assert_refused(checkout.run(*arguments), f"sudo ./run {command}")


def test_missing_debian_packages_are_named_where_none_may_be_installed(checkout: Checkout) -> None:
    checkout.command("dpkg-query", "echo installed postfix")
    done = checkout.run("demo")
    assert_refused(done, "these Debian packages are missing: openssh-server ")
    assert "postfix" not in done.stderr


def test_an_unknown_command_and_an_unknown_bench_are_refused(checkout: Checkout) -> None:
    unknown = checkout.run("start")
    assert unknown.returncode == 1
    assert "there is no command 'start'" in unknown.stderr
    assert_refused(checkout.run("bench", "no-such"), "there is no 'no-such'")


def test_a_relative_data_folder_is_the_callers(with_uv: Checkout, tmp_path: Path) -> None:
    (with_uv.folder / "manage.py").write_text("import os; print(os.environ['FLEET_DATA'])")
    done = subprocess.run(
        [with_uv.folder / "run", "manage"],
        env={"PATH": str(with_uv.bin), "HOME": str(tmp_path), "FLEET_DATA": "data"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{tmp_path}/data\n", done.stderr


def without(*words: str) -> str:
    """Return a python3 that fails where one of these words is among its arguments."""
    tests = "".join(f'case "$*" in *"{word}"*) exit 1 ;; esac\n' for word in words)
    return f'{tests}exec {PYTHON} "$@"'
