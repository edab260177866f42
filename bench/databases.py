"""The databases that a bench measures on, each in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.servers import PostgreSQL

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Yield the database URLs by name: a fresh SQLite file, and a PostgreSQL server of the bench's own."""
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder, PostgreSQL() as server:
        yield {"SQLite": f"sqlite:///{folder}/bench.sqlite3", "PostgreSQL": server.database("bench")}


def measured(bench: str, url: str, *arguments: str) -> dict[str, Any]:
    """Run `python -m bench.BENCH --measure` on a database and return what it prints as JSON.

    In a process of its own, because Django knows one default database a process.
    """
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as data:
        environment = {"DJANGO_SETTINGS_MODULE": "fleet.settings", "DATABASE_URL": url, "FLEET_DATA": data}
        output = subprocess.run(
            [sys.executable, "-m", f"bench.{bench}", "--measure", *arguments],
            env=os.environ | environment,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    took: dict[str, Any] = json.loads(output)
    return took


def viewer() -> "User":
    """Return a user who may look at everything, made on first use."""
    from django.contrib.auth.models import Group, User  # noqa: PLC0415  (once DATABASE_URL is known)

    user = User.objects.get_or_create(username="bench")[0]
    user.groups.set(Group.objects.filter(name="viewer"))
    return user
