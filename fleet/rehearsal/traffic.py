"""The bulk mail: a steady stream into the origins, bursts, and mail handed to one address straight.

Run inside the fleet's core as `python -m fleet.rehearsal.traffic CONFIGURATION`. Every message has one
recipient and a Message-ID of its own, so that each can be looked for at the providers.
"""

import asyncio
import contextlib
import json
import random
import secrets
import sys
import time
from collections import Counter
from email.utils import formatdate
from pathlib import Path
from typing import Any

from fleet.rehearsal import control, spec

_TICK_S = 0.25
_TIMEOUT_S = 60
_PARALLEL = 4
_WORDS = (
    *("harvest", "supper", "allotment", "minutes", "agenda", "footpath", "kettle", "orchard", "ferry"),
    *("weather", "notice", "board", "members", "reading", "group", "autumn", "timetable", "lantern"),
    *("chorus", "repair", "volunteer", "hedge", "bridge", "market", "poster", "ladder"),
)


class SmtpRefused(Exception):
    """The server would not take a message."""


class Connection:
    """One SMTP connection, used for one message after the other."""

    def __init__(self, address: str, helo: str) -> None:
        self._address = address
        self._helo = helo
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, sender: str, recipient: str, content: str) -> None:
        """Hand over one message. Raises OSError, TimeoutError or SmtpRefused; the connection is then new."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                if self._streams is None:
                    await self._open()
                await self._command(f"MAIL FROM:<{sender}>")
                await self._command(f"RCPT TO:<{recipient}>")
                await self._command("DATA")
                await self._command(content + ".")
        except (OSError, TimeoutError, SmtpRefused):
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def _open(self) -> None:
        self._streams = await asyncio.open_connection(self._address, 25)
        await self._reply()
        await self._command(f"EHLO {self._helo}")

    async def _command(self, line: str) -> None:
        if self._streams is None:
            raise SmtpRefused("the connection is closed")
        self._streams[1].write(line.encode() + b"\r\n")
        await self._streams[1].drain()
        await self._reply()

    async def _reply(self) -> None:
        if self._streams is None:
            raise SmtpRefused("the connection is closed")
        while True:
            line = await self._streams[0].readline()
            if not line or line[:1] not in b"23":
                raise SmtpRefused(line.decode(errors="replace").strip() or "the server hung up")
            if line[3:4] != b"-":
                return


class Traffic:
    """The stream and its switches."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        self._origins: dict[str, str] = configuration["origins"]
        self._rate: float = configuration["rate"]
        self._running: bool = configuration["running"]
        self._owed = 0.0
        self._sent: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._connections = {
            name: Connection(address, f"app.{name}.test") for name, address in self._origins.items()
        }
        self._tasks: set[asyncio.Task[list[str]]] = set()

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a control request: `start`, `stop`, `rate`, `burst`, `send` or `show`."""
        verb = request.pop("do")
        if verb == "send":
            return {"message_ids": await self._send_straight(**request)}
        if verb == "burst":
            self._burst(int(request["messages"]))
        elif verb == "rate":
            self._rate = max(0.0, float(request["per_s"]))
        elif verb in ("start", "stop"):
            self._running = verb == "start"
        elif verb != "show":
            raise ValueError(f"no verb '{verb}'")
        return self._shown()

    async def stream(self) -> None:
        """Send for ever, at the rate that is set, to one origin after the other."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            # An origin that was away gets no flood afterwards: at most a second's mail is owed.
            self._owed = min(self._owed + self._rate * (now - before), max(self._rate, 1.0))
            before = now
            if not self._running:
                self._owed = 0.0
            while self._owed >= 1 and self._running:
                self._owed -= 1
                await self._send_one(random.choice(list(self._origins)))  # noqa: S311

    def _burst(self, messages: int) -> None:
        for name, address in self._origins.items():
            each = messages // len(self._origins)
            domains = [_domain() for _ in range(each)]
            # Kept until it is done: asyncio itself holds no reference that counts.
            self._tasks.add(asyncio.create_task(self._send_many(name, address, domains)))
        self._tasks = {task for task in self._tasks if not task.done()}

    async def _send_one(self, origin: str) -> None:
        sender, recipient, _message_id, content = _message(origin, _domain())
        try:
            await self._connections[origin].send(sender, recipient, content)
        except (OSError, TimeoutError, SmtpRefused):
            self._failed[origin] += 1
            return
        self._sent[origin] += 1

    async def _send_straight(self, address: str, domain: str, messages: int) -> list[str]:
        return await self._send_many("lists", address, [domain] * messages)

    async def _send_many(self, origin: str, address: str, domains: list[str]) -> list[str]:
        """Send a message to each domain over a few connections; return the Message-IDs that were taken."""
        queue = list(domains)
        taken: list[str] = []

        async def work() -> None:
            connection = Connection(address, f"app.{origin}.test")
            while queue:
                sender, recipient, message_id, content = _message(origin, queue.pop())
                try:
                    await connection.send(sender, recipient, content)
                except (OSError, TimeoutError, SmtpRefused):
                    self._failed[origin] += 1
                    continue
                taken.append(message_id)
                self._sent[origin] += 1
            connection.close()

        await asyncio.gather(*(work() for _ in range(_PARALLEL)))
        return taken

    def _shown(self) -> dict[str, Any]:
        return {
            "running": self._running,
            "per_s": self._rate,
            "sent": dict(self._sent),
            "failed": dict(self._failed),
        }


def _domain() -> str:
    """Return a recipient domain, drawn as bulk mail meets them."""
    provider = random.choices(spec.PROVIDERS, weights=[each.share for each in spec.PROVIDERS])[0]  # noqa: S311
    # The first domain of a provider is its greatest.
    weights = [1 / (rank + 1) for rank in range(len(provider.domains))]
    return random.choices(provider.domains, weights=weights)[0]  # noqa: S311


def _message(origin: str, domain: str) -> tuple[str, str, str, str]:
    """Return sender, recipient, Message-ID and content (CRLF at its end) of a new message."""
    unique = secrets.token_hex(8)
    recipient = f"{random.choice(_WORDS)}.{unique[:6]}@{domain}"  # noqa: S311
    sender = f"bounce-{unique}@{origin}.test"
    message_id = f"{unique}@{origin}.test"
    subject = " ".join(random.choices(_WORDS, k=4))  # noqa: S311
    body = [" ".join(random.choices(_WORDS, k=9)) for _ in range(random.randint(10, 40))]  # noqa: S311
    lines = [
        f"Date: {formatdate()}",
        f"From: Newsletter <news@{origin}.test>",
        f"To: {recipient}",
        f"Subject: {subject}",
        f"Message-ID: <{message_id}>",
        f"List-Id: <members.{origin}.test>",
        "Precedence: bulk",
        "",
        *body,
    ]
    return sender, recipient, message_id, "\r\n".join(lines) + "\r\n"


async def _serve(configuration: dict[str, Any]) -> None:
    traffic = Traffic(configuration)
    server = await control.serve(Path(configuration["socket"]), traffic.handle)
    async with server:
        with contextlib.suppress(asyncio.CancelledError):
            await traffic.stream()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(Path(sys.argv[1]).read_text())))
