"""What a refused request is answered, and that it is written down."""

from django.http import HttpRequest, HttpResponse
from django.views.csrf import csrf_failure
from django.views.defaults import permission_denied

from relays.services import audit
from relays.services.operations import NotAllowed
from relays.views.actors import actor_of


def denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403, and write down who tried what; a service that refuses has done so itself."""
    if not isinstance(exception.__cause__, NotAllowed):
        _record(request, "permission")
    return permission_denied(request, exception)


def forged(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a request without the form's own token by 403; it is an event where somebody was logged in."""
    if request.user.is_authenticated:
        _record(request, "forged")
    return csrf_failure(request, reason)


def _record(request: HttpRequest, why: str) -> None:
    # The path without its query: what was searched for is nobody's business.
    details = {"method": request.method or "", "path": request.path[:200], "why": why}
    audit.record(actor=actor_of(request), action="request", phase="denied", details=details)
