"""`manage.py ramp …`: bring an address up under a relay name (docs/ramps.md)."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from dns.domain.schedule import BadSchedule, Step
from dns.models import RAMPS_LIVE, Ramp, RelayName
from dns.selectors import ramps as read
from dns.selectors.ramp_calendar import calendar
from dns.services import ramp_schedules, ramps
from dns.services.ramp_checklist import checklist
from relays.management.operating import run_to_its_end, user_named
from relays.remote.errors import RemoteError
from relays.services import operations
from relays.services.audit import shell_actor
from relays.services.kinds import PlanRefused
from relays.services.operations import NotAllowed

_STEERED = {
    "advance": (ramps.advance, "Go a step on now."),
    "step-back": (ramps.step_back, "Go a step back now."),
    "hold": (ramps.hold, "Stay on the step for this date."),
    "pause": (ramps.pause, "Decide nothing until it is resumed."),
    "resume": (ramps.resume, "Decide again."),
}


class Command(BaseCommand):
    """Each action shows, or changes one ramp; what is refused is the command's error."""

    help = "Start, watch and steer ramps."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def action(name: str, run: Callable[..., None], text: str) -> ArgumentParser:
            added = actions.add_parser(name, help=text, description=text)
            added.set_defaults(run=run)
            added.add_argument("--json", action="store_true", help="for programs")
            return added

        action("presets", self._presets, "List the published schedules, with their sources.")
        listed = action("list", self._list, "List the ramps, and why those that are held are.")
        listed.add_argument("--all", action="store_true", help="those that have ended too")
        action("show", self._show, "Tell a ramp's dates and decisions.").add_argument("ramp", type=int)
        _start_arguments(action("start", self._start, "Begin a ramp, or tell what it would be."))
        for name, (_, text) in _STEERED.items():
            _steering(action(name, self._steer, text))
        edit = action("edit", self._edit, "Give a ramp other days to come; without a table, tell them.")
        _steering(edit)
        edit.add_argument("--table", metavar="FILE", help='a line a day: "5 %%", "2000" or "5 %% 2000"')
        cancel = action("cancel", self._cancel, "End a ramp.")
        _steering(cancel)
        cancel.add_argument("--restore", action="store_true", help="give back the weights from before")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action."""
        try:
            options["run"](options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except (BadSchedule, ramps.RampRefused, PlanRefused, NotAllowed, RemoteError) as error:
            raise CommandError(str(error)) from error

    def _presets(self, options: dict[str, Any]) -> None:
        found = ramp_schedules.presets().values()
        if options["json"]:
            rows = [
                {"id": one.id, "name": one.name, "source": one.source, "days": len(one.steps)}
                for one in found
            ]
            return self._json(rows)
        for one in found:
            self.stdout.write(f"{one.id:20} {len(one.steps):>3} days  {one.name}  ({one.source})")
        return None

    def _list(self, options: dict[str, Any]) -> None:
        wanted = Ramp.objects.all() if options["all"] else Ramp.objects.filter(state__in=RAMPS_LIVE)
        rows = read.ramp_rows(wanted, timezone.now())
        if options["json"]:
            return self._json([row.as_json() for row in rows])
        for row in rows:
            ramp = row.ramp
            self.stdout.write(
                f"{ramp.pk:>5}  {ramp.relay_name}  {ramp.address}  {row.position}  {row.why}".rstrip()
            )
        return None

    def _show(self, options: dict[str, Any]) -> None:
        ramp, now = _ramp(options), timezone.now()
        if options["json"]:
            return self._json(read.as_json(ramp, now))
        self.stdout.write(f"ramp {ramp.pk}: {ramp}, {read.position(ramp)}")
        for row in read.day_rows(ramp):
            planned = f"planned {row.share or 'nothing'}, {row.day.expected:,}"
            self.stdout.write(f"{row.day.date}  {planned}  sent {row.day.sent:,}  {row.actual_share}")
        for one in read.decision_rows(ramp, now):
            told = (
                f"{one.decision.get_change_display()}, {one.step}, by {one.by}: {' '.join(one.decision.why)}"
            )
            self.stdout.write(f"{one.decision.local_date}  {told}")
        return None

    def _start(self, options: dict[str, Any]) -> None:
        wish, now = _wish(options), timezone.now()
        if options["plan"]:
            return self._plan(wish, options)
        ramp = ramps.start(
            wish=wish, user=user_named(options["user"]), actor=shell_actor(), reason=options["reason"]
        )
        if options["json"]:
            return self._json(read.as_json(ramp, now))
        self.stdout.write(f"ramp {ramp.pk}: {ramp}, {read.position(ramp)}")
        return None

    def _plan(self, wish: ramps.Wish, options: dict[str, Any]) -> None:
        now = timezone.now()
        draft = ramps.draft(wish, now)
        items, planned = checklist(wish.relay_name, draft.address), calendar(draft, now)
        if options["json"]:
            days = [day._asdict() | {"date": day.date.isoformat()} for day in planned.days]
            rows = [{"title": item.title, "met": item.met, "text": item.text} for item in items]
            return self._json({"checklist": rows, "volume": planned.volume, "days": days})
        for item in items:
            self.stdout.write(f"{item.word:>9}  {item.title}: {item.text}")
        for day in planned.days:
            cap = f"at most {day.cap}" if day.cap else ""
            told = f"{day.share:>7} {cap}  about {day.expected}, the {day.binds} binds  {day.note}"
            self.stdout.write(f"day {day.number:>3}  {day.date}  {told}".rstrip())
        return None

    def _steer(self, options: dict[str, Any]) -> None:
        ramp = _ramp(options)
        act, _ = _STEERED[options["action"]]
        act(ramp=ramp, user=user_named(options["user"]), actor=shell_actor(), reason=options["reason"])
        self._tell(ramp, options)

    def _edit(self, options: dict[str, Any]) -> None:
        ramp = _ramp(options)
        if not options["table"]:
            self.stdout.write(read.rest_text(ramp))
            return
        steps, user = _table(options["table"]).steps, user_named(options["user"])
        ramps.edit(ramp=ramp, steps=steps, user=user, actor=shell_actor(), reason=options["reason"])
        self._tell(ramp, options)

    def _cancel(self, options: dict[str, Any]) -> None:
        ramp, user = _ramp(options), user_named(options["user"])
        ramps.cancel(ramp=ramp, user=user, actor=shell_actor(), reason=options["reason"])
        if options["restore"]:
            operation = ramps.plan_restoring(ramp=ramp, user=user, actor=shell_actor())
            operations.confirm(
                operation=operation,
                plan_hash=operation.plan_hash,
                user=user,
                actor=shell_actor(),
                reason=options["reason"],
            )
            run_to_its_end(operation)
        self._tell(ramp, options)

    def _tell(self, ramp: Ramp, options: dict[str, Any]) -> None:
        ramp.refresh_from_db()
        if options["json"]:
            return self._json(read.as_json(ramp, timezone.now()))
        self.stdout.write(f"ramp {ramp.pk}: {ramp}, {read.position(ramp)}")
        return None

    def _json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, indent=1))


def _start_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="msn.smtp.example.org")
    parser.add_argument("address", metavar="ADDRESS")
    schedule = parser.add_mutually_exclusive_group(required=True)
    schedule.add_argument("--preset", metavar="ID", help="one of `ramp presets`")
    schedule.add_argument("--curve", choices=sorted(ramp_schedules.CURVES))
    schedule.add_argument("--table", metavar="FILE", help='a line a day: "5 %%", "2000" or "5 %% 2000"')
    parser.add_argument("--days", type=int, default=14, help="of a curve")
    for end in ("first", "last"):
        parser.add_argument(f"--{end}-share", type=float, metavar="PERCENT", help="of a curve")
        parser.add_argument(f"--{end}-cap", type=int, metavar="MESSAGES", help="of a curve")
    parser.add_argument("--largest", type=float, default=50, metavar="PERCENT", help="the greatest share")
    parser.add_argument("--start", type=date.fromisoformat, metavar="DATE", help="tomorrow if left out")
    parser.add_argument("--time-zone", default="UTC")
    parser.add_argument("--opens", type=time.fromisoformat, default=time(9), metavar="HH:MM")
    parser.add_argument("--closes", type=time.fromisoformat, metavar="HH:MM")
    parser.add_argument("--rail", dest="rails", action="append", default=[], metavar="NAME=NUMBER")
    parser.add_argument("--plan", action="store_true", help="only tell the checklist and the calendar")
    _acting(parser)


def _steering(parser: ArgumentParser) -> None:
    parser.add_argument("ramp", type=int, metavar="RAMP", help="its number in `ramp list`")
    _acting(parser)


def _acting(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help="why: it stands in the audit trail")
    parser.add_argument("--user", metavar="NAME", default="", help="whose permissions and name it carries")


def _ramp(options: dict[str, Any]) -> Ramp:
    ramp = Ramp.objects.select_related("relay_name__zone").filter(pk=options["ramp"]).first()
    if ramp is None:
        raise CommandError(f"There is no ramp {options['ramp']}: manage.py ramp list --all")
    return ramp


def _wish(options: dict[str, Any]) -> ramps.Wish:
    relay_name = RelayName.objects.filter(name=options["name"].lower().removesuffix(".")).first()
    if relay_name is None:
        raise CommandError(f"There is no relay name {options['name'][:80]}.")
    chosen = _schedule(options)
    return ramps.Wish(
        relay_name=relay_name,
        address=options["address"],
        schedule_name=chosen.name,
        source=chosen.source,
        steps=chosen.steps,
        start_date=options["start"] or (timezone.now() + timedelta(days=1)).date(),
        largest=options["largest"] / 100,
        time_zone=options["time_zone"],
        opens=options["opens"],
        closes=options["closes"],
        rails=_rails(options["rails"]),
    )


def _schedule(options: dict[str, Any]) -> ramp_schedules.Chosen:
    if options["preset"]:
        return ramp_schedules.preset(options["preset"])
    if options["table"]:
        return _table(options["table"])
    first, last = (_step(options[f"{end}_share"], options[f"{end}_cap"]) for end in ("first", "last"))
    return ramp_schedules.curve(options["curve"], days=options["days"], first=first, last=last)


def _table(path: str) -> ramp_schedules.Chosen:
    """Return the schedule in a file. Raises CommandError and BadSchedule."""
    try:
        return ramp_schedules.own(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error


def _step(share: float | None, cap: int | None) -> Step:
    return Step(None if share is None else share / 100, cap)


def _rails(given: list[str]) -> dict[str, float]:
    """Return {name: number} of "NAME=NUMBER" each. Raises CommandError."""
    rails: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            rails[name] = float(number)
        except ValueError as error:
            raise CommandError(f"{text[:60]!r} is not NAME=NUMBER.") from error
    return rails
