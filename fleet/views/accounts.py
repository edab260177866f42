"""Logging in and out, and the password. Throttling is django-axes' work: see AXES_* in the settings."""

import time
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django_htmx.http import HttpResponseClientRefresh

from fleet import second_factor, sessions
from fleet.accounts import keep_one_time, mark_second_factor, throttled_name
from relays.services import audit
from relays.views.actors import actor_of, user_of

_WAITING = "log_in"
# So long a right password waits for its code.
_CODE_WITHIN_S = 5 * 60
_MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


@method_decorator(login_not_required, name="dispatch")
class LogIn(LoginView):
    """The log-in page; a poll whose session has ended makes its whole page load again instead."""

    template_name = "fleet/login.html"
    redirect_authenticated_user = True

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Offer single sign-on, where there is one."""
        return super().get_context_data(**context, sign_on=settings.SIGN_ON)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer a poll by a reload, so that a fragment never becomes a log-in form."""
        if request.headers.get("HX-Request"):
            return HttpResponseClientRefresh()
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Begin the session, or ask for the second factor first."""
        user = form.get_user()
        keep_one_time(user, form.cleaned_data["password"])
        if second_factor.is_on(user):
            wait_for_code(self.request, user, self.get_success_url())
            return redirect("login-code")
        begin_session(self.request, user, factor="password")
        return redirect(self.get_success_url())

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Write down that somebody failed."""
        record_failed_log_in(self.request, form.cleaned_data.get("username", ""), "password")
        return super().form_invalid(form)


class LogOut(LogoutView):
    """Ends the session."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """End it, and write down whose it was."""
        with transaction.atomic():
            audit.record(actor=actor_of(request), action="logout", phase="succeeded")
            return super().post(request, *args, **kwargs)


class PasswordChange(PasswordChangeView):
    """Changes one's own password, which ends one's other sessions."""

    template_name = "fleet/password.html"
    success_url = reverse_lazy("matrix")

    def form_valid(self, form: Any) -> HttpResponse:
        """Change it, and write that down."""
        with transaction.atomic():
            response = super().form_valid(form)
            sessions.replaced(self.request, user_of(self.request))
            audit.record(actor=actor_of(self.request), action="password", phase="succeeded")
        return response

    def form_invalid(self, form: Any) -> HttpResponse:
        """Write down that the old password was wrong; a weak new one is no event."""
        if "old_password" in form.errors:
            audit.record(actor=actor_of(self.request), action="password", phase="failed")
        return super().form_invalid(form)


def record_failed_log_in(request: HttpRequest, username: str, factor: str) -> None:
    """Write down a failed log-in, and the lock-out that it brought.

    A locked name's further attempts are no events, or whoever guesses could fill the trail. A name that
    nobody has is not kept either: people type passwords into the wrong field.
    """
    known = User.objects.filter(username=username).exists()
    details = {"user": username if known else "(no such user)", "factor": factor}
    if not getattr(request, "axes_locked_out", False):
        audit.record(actor=actor_of(request), action="login", phase="failed", details=details)
        return
    actor = actor_of(request)
    name = throttled_name(request, {"username": username})
    tries = AccessAttempt.objects.filter(username=name, ip_address=actor.details["ip"])
    if any(tried.failures_since_start == settings.AXES_FAILURE_LIMIT for tried in tries):
        audit.record(actor=actor, action="login.locked", phase="denied", details=details)


def begin_session(request: HttpRequest, user: User, *, factor: str) -> None:
    """Log a user in, and write down by what. factor: "password", "code"."""
    with transaction.atomic():
        login(request, user, backend=_MODEL_BACKEND)
        request.session.pop(_WAITING, None)
        if factor == "code":
            mark_second_factor(request)
        audit.record(actor=actor_of(request), action="login", phase="succeeded", details={"factor": factor})


def wait_for_code(request: HttpRequest, user: User, success_url: str) -> None:
    """Remember that this browser knows the password; nobody is logged in by that."""
    request.session[_WAITING] = {"user": user.pk, "at": int(time.time()), "next": success_url}


def waiting_for_code(request: HttpRequest) -> tuple[User, str] | None:
    """Return who gave the right password within the last minutes, and where to go then."""
    waiting = request.session.get(_WAITING)
    if not waiting or not 0 <= time.time() - waiting["at"] <= _CODE_WITHIN_S:
        return None
    user = User.objects.filter(pk=waiting["user"], is_active=True).first()
    return (user, waiting["next"]) if user else None
