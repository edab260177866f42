"""Who is logged in where: each session is listed for its user, who can end it."""

import time
from typing import Any

from axes.helpers import get_client_ip_address
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from fleet.models import UserSession
from relays.domain.text import printable
from relays.services import audit
from relays.services.audit import Actor, Subject
from relays.views.recent import mark_authenticated


def remember(request: HttpRequest, user: User, **_: Any) -> None:
    """List the session that just began (signal user_logged_in: however somebody logs in)."""
    mark_authenticated(request, time.time())
    if request.session.session_key is None:
        request.session.create()
    _forget_ended(user)
    UserSession.objects.create(
        user=user,
        session_key=request.session.session_key or "",
        began_at=timezone.now(),
        ip=get_client_ip_address(request) or "",
        user_agent=printable(request.headers.get("User-Agent", ""), 200),
    )


def replaced(request: HttpRequest, user: User) -> None:
    """Say that this session goes on under another key and that the user's others have ended."""
    UserSession.objects.filter(user=user).delete()
    remember(request, user)


def sessions_of(user: User) -> list[UserSession]:
    """Return a user's live sessions, newest first."""
    live = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    return list(UserSession.objects.filter(user=user, session_key__in=live).order_by("-began_at"))


def end(*, user: User, actor: Actor, pk: int | None = None) -> int:
    """End one of a user's sessions, or all of them; return how many."""
    with transaction.atomic():
        listed = UserSession.objects.filter(user=user)
        if pk is not None:
            listed = listed.filter(pk=pk)
        keys = list(listed.values_list("session_key", flat=True))
        Session.objects.filter(session_key__in=keys).delete()
        listed.delete()
        audit.record(
            actor=actor,
            action="session.end",
            phase="succeeded",
            subject=Subject(type="user", id=str(user.pk), name=user.get_username()),
            details={"sessions": len(keys), "everywhere": pk is None},
        )
    return len(keys)


def _forget_ended(user: User) -> None:
    live = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    UserSession.objects.filter(user=user).exclude(session_key__in=live).delete()
