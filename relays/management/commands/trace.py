"""`manage.py trace --recipient anna@hotmail.com`: where a message is, by the logs of all hosts."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from relays.domain.trace import FoundLine
from relays.domain.trace_question import KINDS, BadQuestion, Question, moment, question
from relays.domain.words import plural, size
from relays.models import Host
from relays.models.trace import TraceState
from relays.remote import ssh
from relays.selectors.trace_files import document
from relays.selectors.trace_found import Found, found, is_whole, outcomes
from relays.services.audit import shell_actor
from relays.services.traces import record
from relays.services.tracing import Tracing, asked_hosts, places

_INDENT = "  "


class Command(BaseCommand):
    """Asks the hosts itself, with no worker and no broker."""

    help = "Trace messages over all hosts. Status 1 when any host's logs were not read to their end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what may be looked for."""
        what = parser.add_mutually_exclusive_group(required=True)
        for kind, words in KINDS.items():
            what.add_argument(f"--{kind.replace('_', '-')}", metavar="TEXT", help=f"a {words}")
        parser.add_argument("--since", default="24h", metavar="TIME", help="90m, 24h, 3d, or a date; 24h")
        parser.add_argument("--until", metavar="TIME", help="the same; now")
        parser.add_argument("--host", action="append", metavar="NAME", help="only this one; may be repeated")
        parser.add_argument("--json", action="store_true", help="for programs; keys: docs/commands.md")

    def handle(self, *args: Any, **options: Any) -> None:
        """Search, then print what was found and how far each host is."""
        asked = _question(options)
        record(question=asked, actor=shell_actor())
        known = places()
        tracing = Tracing(asked, _chosen(options["host"]), known)
        try:
            lines = self._search(tracing)
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            ssh.close_all()
        result = found(lines, known, may_see=True)
        if options["json"]:
            hosts = [host.as_json() for host in tracing.hosts]
            told = document(asked, TraceState.DONE, hosts, result, cut=tracing.cut)
            self.stdout.write(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        else:
            for line in (*_journeys(result), *_hosts(tracing)):
                self.stdout.write(line)
        if not all(is_whole(host.as_json()) for host in tracing.hosts):
            raise SystemExit(1)

    def _search(self, tracing: Tracing) -> list[FoundLine]:
        """Return all lines; on a terminal, tell meanwhile how far it is."""
        lines: list[FoundLine] = []
        shows = self.stderr.isatty()
        with closing(tracing.run()) as news:
            for new in news:
                lines += new
                if shows:
                    self.stderr.write(f"\r\x1b[K{_progress(tracing, len(lines))}", ending="")
        if shows:
            self.stderr.write("\r\x1b[K", ending="")
        return lines


def _question(options: dict[str, Any]) -> Question:
    kind = next(kind for kind in KINDS if options[kind] is not None)
    now = timezone.localtime()
    zone = timezone.get_current_timezone()
    try:
        since = moment(options["since"], now, zone)
        until = moment(options["until"], now, zone) if options["until"] else now
        return question(kind, options[kind], int(since.timestamp()), int(until.timestamp()) + 1)
    except BadQuestion as error:
        raise CommandError(str(error)) from error


def _chosen(names: list[str] | None) -> list[Host]:
    hosts = asked_hosts()
    unknown = [name for name in names or [] if name not in {host.name for host in hosts}]
    if unknown:
        raise CommandError(f"No such host, or it is off: {', '.join(unknown)}.")
    return [host for host in hosts if names is None or host.name in names]


def _progress(tracing: Tracing, lines: int) -> str:
    ended = sum(host.state not in ("waiting", "reading") for host in tracing.hosts)
    read = size(sum(host.read_bytes for host in tracing.hosts))
    return f"{ended} of {plural(len(tracing.hosts), 'host')}, {read} read, {plural(lines, 'line')} found"


def _journeys(result: Found) -> Iterator[str]:
    for journey in reversed(result.journeys):
        counted = outcomes(journey, result)
        yield ", ".join(f"{number:,} {word}" for word, number in counted.items())
        for hop in journey.hops:
            message, indent = hop.message, _INDENT * (hop.depth + 1)
            where = f"{message.place.instance or '?'} on {message.place.host}"
            client = f", from {message.client}[{message.client_address}]" if message.client_address else ""
            yield f"{indent}{message.queue_id}  {where}{client}{f'  ({hop.link})' if hop.link else ''}"
            yield from (f"{indent}{_INDENT}{line.text}" for line in message.lines)
        yield ""
    for line in result.others:
        yield f"{line.host}: {line.text}"
    if not result.journeys and not result.others:
        yield "No message was found."


def _hosts(tracing: Tracing) -> Iterator[str]:
    for host in tracing.hosts:
        about = [host.state, plural(host.lines, "line"), f"{size(host.read_bytes)} read", host.error]
        yield f"{host.name}: {', '.join(part for part in [*about, *host.problems] if part)}"
    if tracing.cut:
        yield "More was found than is kept: ask for a shorter span."
