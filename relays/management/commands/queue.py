"""`manage.py queue …`: find messages of an instance's queue, and act on all that a filter takes."""

import json
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from relays.domain.filters import BadFilter, QueueFilter, described, from_words, to_words
from relays.domain.queue_reading import Groups
from relays.domain.words import count, span, visible
from relays.management.operating import instance_named, run_to_its_end, user_named
from relays.models import Instance, Operation
from relays.models.operation import OperationState
from relays.remote import relayctl
from relays.remote.errors import RemoteError
from relays.remote.ssh import Limits
from relays.selectors.queue_groups import BY, grouped
from relays.services import operations
from relays.services.audit import shell_actor
from relays.services.doors import read_target
from relays.services.kinds import PlanRefused
from relays.services.message_actions import KINDS, Purge
from relays.services.operations import NotAllowed
from relays.services.queue_filters import resolved

_LIMITS = Limits(wall_s=120, idle_s=118)
_ACTIONS = {kind.name.removeprefix("message."): kind.name for kind in KINDS if kind is not Purge}
# Option of the command: word of the filter.
_FILTERS = {
    "--queue": ("queue", "of incoming, active, deferred, hold, joined by commas"),
    "--domain": ("domain", "recipient domain"),
    "--recipient": ("recipient", "an address"),
    "--sender-domain": ("sender_domain", "domain of the sender"),
    "--sender": ("sender", "an address, or <> for bounces"),
    "--older-than": ("older", "90m, 2h or 3d"),
    "--younger-than": ("newer", "90m, 2h or 3d"),
    "--larger-than": ("larger", "500K or 2M"),
    "--smaller-than": ("smaller", "500K or 2M"),
    "--with-reason": ("reason", "slug of a reason (manage.py classify)"),
    "--reply": ("reply", "digest of a reply, as --by reply gives it"),
    "--text": ("text", "found in the reply"),
    "--id": ("id", "queue id"),
}


class Command(BaseCommand):
    help = "Find messages in the queue of an instance, or act on all that a filter takes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "words", nargs="+", metavar="[act ACTION] INSTANCE", help=f"ACTION: {', '.join(_ACTIONS)}"
        )
        _add_filter(parser)
        parser.add_argument("--by", choices=list(BY), default="domain", help="what to count by")
        parser.add_argument("--messages", action="store_true", help="list the messages instead")
        parser.add_argument("--limit", type=int, default=50, help="rows that are shown, at most 1,000")
        parser.add_argument("--json", action="store_true")
        parser.add_argument("--plan", action="store_true", help="act: only say what would be done")
        parser.add_argument("--yes", action="store_true", help="act: do not ask")
        parser.add_argument(
            "--reason", dest="why", default="", help="as --with-reason; act: why, for the audit trail"
        )
        parser.add_argument(
            "--user", default="", help="act: who answers for it; needs that user's permission"
        )
        parser.add_argument("--grace", default="24h", help="act delete: how long they are held before")

    def handle(self, *args: Any, **options: Any) -> None:
        words = options["words"]
        try:
            asked = {word: options[word] for word, _ in _FILTERS.values()}
            if words[0] == "act" and len(words) == 3:
                self._act(words[1], instance_named(words[2]), from_words(asked), options)
            elif len(words) == 1:
                asked["reason"] = asked["reason"] or options["why"]
                self._show(instance_named(words[0]), from_words(asked), options)
            else:
                raise CommandError("Give INSTANCE, or act ACTION INSTANCE.")
        except (BadFilter, PlanRefused, NotAllowed, RemoteError) as error:
            raise CommandError(str(error)) from error

    def _show(self, instance: Instance, wanted: QueueFilter, options: dict[str, Any]) -> None:
        limit = max(1, min(1_000, options["limit"]))
        found = resolved(instance, wanted, _LIMITS)
        show = self._messages if options["messages"] else self._groups
        show(instance, wanted, found, limit, options)

    def _groups(
        self, instance: Instance, wanted: QueueFilter, found: QueueFilter, limit: int, options: dict[str, Any]
    ) -> None:
        groups = relayctl.queue_groups(
            read_target(instance.host), _LIMITS, instance=instance.name, wanted=found, limit=limit
        ).groups
        table = grouped(options["by"], [(instance, groups)], may_see=True, limit=limit)
        if options["json"]:
            rows = [
                {"key": line.key, "label": line.label, "messages": line.messages, "ages": line.ages}
                for line in table.lines
            ]
            self._json(instance, wanted, {**_sums(groups), "by": options["by"], "rows": rows})
            return
        self.stdout.write(
            f"{count(groups.messages)} of {count(groups.of)} messages of {visible(instance.name)}, "
            f"{described(wanted)}:"
        )
        for line in table.lines:
            self.stdout.write(f"{line.messages:>9,}  {line.label}")
        if table.note:
            self.stdout.write(table.note)

    def _messages(
        self, instance: Instance, wanted: QueueFilter, found: QueueFilter, limit: int, options: dict[str, Any]
    ) -> None:
        page = relayctl.queue_list(
            read_target(instance.host), _LIMITS, instance=instance.name, wanted=found, limit=limit
        )
        if options["json"]:
            rows = [
                {
                    "id": message.queue_id,
                    "queue": message.queue,
                    "arrived_at": datetime.fromtimestamp(message.arrival, UTC).isoformat(),
                    "size_bytes": message.size_bytes,
                    "sender": message.sender,
                    "recipients": [{"address": who, "reply": said} for who, said in message.recipients],
                    "recipients_total": message.recipients_total,
                }
                for message in page.messages
            ]
            self._json(instance, wanted, {"messages": rows, "more": page.cursor is not None})
            return
        for message in page.messages:
            age = span(page.header.now - message.arrival)
            self.stdout.write(f"{message.queue_id}  {message.queue}  {age}  {visible(message.sender)}")
            for who, said in message.recipients:
                self.stdout.write(f"    {visible(who)}: {visible(said) or 'no reply recorded'}")
        if page.cursor is not None:
            self.stdout.write("There are more: narrow the filter, or raise --limit.")

    def _act(self, action: str, instance: Instance, wanted: QueueFilter, options: dict[str, Any]) -> None:
        if action not in _ACTIONS:
            raise CommandError(f"ACTION is one of {', '.join(_ACTIONS)}.")
        user, actor = user_named(options["user"]), shell_actor()
        params = to_words(wanted) | ({"grace": options["grace"]} if action == "delete" else {})
        operation = operations.plan(
            kind=_ACTIONS[action], instance=instance, params=params, user=user, actor=actor
        )
        if not options["json"]:
            self._plan(operation)
        if not options["plan"]:
            self._confirm(operation, user, options)
        if options["json"]:
            operation.refresh_from_db()
            self.stdout.write(json.dumps(_described(operation), indent=1))

    def _plan(self, operation: Operation) -> None:
        self.stdout.write(operation.plan["summary"])
        for note in operation.plan["notes"]:
            self.stdout.write(f"  {note}")

    def _confirm(self, operation: Operation, user: User, options: dict[str, Any]) -> None:
        """Confirm it and run it here, if no worker has taken it before."""
        if not options["yes"] and input("Type yes to do it: ").strip() != "yes":
            raise CommandError("Nothing was done.")
        operations.confirm(
            operation=operation,
            plan_hash=operation.plan_hash,
            user=user,
            actor=shell_actor(),
            reason=options["why"],
            typed_name=operation.instance_name,
        )
        run_to_its_end(operation)
        if not options["json"]:
            told = f"operation {operation.pk}: {operation.get_state_display()}: {operation.outcome}"
            self.stdout.write(told)
        if operation.state != OperationState.DONE:
            raise SystemExit(1)

    def _json(self, instance: Instance, wanted: QueueFilter, fields: dict[str, Any]) -> None:
        head = {
            "at": timezone.now().isoformat(),
            "instance": instance.name,
            "host": instance.host.name,
            "filter": to_words(wanted),
        }
        self.stdout.write(json.dumps({**head, **fields}, indent=1))


def _add_filter(parser: ArgumentParser) -> None:
    for option, (word, text) in _FILTERS.items():
        parser.add_argument(option, dest=word, default="", help=text)


def _sums(groups: Groups) -> dict[str, Any]:
    return {
        "messages": groups.messages,
        "of": groups.of,
        "recipients": groups.recipients,
        "size_bytes": groups.size_bytes,
        "oldest_at": datetime.fromtimestamp(groups.oldest, UTC).isoformat() if groups.oldest else None,
        "unparsable": groups.unparsable,
    }


def _described(operation: Operation) -> dict[str, Any]:
    return {
        "operation": operation.pk,
        "kind": operation.kind,
        "state": operation.state,
        "outcome": operation.outcome,
        "plan": operation.plan,
    }
