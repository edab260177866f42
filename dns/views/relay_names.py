"""Pages over relay names: their three shares, and plans to change them."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dns.models import RelayName
from dns.selectors.shares import share_rows
from dns.services.weights import AddressBack, AddressOut, WeightsApply
from relays.remote.errors import RemoteError
from relays.selectors.figures import moment
from relays.services import operations
from relays.services.kinds import PlanRefused
from relays.services.operations import NotAllowed
from relays.views.actors import actor_of, user_of

_WEIGHT = "weight:"
# More are no weight, and int() refuses very many of them.
_DIGITS = 10


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
    """Show what each address is to get, what is published, and what it gets."""
    row = get_object_or_404(RelayName.objects.select_related("zone", "provider"), pk=pk)
    shares = share_rows(row)
    context = {
        "row": row,
        "asof": moment(row.served_at, timezone.now()),
        "shares": shares,
        "unknown": next((share.unknown for share in shares if share.unknown), ""),
        "causes": next((share.causes for share in shares if share.causes), ()),
        "states": row.published.select_related("operation")[:10],
    }
    return render(request, "dns/relay_name.html", context)


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
        messages.error(request, f"Nothing was planned for {row.name}: {error}")
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
