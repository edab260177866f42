"""`manage.py collect`: poll hosts now, in this process, with no worker and no broker."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections

from relays.domain.words import plural, size
from relays.models import Host
from relays.models.host import PollOutcome
from relays.remote import ssh
from relays.services.collect import Poll, poll_host
from relays.services.logs import LogPoll

THREADS = 25


class Command(BaseCommand):
    help = "Poll the named hosts, or all that are enabled, now. Status 1 when any poll was not complete."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("hosts", nargs="*", metavar="HOST")
        parser.add_argument("--json", action="store_true", help="one JSON object, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        polls = _poll_all(_chosen(options["hosts"]))
        if options["json"]:
            self.stdout.write(json.dumps({"polls": [asdict(poll) for poll in polls]}, indent=1))
        else:
            for poll in polls:
                self.stdout.write(_line(poll))
        if any(poll.outcome != PollOutcome.COMPLETE for poll in polls):
            raise SystemExit(1)


def _chosen(names: list[str]) -> list[Host]:
    if not names:
        return list(Host.objects.filter(enabled=True))
    hosts = {host.name: host for host in Host.objects.filter(name__in=names)}
    unknown = [name for name in names if name not in hosts]
    if unknown:
        raise CommandError(f"No such host: {', '.join(unknown)}.")
    return [hosts[name] for name in dict.fromkeys(names)]


def _poll_all(hosts: list[Host]) -> list[Poll]:
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            return [poll for poll in pool.map(_poll, hosts) if poll is not None]
    finally:
        ssh.close_all()


def _poll(host: Host) -> Poll | None:
    try:
        return poll_host(host_id=host.pk, force=True)
    except DatabaseError as error:
        return Poll(host.name, PollOutcome.INCOMPLETE, f"The console's database failed: {error}", 0, 0)
    finally:
        connections.close_all()


def _line(poll: Poll) -> str:
    if poll.outcome != PollOutcome.COMPLETE:
        return f"{poll.host}: {PollOutcome(poll.outcome).label}: {poll.error}"
    told = f"{poll.host}: complete, {poll.instances} instances in {poll.duration_ms} ms"
    return told + "".join(f"; {part}" for part in _log_parts(poll.logs))


def _log_parts(logs: Sequence[LogPoll]) -> Iterator[str]:
    """Yield what the logs brought, and each that was not read whole."""
    if logs:
        yield f"{plural(sum(log.lines for log in logs), 'line')} of {plural(len(logs), 'log')}"
    for log in logs:
        if log.condition:
            yield f"{log.source}: {log.condition.replace('_', ' ')}"
        elif log.behind_bytes:
            yield f"{log.source}: {size(log.behind_bytes)} behind"
