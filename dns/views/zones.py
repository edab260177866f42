"""Pages over zones: how each is written and verified, and whether that would work now."""

from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dns.forms.zones import ZoneForm
from dns.models import Method, Zone
from dns.selectors.zones import zone_rows
from dns.services import zones
from relays.views.actors import actor_of
from relays.views.recent import recently_authenticated

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
    return _examined(request, zone, fragment="HX-Request" in request.headers)


def _examined(request: HttpRequest, zone: Zone, *, fragment: bool = False) -> HttpResponse:
    checks = [_check(zone, *found) for found in zones.doctor(zone=zone).items()]
    template = "relays/_doctor.html" if fragment else "dns/zone_doctor.html"
    return render(request, template, {"zone": zone, "checks": checks, "at": timezone.localtime()})


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("dns.add_zone", raise_exception=True)
@recently_authenticated()
def zone_add(request: HttpRequest) -> HttpResponse:
    """Add a zone, and examine it at once."""
    return _save(request, ZoneForm(request.POST or None), None)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("dns.change_zone", raise_exception=True)
@recently_authenticated()
def zone_change(request: HttpRequest, pk: int) -> HttpResponse:
    """Change how a zone is written and verified, and examine it at once."""
    zone = get_object_or_404(Zone, pk=pk)
    kept = ("method", "primary", "tsig_name", "tsig_algorithm", "api_url")
    initial = {name: getattr(zone, name) for name in kept} | {
        "servers": "\n".join(zone.servers),
        "allowed_names": "\n".join(zone.allowed_names),
        "origins": zone.origins.all(),
    }
    return _save(request, ZoneForm(request.POST or None, zone=zone, initial=initial), zone)


def _save(request: HttpRequest, form: ZoneForm, zone: Zone | None) -> HttpResponse:
    if form.is_valid():
        kept: dict[str, Any] = {"name": zone.name, "api_server_id": zone.api_server_id} if zone else {}
        try:
            saved = zones.zone_save(**form.cleaned_data, **kept, actor=actor_of(request))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, f"{saved.name} was saved.")
            return _examined(request, saved)
    return render(request, "dns/zone_form.html", {"form": form, "zone": zone})


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("dns.delete_zone", raise_exception=True)
@recently_authenticated()
def zone_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget a zone with its relay names; what is served stays as it is."""
    zone = get_object_or_404(Zone, pk=pk)
    if request.method == "POST":
        try:
            zones.zone_remove(zone=zone, actor=actor_of(request))
        except ValidationError as error:
            messages.error(request, f"{zone.name} was kept: {' '.join(error.messages)}")
        else:
            messages.success(request, f"{zone.name} was removed.")
        return redirect("dns:zone-list")
    names = zone.relay_names.values_list("name", flat=True)
    return render(request, "dns/zone_remove.html", {"zone": zone, "names": names})


def _check(zone: Zone, question: str, wrong: str) -> _Check:
    title = _TITLES.get(question, question.capitalize())
    if question == "update" and zone.method == Method.MANUAL:
        return _Check(None, title, "people write this zone: an operation waits for the records")
    return _Check(not wrong, title, wrong)
