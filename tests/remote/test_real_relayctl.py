"""The client and relayctl itself, as ./run relayctl builds it, with a Postfix that is only configured."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relays.agent.build import build
from relays.domain.filters import QueueFilter
from relays.remote import relayctl, ssh
from relays.remote.errors import RemoteError
from tests.far_side import Sshd


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("real"))
    program = server.folder / "relayctl.pyz"
    program.write_bytes(build())
    server.says(f"#!/bin/sh\nexec {sys.executable} -I {program}\n")
    server.start()
    yield server
    ssh.close_all()
    server.stop()


def test_hello_names_the_very_file_that_was_built(real: Sshd) -> None:
    answer = relayctl.hello(real.target())
    assert answer.header.sha256 == hashlib.sha256(build()).hexdigest()
    assert answer.header.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert abs(answer.clock_skew_s) < 1


def test_inventory_and_snapshot_agree_on_the_instances(real: Sshd) -> None:
    listed = {(i.config_dir, i.name) for i in relayctl.inventory(real.target()).instances}
    snapshot = relayctl.snapshot(real.target())
    assert {(i.config_dir, i.name) for i in snapshot.instances} == listed
    assert snapshot.host["cpus"] == int(subprocess.check_output(["nproc", "--all"]))
    assert not snapshot.truncated


def test_what_it_refuses_is_an_error_here(real: Sshd) -> None:
    with pytest.raises(RemoteError):
        relayctl.queue_list(real.target(), instance="no-such-instance", wanted=QueueFilter())
