"""Pages over ramps: where each stands, how one begins, and one of them, planned and actual."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dns.charts.ramp import ramp_figure
from dns.domain.schedule import BadSchedule
from dns.forms.ramps import RampForm, RestForm
from dns.models import RAMPS_LIVE, Ramp
from dns.selectors import ramps as read
from dns.selectors.ramp_calendar import calendar
from dns.services import ramp_schedules, ramps
from dns.services.ramp_checklist import checklist
from relays.domain.audit import canonical, digest
from relays.remote.errors import RemoteError
from relays.services.kinds import PlanRefused
from relays.services.operations import NotAllowed
from relays.views.actors import actor_of, user_of
from relays.views.figures import figure_response
from relays.views.polls import HtmxRequest, still_true
from relays.views.recent import recently_authenticated

ENDED_SHOWN = 20
_CHANGED = "The ramp has changed since this page was loaded."
_ACTS = {
    "advance": (ramps.advance, "It goes a step on."),
    "step_back": (ramps.step_back, "It goes a step back."),
    "hold": (ramps.hold, "It is held for today."),
    "pause": (ramps.pause, "It is paused: cap and guards go on."),
    "resume": (ramps.resume, "It decides again."),
    "cancel": (ramps.cancel, "It is cancelled; the records stay as they are."),
}


@never_cache
@require_safe
@permission_required("dns.view_ramp", raise_exception=True)
def ramp_list(request: HttpRequest) -> HttpResponse:
    """List the ramps that go on, and those that ended last."""
    now = timezone.now()
    ended = Ramp.objects.exclude(state__in=RAMPS_LIVE).order_by("-ended_at")[:ENDED_SHOWN]
    context = {
        "rows": read.ramp_rows(Ramp.objects.filter(state__in=RAMPS_LIVE), now),
        "ended": read.ramp_rows(Ramp.objects.filter(pk__in=[row.pk for row in ended]), now),
    }
    return render(request, "dns/ramp_list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("dns.run_ramps", raise_exception=True)
@recently_authenticated()
def ramp_new(request: HttpRequest) -> HttpResponse:
    """Choose a schedule, look at its calendar, and begin it: only what the calendar showed is begun."""
    asked = {name: request.GET[name] for name in ("relay_name", "address") if name in request.GET}
    form = RampForm(request.POST or None, initial=asked)
    context: dict[str, Any] = {"form": form, "addresses": read.known_addresses()}
    if form.is_valid():
        try:
            if (started := _preview(request, form, context)) is not None:
                return redirect("dns:ramp", started.pk)
        except BadSchedule as error:
            form.add_error(
                "table" if form.cleaned_data["schedule"] == ramp_schedules.OWN else "schedule", str(error)
            )
        except ValidationError as error:
            _take_errors(form, error)
        except NotAllowed as error:
            raise PermissionDenied(str(error)) from error
    return render(request, "dns/ramp_new.html", context)


def _preview(request: HttpRequest, form: RampForm, context: dict[str, Any]) -> Ramp | None:
    """Show what a form would begin, or begin it where it was shown before. Raises as ramps.start()."""
    now = timezone.now()
    wish = form.wish()
    draft = ramps.draft(wish, now)
    seen = digest(canonical(_facts(draft)))
    items = checklist(wish.relay_name, draft.address)
    context |= {"calendar": calendar(draft, now), "draft": draft, "seen": seen}
    context |= {"checklist": items, "lacking": any(item.is_needed and not item.met for item in items)}
    if request.POST.get("do") != "start":
        return None
    if form.cleaned_data["seen"] != seen:
        messages.warning(request, "The fields have changed: look at the calendar once more.")
        return None
    reason = form.cleaned_data["reason"]
    return ramps.start(wish=wish, user=user_of(request), actor=actor_of(request), reason=reason)


def _facts(draft: Ramp) -> list[Any]:
    """Return what makes a ramp what it is, as JSON without fractions."""
    steps = [[str(step["share"]), step["cap"]] for step in draft.steps]
    rails = {name: str(value) for name, value in draft.rails.items()}
    days = [str(draft.start_date), draft.time_zone, str(draft.opens), str(draft.closes)]
    return [draft.relay_name.pk, draft.address, steps, rails, days, str(draft.largest)]


def _take_errors(form: RampForm, error: ValidationError) -> None:
    """Show a service's refusal beside the field it names."""
    for field, texts in error.message_dict.items():
        form.add_error(field if field in form.fields else None, texts)


def _ramp(pk: int) -> Ramp:
    return get_object_or_404(Ramp.objects.select_related("relay_name__zone", "relay_name__provider"), pk=pk)


@never_cache
@require_safe
@permission_required("dns.view_ramp", raise_exception=True)
def ramp_detail(request: HtmxRequest, pk: int) -> HttpResponse:
    """Show a ramp: planned and actual, its decisions, its guard rails beside today's figures."""
    ramp, now = _ramp(pk), timezone.now()
    tag = _tag(ramp, now)
    if still_true(request, tag):
        return HttpResponse(status=204)
    if not request.htmx:
        return _detail(request, ramp)
    return render(request, "dns/_ramp.html", {"page": read.ramp_page(ramp, now), "tag": tag})


def _detail(request: HttpRequest, ramp: Ramp, typed: Mapping[str, str] | None = None) -> HttpResponse:
    """Show a ramp's whole page. typed: into its form, to be kept."""
    now = timezone.now()
    context = {"page": read.ramp_page(ramp, now), "tag": _tag(ramp, now), "typed": typed or {}}
    return render(request, "dns/ramp.html", context)


def _tag(ramp: Ramp, now: datetime) -> str:
    return (
        f"{ramp.version}-{ramp.looked_at:%H%M%S}-{now:%H%M}"
        if ramp.looked_at
        else f"{ramp.version}-{now:%H%M}"
    )


@require_safe
@permission_required("dns.view_ramp", raise_exception=True)
def ramp_chart(request: HttpRequest, pk: int) -> HttpResponse:
    """Return the figure of a ramp's dates."""
    return figure_response(ramp_figure(read.dated(_ramp(pk), timezone.now())))


@require_POST
@permission_required("dns.run_ramps", raise_exception=True)
@recently_authenticated(back="dns:ramp")
def ramp_steer(request: HttpRequest, pk: int) -> HttpResponse:
    """Move, hold, pause, resume or end a ramp; ending may plan to give the old weights back."""
    ramp = _ramp(pk)
    act, told = _ACTS.get(request.POST.get("act", ""), (None, ""))
    if act is None:
        messages.error(request, "There is no such thing to do about a ramp: nothing was changed.")
        return redirect("dns:ramp", pk)
    if request.POST.get("version") != str(ramp.version):
        messages.error(request, f"{_CHANGED} Nothing was done: look, and press again.")
        return _detail(request, ramp, typed=request.POST)
    user, actor = user_of(request), actor_of(request)
    try:
        act(ramp=ramp, user=user, actor=actor, reason=request.POST.get("reason", ""))
        messages.success(request, told)
        if act is ramps.cancel and request.POST.get("restore") == "on":
            return redirect("relays:operation", ramps.plan_restoring(ramp=ramp, user=user, actor=actor).pk)
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except (ramps.RampRefused, PlanRefused, RemoteError) as error:
        messages.error(request, str(error))
    return redirect("dns:ramp", pk)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("dns.run_ramps", raise_exception=True)
@recently_authenticated()
def ramp_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Change the days of a ramp that have not come."""
    ramp = _ramp(pk)
    form = RestForm(request.POST or None, initial={"table": read.rest_text(ramp)})
    outdated = request.method == "POST" and request.POST.get("version") != str(ramp.version)
    if outdated:
        form.add_error(
            None, f"{_CHANGED} Nothing was saved: compare what you typed with the days as they are."
        )
    elif form.is_valid():
        try:
            steps = ramp_schedules.own(form.cleaned_data["table"]).steps
            reason = form.cleaned_data["reason"]
            ramps.edit(ramp=ramp, steps=steps, user=user_of(request), actor=actor_of(request), reason=reason)
        except (BadSchedule, ValidationError, ramps.RampRefused) as error:
            form.add_error("table", getattr(error, "messages", [str(error)]))
        except NotAllowed as error:
            raise PermissionDenied(str(error)) from error
        else:
            messages.success(request, "The days that come were changed.")
            return redirect("dns:ramp", pk)
    context = {"form": form, "ramp": ramp, "now_rest": read.rest_text(ramp) if outdated else ""}
    return render(request, "dns/ramp_edit.html", context)
