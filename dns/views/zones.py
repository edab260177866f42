"""Pages over zones: how each is written and verified, and whether that would work now."""

from typing import NamedTuple

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dns.models import Method, Zone
from dns.selectors.zones import zone_rows
from dns.services import zones

_TITLES = {"update": "Update", "same serial everywhere": "Verify: all serve the same serial"}


class _Check(NamedTuple):
    """A question of the doctor's, as relays/_doctor.html shows it."""

    ok: bool | None
    title: str
    detail: str


@require_safe
@permission_required("dns.view_zone", raise_exception=True)
def zone_list(request: HttpRequest) -> HttpResponse:
    """List zones."""
    return render(request, "dns/zone_list.html", {"rows": zone_rows(timezone.now())})


@require_POST
@permission_required("dns.view_zone", raise_exception=True)
def zone_doctor(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask the name servers now. POST, so that nothing follows it by itself."""
    zone = get_object_or_404(Zone, pk=pk)
    checks = [_check(zone, *found) for found in zones.doctor(zone=zone).items()]
    template = "relays/_doctor.html" if request.headers.get("HX-Request") else "dns/zone_doctor.html"
    return render(request, template, {"zone": zone, "checks": checks, "at": timezone.localtime()})


def _check(zone: Zone, question: str, wrong: str) -> _Check:
    title = _TITLES.get(question, question.capitalize())
    if question == "update" and zone.method == Method.MANUAL:
        return _Check(None, title, "people write this zone: an operation waits for the records")
    return _Check(not wrong, title, wrong)
