"""`manage.py up`: the console's processes under one parent, with what they need made ready first."""

import argparse
import fcntl
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from fleet import accounts
from fleet.supervisor import STOP_SIGNALS, Program, Supervisor
from relays.services.providers import load_shipped


class Command(BaseCommand):
    help = "Start web, worker and scheduler; Ctrl-C ends them all."
    # The port and the folder are looked at first, then the database.
    requires_migrations_checks = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--demo", action="store_true", help="with the rehearsal fleet: real Postfix hosts on this machine"
        )

        parser.add_argument(
            "--prepare", action="store_true", help="only make the database and the static files ready"
        )

    def handle(self, *args: Any, demo: bool, prepare: bool, **options: Any) -> None:
        """Refuse what cannot work, make the database ready, run until a signal, and end everything."""
        if prepare:
            self.make_ready(verbosity=options["verbosity"])
            self.show_one_time_password()
            return
        for number in STOP_SIGNALS:
            signal.signal(number, signal.default_int_handler)
        try:
            with ExitStack() as stack:
                stack.enter_context(only_one_console())
                listener = stack.enter_context(listening_socket(settings.BIND, settings.PORT))
                self.make_ready(verbosity=options["verbosity"] - 1)
                fleet = stack.enter_context(RehearsalFleet()) if demo else None
                self.welcome(listener)
                supervisor = Supervisor(programs(listener), write_line=self.write_line)
                supervisor.run(when_stopping=fleet.begin_down if fleet else None)
        except KeyboardInterrupt:
            self.stderr.write("Stopped while starting.")
            sys.exit(130)

    def make_ready(self, *, verbosity: int) -> None:
        """Bring the database to this version, collect the static files, load the shipped providers."""
        call_command("migrate", interactive=False, verbosity=verbosity)
        call_command("collectstatic", interactive=False, verbosity=verbosity)
        load_shipped()

    def welcome(self, listener: socket.socket) -> None:
        """Print where to go, and on the first start what to log in with."""
        host, port = listener.getsockname()[:2]
        self.stdout.write(f"Relay Fleet: http://{f'[{host}]' if ':' in host else host}:{port}/")
        self.show_one_time_password()

    def show_one_time_password(self) -> None:
        """Create the first administrator where there is no user, and print the password, this once."""
        if password := accounts.create_first_admin():
            self.stdout.write(f"Log in as {accounts.FIRST_ADMIN} with the one-time password {password}")
            self.stdout.write("The first page asks for one of your own.")
        self.stdout.flush()

    def write_line(self, name: str, line: str) -> None:
        """Pass a process' line on, with its name in front unless a machine is to read it."""
        self.stdout.write(line if settings.LOG_FORMAT == "json" else f"{name:<9} | {line}")
        self.stdout.flush()


def programs(listener: socket.socket) -> list[Program]:
    """Return what an installation runs; deploy/ has the same as systemd units."""
    celery = [sys.executable, "-m", "celery", "--app", "fleet", "--quiet"]
    web = [sys.executable, "-m", "gunicorn", "--config", "python:fleet.gunicorn", "fleet.wsgi"]
    worker = ["worker", "--pool", "threads", "--concurrency", str(settings.WORKER_THREADS)]
    worker += ["--queues", "collect,operate", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [
        Program("web", [*web, "--bind", f"fd://{listener.fileno()}"], pass_fds=(listener.fileno(),)),
        Program("worker", [*celery, *worker]),
        Program("scheduler", [*celery, "beat"]),
    ]


@contextmanager
def only_one_console() -> Iterator[None]:
    """Hold the data folder's lock: two schedulers would do everything twice."""
    with (settings.DATA_DIR / "up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"Relay Fleet already runs with the data folder {settings.DATA_DIR}: "
                "stop it, or set FLEET_DATA to another folder."
            ) from None
        yield


@contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Listen before anything starts; the web process inherits it, so that its restarts lose no connection.

    Raises CommandError when the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise CommandError(
            f"Cannot listen on {host} port {port} ({str(error.strerror).partition(' (')[0]}): "
            "stop what uses it, or set FLEET_BIND and FLEET_PORT."
        ) from None
    with listener:
        yield listener


class RehearsalFleet:
    """The rehearsal fleet for as long as the console runs, its hosts registered."""

    _taking_down: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Bring it up. Raises CommandError when it does not come up: it has then cleaned up after itself."""
        with self._start("up") as process:
            try:
                failed = process.wait()
            except KeyboardInterrupt:
                process.terminate()
                raise
        if failed:
            raise CommandError("The rehearsal fleet did not come up.")
        return self

    def begin_down(self) -> None:
        """Take it down, beside whatever else is ending."""
        self._taking_down = self._start("down")

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not interrupt the taking down.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if self._taking_down is None:
            self.begin_down()
        assert self._taking_down is not None  # noqa: S101
        self._taking_down.wait()

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "fleet.rehearsal", command]
        # In a session of its own: Ctrl-C reaches the console alone, which passes it on once.
        return subprocess.Popen(argv, start_new_session=True)  # noqa: S603 - fixed words
