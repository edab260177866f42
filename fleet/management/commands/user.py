"""`manage.py user …`: users, their roles, passwords and tokens, for scripts and for emergencies."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet import second_factor, tokens, users
from fleet.models import ApiToken
from fleet.sign_on_settings import ROLES
from relays.services.audit import shell_actor


class Command(BaseCommand):
    help = "List, add and change users; each change is an event of the audit trail."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def action(name: str, run: Callable[..., None], text: str, *, named: bool = True) -> ArgumentParser:
            added: ArgumentParser = actions.add_parser(name, help=text, description=text)
            added.set_defaults(run=run)
            added.add_argument("--json", action="store_true", help="for programs; keys: docs/accounts.md")
            if named:
                added.add_argument("name", metavar="NAME")
            return added

        action("list", self._list, "List users with their roles.", named=False)
        add = action("add", self._add, "Add a user and print a one-time password.")
        add.add_argument("--role", action="append", default=[], choices=ROLES, help="may be given twice")
        role = action("role", self._role, "Give a user exactly these roles; none takes all away.")
        role.add_argument("roles", metavar="ROLE", nargs="*", help=", ".join(ROLES))
        password = action("password", self._password, "Give a user a one-time password, and print it.")
        for one in (add, password):
            one.add_argument(
                "--stdin", action="store_true", help="read the password from standard input instead"
            )
        action("disable", self._disable, "Let a user in no more: sessions and tokens stop counting at once.")
        action("enable", self._enable, "Let a disabled user in again.")
        action(
            "reset-totp", self._reset_totp, "Turn a user's second factor off, where phone and codes are lost."
        )
        link = action("link", self._link, "Let a user log in by single sign-on too.")
        link.add_argument("subject", metavar="SUBJECT", help="who that is there: the claim `sub`")
        token = action("token", self._token, "Make, list or remove a user's API tokens.")
        token.add_argument("--add", metavar="PURPOSE", help="make one and print it")
        token.add_argument("--scope", action="append", metavar="PERMISSION", help="`read` without it")
        token.add_argument("--days", type=int, default=90, help="how long it counts (90)")
        token.add_argument("--remove", type=int, metavar="ID")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            options["run"](options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error

    def _list(self, options: dict[str, Any]) -> None:
        rows = [_described(user) for user in User.objects.order_by("username").prefetch_related("groups")]
        lines = [
            f"{row['name']}: {', '.join(row['roles']) or 'no role'}"
            f"{'' if row['active'] else ', disabled'}{', second factor' if row['second_factor'] else ''}"
            for row in rows
        ]
        self._tell(options, {"users": rows}, "\n".join(lines) or "There is no user yet.")

    def _add(self, options: dict[str, Any]) -> None:
        made = users.user_add(
            name=options["name"], roles=options["role"], password=_given(options), actor=shell_actor()
        )
        user = _user(options["name"])
        self._tell(options, _described(user) | {"one_time_password": made}, _password_text(user, made))

    def _role(self, options: dict[str, Any]) -> None:
        user = _user(options["name"])
        users.user_roles(user=user, roles=options["roles"], actor=shell_actor())
        self._done(options, user)

    def _password(self, options: dict[str, Any]) -> None:
        user = _user(options["name"])
        made = users.user_password(user=user, password=_given(options), actor=shell_actor())
        self._tell(options, _described(user) | {"one_time_password": made}, _password_text(user, made))

    def _disable(self, options: dict[str, Any]) -> None:
        users.user_switch(user=_user(options["name"]), is_active=False, actor=shell_actor())
        self._done(options, _user(options["name"]))

    def _enable(self, options: dict[str, Any]) -> None:
        users.user_switch(user=_user(options["name"]), is_active=True, actor=shell_actor())
        self._done(options, _user(options["name"]))

    def _reset_totp(self, options: dict[str, Any]) -> None:
        user = _user(options["name"])
        second_factor.turn_off(user=user, actor=shell_actor())
        self._done(options, user)

    def _link(self, options: dict[str, Any]) -> None:
        if settings.SIGN_ON is None:
            raise CommandError("Single sign-on is off: set FLEET_OIDC_ISSUER.")
        user = _user(options["name"])
        users.user_link(
            user=user, issuer=settings.SIGN_ON.issuer, subject=options["subject"], actor=shell_actor()
        )
        self._done(options, user)

    def _token(self, options: dict[str, Any]) -> None:
        user = _user(options["name"])
        if options["add"] is not None:
            token, text = tokens.token_add(
                user=user,
                name=options["add"],
                scopes=options["scope"] or [tokens.READ],
                days=options["days"],
                actor=shell_actor(),
            )
            self._tell(options, _token_described(token) | {"token": text}, f"{text}\nIt is shown only now.")
            return
        if options["remove"] is not None:
            self._remove_token(user, options["remove"])
        rows = [_token_described(token) for token in tokens.tokens_of(user)]
        lines = [
            f"{row['id']} {row['name']}: {', '.join(row['scopes'])}, until {row['expires_at']}"
            for row in rows
        ]
        self._tell(options, {"tokens": rows}, "\n".join(lines) or f"{user} has no token.")

    def _remove_token(self, user: User, ident: int) -> None:
        token = ApiToken.objects.filter(user=user, pk=ident).first()
        if token is None:
            raise CommandError(f"{user} has no token {ident}.")
        tokens.token_remove(token=token, actor=shell_actor())

    def _done(self, options: dict[str, Any], user: User) -> None:
        row = _described(user)
        state = "" if row["active"] else ", disabled"
        self._tell(options, row, f"{row['name']}: {', '.join(row['roles']) or 'no role'}{state}")

    def _tell(self, options: dict[str, Any], document: dict[str, Any], text: str) -> None:
        self.stdout.write(json.dumps(document, indent=1) if options["json"] else text)


def _user(name: str) -> User:
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user called {name!r}.")
    return user


def _given(options: dict[str, Any]) -> str | None:
    """Return the password from standard input, where one is to be read; all can see arguments."""
    return sys.stdin.readline().rstrip("\n") if options["stdin"] else None


def _password_text(user: User, made: str | None) -> str:
    if made is None:
        return f"{user} has the given password."
    return f"One-time password of {user}: {made}\nIt is shown only now; the first log-in has to change it."


def _described(user: User) -> dict[str, Any]:
    return {
        "name": user.get_username(),
        "roles": sorted(group.name for group in user.groups.all()),
        "superuser": user.is_superuser,
        "active": user.is_active,
        "second_factor": second_factor.is_on(user),
        "last_login": _iso(user.last_login),
    }


def _token_described(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.pk,
        "name": token.name,
        "scopes": token.scopes,
        "expires_at": _iso(token.expires_at),
        "last_used_at": _iso(token.last_used_at),
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
