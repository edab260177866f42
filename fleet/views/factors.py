"""One's own account: the second factor, the sessions, and proving who one is again."""

import time

import segno
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from fleet import second_factor, sessions, tokens, totp
from fleet.accounts import mark_second_factor, may_change
from fleet.forms import CodeForm, ProofForm, SessionForm, TokenForm
from fleet.models import ApiToken
from fleet.views.accounts import begin_session, record_failed_log_in, waiting_for_code
from fleet.views.single_sign_on import has_signed_on
from relays.selectors.figures import clock
from relays.services import audit
from relays.views.actors import actor_of, user_of
from relays.views.recent import mark_authenticated, recently_authenticated

_WRONG_CODE = "This is not the code of now, or it was used before."


@never_cache
@login_not_required
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def log_in_code(request: HttpRequest) -> HttpResponse:
    """Ask for the second factor, once the password was right."""
    waiting = waiting_for_code(request)
    if waiting is None:
        return redirect("login")
    user, success_url = waiting
    form = CodeForm(request.POST or None)
    if form.is_valid():
        if _code_is_right(request, user, form.cleaned_data["code"]):
            begin_session(request, user, factor="code")
            return redirect(success_url)
        form.add_error("code", _WRONG_CODE)
    return render(request, "fleet/login_code.html", {"form": form})


@never_cache
@sensitive_post_parameters("password", "code")
@require_http_methods(["GET", "HEAD", "POST"])
def reauthenticate(request: HttpRequest) -> HttpResponse:
    """Ask for the password again, before what cannot be taken back; ?next= says where to go on."""
    user = user_of(request)
    wanted = request.POST.get("next", request.GET.get("next", ""))
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    needs_code = second_factor.is_on(user)
    form = ProofForm(request.POST or None)
    if form.is_valid():
        if _is_proved(request, user, form, needs_code=needs_code):
            mark_authenticated(request, time.time())
            audit.record(actor=actor_of(request), action="reauthenticate", phase="succeeded")
            return redirect(wanted if safe else resolve_url("matrix"))
        form.add_error(None, "The password or the code is wrong.")
    context = {
        "form": form,
        "next": wanted if safe else "",
        "needs_code": needs_code,
        "sign_on": settings.SIGN_ON if has_signed_on(request) else None,
    }
    return render(request, "fleet/reauthenticate.html", context)


@never_cache
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    """Show one's roles, second factor, sessions and tokens."""
    return _show_account(request, TokenForm())


def _show_account(request: HttpRequest, form: TokenForm, *, status: int = 200) -> HttpResponse:
    user = user_of(request)
    now = timezone.now()
    is_on = second_factor.is_on(user)
    context = {
        "roles": sorted(user.groups.values_list("name", flat=True)),
        "is_on": is_on,
        "codes_left": second_factor.codes_left(user),
        "must": settings.REQUIRE_TOTP and may_change(user) and not is_on,
        "sessions": [
            (row, clock(row.began_at, now), row.session_key == request.session.session_key)
            for row in sessions.sessions_of(user)
        ],
        "tokens": [
            (token, clock(token.expires_at, now), clock(token.last_used_at, now), token.expires_at <= now)
            for token in tokens.tokens_of(user)
        ],
        "form": form,
    }
    return render(request, "fleet/account.html", context, status=status)


@require_POST
@recently_authenticated("account")
def second_factor_begin(request: HttpRequest) -> HttpResponse:
    """Make a secret and show it."""
    second_factor.begin(user=user_of(request))
    return redirect("second-factor")


@never_cache
@recently_authenticated()
@require_http_methods(["GET", "HEAD", "POST"])
def second_factor_page(request: HttpRequest) -> HttpResponse:
    """Show the secret that is being set up, and turn the second factor on by a code of it."""
    user = user_of(request)
    secret = second_factor.pending_secret(user)
    if secret is None:
        return redirect("account")
    form = CodeForm(request.POST or None)
    if form.is_valid():
        codes = second_factor.confirm(user=user, code=form.cleaned_data["code"], actor=actor_of(request))
        if codes:
            mark_second_factor(request)
            return _show_codes(request, codes)
        form.add_error("code", "This is not the code of now: is the clock of the phone right?")
    picture = segno.make(totp.uri(secret, user.get_username(), "Relay Fleet"), error="m")
    context = {
        "form": form,
        "picture": picture.svg_data_uri(scale=5, border=4, light="#fff"),
        "secret": " ".join(secret[i : i + 4] for i in range(0, len(secret), 4)),
    }
    return render(request, "fleet/second_factor.html", context)


@never_cache
@require_POST
@recently_authenticated("account")
def recovery_codes(request: HttpRequest) -> HttpResponse:
    """Make new recovery codes and show them, once."""
    user = user_of(request)
    if not second_factor.is_on(user):
        return redirect("account")
    return _show_codes(request, second_factor.renew_codes(user=user, actor=actor_of(request)))


@require_POST
@recently_authenticated("account")
def second_factor_off(request: HttpRequest) -> HttpResponse:
    """Turn one's own second factor off."""
    second_factor.turn_off(user=user_of(request), actor=actor_of(request))
    messages.success(request, "The second factor is off: the password alone lets you in.")
    return redirect("account")


@require_POST
def session_end(request: HttpRequest) -> HttpResponse:
    """End one of one's sessions, or all of them, this one too."""
    form = SessionForm(request.POST)
    if not form.is_valid():
        return redirect("account")
    ended = sessions.end(user=user_of(request), actor=actor_of(request), pk=form.cleaned_data["session"])
    messages.success(request, "It was signed out." if ended == 1 else f"{ended} sessions were signed out.")
    return redirect("account")


@never_cache
@require_POST
@recently_authenticated("account")
def token_add(request: HttpRequest) -> HttpResponse:
    """Make an API token and show it, once."""
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _show_account(request, form, status=400)
    chosen = form.cleaned_data
    try:
        token, text = tokens.token_add(
            user=user_of(request),
            name=chosen["name"],
            scopes=[chosen["scope"]],
            days=chosen["days"],
            actor=actor_of(request),
        )
    except ValidationError as error:
        form.add_error(None, error.messages)
        return _show_account(request, form, status=400)
    example = request.build_absolute_uri(f"{resolve_url('matrix-table')}?format=json")
    return render(request, "fleet/token.html", {"token": token, "text": text, "example": example})


@require_POST
def token_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of one's own tokens."""
    token = get_object_or_404(ApiToken, pk=pk, user=user_of(request))
    tokens.token_remove(token=token, actor=actor_of(request))
    messages.success(request, f"The token for {token.name} does not count any more.")
    return redirect("account")


def _show_codes(request: HttpRequest, codes: list[str]) -> HttpResponse:
    return render(request, "fleet/recovery_codes.html", {"codes": codes})


def _is_proved(request: HttpRequest, user: User, form: ProofForm, *, needs_code: bool) -> bool:
    name = user.get_username()
    known = authenticate(request, username=name, password=form.cleaned_data["password"])
    if known is None or known.pk != user.pk:
        record_failed_log_in(request, name, "password")
        return False
    return not needs_code or _code_is_right(request, user, form.cleaned_data["code"])


def _code_is_right(request: HttpRequest, user: User, code: str) -> bool:
    """Check a code through authenticate(), which throttles; write a wrong one down."""
    known = authenticate(request, username=user.get_username(), code=code or "-")
    if known is not None and known.pk == user.pk:
        return True
    record_failed_log_in(request, user.get_username(), "code")
    return False
