"""A real sshd whose far side each test writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relays.remote import ssh
from tests.far_side import Sshd


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path)
    server.start()
    yield server
    ssh.close_all()
    server.stop()
