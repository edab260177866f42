"""Asking for the password again before what cannot be taken back."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.urls import reverse

RECENT_S = 15 * 60
_AUTHENTICATED_AT = "authenticated_at"

View = Callable[Concatenate[HttpRequest, ...], HttpResponseBase]


def mark_authenticated(request: HttpRequest, at: float) -> None:
    """Note when this session's user proved who it is; seconds since 1970."""
    request.session[_AUTHENTICATED_AT] = int(at)


def is_recent(request: HttpRequest) -> bool:
    """Return whether the user of this session proved who it is within the last 15 minutes."""
    since = time.time() - request.session.get(_AUTHENTICATED_AT, 0)
    return bool(0 <= since + 1 <= RECENT_S + 1)


def recently_authenticated(back: str = "") -> Callable[[View], View]:
    """Send whoever has not proved who it is for 15 minutes to do so, and then on to `back`.

    back: name of the page to go on from, which takes the view's own arguments; the view's own page where it
    has one. What a form held is not kept: the person looks at it, and sends it, again.
    """

    def wrap(view: View) -> View:
        @wraps(view)
        def asked(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
            if is_recent(request):
                return view(request, *args, **kwargs)
            place = reverse(back, kwargs=kwargs) if back else request.path
            return _ask(place)

        return asked

    return wrap


def _ask(place: str) -> HttpResponse:
    return redirect(f"{resolve_url('reauthenticate')}?{urlencode({'next': place})}")
