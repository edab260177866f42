"""`manage.py up` with real processes: on each broker, through deaths, to its end."""

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.processes.console import STOPS_WITHIN_S, Console
from tests.servers import PostgreSQL, RabbitMQ, Redis, wait_for


class SilentHost:
    """Takes connections and says nothing: a poll of it lasts until its deadline."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.connections.append(self._listener.accept()[0])
            except OSError:
                return

    def hang_up(self) -> None:
        """End everything, polls under way and those to come; any number of times."""
        with suppress(OSError):
            # close() alone leaves accept() waiting in the other thread.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def silent_host() -> Iterator[SilentHost]:
    host = SilentHost()
    yield host
    host.hang_up()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Console]]:
    """Start consoles; at the end each must stop in time and leave nothing."""
    with ExitStack() as stack:

        def start(**environment: str) -> Console:
            console = Console(tmp_path / "data", environment)
            console.start()
            stack.callback(stops_cleanly, console)
            return console

        yield start


def stops_cleanly(console: Console) -> None:
    if console.process is not None and console.process.returncode is None:
        status, took_s = console.stop()
        assert status == 0, console.output()
        assert took_s < STOPS_WITHIN_S
    assert console.pids() == set(), console.output()


def poll(console: Console, host: SilentHost) -> None:
    """Register the host: it is due at once."""
    console.python(
        "from relays.models import Host;"
        f"Host.objects.create(name='silent', ssh_address='127.0.0.1', ssh_port={host.port},"
        " host_key='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA')"
    )


def outcome(console: Console) -> str:
    return console.python("from relays.models import Host; print(Host.objects.get().last_outcome)")


def both_live(console: Console) -> bool:
    return all(process["running"] for process in console.get("/readyz")["processes"].values())


@pytest.fixture(params=["filesystem", "redis", "rabbitmq"])
def console(request: pytest.FixtureRequest, start: Callable[..., Console]) -> Console:
    """A console on SQLite with the embedded broker, and on PostgreSQL with each of the others."""
    if request.param == "filesystem":
        return start()
    broker: Redis | RabbitMQ = request.getfixturevalue(request.param)
    postgresql: PostgreSQL = request.getfixturevalue("postgresql")
    database = postgresql.database(f"{request.param}_{os.urandom(4).hex()}")
    return start(CELERY_BROKER_URL=broker.url, DATABASE_URL=database)


def test_a_worker_killed_in_mid_poll_is_replaced_and_the_host_polled_again(
    console: Console, silent_host: SilentHost
) -> None:
    poll(console, silent_host)
    wait_for(lambda: len(silent_host.connections) == 1, "the first poll")
    wait_for(lambda: both_live(console), "a sign of life of worker and scheduler")
    [worker] = console.pids("\0worker\0")

    os.kill(worker, signal.SIGKILL)

    wait_for(lambda: len(silent_host.connections) >= 2, "the poll by the next worker")
    assert worker not in console.pids("\0worker\0")
    assert "ended with status -9; starts again" in console.output()
    silent_host.hang_up()
    wait_for(lambda: outcome(console) == "unreachable", "the truthful outcome")


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_polls_go_on_when_a_broker_that_was_gone_is_back(
    name: str,
    request: pytest.FixtureRequest,
    start: Callable[..., Console],
    postgresql: PostgreSQL,
    silent_host: SilentHost,
) -> None:
    broker: Redis | RabbitMQ = request.getfixturevalue(name)
    console = start(
        CELERY_BROKER_URL=broker.url, DATABASE_URL=postgresql.database(f"gone_{os.urandom(4).hex()}")
    )
    wait_for(lambda: both_live(console), "a sign of life of worker and scheduler")

    broker.stop()
    poll(console, silent_host)
    assert console.get("/healthz") == {"alive": True}
    assert console.get("/readyz")["ready"] is True
    assert silent_host.connections == []
    broker.start()

    wait_for(lambda: len(silent_host.connections) >= 1, "a poll after the broker's return", within_s=90)
    silent_host.hang_up()


def test_ctrl_c_in_mid_poll_ends_everything_in_time(
    start: Callable[..., Console], silent_host: SilentHost
) -> None:
    console = start()
    poll(console, silent_host)
    wait_for(lambda: len(silent_host.connections) == 1, "a poll")
    assert len(console.pids()) > 3

    status, took_s = console.stop(signal.SIGINT)

    assert status == 0, console.output()
    assert took_s < STOPS_WITHIN_S
    assert console.pids() == set()


def test_kill_9_of_the_parent_leaves_no_process(start: Callable[..., Console]) -> None:
    console = start()
    assert len(console.pids()) > 3
    console.stop(signal.SIGKILL)
    wait_for(lambda: console.pids() == set(), "the end of the children", within_s=10)


def test_the_first_start_prints_a_password_once_and_the_next_keeps_the_secrets(
    start: Callable[..., Console], tmp_path: Path
) -> None:
    console = start()
    console.stop()
    assert console.output().count("one-time password") == 1
    assert f"http://127.0.0.1:{console.port}/" in console.output()
    secret = tmp_path / "data" / "secret_key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    before = secret.read_text()

    console.start()
    console.stop()

    assert secret.read_text() == before
    assert console.output().count("one-time password") == 1


def test_a_second_console_with_the_same_data_is_refused_in_one_line(
    start: Callable[..., Console],
) -> None:
    console = start()
    refusal = Console(console.data_dir, {}).refusal()
    assert refusal == (
        f"CommandError: Relay Fleet already runs with the data folder {console.data_dir}: "
        "stop it, or set FLEET_DATA to another folder.\n"
    )


def test_a_busy_port_is_refused_in_one_line_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        refusal = Console(tmp_path / "data", {"FLEET_PORT": str(port)}).refusal()
    assert refusal == (
        f"CommandError: Cannot listen on 127.0.0.1 port {port} (Address already in use): "
        "stop what uses it, or set FLEET_BIND and FLEET_PORT.\n"
    )
    assert not (tmp_path / "data" / "fleet.sqlite3").exists()


def test_a_data_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refusal = Console(tmp_path / "file" / "data", {}).refusal()
    assert refusal == (
        f"The data folder {tmp_path}/file/data cannot be used (Not a directory): "
        "set FLEET_DATA to a folder this user may write.\n"
    )
