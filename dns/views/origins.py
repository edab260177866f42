"""What an origin takes away with it: its transport map."""

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_safe

from dns.selectors.origins import transport_of
from relays.domain.words import visible
from relays.models import Origin


@require_safe
@permission_required("relays.view_origin", raise_exception=True)
def origin_transport(request: HttpRequest, pk: int) -> HttpResponse:
    """Return an origin's transport.relay as a file."""
    origin = get_object_or_404(Origin, pk=pk)
    made = timezone.now().isoformat(timespec="seconds")
    lines, rest = transport_of(origin)
    heads = [f"# transport.relay of {visible(origin.name)}, as of {made}"]
    if rest:
        heads.append(
            f"# All other mail: relayhost = {rest} in main.cf, which leaves the origin's own mail alone."
        )
    return HttpResponse(
        "\n".join([*heads, *lines]) + "\n",
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="transport.relay"'},
    )
