"""The mail providers: SMTP servers that answer by rule, count, and write down what they accept.

Run inside the fleet's core as `python -m fleet.rehearsal.provider CONFIGURATION`.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from email.parser import BytesHeaderParser
from itertools import count
from pathlib import Path
from typing import Any

from fleet.rehearsal import control
from fleet.rehearsal.rules import CONNECT, MAIL, Greylist, Rule, RuleBook

_PORT = 25
_IDLE_S = 300
_LINE_LIMIT = 64 * 1024
_SIZE_LIMIT = 25 * 1024 * 1024
_EXTENSIONS = ("mx.rehearsal", "PIPELINING", f"SIZE {_SIZE_LIMIT}", "8BITMIME")


class Providers:
    """Every provider: their rules, counters and record, shared by all sessions."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.book = RuleBook()
        self.greylist = Greylist()
        self.connections: Counter[tuple[str, str]] = Counter()
        self.replies: Counter[tuple[str, str, str]] = Counter()
        self._listen: dict[str, str] = configuration["listen"]
        self._servers: dict[str, asyncio.Server] = {}
        self._ids = count(1)
        self._record = os.open(configuration["accepted"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for rule in configuration["rules"]:
            self.book.set(Rule(**rule))

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a control request: `set`, `clear` or `show`."""
        verb = request.pop("do")
        if verb == "set":
            self.book.set(Rule(**request))
        elif verb == "clear":
            self.book.clear(**request)
        elif verb != "show":
            raise ValueError(f"no verb '{verb}'")
        await self.open_and_close()
        return {"rules": self.book.as_json(), "counters": self._counters()}

    async def open_and_close(self) -> None:
        """Listen for every provider but those whose port a rule closes."""
        for provider, address in self._listen.items():
            server = self._servers.get(provider)
            if self.book.closed(provider) and server is not None:
                server.close()
                del self._servers[provider]
            elif not self.book.closed(provider) and server is None:
                self._servers[provider] = await self._open(provider, address)

    async def _open(self, provider: str, address: str) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await Session(self, provider, reader, writer).run()

        return await asyncio.start_server(serve, address, _PORT, limit=_LINE_LIMIT, backlog=512)

    def accept(self, **facts: Any) -> str:
        """Write an accepted recipient down, before its sender is told; return the name it is queued by."""
        queued_as = f"rh{next(self._ids):08x}"
        line = json.dumps({"at": round(time.time(), 3), "queued_as": queued_as, **facts})
        os.write(self._record, line.encode() + b"\n")
        return queued_as

    def _counters(self) -> list[dict[str, Any]]:
        return [
            {
                "provider": provider,
                "source": source,
                "connections": connections,
                "accepted": self.replies[provider, source, "accepted"],
                "replies": {
                    code: number
                    for (of, by, code), number in sorted(self.replies.items())
                    if (of, by) == (provider, source) and code != "accepted"
                },
            }
            for (provider, source), connections in sorted(self.connections.items())
        ]


class Session:
    """One SMTP session."""

    def __init__(
        self,
        providers: Providers,
        provider: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._all = providers
        self._provider = provider
        self._reader = reader
        self._writer = writer
        self._source: str = writer.get_extra_info("peername")[0]
        self._helo = ""
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._wait_s = 0.0

    async def run(self) -> None:
        self._all.connections[self._provider, self._source] += 1
        try:
            await self._talk()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            # The peer went away, fell silent or sent what is no SMTP: the session is all that it costs.
            return
        finally:
            self._writer.close()

    async def _talk(self) -> None:
        refusal = self._refuses(CONNECT)
        if refusal:
            await self._say(refusal)
            return
        await self._say(f"220 mx.{self._provider}.rehearsal ESMTP")
        while line := await self._line():
            verb, _, rest = line.partition(" ")
            answer = getattr(self, f"_on_{verb.lower()}", None)
            if answer is None:
                await self._say("500 5.5.2 No such command")
                continue
            await self._say(await answer(rest.strip()))
            if verb.upper() == "QUIT":
                return

    async def _on_ehlo(self, name: str) -> str:
        self._helo = name
        return "\r\n".join(f"250-{word}" for word in _EXTENSIONS) + "\r\n250 ENHANCEDSTATUSCODES"

    async def _on_helo(self, name: str) -> str:
        self._helo = name
        return "250 mx.rehearsal"

    async def _on_mail(self, rest: str) -> str:
        refusal = self._refuses(MAIL)
        if refusal:
            return refusal
        self._sender, self._recipients = _path(rest), []
        return "250 2.1.0 Ok"

    async def _on_rcpt(self, rest: str) -> str:
        if self._sender is None:
            return "503 5.5.1 MAIL first"
        recipient = _path(rest)
        rule = self._all.book.at_recipient(self._provider, self._source, recipient)
        self._wait_s = rule.wait_s if rule is not None and rule.action == "slow" else 0.0
        refusal = "" if rule is None else self._refusal(rule, recipient)
        if refusal:
            return refusal
        self._recipients.append(recipient)
        return "250 2.1.5 Ok"

    async def _on_data(self, _rest: str) -> str:
        if not self._recipients:
            return "554 5.5.1 No valid recipients"
        await self._say("354 End with a dot")
        content = await self._content()
        if len(content) > _SIZE_LIMIT:
            return "552 5.3.4 Too big"
        headers = BytesHeaderParser().parsebytes(content)
        for recipient in self._recipients:
            queued_as = self._all.accept(
                provider=self._provider,
                source=self._source,
                helo=self._helo,
                sender=self._sender,
                recipient=recipient,
                message_id=str(headers.get("Message-ID", "")).strip("<> \r\n"),
                size=len(content),
            )
            self._all.replies[self._provider, self._source, "accepted"] += 1
        self._sender, self._recipients = None, []
        return f"250 2.0.0 Ok: queued as {queued_as}"

    async def _on_rset(self, _rest: str) -> str:
        self._sender, self._recipients = None, []
        return "250 2.0.0 Ok"

    async def _on_noop(self, _rest: str) -> str:
        return "250 2.0.0 Ok"

    async def _on_quit(self, _rest: str) -> str:
        return "221 2.0.0 Bye"

    def _refuses(self, stage: str) -> str:
        rule = self._all.book.before_recipient(stage, self._provider, self._source)
        return "" if rule is None else self._counted(rule.reply(source=self._source))

    def _refusal(self, rule: Rule, recipient: str) -> str:
        if rule.action == "greylist" and not self._all.greylist.must_wait(
            self._source, self._sender or "", recipient, now=time.monotonic(), wait_s=rule.wait_s
        ):
            return ""
        return self._counted(rule.reply(source=self._source, recipient=recipient))

    def _counted(self, refusal: str) -> str:
        if refusal:
            self._all.replies[self._provider, self._source, refusal[:3]] += 1
        return refusal

    async def _say(self, line: str) -> None:
        if self._wait_s:
            await asyncio.sleep(self._wait_s)
        self._writer.write(line.encode() + b"\r\n")
        await self._writer.drain()

    async def _line(self) -> str:
        async with asyncio.timeout(_IDLE_S):
            return (await self._reader.readline()).decode(errors="replace").strip()

    async def _content(self) -> bytes:
        content = bytearray()
        while True:
            async with asyncio.timeout(_IDLE_S):
                line = await self._reader.readuntil(b"\n")
            if line in (b".\r\n", b".\n"):
                return bytes(content)
            if len(content) <= _SIZE_LIMIT:
                content += line[1:] if line.startswith(b".") else line


def _path(rest: str) -> str:
    """Return the address of `FROM:<a@b> SIZE=1` or `TO:<a@b>`."""
    return rest.partition(":")[2].strip().partition(" ")[0].strip("<>")


async def _serve(configuration: dict[str, Any]) -> None:
    providers = Providers(configuration)
    await providers.open_and_close()
    control_server = await control.serve(Path(configuration["socket"]), providers.handle)
    await control_server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(Path(sys.argv[1]).read_text())))
