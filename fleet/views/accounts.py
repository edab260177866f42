"""Logging in and out. Throttling is django-axes' work: see AXES_* in the settings."""

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import method_decorator
from django_htmx.http import HttpResponseClientRefresh


@method_decorator(login_not_required, name="dispatch")
class LogIn(LoginView):
    """The log-in page; a poll whose session has ended makes its whole page load again instead."""

    template_name = "fleet/login.html"
    redirect_authenticated_user = True

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer a poll by a reload, so that a fragment never becomes a log-in form."""
        if request.headers.get("HX-Request"):
            return HttpResponseClientRefresh()
        return super().dispatch(request, *args, **kwargs)
