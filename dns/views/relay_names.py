"""Pages over relay names: their three shares, and plans to change them."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dns.charts.shares import shares_figure
from dns.forms.relay_names import RelayNameForm
from dns.models import RelayName
from dns.selectors.share_history import history_table, share_history
from dns.selectors.shares import shares_of
from dns.services import zones as services
from dns.services.relay_names import relay_name_change as change
from dns.services.weights import AddressBack, AddressOut, WeightsApply, preview_weights
from relays.charts.zone import zone_at
from relays.domain.text import printable
from relays.remote.errors import RemoteError
from relays.selectors.figures import moment
from relays.selectors.ranges import RANGES, range_named
from relays.services import operations
from relays.services.kinds import PlanRefused
from relays.services.operations import NotAllowed
from relays.services.sealing import CannotUnseal
from relays.views.actors import actor_of, user_of
from relays.views.figures import figure_response

_WEIGHT = "weight:"
# More are no weight, and int() refuses very many of them.
_DIGITS = 10
# A slider's end, at least.
_SLIDER = 20


@require_safe
@permission_required("dns.view_relayname", raise_exception=True)
def relay_name_list(request: HttpRequest) -> HttpResponse:
    """List relay names."""
    now = timezone.now()
    found = RelayName.objects.select_related("zone", "provider").prefetch_related("weights")
    rows = [(row, moment(row.served_at, now)) for row in found]
    return render(request, "dns/relay_name_list.html", {"rows": rows})


@require_safe
@permission_required("dns.view_relayname", raise_exception=True)
def relay_name_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what each address is to get, what is published, and what it gets; ?range= is a key of RANGES."""
    row = _relay_name(pk)
    now = timezone.now()
    chosen = range_named(request.GET.get("range"))
    shares = shares_of(row, now=now)
    history = share_history(row, chosen, now)
    context = {
        "row": row,
        "asof": moment(row.served_at, now),
        "checked": moment(row.checked_at, now),
        "shares": shares,
        "slider_most": str(max(_SLIDER, *(2 * share.weight for share in shares.rows))),
        "history": history_table(history, now),
        "history_unknown": history.unknown,
        "outcomes": {"ranges": RANGES.values(), "chosen": chosen},
        "states": row.published.select_related("operation")[:10],
        "servers": [(server, row.drift.get(server, "")) for server in row.zone.servers],
    }
    return render(request, "dns/relay_name.html", context)


@require_safe
@permission_required("dns.view_relayname", raise_exception=True)
def relay_name_chart(request: HttpRequest, pk: int) -> HttpResponse:
    """Return the chart of the three shares over a range."""
    now = timezone.now()
    history = share_history(_relay_name(pk), range_named(request.GET.get("range")), now)
    return figure_response(shares_figure(history, zone_at(now)))


@require_POST
@permission_required("dns.change_weights", raise_exception=True)
def relay_name_preview(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what the form's weights would publish, while they are typed; nothing is changed."""
    row = _relay_name(pk)
    told = preview_weights(relay_name=row, given=_params(request, WeightsApply.name)["weights"])
    return render(request, "dns/_preview.html", {"preview": told, "row": row})


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("dns.change_weights", raise_exception=True)
def relay_name_change(request: HttpRequest, pk: int) -> HttpResponse:
    """Set what a relay name has besides its weights."""
    row = _relay_name(pk)
    warm = list(row.weights.filter(is_warm=True).values_list("address", flat=True))
    initial = {name: getattr(row, name) for name in ("rendering", "ttl", "min_warm", "provider")}
    form = RelayNameForm(request.POST or None, relay_name=row, initial={**initial, "warm": warm})
    if form.is_valid():
        try:
            change(relay_name=row, actor=actor_of(request), **form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, f"{row.name} was changed: plan its weights to publish what differs.")
            return redirect("dns:relay-name", pk)
    return render(request, "dns/relay_name_form.html", {"form": form, "row": row})


@require_POST
@permission_required("dns.change_weights", raise_exception=True)
def relay_name_accept(request: HttpRequest, pk: int) -> HttpResponse:
    """Take what is served now for what is wanted."""
    row = _relay_name(pk)
    try:
        services.relay_name_accept(relay_name=row, actor=actor_of(request))
    except ValidationError as error:
        messages.error(request, f"{row.name} was left as it is: {' '.join(error.messages)}")
    except (RemoteError, CannotUnseal) as error:
        messages.error(request, f"{row.name} was left as it is: {printable(str(error), 300)}")
    else:
        messages.success(request, f"What is served at {row.name} is what is wanted from now on.")
    return redirect("dns:relay-name", pk)


def _relay_name(pk: int) -> RelayName:
    return get_object_or_404(RelayName.objects.select_related("zone", "provider"), pk=pk)


@require_POST
@permission_required("dns.change_weights", raise_exception=True)
def relay_name_plan(request: HttpRequest, pk: int, kind: str) -> HttpResponse:
    """Read the primary and show what would be done."""
    row = get_object_or_404(RelayName, pk=pk)
    try:
        operation = operations.plan_relay_name(
            kind=kind,
            relay_name=row.name,
            params=_params(request, kind),
            user=user_of(request),
            actor=actor_of(request),
        )
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except (PlanRefused, RemoteError) as error:
        messages.error(request, f"Nothing was planned for {row.name}: {printable(str(error), 1_000)}")
        return redirect("dns:relay-name", pk)
    return redirect("relays:operation", operation.pk)


def _params(request: HttpRequest, kind: str) -> dict[str, Any]:
    """Return a form's fields as a kind takes them: weights stand in fields of their addresses."""
    override = {"override": request.POST.get("override", "")}
    if kind in (AddressOut.name, AddressBack.name):
        return {"address": request.POST.get("address", ""), **override}
    if kind != WeightsApply.name:
        return {"to": request.POST.get("to", "")}
    given = {
        name.removeprefix(_WEIGHT): int(value) if value.isdecimal() and len(value) < _DIGITS else value
        for name, value in request.POST.items()
        if name.startswith(_WEIGHT) and isinstance(value, str)
    }
    return {"weights": given, **override}
