"""A host behind a real sshd, as the services see it."""

import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_django import Settings

from relays.remote import ssh
from tests.far_side import Sshd, host_row, inventory_row, snapshot_row

if TYPE_CHECKING:
    from relays.models import Host


@pytest.fixture
def sshd(tmp_path: Path, settings: Settings) -> Iterator[Sshd]:
    """A far side with two instances in good order; its key is the console's read key."""
    server = Sshd(tmp_path)
    settings.READ_KEY_PATH = server.key_path
    server.answers(
        {
            "inventory": [inventory_row("msn-a"), inventory_row("aol-a")],
            "snapshot": [snapshot_row("msn-a"), snapshot_row("aol-a"), host_row()],
        }
    )
    server.start()
    yield server
    ssh.close_all()
    server.stop()


@pytest.fixture
def host(sshd: Sshd, db: None) -> "Host":
    # Models can be read only once Django is set up, which is after this file.
    from relays.models import Host  # noqa: PLC0415

    return Host.objects.create(
        name="rustin",
        ssh_address="127.0.0.1",
        ssh_port=sshd.port,
        ssh_user=getpass.getuser(),
        host_key=sshd.host_key(),
    )
