"""A database that is full or locked while a poll runs, with SQLite doing it for real."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from relays.models import Host, Instance, InstanceState
from relays.models.host import PollOutcome
from relays.services import collect
from tests.far_side import Sshd, host_row, inventory_row, snapshot_row

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has no such limit to set")
@pytest.mark.django_db(transaction=True)
def test_a_full_disk_is_told_and_the_next_poll_works(sshd: Sshd, host: Host) -> None:
    names = [f"i{n}" for n in range(200)]
    sshd.answers(
        {
            "inventory": [inventory_row(name) for name in names],
            "snapshot": [*map(snapshot_row, names), host_row()],
        }
    )
    with _full():
        poll = collect.poll_host(host_id=host.pk, force=True)
    assert poll is not None
    assert poll.outcome == PollOutcome.INCOMPLETE
    assert poll.error.endswith("the console's database refused it: database or disk is full")
    assert not Instance.objects.exists()
    again = collect.poll_host(host_id=host.pk, force=True)
    assert again is not None and again.outcome == PollOutcome.COMPLETE
    assert InstanceState.objects.filter(deferred=412).count() == 200


@contextmanager
def _full() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        pages = cursor.fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages + 1}")
        yield
        cursor.execute("PRAGMA max_page_count = 1073741823")


class Console:
    """manage.py in its own process, on SQLite in its own folder."""

    def __init__(self, data: Path, sshd: Sshd) -> None:
        self._database = data / "fleet.sqlite3"
        self._environment = os.environ | {
            "FLEET_DATA": str(data),
            "FLEET_READ_KEY": str(sshd.key_path),
            "DJANGO_SETTINGS_MODULE": "fleet.settings",
            "DATABASE_URL": f"sqlite:///{self._database}",
        }

    def start(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, text=True
        )

    def manage(self, *command: str) -> str:
        with self.start("manage.py", *command) as process:
            out, _ = process.communicate(timeout=90)
        assert process.returncode == 0, out
        return out

    def lock(self) -> sqlite3.Connection:
        locker = sqlite3.connect(self._database, isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        return locker


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    server = Sshd(tmp_path_factory.mktemp("far-side"))
    server.answers({"inventory": [inventory_row("msn-a")], "snapshot": [snapshot_row("msn-a"), host_row()]})
    server.start()
    console = Console(tmp_path_factory.mktemp("data"), server)
    console.manage("migrate", "-v0")
    add = ["relay", "add", "127.0.0.1", "--port", str(server.port), "--name", "rustin", "--yes"]
    console.manage(*add, "--user", server.target().user)
    yield console
    server.stop()


def test_a_short_lock_is_waited_for(console: Console) -> None:
    locker = console.lock()
    with console.start("manage.py", "collect") as process:
        time.sleep(3)
        assert process.poll() is None
        locker.rollback()
        out, _ = process.communicate(timeout=60)
    locker.close()
    assert out.startswith("rustin: complete, 1 instances")


def test_a_lock_that_stays_is_told_and_the_next_poll_works(console: Console) -> None:
    locker = console.lock()
    # As manage.py does, but it gives up on the lock after a second and not after twenty.
    impatient = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from django.conf import settings\n"
        "settings.DATABASES['default']['OPTIONS']['timeout'] = 1\n"
        "call_command('collect')\n"
    )
    with console.start("-c", impatient) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == "rustin: incomplete: The console's database failed: database is locked\n"
    locker.rollback()
    locker.close()
    assert "rustin: complete, 1 instances" in console.manage("collect")
