"""The passport of an address, and notes in it."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from dns.selectors.passport import BLOCKS_OF_DAYS, Passport, passport
from dns.services.address_notes import MAX_LENGTH, note_add
from relays.domain.addresses import BadAddress, normalise_address
from relays.views.actors import actor_of, user_of


@never_cache
@require_safe
@permission_required("dns.view_ramp", raise_exception=True)
def address_detail(request: HttpRequest, ip: str) -> HttpResponse:
    """Show what is known of an address."""
    context = {"page": _passport(ip), "days": BLOCKS_OF_DAYS, "note_length": MAX_LENGTH}
    return render(request, "dns/address.html", context)


@require_POST
@permission_required("dns.add_addressnote", raise_exception=True)
def address_note(request: HttpRequest, ip: str) -> HttpResponse:
    """Write a note into an address's passport."""
    page = _passport(ip)
    try:
        note_add(
            address=page.address,
            text=request.POST.get("text", ""),
            user=user_of(request),
            actor=actor_of(request),
        )
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    return redirect("dns:address", page.address)


def _passport(ip: str) -> Passport:
    """Return an address's passport; 404 for what is no address of the fleet."""
    try:
        address = normalise_address(ip)
    except BadAddress as error:
        raise Http404("no address") from error
    found = passport(address, timezone.now())
    if found is None:
        raise Http404("no address of the fleet")
    return found
