"""Plain SQL over many rows, fast on either database: what the writers of readings and outcomes share."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from django.db import connection

# Values in the order of the statement's columns.
Row = tuple[Any, ...]


@lru_cache(maxsize=1024)
def stamp(at: datetime) -> str:
    """Return a time as this database reads it; the instances of a host often share one."""
    return str(connection.ops.adapt_datetimefield_value(at))


def run(statement: str, columns: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Run a statement over rows in the way that is fast on this database; `columns` gives their types.

    `{name}` in the statement is a value of the row, `{source}` where the rows come from. On SQLite the
    statement runs once a row, prepared once. On PostgreSQL it runs once, over all rows, because a round trip
    a row costs more than the writing.
    """
    if not rows:
        return
    if connection.vendor == "postgresql":
        source, values = _source(columns, rows)
        sql = statement.format(source=source, **{name: f"given.{name}" for name in columns})
        _execute_bound_by_server(sql, values)
    else:
        # SQLite's own numbered parameters: a value may stand in a statement twice.
        numbered = {name: f"?{number}" for number, name in enumerate(columns, start=1)}
        with connection.cursor() as cursor:
            cursor.executemany(statement.format(source="", **numbered), rows)


def _execute_bound_by_server(sql: str, values: Sequence[Any]) -> None:
    """Send values beside the statement: Django's cursor quotes them into it, a tenth of the writer's time."""
    from psycopg import Cursor  # noqa: PLC0415  (a SQLite installation never loads it)

    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as cursor:
        cursor.execute(sql, values)


def _source(columns: Mapping[str, str], rows: Sequence[Row]) -> tuple[str, list[Any]]:
    """Return the FROM of a PostgreSQL statement, and its parameters: an array a column.

    What all rows share, such as the time of a poll, is sent once: reading arrays takes a third of the time.
    """
    selected: list[str] = []
    values: list[Any] = []
    for (name, kind), column in zip(columns.items(), zip(*rows, strict=True), strict=True):
        # The first column is the key, and gives the rows their number.
        if values and column[0] == column[-1] and column.count(column[0]) == len(column):
            selected.append(f"%s::{kind} AS {name}")
            values.append(column[0])
        else:
            # Side by side in a SELECT, arrays are unnested as they are read; in FROM each is stored first.
            selected.append(f"unnest(%s::{kind}[]) AS {name}")
            values.append(_array(kind, column))
    return f"FROM (SELECT {', '.join(selected)}) AS given", values


def _array(kind: str, values: tuple[Any, ...]) -> str:
    """Return PostgreSQL's text form of an array: the driver's own way took longer than the statement."""
    if kind == "text":
        # NUL stands in no text that PostgreSQL stores, so it may stand between them while they are quoted.
        quoted = "\0".join(values).replace("\\", "\\\\").replace('"', '\\"')
        return '{"' + quoted.replace("\0", '","') + '"}'
    # JSON writes numbers and times as PostgreSQL reads them, and its null, too.
    return "{" + orjson.dumps(values)[1:-1].decode() + "}"
