"""Tables as a page, as CSV and as JSON."""

import csv
from datetime import datetime
from itertools import chain, islice
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils.text import slugify

from relays.domain.exporting import formula_safe
from relays.domain.words import count
from relays.selectors.tables import Table, Value

# A page is for the eye; who wants the rest takes the file.
ROWS_SHOWN = 500


def table_response(request: HttpRequest, table: Table, crumbs: list[tuple[str, str]]) -> HttpResponseBase:
    """Answer with a table as ?format= asks: csv, json, else a page. crumbs: (title, address) above it."""
    match request.GET.get("format"):
        case "csv":
            return _csv(table)
        case "json":
            return _json(table)
    return _page(request, table, crumbs)


def _csv(table: Table) -> StreamingHttpResponse:
    """Stream RFC 4180, UTF-8 without a byte order mark (docs/decisions/0068-exports.md)."""
    writer = csv.writer(_Echo())
    rows = chain([table.columns], table.rows)
    return StreamingHttpResponse(
        (writer.writerow([_csv_cell(value) for value in row]) for row in rows),
        content_type="text/csv; charset=utf-8",
        headers=_attachment(table, "csv"),
    )


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def _csv_cell(value: Value) -> Value:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return formula_safe(value) if isinstance(value, str) else value


def _json(table: Table) -> HttpResponse:
    document = {
        "table": table.name,
        "of": table.of,
        "title": table.title,
        "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
    }
    return HttpResponse(
        orjson.dumps(document), content_type="application/json", headers=_attachment(table, "json")
    )


def _attachment(table: Table, suffix: str) -> dict[str, str]:
    name = slugify(f"{table.name}-{table.of}")
    return {"Content-Disposition": f'attachment; filename="{name}.{suffix}"', "Cache-Control": "no-store"}


def _page(request: HttpRequest, table: Table, crumbs: list[tuple[str, str]]) -> HttpResponse:
    rows = [[_shown(value) for value in row] for row in islice(iter(table.rows), ROWS_SHOWN + 1)]
    query = request.GET.copy()
    query.pop("format", None)
    context: dict[str, Any] = {
        "table": table,
        "columns": [column.replace("_", " ") for column in table.columns],
        "rows": rows[:ROWS_SHOWN],
        "cut": ROWS_SHOWN if len(rows) > ROWS_SHOWN else 0,
        "crumbs": crumbs,
        "query": f"{query.urlencode()}&" if query else "",
    }
    return render(request, "relays/table.html", context)


def _shown(value: Value) -> tuple[str, bool]:
    """Return a value for the eye, and whether it is a number."""
    if isinstance(value, bool):
        return "yes" if value else "no", False
    if isinstance(value, int):
        return count(value), True
    if isinstance(value, float):
        return f"{value:g}", True
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds"), False
    return "" if value is None else value, False
