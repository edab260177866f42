"""Talking to the fleet's own servers: one JSON document a line, over a unix socket in the state folder."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fleet.rehearsal.errors import NotUp, RehearsalError

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
_LINE_LIMIT = 16 * 1024 * 1024


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Answer each request line with what `handler` makes of it; ValueError and the like refuse."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                reply = {"ok": True, **await handler(json.loads(line))}
            except (ValueError, LookupError, TypeError) as error:
                reply = {"ok": False, "error": str(error)}
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(answer, path, limit=_LINE_LIMIT)


def ask(path: Path, request: dict[str, Any], *, timeout_s: float = 30) -> dict[str, Any]:
    """Send one request and return its reply.

    Raises NotUp where nothing answers at `path`, RehearsalError where the server refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = connection.makefile("rb").readline()
        except OSError as error:
            raise NotUp(f"{path.stem} does not answer ({error})") from error
    if not line:
        raise NotUp(f"{path.stem} ended without an answer")
    reply: dict[str, Any] = json.loads(line)
    if not reply.pop("ok"):
        raise RehearsalError(reply["error"])
    return reply
