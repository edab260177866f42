"""The migrated database, kept as a copy: what a test with real transactions leaves is replaced by it.

Django would flush the tables instead. The audit trail refuses that, and is not weakened for a test.
"""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import connection
from django.test import TransactionTestCase


def keep_pristine() -> None:
    """Copy the database as it is now, and have every transactional test end by restoring the copy."""
    restore = _kept_sqlite() if connection.vendor == "sqlite" else _kept_postgresql()
    case: Any = TransactionTestCase
    case._fixture_teardown = lambda _case: restore()


def _kept_sqlite() -> Callable[[], None]:
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    connection.ensure_connection()
    connection.connection.backup(copy)

    def restore() -> None:
        connection.ensure_connection()
        copy.backup(connection.connection)

    return restore


def _kept_postgresql() -> Callable[[], None]:
    name = str(connection.settings_dict["NAME"])
    _replace_postgresql(f"{name}_pristine", by=name)
    return partial(_replace_postgresql, name, by=f"{name}_pristine")


def _replace_postgresql(name: str, *, by: str) -> None:
    connection.close()
    # As the test database itself is made: through the server's own database.
    backend: Any = connection
    with backend._nodb_cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{by}"')
