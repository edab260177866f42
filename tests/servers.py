"""PostgreSQL, Redis and RabbitMQ for tests: Debian's own, each in namespaces that end with the test run.

Every server is the first process of a PID namespace whose parent is this process: when this process dies,
however it dies, the kernel kills the server and all it started (epmd, background writers), and with the
mount and IPC namespaces go its shared memory. That takes root, as the tests marked `lab` do anyway.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Self

from fleet.supervisor import die_with_parent

Argv = Sequence[str | Path]

# Debian 12 has PostgreSQL 15, Debian 13 has 17.
POSTGRESQL = next(iter(Path("/usr/lib/postgresql").glob("*/bin")), Path("/usr/lib/postgresql/15/bin"))
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
# Several files of tests run at a time, and the first of each begin with whatever takes longest to start.
UP_WITHIN_S = 180
_NAMESPACES = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc", "--"]


# Below those that the kernel gives to connections, and other ones for each process of a parallel run: what is
# free now is so when the server binds it.
_PORTS_EACH = 4_000
_FIRST_PORT = 12_000 + _PORTS_EACH * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 5)
_OURS = range(_FIRST_PORT, _FIRST_PORT + _PORTS_EACH)
_ports: Iterator[int] = cycle([*_OURS[os.getpid() % _PORTS_EACH :], *_OURS[: os.getpid() % _PORTS_EACH]])


def free_port() -> int:
    """Return a TCP port of the loopback address that nothing listens on now."""
    for port in _ports:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("never: the ports begin again")


def wait_for(happened: Callable[[], bool], what: str, within_s: float = UP_WITHIN_S) -> None:
    """Return once it has happened; AssertionError when it does not in time."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        time.sleep(0.1)


class Server:
    """A server process with its own folder and port; stop() is kill -9, start() finds its old data."""

    user = "nobody"

    def __init__(self) -> None:
        # Not pytest's own folder: that is root's alone, and the server is another user.
        self.folder = Path(tempfile.mkdtemp(prefix=f"fleet-{type(self).__name__.lower()}-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        os.chown(self.folder, *_ids(self.user))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start it, and return when it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_NAMESPACES, *self._as_user(self.argv())],
                env=self.environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - prctl alone, and no lock that a thread may hold
            )
        try:
            wait_for(self.answers, f"the start of {type(self).__name__}")
        except AssertionError as error:
            error.add_note((self.folder / "log").read_text(errors="replace")[-4000:])
            self.stop()
            raise

    def stop(self) -> None:
        """Kill it and everything it started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            wait_for(lambda: not _listens(self.port), f"the end of {type(self).__name__}")

    def argv(self) -> Argv:
        """Return the command that runs the server in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return its whole environment."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    def answers(self) -> bool:
        """Tell whether it takes requests."""
        return _listens(self.port)

    def _as_user(self, argv: Argv) -> list[str]:
        change = ["setpriv", "--reuid", self.user, "--regid", str(_ids(self.user)[1]), "--clear-groups"]
        # Taking another user drops the wish to die with the parent: it is made again.
        return [*change, "--pdeathsig", "KILL", "--", *map(str, argv)]

    def _run_as_user(self, argv: Argv) -> None:
        done = subprocess.run(
            self._as_user(argv), env=self.environment(), cwd=self.folder, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")


class PostgreSQL(Server):
    """Debian's PostgreSQL, everyone on the loopback address trusted."""

    user = "postgres"

    def start(self) -> None:
        """Make the cluster on the first start."""
        if not (self.folder / "data").exists():
            initdb: Argv = [
                POSTGRESQL / "initdb",
                "--pgdata",
                "data",
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
            ]
            self._run_as_user([*initdb, "--no-sync"])
        super().start()

    def argv(self) -> Argv:
        """Fsync is off: this data outlives no test run."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 200,
        }
        flags: list[str] = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        return [POSTGRESQL / "postgres", "-D", "data", *flags]

    def answers(self) -> bool:
        """A socket that listens may still refuse while the server recovers from its last end."""
        ready: Argv = [
            POSTGRESQL / "pg_isready",
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "postgres",
        ]
        return subprocess.run(ready, check=False).returncode == 0

    def database(self, name: str) -> str:
        """Create an empty database and return its DATABASE_URL."""
        subprocess.run([POSTGRESQL / "createdb", *self._at(), name], check=True)
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}"

    def _at(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]


class Redis(Server):
    """Redis that writes every change through, so that being killed loses nothing."""

    def argv(self) -> Argv:
        """Keep its data in the folder."""
        keep: Argv = ["--dir", self.folder, "--appendonly", "yes", "--appendfsync", "always"]
        return ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), *keep]

    @property
    def url(self) -> str:
        """CELERY_BROKER_URL."""
        return f"redis://127.0.0.1:{self.port}/0"


class RabbitMQ(Server):
    """RabbitMQ with a node name, a cookie and an epmd of its own."""

    user = "rabbitmq"

    def __init__(self) -> None:
        super().__init__()
        self._epmd_port, self._dist_port = free_port(), free_port()

    def argv(self) -> Argv:
        """Run in the foreground, without plugins."""
        return [RABBITMQ]

    def environment(self) -> dict[str, str]:
        """Everything in the folder, everything on the loopback address."""
        mine = {
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"fleet{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "no-such-file"),
        }
        return super().environment() | mine

    def answers(self) -> bool:
        """Speak the protocol's first words: the port listens before the node takes connections."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return len(connection.recv(1)) == 1
        except OSError:
            return False

    @property
    def url(self) -> str:
        """CELERY_BROKER_URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ids(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
