"""Logging in at an OpenID Connect provider, and proving again there who one is."""

import time

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fleet import second_factor, single_sign_on
from fleet.accounts import mark_second_factor
from fleet.single_sign_on import Proven, SignOnRefused
from fleet.views.accounts import begin_session, wait_for_code
from relays.services import audit
from relays.services.audit import Actor
from relays.views.actors import actor_of, user_of
from relays.views.recent import mark_authenticated

_BEGUN = "sign_on"
_SIGNED_ON = "signed_on"


@never_cache
@login_not_required
@require_safe
def sign_on(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider; ?next= says where to go on afterwards."""
    _require_configured()
    again = request.user.is_authenticated
    wanted = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    request.session[_BEGUN] = wanted if safe else ""
    try:
        return single_sign_on.begin(
            request, callback=request.build_absolute_uri(reverse("sign-on-done")), again=again
        )
    except SignOnRefused as refused:
        return _refused(request, refused)


@never_cache
@login_not_required
@require_safe
def sign_on_done(request: HttpRequest) -> HttpResponse:
    """Take whom the provider sends back: log in, or prove again who is logged in."""
    _require_configured()
    place = request.session.pop(_BEGUN, "") or resolve_url("matrix")
    try:
        proven = single_sign_on.finish(request)
        if request.user.is_authenticated:
            _prove_again(request, proven)
            return redirect(place)
        user = single_sign_on.user_of(proven=proven, actor=_provider_actor(request))
    except SignOnRefused as refused:
        return _refused(request, refused)
    request.session[_SIGNED_ON] = True
    if second_factor.is_on(user) and not proven.second_factor:
        wait_for_code(request, user, place)
        return redirect("login-code")
    begin_session(request, user, factor="single sign-on")
    if proven.second_factor:
        mark_second_factor(request)
    return redirect(place)


def has_signed_on(request: HttpRequest) -> bool:
    """Return whether this session began at the provider, which is then asked again, too."""
    return bool(settings.SIGN_ON and request.session.get(_SIGNED_ON))


def _prove_again(request: HttpRequest, proven: Proven) -> None:
    if not single_sign_on.is_same(proven=proven, user=user_of(request)):
        raise SignOnRefused("The provider did not just ask for the credentials of this user.", proven=True)
    with transaction.atomic():
        mark_authenticated(request, time.time())
        details = {"factor": "single sign-on"}
        audit.record(actor=actor_of(request), action="reauthenticate", phase="succeeded", details=details)


def _provider_actor(request: HttpRequest) -> Actor:
    """Return who makes users and gives roles: the provider, through this browser."""
    return Actor("system", "single sign-on", None, actor_of(request).details)


def _refused(request: HttpRequest, refused: SignOnRefused) -> HttpResponse:
    """Tell why nobody was logged in. What the provider vouched for is an event; the rest anybody sends."""
    if refused.proven:
        details = {"factor": "single sign-on", "why": str(refused)}
        action = "reauthenticate" if request.user.is_authenticated else "login"
        audit.record(actor=actor_of(request), action=action, phase="failed", details=details)
    context = {"form": AuthenticationForm(), "sign_on": settings.SIGN_ON, "refused": str(refused)}
    return render(request, "fleet/login.html", context, status=403 if refused.proven else 400)


def _require_configured() -> None:
    if settings.SIGN_ON is None:
        raise Http404("Single sign-on is off.")
