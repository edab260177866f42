"""A console as an operator starts it, with its real processes; what tests see of it is what anybody can."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from tests.servers import free_port, wait_for

STOPS_WITHIN_S = 10


class Console:
    """`manage.py up` with a data folder, a database and a broker of its own."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.log = data_dir.with_suffix(".log")
        self.data_dir = data_dir
        self._environment = os.environ | {
            "FLEET_DATA": str(data_dir),
            "FLEET_PORT": str(self.port),
            "FLEET_POLL_INTERVAL_S": "3",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when the web process answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=settings.BASE_DIR,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(self._answers, "the start of the console")
        except AssertionError as error:
            error.add_note(self.output())
            self.stop()
            raise

    def refusal(self) -> str:
        """Start what must not start, and return what it says on standard error."""
        done = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=settings.BASE_DIR,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0
        assert done.stdout == ""
        return done.stderr

    def stop(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Send a signal; return the exit status and the seconds that the end took. Kill what is left."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(number)
        try:
            status = self.process.wait(STOPS_WITHIN_S * 3)
        finally:
            self.process.kill()
        return status, time.monotonic() - started

    def get(self, path: str) -> Any:
        """Return the JSON body of a page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
            return json.load(response)

    def output(self) -> str:
        """Return everything it printed."""
        return self.log.read_text(errors="replace")

    def python(self, statement: str) -> str:
        """Run a statement with the console's settings, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", statement],
            cwd=settings.BASE_DIR,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def pids(self, word: str = "") -> set[int]:
        """Return the processes that have this console's data folder and, in their command, the word."""
        return {
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and self._is_ours(entry, word)
        }

    def _is_ours(self, entry: Path, word: str) -> bool:
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_text(errors="replace")
        except OSError:
            return False
        return f"FLEET_DATA={self.data_dir}".encode() in environment and bool(re.search(word, command))

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the console ended"
        try:
            return bool(self.get("/healthz")["alive"])
        except OSError:
            return False
