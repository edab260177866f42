"""The download of relayctl, as this console would have it on a relay host."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from relays.selectors.onboarding import relayctl_file


# Open to all: it is fetched on the relay host itself, holds no secret, and is checked there by its sha256.
@login_not_required
@require_safe
def relayctl(request: HttpRequest) -> HttpResponse:
    """Send relayctl.pyz."""
    file = relayctl_file()
    return HttpResponse(
        file.content,
        content_type="application/zip",
        headers={
            "Content-Disposition": 'attachment; filename="relayctl.pyz"',
            "Digest": f"sha-256={file.digest}",
        },
    )
