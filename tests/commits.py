"""What a process commits to the database, seen from within: where it may be killed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

_WRITES = ("UPDATE", "INSERT", "DELETE")


@contextmanager
def around_each_commit(point: Callable[[], None]) -> Iterator[None]:
    """Call point before and behind each commit: of a transaction, or of a statement by itself."""
    backend: Any = connection
    really = backend._commit

    def commit() -> None:
        point()
        really()
        point()

    def execute_and_commit(execute: Any, sql: str, *arguments: Any) -> Any:
        if connection.in_atomic_block or not sql.startswith(_WRITES):
            return execute(sql, *arguments)
        point()
        result = execute(sql, *arguments)
        point()
        return result

    # The proxy of connections sets what is assigned to it on the thread's own.
    backend._commit = commit
    try:
        with connection.execute_wrapper(execute_and_commit):
            yield
    finally:
        del backend._commit
