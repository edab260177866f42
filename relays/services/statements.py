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
    statement runs once a row, prepared once. On PostgreSQL it runs once, over an array a column, because
    a round trip a row costs more than the writing.
    """
    if not rows:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Side by side in a SELECT, arrays are unnested as they are read; in FROM each is stored first.
            arrays = ", ".join(f"unnest(%s::{kind}[]) AS {name}" for name, kind in columns.items())
            given = f"FROM (SELECT {arrays}) AS given"
            sql = statement.format(source=given, **{name: f"given.{name}" for name in columns})
            values = zip(columns.values(), zip(*rows, strict=True), strict=True)
            cursor.execute(sql, [_array(kind, column) for kind, column in values])
        else:
            # SQLite's own numbered parameters: a value may stand in a statement twice.
            numbered = {name: f"?{number}" for number, name in enumerate(columns, start=1)}
            sql = statement.format(source="", **numbered)
            cursor.executemany(sql, rows)


def _array(kind: str, values: tuple[Any, ...]) -> str:
    """Return PostgreSQL's text form of an array: the driver's own way took longer than the statement."""
    if kind == "text":
        # NUL stands in no text that PostgreSQL stores, so it may stand between them while they are quoted.
        quoted = "\0".join(values).replace("\\", "\\\\").replace('"', '\\"')
        return '{"' + quoted.replace("\0", '","') + '"}'
    # JSON writes numbers and times as PostgreSQL reads them, and its null, too.
    return "{" + orjson.dumps(values)[1:-1].decode() + "}"
