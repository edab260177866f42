"""The fleet matrix: the home page."""

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from relays.selectors import overview
from relays.selectors.onboarding import onboarding
from relays.selectors.states import HOST_RULES, INSTANCE_RULES, TONES, words
from relays.selectors.tables import matrix_table
from relays.views.exports import table_response
from relays.views.polls import HtmxRequest, poll_url, still_true


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def matrix(request: HtmxRequest) -> HttpResponse:
    """Show the fleet; to a poll, only what changed, or 204 where nothing did."""
    now = timezone.now()
    tag = overview.version_tag(now)
    if still_true(request, tag):
        return HttpResponse(status=204)
    fleet = overview.matrix(
        now,
        opened={slug for slug in request.GET.get("open", "").split(",") if slug},
        all_abnormal=request.GET.get("abnormal") == "all",
        may=request.user.has_perm,
        tag=tag,
    )
    context = {
        "fleet": fleet,
        "rules": _rules(),
        "poll_url": poll_url(request),
        "onboarding": None if fleet.hosts else onboarding(),
    }
    return render(request, "fleet/_matrix.html" if request.htmx else "fleet/matrix.html", context)


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def instances_table(request: HttpRequest) -> HttpResponseBase:
    """Show all instances as one table, or send it: ?format= is csv or json."""
    return table_response(request, matrix_table(), [("Matrix", reverse("matrix"))])


def _rules() -> list[tuple[str, str, str]]:
    return [(words(state), TONES[state], rule) for state, rule in (INSTANCE_RULES | HOST_RULES).items()]
