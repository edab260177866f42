"""What the first start makes in the data folder, when several start at once and when it may not."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from fleet import bootstrap

STARTS = 8
# Says that it is there, waits for the word to go, and prints the key it got.
START = """
import sys
from pathlib import Path
from fleet.bootstrap import secret_key
print("ready", flush=True)
sys.stdin.readline()
print(secret_key(Path(sys.argv[1])))
"""
NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="fleet-bootstrap-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_starts_at_once_share_one_secret_key(tmp_path: Path) -> None:
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", START, tmp_path],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(STARTS)
    ]
    for start in starts:
        assert start.stdout is not None
        assert start.stdout.readline() == "ready\n"
    for start in starts:
        assert start.stdin is not None
        start.stdin.write("\n")
        start.stdin.flush()

    keys = {start.communicate()[0].strip() for start in starts}

    [path] = tmp_path.iterdir()
    assert keys == {path.read_text()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_start_takes_the_secret_key_that_another_made_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_meanwhile(_bytes: int) -> str:
        (tmp_path / "secret_key").write_text("theirs\n")
        return "ours"

    monkeypatch.setattr("secrets.token_urlsafe", made_meanwhile)
    assert bootstrap.secret_key(tmp_path) == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_what_a_start_that_was_killed_left_does_not_stop_the_next(tmp_path: Path) -> None:
    # In a container each start has the same process number.
    (tmp_path / f".secret_key.{os.getpid()}").touch(mode=0o600)
    assert len(bootstrap.secret_key(tmp_path)) > 50


def test_a_new_data_folder_of_another_user_is_refused(open_folder: Path) -> None:
    with as_nobody(), pytest.raises(bootstrap.DataDirUnusable, match=r"cannot be used \(Permission denied\)"):
        bootstrap.prepare_data_dir(open_folder)


def test_a_data_folder_that_is_complete_but_not_writable_is_refused(open_folder: Path) -> None:
    bootstrap.prepare_data_dir(open_folder)
    with as_nobody(), pytest.raises(bootstrap.DataDirUnusable, match="is not writable: set FLEET_DATA"):
        bootstrap.prepare_data_dir(open_folder)


def test_the_secret_key_of_another_user_is_refused(open_folder: Path) -> None:
    bootstrap.secret_key(open_folder)
    with as_nobody(), pytest.raises(bootstrap.DataDirUnusable, match="belongs to another user"):
        bootstrap.secret_key(open_folder)
