"""Finding things by name."""

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from relays.domain.words import visible
from relays.selectors.search import HITS_SHOWN, find

MAX_QUERY = 253


@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def search(request: HttpRequest) -> HttpResponse:
    """Show what was found; go straight to it where it is the only one."""
    query = request.GET.get("q", "")[:MAX_QUERY].strip().replace("\0", "")
    hits = find(query)
    if len(hits) == 1:
        return redirect(hits[0].url)
    context = {"query": query, "shown_query": visible(query), "hits": hits, "most": HITS_SHOWN}
    return render(request, "fleet/search.html", context)
