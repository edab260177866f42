"""Users, as an administrator of the machine makes and changes them."""

import secrets
from collections.abc import Iterable

from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from fleet.models import OneTimePassword, SignOnIdentity
from fleet.sign_on_settings import ROLES
from relays.services import audit
from relays.services.audit import Actor, Subject


def user_add(*, name: str, roles: Iterable[str], actor: Actor, password: str | None = None) -> str | None:
    """Make a user; return its one-time password where none was given. Raises ValidationError."""
    with transaction.atomic():
        return _set_password(_added(name, roles, actor), password)


def user_from_provider(*, name: str, roles: Iterable[str], issuer: str, subject: str, actor: Actor) -> User:
    """Make a user who logs in by single sign-on alone. Raises ValidationError."""
    with transaction.atomic():
        user = _added(name, roles, actor)
        user_link(user=user, issuer=issuer, subject=subject, actor=actor)
    return user


def user_link(*, user: User, issuer: str, subject: str, actor: Actor) -> None:
    """Let a user log in by single sign-on, as who it is there. Raises ValidationError where another is."""
    taken = SignOnIdentity.objects.filter(issuer=issuer, subject=subject).exclude(user=user).first()
    if taken is not None:
        raise ValidationError(f"{taken.user.get_username()} is this account of the provider.")
    with transaction.atomic():
        fields = {"issuer": issuer, "subject": subject}
        SignOnIdentity.objects.update_or_create(user=user, defaults=fields)
        _audit(user, actor, "user.link", {"issuer": issuer, "subject": subject})


def _added(name: str, roles: Iterable[str], actor: Actor) -> User:
    user = User(username=name)
    user.set_unusable_password()
    user.full_clean()
    groups = _groups(roles)
    user.save()
    user.groups.set(groups)
    _audit(user, actor, "user.add", {"roles": _names(groups)})
    return user


def user_roles(*, user: User, roles: Iterable[str], actor: Actor) -> None:
    """Give a user exactly these roles. Raises ValidationError for a role that is none."""
    groups = _groups(roles)
    with transaction.atomic():
        before = _names(user.groups.all())
        user.groups.set(groups)
        _audit(user, actor, "user.role", {"before": before, "after": _names(groups)})


def user_password(*, user: User, actor: Actor, password: str | None = None) -> str | None:
    """Give a user another password, which ends its sessions; return the one-time one where none was given.

    Raises ValidationError for one that is too weak.
    """
    with transaction.atomic():
        _audit(user, actor, "user.password", {"one_time": password is None})
        return _set_password(user, password)


def user_switch(*, user: User, is_active: bool, actor: Actor) -> None:
    """Let a user in, or no more: its sessions and tokens stop counting at once."""
    with transaction.atomic():
        user.is_active = is_active
        user.save(update_fields=["is_active"])
        _audit(user, actor, "user.enable" if is_active else "user.disable", {})


def _set_password(user: User, password: str | None) -> str | None:
    if password is not None:
        validate_password(password, user)
    made = password or secrets.token_urlsafe(12)
    user.set_password(made)
    user.save(update_fields=["password"])
    OneTimePassword.objects.filter(user=user).delete()
    if password is not None:
        return None
    OneTimePassword.objects.create(user=user, password_hash=user.password)
    return made


def _groups(roles: Iterable[str]) -> list[Group]:
    wanted = sorted(set(roles))
    if unknown := [role for role in wanted if role not in ROLES]:
        raise ValidationError({"roles": f"There is no role {unknown[0][:40]!r}: {', '.join(ROLES)}."})
    return list(Group.objects.filter(name__in=wanted).order_by("name"))


def _names(groups: Iterable[Group]) -> str:
    return ",".join(sorted(group.name for group in groups))


def _audit(user: User, actor: Actor, action: str, details: dict[str, object]) -> None:
    subject = Subject(type="user", id=str(user.pk), name=user.get_username())
    audit.record(actor=actor, action=action, phase="succeeded", subject=subject, details=details)
