"""`manage.py maillog FILE...`: what log files tell, read offline (docs/commands.md)."""

import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from django.core.management.base import BaseCommand, CommandError

from relays.domain.maillog.tables import OTHER_DIGEST
from relays.domain.text import printable
from relays.domain.totals import COUNTED, Heard, Sums, Totals
from relays.domain.words import size, visible
from relays.services.logfiles import STANDARD_INPUT, Unreadable, size_of
from relays.services.maillog import Known, count_files, known

REPLIES_SHOWN = 10
REPLY_WIDTH = 110
BAR_WIDTH = 30
# What a program that a closed pipe ended would leave, and one that Ctrl-C ended.
PIPE_CLOSED = 141
INTERRUPTED = 130


class Command(BaseCommand):
    """Asks no host and stores nothing; the database only tells providers, rules and the fleet's addresses."""

    help = "Count what Postfix log files tell: plain, .gz, .bz2, .xz or .zst, or standard input as -."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the files and how they are read and told."""
        parser.add_argument(
            "files", nargs="+", metavar="FILE", help="in the order of time; - is standard input"
        )
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--json", action="store_true", help="for programs; keys: docs/commands.md")
        how.add_argument("--stats", action="store_true", help="lines as postfix-msn-a:sent:620")
        parser.add_argument("--year", type=_year, help="the latest that stamps without a year are of")
        parser.add_argument(
            "--timezone", type=_zone, metavar="TZ", help="of stamps without one; else this machine's"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Read, then print: nothing is printed of files that cannot be read to their end."""
        try:
            self._tell(options)
            self.stdout.flush()
        except Unreadable as error:
            raise CommandError(visible(str(error))) from error
        except BrokenPipeError:
            # Python would complain once more when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(PIPE_CLOSED)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    def _tell(self, options: dict[str, Any]) -> None:
        told = known()
        totals = self._read(options, told)
        self._complain(totals, options["files"])
        if options["json"]:
            document = orjson.dumps(_document(totals, told), option=orjson.OPT_INDENT_2)
            self.stdout.write(document.decode())
            return
        for line in _stats(totals) if options["stats"] else _tables(totals, told):
            self.stdout.write(line)

    def _read(self, options: dict[str, Any], told: Known) -> Totals:
        sizes = [size_of(path) for path in options["files"]]
        whole = None if None in sizes else sum(size or 0 for size in sizes)
        with _progress(whole) as progress:
            return count_files(
                options["files"],
                fleet=told.fleet,
                year=options["year"],
                zone=options["timezone"],
                read=progress,
            )

    def _complain(self, totals: Totals, files: list[str]) -> None:
        """Say what a figure alone would hide. Raises CommandError where nothing was read at all."""
        names = ", ".join("standard input" if path == STANDARD_INPUT else visible(path) for path in files)
        if not totals.lines:
            raise CommandError(f"Nothing to read: {names} {'is' if len(files) == 1 else 'are'} empty.")
        if totals.unrecognized == totals.lines:
            self.stderr.write(f"None of the {totals.lines:,} lines of {names} is Postfix's.")


def _stats(totals: Totals) -> Iterator[str]:
    for name, sums in sorted(totals.instances.items()):
        total = sums["sent"] + sums["bounced"] + sums["deferred"]
        yield f"{name}:total:{total}"
        for outcome in ("bounced", "deferred", "sent"):
            yield f"{name}:{outcome}:{sums[outcome]}"


def _document(totals: Totals, told: Known) -> dict[str, Any]:
    instances = totals.by_instance(told.instance)
    suspended: Sums = {}
    for syslog_name, number in totals.suspended.items():
        name = told.instance(syslog_name)
        suspended[name] = suspended.get(name, 0) + number
    return {
        "lines": totals.lines,
        "unrecognized": totals.unrecognized,
        "instances": instances,
        "providers": totals.by_provider(told.providers, told.slugs, instances),
        "dsn": dict(sorted(totals.dsn.items())),
        "replies": [_reply(digest, heard, totals, told) for digest, heard in totals.heard()],
        "suspended": suspended,
        "foreign": totals.foreign,
        "samples": totals.samples,
        "first": _iso(totals.first),
        "last": _iso(totals.last),
        "providers_from": told.source,
    }


def _reply(digest: str, heard: Heard, totals: Totals, told: Known) -> dict[str, Any]:
    reply = heard.reply
    provider = told.providers.of_domain(heard.domain, totals.mx.get(heard.domain, "")) or ""
    verdict = told.rules.classify(reply.masked, provider=provider)
    return {
        "digest": digest,
        "text": reply.masked,
        "sample": reply.sample,
        "count": heard.count,
        "outcomes": heard.outcomes,
        "code": reply.code,
        "dsn": reply.dsn,
        "reason": verdict.reason,
        "hard": verdict.hard,
        "rule": verdict.rule,
        "first": None if digest == OTHER_DIGEST else _iso(reply.first),
        "last": None if digest == OTHER_DIGEST else _iso(reply.last),
    }


def _iso(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _tables(totals: Totals, told: Known) -> Iterator[str]:
    instances = totals.by_instance(told.instance)
    yield from _table("INSTANCE", instances)
    yield ""
    yield from _table("PROVIDER", totals.by_provider(told.providers, told.slugs, instances))
    yield ""
    heard = list(totals.heard())
    for digest, cluster in heard[:REPLIES_SHOWN]:
        reason = _reply(digest, cluster, totals, told)["reason"]
        yield f"{cluster.count:>10,}  {reason:<20}  {printable(cluster.reply.masked, REPLY_WIDTH)}"
    if len(heard) > REPLIES_SHOWN:
        yield f"{'':>10}  and {len(heard) - REPLIES_SHOWN:,} other replies: --json has them"
    yield f"{totals.lines:,} lines from {_iso(totals.first) or '?'} to {_iso(totals.last) or '?'}"
    yield f"{totals.unrecognized:,} not recognised, {totals.foreign:,} of them other programs'"
    yield from (f"  {sample}" for sample in totals.samples)
    where = "the database" if told.source == "database" else "the shipped list: there is no database"
    yield f"Providers are those of {where}."


def _table(what: str, rows: dict[str, Sums]) -> Iterator[str]:
    """Return lines in columns; outcomes are recipients, accepted is messages."""
    width = max([len(what), *map(len, rows)])
    yield "  ".join([what.ljust(width), *(f"{name.replace('_', ' '):>12}" for name in COUNTED)])
    for name, sums in rows.items():
        yield "  ".join([name.ljust(width), *(f"{sums[counted]:>12,}" for counted in COUNTED)])


class _Bar:
    """A line on a terminal that tells how far the reading is."""

    def __init__(self, whole: int | None) -> None:
        self._whole = whole
        self._started = self._shown = time.monotonic()

    def __call__(self, octets: int) -> None:
        now = time.monotonic()
        if now - self._shown < 0.2:
            return
        self._shown = now
        speed = f"{size(octets)}, {size(int(octets / (now - self._started)))}/s"
        share = min(1.0, octets / self._whole) if self._whole else None
        filled = "" if share is None else "#" * int(BAR_WIDTH * share)
        bar = "" if share is None else f"[{filled:<{BAR_WIDTH}}] {100 * share:3.0f} %  "
        sys.stderr.write(f"\r\x1b[K{bar}{speed}")
        sys.stderr.flush()

    def end(self) -> None:
        """Wipe the line."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


@contextmanager
def _progress(whole: int | None) -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield lambda octets: None
        return
    bar = _Bar(whole)
    try:
        yield bar
    finally:
        bar.end()


def _year(text: str) -> int:
    if not text.isdecimal() or not 1980 <= int(text) <= 2037:
        raise ArgumentTypeError(f"{text!r} is not a year from 1980 to 2037")
    return int(text)


def _zone(text: str) -> tzinfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ArgumentTypeError(f"{text!r} is not a time zone, as in Europe/Berlin or UTC") from error
