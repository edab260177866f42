"""The fleet matrix: the home page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.middleware import HtmxDetails

from relays.selectors import overview
from relays.selectors.onboarding import onboarding
from relays.selectors.states import HOST_RULES, INSTANCE_RULES, TONES, words


class HtmxRequest(HttpRequest):
    """A request that django-htmx has looked at."""

    htmx: HtmxDetails


@never_cache
@require_safe
def matrix(request: HtmxRequest) -> HttpResponse:
    """Show the fleet; to a poll, only what changed, or 204 where nothing did."""
    now = timezone.now()
    tag = overview.version_tag(now)
    if request.htmx and request.GET.get("tag") == tag:
        return HttpResponse(status=204)
    fleet = overview.matrix(
        now,
        opened={slug for slug in request.GET.get("open", "").split(",") if slug},
        all_abnormal=request.GET.get("abnormal") == "all",
        tag=tag,
    )
    context = {
        "fleet": fleet,
        "rules": _rules(),
        "poll_url": _poll_url(request),
        "onboarding": None if fleet.hosts else onboarding(),
    }
    return render(request, "fleet/_matrix.html" if request.htmx else "fleet/matrix.html", context)


def _poll_url(request: HttpRequest) -> str:
    query = request.GET.copy()
    query.pop("tag", None)
    return f"{request.path}?{query.urlencode()}" if query else request.path


def _rules() -> list[tuple[str, str, str]]:
    return [(words(state), TONES[state], rule) for state, rule in (INSTANCE_RULES | HOST_RULES).items()]
